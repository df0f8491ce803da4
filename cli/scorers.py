"""The scorers of `winnow evaluate`: the student, and what it is held against.

The student scores as a bundle, through a service or in PyTorch; others come from files, or need no
model.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.console import console, say
from cli.judged import JudgedFile
from cli.options import cpu_threads
from cli.progress import progress_bar
from model_store.manifest import Manifest, Precision
from model_store.registry import bundle_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from evaluation.assessment import Scorer
    from evaluation.baselines import Baseline
    from evaluation.judgments import Judgments

TEACHER = "teacher"


def service_scores(
    url: str, model: str, judged: "Judgments", api_key_file: Path | None
) -> "tuple[NDArray[np.float32], float]":
    """Scores through a service, and the default sort's threshold."""
    from evaluation import scoring

    name, _, version = model.partition("@")
    with progress_bar() as on_progress:
        served = scoring.service_scores(
            url, name, version or None, judged, on_progress, _api_key(api_key_file)
        )
    say(f"{url}: scored by {name} {served.version}")
    return served.scores, served.threshold


def _api_key(file: Path | None) -> str | None:
    try:
        return None if file is None else file.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"--api-key-file {file}: expected one key, as text") from error


def bundle_scores(
    model: str, bundles: Path, precision: Precision | None, judged: "Judgments"
) -> "tuple[NDArray[np.float32], float]":
    """Scores of a published bundle in this process, and the default sort's threshold."""
    from evaluation import scoring
    from model_store.student import OnnxStudent

    name, _, version = model.partition("@")
    student = OnnxStudent.load(
        bundle_folder(bundles, name, version or None),
        threads=cpu_threads(),
        precision=precision,
    )
    say_context(student.manifest)
    with progress_bar() as on_progress:
        scores = scoring.bundle_scores(student, judged, on_progress)
    return scores, student.manifest.thresholds.default


def say_context(manifest: Manifest) -> None:
    """Says so where a student was measured on texts with those of their neighbours."""
    if "context.neighbours" in manifest.training:
        say(
            f"warning: {manifest.name} {manifest.version} reads texts with those of up to "
            f"{manifest.training['context.neighbours']} neighbours; here they stand as the files "
            "have them. Give texts that `winnow context --evaluate` wrote, or ask a service whose "
            "catalogue and queries were indexed in context (winnow evaluate --url)"
        )


def torch_scores(checkpoint: Path, judged: "Judgments") -> "NDArray[np.float32]":
    """Probabilities of a checkpoint in PyTorch."""
    from export.checkpoint import load_checkpoint
    from export.scoring import score_pairs

    loaded = load_checkpoint(checkpoint)
    return score_pairs(loaded.student, loaded.tokenizer, judged)


def named_files(given: Sequence[str], taken: Collection[str]) -> dict[str, Path]:
    """Files by scorer, from NAME=FILE each; `taken` are names of other scorers.

    Raises:
        typer.BadParameter: another form, or a name that is taken.
    """
    named: dict[str, Path] = {}
    for text in given:
        name, separator, path = text.partition("=")
        if not (name and separator and path):
            raise typer.BadParameter(f"expected --compare NAME=FILE, got {text!r}")
        if name in named or name in taken:
            raise typer.BadParameter(f"--compare {text}: {name!r} is taken: name it otherwise")
        named[name] = Path(path)
    return named


def known_baselines(given: Sequence[str]) -> "list[Baseline]":
    """Baselines by their names.

    Raises:
        typer.BadParameter: a name that no baseline has.
    """
    from typing import get_args

    from evaluation.baselines import Baseline

    known: tuple[Baseline, ...] = get_args(Baseline)
    for name in given:
        if name not in known:
            raise typer.BadParameter(f"expected --baseline {', '.join(known)}, got {name!r}")
    return [name for name in known if name in given]


def given_scorers(
    judged: "Judgments", teacher_scores: Path | None, others: Mapping[str, Path]
) -> "list[Scorer]":
    """The teacher and other scorers whose scores lie in files."""
    from evaluation.assessment import Scorer
    from evaluation.score_files import read_probabilities, read_scores

    scorers = []
    if teacher_scores is not None:
        scores = read_probabilities(teacher_scores, judged)
        scorers.append(Scorer(TEACHER, scores, probability=True))
    for name, path in others.items():
        scores = read_scores(path, judged)
        outside = ((scores < 0) | (scores > 1)).any()
        scorers.append(Scorer(name, scores, probability=not outside))
    return scorers


def baseline_scorers(
    names: "Sequence[Baseline]", every: "Judgments", judged: "Judgments", file: JudgedFile
) -> "list[Scorer]":
    """Baselines; words are counted in the products' titles, else in those of all judgements."""
    from evaluation.assessment import Scorer
    from evaluation.baselines import baseline_scores
    from evaluation.judgments import product_titles

    if not names:
        return []
    products = file.product_file
    catalogue = every.titles if products is None else product_titles(products)
    scorers = []
    for name in names:
        with console.status(f"baseline {name}"):
            scores = baseline_scores(name, judged.queries, judged.titles, catalogue)
        scorers.append(Scorer(name, scores, probability=False))
    return scorers
