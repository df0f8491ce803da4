"""`winnow distill`: a recipe in, published students and a report out."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import answer, say, show
from cli.judged import command_line
from cli.options import Bundles, Device
from cli.progress import progress_bar
from model_store.registry import DEFAULT_ROOT

if TYPE_CHECKING:
    from distill.pipeline import Planned
    from distill.stages.stage import Result, Stage, Taken

_WORK = Path(".data") / "distill"


def distill(
    recipe: Annotated[Path, typer.Argument(help="what to make, as TOML: examples/*/*.toml")],
    work: Annotated[
        Path | None,
        typer.Option(help=f"folder for all that is made on the way; else {_WORK}/<recipe>"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="where the paths of data and transfer start from; else the recipe's"),
    ] = None,
    bundles: Bundles = DEFAULT_ROOT,
    until: Annotated[
        list[str] | None,
        typer.Option(
            help="take these stages alone, and what they are made from: a kind (labels), or one of "
            "it (labels:TEACHER); may be repeated"
        ),
    ] = None,
    device: Device = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check the recipe, show what would be done and why")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="the stages on standard output")] = False,
) -> None:
    """Judgements and a catalogue in, published students and a report out, as a recipe says.

    Teachers, transfer set, labels, students, export, calibration, publication, report: stage by
    stage. Killed at any moment, the same command goes on where it stopped. A stage whose options
    or inputs have changed is taken again, and those after it. Published versions are never
    overwritten. Needs the extras `train` and `plot`.
    """
    from distill.pipeline import follow, plan
    from distill.recipe_file import read_recipe
    from distill.stages.run import RecipeRun

    file = read_recipe(recipe)
    work = work or _WORK / file.work_name
    run = RecipeRun(file, work, bundles, data=data, device=device, command=command_line())
    if dry_run:
        planned = plan(run, until or ())
        _show_plan(planned)
        if as_json:
            answer([{"stage": each.stage.title, "why": each.why} for each in planned])
        return
    with _Bars() as progress:
        taken = follow(run, until or (), progress)
    _show(taken, run.work)
    if as_json:
        answer([_document(each) for each in taken])


class _Bars:
    """The bars of one stage at a time; a line where one begins, and one where it is done."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._report: Callable[[str, int, int | None], None] | None = None

    def __enter__(self) -> "_Bars":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begins(self, stage: "Stage", why: str | None) -> None:
        if why is not None:
            say(f"{stage.title}: {why}")
            self._report = self._stack.enter_context(progress_bar())

    def phase(self, phase: str, done: int, total: int | None) -> None:
        if self._report is not None:
            self._report(phase, done, total)

    def ends(self, taken: "Taken") -> None:
        self._stack.close()
        self._report = None
        if taken.why is not None and taken.result:
            say(f"{taken.stage.title}: {_said(taken.result)}")


def _show(taken: "list[Taken]", work: Path) -> None:
    show(
        f"in {work}",
        ("stage", "", "seconds", "result"),
        [
            (
                each.stage.title,
                "done before" if each.why is None else each.why,
                f"{each.seconds:,.1f}",
                _said(each.result),
            )
            for each in taken
        ],
    )


def _show_plan(planned: "list[Planned]") -> None:
    show(
        "dry run: nothing is made",
        ("stage", "why it would be taken"),
        [(each.stage.title, "done" if each.why is None else each.why) for each in planned],
    )


def _said(result: "Result") -> str:
    return ", ".join(
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in result.items()
    )


def _document(taken: "Taken") -> dict[str, object]:
    return {
        "stage": taken.stage.title,
        "taken": taken.why is not None,
        "why": taken.why,
        "seconds": taken.seconds,
        "result": dict(taken.result),
    }
