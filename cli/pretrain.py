"""`winnow pretrain`: texts in, an encoder that has read them out."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console import answer, say, show
from cli.options import Device, HubEncoder, SaveEvery
from cli.progress import progress_bar


def pretrain(
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
    epochs: int = 3,
    batch_size: Annotated[int, typer.Option(help="texts of a step")] = 32,
    learning_rate: Annotated[float, typer.Option(help="at its peak")] = 5e-5,
    warm_up: Annotated[float, typer.Option(help="share of the steps with a rising rate")] = 0.1,
    weight_decay: float = 0.01,
    clip: Annotated[float, typer.Option(help="largest norm of a gradient")] = 1.0,
    text_tokens: Annotated[
        int | None, typer.Option(help="limit of a text; else what 99 % of the texts need")
    ] = None,
    mask_share: Annotated[float, typer.Option(help="of the tokens, to be predicted")] = 0.15,
    whole_words: Annotated[
        bool, typer.Option("--whole-words", help="the tokens of a word are masked together")
    ] = False,
    held_out: Annotated[float, typer.Option(help="share of the texts to report the loss on")] = (
        0.05
    ),
    save_every: SaveEvery = 200,
    device: Device = None,
    encoding: Annotated[str, typer.Option(help="of the files")] = "utf-8-sig",
    seed: int = 0,
    as_json: Annotated[bool, typer.Option("--json", help="the losses on standard output")] = False,
) -> None:
    """Go on pre-training an encoder as a masked language model, on titles and queries.

    The result is an encoder for `winnow teach` and `winnow train`. A run that was stopped goes on
    when the same command is given again. Needs the extra `train` (torch).
    """
    from distill.masked_lm import pretrain as run_pretraining
    from distill.pretrain_options import PretrainOptions
    from distill.pretrained import encoder_folder
    from distill.texts import read_texts

    options = PretrainOptions(
        seed=seed,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warm_up=warm_up,
        weight_decay=weight_decay,
        clip=clip,
        text_tokens=text_tokens,
        mask_share=mask_share,
        whole_words=whole_words,
        held_out=held_out,
        save_every=save_every,
    )
    read = read_texts(texts, text_column or [], encoding)
    say(f"{len(read):,} distinct texts")
    folder = encoder_folder(encoder)
    with progress_bar() as on_progress:
        done = run_pretraining(folder, read, out, options, on_progress, device)
    if done.head_was_new:
        say("the checkpoint had no masked-LM head: its loss before training is that of a new one")
    if as_json:
        answer(
            {
                "head_was_new": done.head_was_new,
                "loss_before": done.loss_before,
                "loss_after": done.loss_after,
                "epochs": [
                    {"epoch": each.number, "loss": each.loss, **each.figures}
                    for each in done.epochs
                ],
            }
        )
    show(
        f"encoder {done.folder}: epoch {done.best.number}; nats per masked token",
        ("epoch", "training loss", "held-out loss"),
        [
            ("before", "", f"{done.loss_before:.4f}"),
            *(
                (each.number, f"{each.loss:.4f}", f"{each.figures['held_out_loss']:.4f}")
                for each in done.epochs
            ),
        ],
    )
