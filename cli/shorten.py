"""`winnow shorten`: an encoder in, its first layers that know what the whole says out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.console import answer, say, show
from cli.options import Device, HubEncoder, SaveEvery
from cli.progress import progress_bar


def shorten(
    encoder: HubEncoder,
    texts: Annotated[
        list[Path],
        typer.Option(help="CSV, TSV or JSONL (also .gz), or .txt with a text per line; repeatable"),
    ],
    out: Annotated[Path, typer.Option(help="encoder's folder to write; must not exist")],
    text_column: Annotated[
        list[str] | None,
        typer.Option(help="column of texts, such as title or query; repeatable; not for .txt"),
    ] = None,
    layers: Annotated[int, typer.Option(help="the first so many stay")] = 2,
    pooling: Annotated[
        Literal["mean", "cls"], typer.Option(help="what makes the whole encoder's sentence vector")
    ] = "mean",
    epochs: int = 2,
    batch_size: Annotated[int, typer.Option(help="texts of a step")] = 32,
    learning_rate: Annotated[float, typer.Option(help="at its peak")] = 3e-4,
    warm_up: Annotated[float, typer.Option(help="share of the steps with a rising rate")] = 0.1,
    weight_decay: float = 0.01,
    clip: Annotated[float, typer.Option(help="largest norm of a gradient")] = 1.0,
    text_tokens: Annotated[int, typer.Option(help="limit of a text")] = 64,
    held_out: Annotated[float, typer.Option(help="share of the texts to report the cosine on")] = (
        0.02
    ),
    save_every: SaveEvery = 200,
    device: Device = None,
    encoding: Annotated[str, typer.Option(help="of the files")] = "utf-8-sig",
    seed: int = 0,
    as_json: Annotated[bool, typer.Option("--json", help="the cosines on standard output")] = False,
) -> None:
    """Teach an encoder's first layers the sentence vectors of the whole, on titles and queries.

    The result is an encoder for `winnow train`, whose students start from few layers. A run that
    was stopped goes on when the same command is given again. Needs the extra `train` (torch).
    """
    from distill.pretrain_options import ShortenOptions
    from distill.pretrained import encoder_folder
    from distill.shorten import shorten as run_shortening
    from distill.texts import read_texts

    options = ShortenOptions(
        seed=seed,
        layers=layers,
        pooling=pooling,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warm_up=warm_up,
        weight_decay=weight_decay,
        clip=clip,
        text_tokens=text_tokens,
        held_out=held_out,
        save_every=save_every,
    )
    read = read_texts(texts, text_column or [], encoding)
    say(f"{len(read):,} distinct texts")
    folder = encoder_folder(encoder)
    with progress_bar() as on_progress:
        done = run_shortening(folder, read, out, options, on_progress, device)
    if as_json:
        answer(
            {
                "cosine_before": done.cosine_before,
                "cosine_after": done.cosine_after,
                "epochs": [
                    {"epoch": each.number, "loss": each.loss, "cosine": each.value}
                    for each in done.epochs
                ],
            }
        )
    show(
        f"encoder {done.folder}: epoch {done.best.number}; cosine to the whole encoder's vectors",
        ("epoch", "training loss", "held-out cosine"),
        [
            ("before", "", f"{done.cosine_before:.4f}"),
            *((each.number, f"{each.loss:.4f}", f"{each.value:.4f}") for each in done.epochs),
        ],
    )
