"""From labels to checkpoints: distillation, fine-tuning on judgements, judgements alone."""

from dataclasses import asdict, replace
from pathlib import Path

from distill.context import TrainingContext, pairs_in_context
from distill.graph import Graph
from distill.objectives import Pointwise
from distill.options import TrainOptions
from distill.recipe_data import LABELS
from distill.recipe_tables import Course, StudentTable
from distill.stages.run import RecipeRun
from distill.stages.stage import Kind, Result, Stage
from distill.stages.teachers import deciding
from distill.train import train
from distill.training_pairs import PairSource, read_training_pairs
from distill.training_progress import Validation
from distill.transfer_options import OnProgress
from export.checkpoint import load_checkpoint
from export.pairs import Pairs, read_pairs


def student_stage(run: RecipeRun, table: StudentTable) -> Stage:
    """The student, taught by the labels of teachers, or of students before it."""
    source = PairSource(  # of one that learns clicks, without labels: the file's own targets
        path=run.pairs_of(table),
        labels=_labels(run, table, labels_kind(run, table)),
        temperature=table.temperature,
        behaviour=table.behaviour,
        max_pairs=table.max_pairs,
    )
    options = replace(_options(run, table), objective=table.descends_on)
    return _training_stage(run, table, "student", source, options)


def fine_tune_stage(run: RecipeRun, table: StudentTable) -> Stage:
    """ReprBERT's second stage: judged training pairs, with soft and hard labels; of a student that
    has learned clicks, as in DRFC and DRDD, the judgements alone.
    """
    if table.fine_tune is None:
        raise ValueError(f"student {table.name!r} has no fine_tune")
    first = _options(run, table)
    options = TrainOptions(
        seed=first.seed,
        epochs=first.epochs,
        patience=first.patience,
        validate_every=first.validate_every,
        batch_size=first.batch_size,
        learning_rate=first.learning_rate,
        encoder_learning_rate=first.encoder_learning_rate,
        warm_up=first.warm_up,
        schedule=first.schedule,
        save_minutes=first.save_minutes,
        device=first.device,
        start=run.at("students", table.name),
        objective=Pointwise(
            hard_weight=0.0 if table.clicks else table.fine_tune.hard_weight,
            pairs_per_title=table.pointwise.pairs_per_title,
        ),
    )
    return _training_stage(
        run, table, "fine-tune", _judged(run, table), table.fine_tune.over(options)
    )


def labels_alone_stage(run: RecipeRun, table: StudentTable) -> Stage:
    """The same student without a teacher: judged training pairs, with people's targets."""
    course = table.labels_alone or Course()
    source = PairSource(path=run.judged("train"))
    objective = table.descends_on
    if isinstance(objective, Pointwise):  # judged pairs stand in no blocks
        objective = replace(objective, in_blocks=False)
    options = replace(_options(run, table), objective=objective)
    return _training_stage(run, table, "labels-alone", source, course.over(options))


FOLDERS: dict[Kind, str] = {
    "student": "students",
    "fine-tune": "fine-tuned",
    "labels-alone": "labels-alone",
}


def _training_stage(
    run: RecipeRun, table: StudentTable, kind: Kind, source: PairSource, options: TrainOptions
) -> Stage:
    out = run.at(FOLDERS[kind], table.name)

    def write(on_progress: OnProgress) -> None:
        if out.exists():
            return
        pairs = read_training_pairs(source)
        run.data.check_unseen(pairs.queries, source.path.name)
        validation = in_context(run, table, read_pairs(run.judged("valid"), LABELS))
        if table.context is not None:
            training = TrainingContext(dropout=table.context.dropout, seed=options.seed)
            pairs = pairs_in_context(graph_of(run, table), pairs, training).pairs
        train(table.kind, pairs, validation, out, options, _Steps(on_progress))

    inputs = {"the pairs": source.path, "validation judgements": run.judged("valid")}
    inputs |= {f"labels of {folder.name}": folder for folder in source.labels}
    inputs |= context_inputs(run, table)
    if options.encoder is not None:
        inputs["the encoder"] = options.encoder
    if options.start is not None:
        inputs["the student before"] = options.start
    decide = deciding(replace(options, encoder=None, start=None))
    return Stage(
        kind=kind,
        name=table.name,
        options={
            **decide,
            "kind": table.kind,
            "objective": type(options.objective).__name__.lower(),
            **asdict(options.objective),
            "temperature": source.temperature,
            "behaviour": source.behaviour,
            "max_pairs": source.max_pairs,
            "context": table.context and table.context.model_dump(mode="json"),
        },
        inputs=inputs,
        outputs=lambda: [out],
        run=write,
        result=lambda: _figures(out),
        leaves=[out, out.with_name(f"{out.name}.partial")],
    )


def in_context(run: RecipeRun, table: StudentTable, pairs: Pairs) -> Pairs:
    """Pairs with the texts that the student is evaluated on: their own, unless it has a context."""
    if table.context is None:
        return pairs
    return pairs_in_context(graph_of(run, table), pairs, None).pairs


def context_inputs(run: RecipeRun, table: StudentTable) -> dict[str, Path]:
    """What a graph is made of: judged training pairs, and the teachers' labels of them."""
    if table.context is None:
        return {}
    source = _judged(run, table)
    graph = {"the graph's pairs": source.path}
    return graph | {f"the graph's labels of {each.name}": each for each in source.labels}


def graph_of(run: RecipeRun, table: StudentTable) -> Graph:
    """Of queries that people typed: a made one nearly is the query it was made from."""
    if table.context is None:
        raise ValueError(f"student {table.name!r} has no context")
    # Where splits come in files of their own, the rule says nothing of them; `judged` is train.
    by_rule = run.recipe.data.judgments is not None
    options = replace(table.context.options, train_split_only=by_rule)
    return Graph(read_training_pairs(_judged(run, table)), options)


def _judged(run: RecipeRun, table: StudentTable) -> PairSource:
    """Judged training pairs, with the teachers' labels and people's."""
    if table.clicks:
        return PairSource(path=run.judged("train"))
    return PairSource(
        path=run.judged("train"),
        labels=_labels(run, table, "labels-judged"),
        temperature=table.temperature,
        hard_column="target",
    )


def labels_kind(run: RecipeRun, table: StudentTable) -> Kind:
    """The stage that labels what a student learns first."""
    return "labels-wide" if run.recipe.learns_widely(table) else "labels"


def _labels(run: RecipeRun, table: StudentTable, kind: Kind) -> tuple[Path, ...]:
    return tuple(run.at(kind, teacher) for teacher in run.recipe.labels_of(table))


def _options(run: RecipeRun, table: StudentTable) -> TrainOptions:
    return replace(
        table.options,
        seed=run.recipe.seed_of(table),
        encoder=None if table.encoder is None else run.encoder(table.encoder),
        device=run.device,
    )


def _figures(checkpoint: Path) -> Result:
    facts = load_checkpoint(checkpoint).training
    figures: Result = {}
    for name, fact in (("validation ROC-AUC", "validation_auc"), ("best epoch", "best_epoch")):
        value = facts.get(fact)
        figures[name] = value if isinstance(value, int | float) else None
    return figures


class _Steps:
    """Steps of a training as the phases of a bar."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress

    def resumed(self, step: int, steps: int) -> None:
        self._on_progress("steps before the stop", step, steps)

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:  # noqa: ARG002 (a bar)
        self._on_progress(f"epoch {epoch}", step, steps)

    def validation(self, validation: Validation) -> None:
        text = f"validation {validation.number}: ROC-AUC {validation.validation_auc:.4f}"
        self._on_progress(text, 1, 1)
