"""From catalogue and queries, or a log, to a transfer set, and what teachers say of its pairs."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from distill.errors import RecipeRefused
from distill.labelling import label, score_here
from distill.labels import PairsFile, read_labels
from distill.logs import LogFile, filter_log
from distill.recipe_tables import Log, Transfer
from distill.stack import stacked_probability
from distill.stages.run import RecipeRun
from distill.stages.stage import Kind, Result, Stage
from distill.stages.teachers import data_inputs, data_options
from distill.teacher_onnx import open_teacher
from distill.transfer import make_transfer_set
from distill.transfer_file import BEHAVIOUR_COLUMN, TARGET_COLUMN
from distill.transfer_inputs import QueryFile
from distill.transfer_options import OnProgress


def transfer_stage(run: RecipeRun, kind: Kind, table: Transfer, out: Path) -> Stage:
    """The pairs to label: those of all teachers or, of the kind "wide", of whoever costs little.

    A file made before is only looked at.
    """
    seed = run.recipe.seed_of(table)
    inputs = dict(data_inputs(run))
    if table.queries is not None:
        inputs["queries"] = run.data.folder / table.queries
    if table.log is not None:
        inputs["the log"] = run.data.folder / table.log.path
    if table.file is not None:
        inputs["the transfer set"] = out
    for what, path in inputs.items():
        if not path.is_file():
            raise RecipeRefused(f"{kind}: {what}: expected a file, found none at {path}")

    if table.file is not None:
        _check_columns(run, out)

    left_out: dict[str, int] = {}  # known to whoever makes the set

    def write(on_progress: OnProgress) -> None:
        if not out.exists() and table.log is not None:
            left_out.update(_from_log(run, table.log, out, on_progress))
        elif not out.exists():
            file = table.queries and QueryFile(
                run.data.folder / table.queries, table.query_column, run.recipe.data.encoding
            )
            queries = run.data.transfer_queries(file or None)
            options = replace(table.options, seed=seed)
            made = make_transfer_set(run.data.products, queries, options, out, on_progress)
            left_out["held-out queries left out"] = queries.held_out
            left_out["made queries like held-out ones left out"] = made.counts.held_out
            left_out["bad lines"] = run.data.products.bad_lines + queries.bad_lines
        run.data.check_unseen(_queries(out), out.name)

    return Stage(
        kind=kind,
        options={
            **data_options(run),
            **table.model_dump(mode="json", include={"query_column", "log"}),
            **asdict(table.options),
            "seed": seed,
        },
        inputs=inputs,
        outputs=lambda: [out],
        run=write,
        result=lambda: {
            "pairs": sum(1 for _ in _queries(out)),
            **{what: count for what, count in left_out.items() if count},
        },
        leaves=[] if table.file else [out, out.with_name(f"{out.name}.unfinished")],
    )


def _check_columns(run: RecipeRun, given: Path) -> None:
    """Refuses a file that lacks what a student wants to learn of it."""
    first = next(PairsFile(given).rows(), None)
    for student in run.recipe.student:
        if first is None or run.pairs_of(student) != given:
            continue
        wanted = {BEHAVIOUR_COLUMN: student.behaviour, TARGET_COLUMN: student.clicks}
        for column, needed in wanted.items():
            if needed and not first.has(column):
                raise RecipeRefused(
                    f"student {student.name!r}: expected a column {column!r} of {given.name}, for "
                    f"its {'behaviour' if student.behaviour else 'clicks'}, found none: leave that "
                    "out"
                )


def _from_log(run: RecipeRun, log: Log, out: Path, on_progress: OnProgress) -> dict[str, int]:
    """Makes the set; what was left out of it."""
    data = run.recipe.data
    file = LogFile(
        run.data.folder / log.path,
        query=data.query_column,
        product_id=data.id_column,
        shown=log.shown_column,
        clicked=log.clicked_column,
        ordered=log.ordered_column,
        skipped=log.skipped_column,
        encoding=data.encoding,
    )
    made = filter_log(
        file, run.data.products, log.options, out, on_progress, is_held_out=run.data.is_held_out
    )
    return {
        "rows of held-out queries left out": made.counts.held_out,
        "rows of products without a title left out": made.counts.unknown_products,
    }


def _queries(transfer: Path) -> Iterator[str]:
    return (query for query, _ in PairsFile(transfer).texts())


def labels_stage(run: RecipeRun, kind: Kind, name: str) -> Stage:
    """Logits of the transfer set, of the wide one, or of the judged training pairs, by its kind.

    `name`: of a teacher, or of a student that labels for others.
    """
    pairs = {
        "labels": run.transfer,
        "labels-wide": run.wide,
        "labels-judged": run.judged("train"),
    }[kind]
    out = run.at(kind, name)
    scorer = run.scorer(name)
    limits = {each.name: each.label_pairs for each in run.recipe.teacher}
    most = None if kind == "labels-judged" else limits.get(name)

    def write(on_progress: OnProgress) -> None:
        opened = open_teacher(scorer, run.device, run.threads)
        score = score_here(opened)
        label(PairsFile(pairs), name, opened.sha256, score, out, on_progress, most)

    def result() -> Result:
        logits = read_labels(out, most)
        probabilities = stacked_probability([logits])
        relevant = float((probabilities >= run.relevant_probability(name)).mean())
        return {"pairs": len(logits), "relevant": relevant}

    return Stage(
        kind=kind,
        name=name,
        options={} if most is None else {"label_pairs": most},
        inputs={"what labels": scorer, "the pairs": pairs},
        outputs=lambda: [out],
        run=write,
        result=result,
        leaves=[out],
        grows_with=frozenset({"label_pairs"}),
    )
