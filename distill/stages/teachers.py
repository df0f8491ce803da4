"""From judgements to teachers: judged pairs, encoders of our own, pre-training, fine-tuning."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np

from distill.masked_lm import PRETRAINING_FILE, pretrain
from distill.new_encoder import EncoderSizes, write_new_encoder
from distill.pretrain_options import UnlabelledOptions
from distill.recipe_data import SPLITS, TARGETS
from distill.recipe_tables import NewEncoder, PretrainTable, ShortenTable, TeacherTable
from distill.resume import partial_folder
from distill.shorten import SHORTENING_FILE, shorten
from distill.stages.run import RecipeRun
from distill.stages.stage import Result, Stage
from distill.teach import teach
from distill.teacher import load_teacher, read_description
from distill.teacher_conversion import convert_teacher
from distill.teacher_onnx import open_teacher
from distill.transfer_options import OnProgress
from export.pairs import read_pairs

# Options of the machine and of how often a state is kept: they don't decide the outcome.
_NOT_THE_OUTCOME = ("save_every", "save_minutes", "device")


def deciding(options: object) -> dict[str, object]:
    """An options dataclass as what decides a stage's outcome."""
    fields = asdict(options)  # type: ignore[call-overload]
    return {name: value for name, value in fields.items() if name not in _NOT_THE_OUTCOME}


def data_inputs(run: RecipeRun) -> Mapping[str, Path]:
    """The files of [data], under the names that they have there."""
    return dict(run.data.files)


def data_options(run: RecipeRun) -> dict[str, object]:
    """What [data] says beside its files."""
    files = {"judgments", *SPLITS, "products"}
    return run.recipe.data.model_dump(mode="json", exclude=files)


def data_stage(run: RecipeRun) -> Stage:
    """Judged pairs with targets and labels, one file per split."""
    outputs = [run.judged(split) for split in SPLITS]

    def write(on_progress: OnProgress) -> None:
        run.at("judged").mkdir(exist_ok=True)
        for done, split in enumerate(SPLITS, start=1):
            run.data.write_pairs(split, run.judged(split))
            on_progress("judged pairs", done, len(SPLITS))

    def result() -> Result:
        splits = run.data.splits
        untitled = sum(sum(judged.unknown_products.values()) for judged in splits.values())
        kept: Result = {split: len(splits[split]) for split in SPLITS}
        return kept | ({"judgements without a title left out": untitled} if untitled else {})

    return Stage(
        kind="data",
        options=data_options(run),
        inputs=data_inputs(run),
        outputs=lambda: outputs,
        run=write,
        result=result,
        leaves=[run.at("judged")],
    )


def encoder_stage(run: RecipeRun, table: NewEncoder) -> Stage:
    """An encoder with random weights."""
    out, seed = run.at("encoders", table.name), run.recipe.seed_of(table)
    sizes = EncoderSizes(**table.model_dump(exclude={"name", "seed"}))

    def write(on_progress: OnProgress) -> None:
        if not out.exists():
            tokens = write_new_encoder(run.data.texts, sizes, seed, out)
            on_progress("vocabulary", tokens, tokens)

    def result() -> Result:
        config = json.loads((out / "config.json").read_text(encoding="utf-8"))
        return {"tokens": config["vocab_size"]}

    return Stage(
        kind="encoder",
        name=table.name,
        options={**data_options(run), **asdict(sizes), "seed": seed},
        inputs=data_inputs(run),
        outputs=lambda: [out],
        run=write,
        result=result,
        leaves=[out],
    )


def pretrain_stage(run: RecipeRun, table: PretrainTable) -> Stage:
    """Continued pre-training on titles and training queries."""
    out = run.at("pretrained", table.name)
    told = (out / PRETRAINING_FILE, ("loss_before", "loss_after"))
    options = replace(table.options, seed=run.recipe.seed_of(table))

    def train(on_progress: OnProgress) -> None:
        encoder = run.encoder(table.encoder)
        pretrain(encoder, run.data.texts, out, options, on_progress, run.device)

    return _unlabelled_stage(run, "pretrain", table, options, train, told)


def shorten_stage(run: RecipeRun, table: ShortenTable) -> Stage:
    """The first layers of an encoder, for students, on titles and training queries."""
    out = run.at("shortened", table.name)
    told = (out / SHORTENING_FILE, ("cosine_before", "cosine_after"))
    options = replace(table.options, seed=run.recipe.seed_of(table))

    def train(on_progress: OnProgress) -> None:
        encoder = run.encoder(table.encoder)
        shorten(encoder, run.data.texts, out, options, on_progress, run.device)

    return _unlabelled_stage(run, "shorten", table, options, train, told)


def _unlabelled_stage(
    run: RecipeRun,
    kind: Literal["pretrain", "shorten"],
    table: PretrainTable | ShortenTable,
    options: UnlabelledOptions,
    train: Callable[[OnProgress], None],
    told: tuple[Path, Sequence[str]],
) -> Stage:
    """An encoder out of another and of texts; `told` is a file in its folder and what to quote."""
    path, figures = told
    out = path.parent

    def write(on_progress: OnProgress) -> None:
        if not out.exists():
            train(on_progress)

    def result() -> Result:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return {name: facts[name] for name in figures}

    return Stage(
        kind=kind,
        name=table.name,
        options={**data_options(run), **deciding(options)},
        inputs={**data_inputs(run), "the encoder": run.encoder(table.encoder)},
        outputs=lambda: [out],
        run=write,
        result=result,
        leaves=[out, partial_folder(out)],
    )


def teacher_stage(run: RecipeRun, table: TeacherTable) -> Stage:
    """A cross-encoder fine-tuned on the judged training pairs."""
    if table.encoder is None:
        raise ValueError(f"teacher {table.name!r} has a folder: there is nothing to train")
    encoder, out = run.encoder(table.encoder), run.teacher(table.name)
    seed = run.recipe.seed_of(table)

    def write(on_progress: OnProgress) -> None:
        if out.exists():
            return
        train, valid = (read_pairs(run.judged(split), TARGETS) for split in ("train", "valid"))
        run.data.check_unseen(train.queries, "judged training pairs")
        options = replace(table.options, seed=seed, relevant_from=run.data.relevant_target())
        teach(encoder, train, valid, out, options, on_progress, run.device)

    return Stage(
        kind="teacher",
        name=table.name,
        options={**table.options.deciding, "seed": seed},
        inputs={
            "the encoder": encoder,
            "training judgements": run.judged("train"),
            "validation judgements": run.judged("valid"),
        },
        outputs=lambda: [out],
        run=write,
        result=lambda: _figures(out),
        leaves=[out, partial_folder(out)],
    )


def convert_stage(run: RecipeRun, table: TeacherTable) -> Stage:
    """A teacher as an ONNX graph, which labels faster on a CPU."""
    out, precision = run.scorer(table.name), run.recipe.scorer_of(table)
    if precision == "pytorch":
        raise ValueError("a teacher that labels in PyTorch is not converted")

    def write(on_progress: OnProgress) -> None:
        on_progress("graph", 0, 1)
        if not out.exists():
            convert_teacher(
                load_teacher(run.teacher(table.name), "cpu"),
                read_pairs(run.judged("valid"), TARGETS),
                out,
                precision=precision,
                threads=run.threads,
                relevant_from=run.data.relevant_target(),
            )
        on_progress("graph", 1, 1)

    def result() -> Result:
        facts = json.loads((out / "teacher.json").read_text(encoding="utf-8"))["conversion"]
        return {name: facts[name] for name in ("roc_auc_torch", "roc_auc_onnx")}

    return Stage(
        kind="convert",
        name=table.name,
        options={"precision": precision},
        inputs={
            "the teacher": run.teacher(table.name),
            "validation judgements": run.judged("valid"),
        },
        outputs=lambda: [out],
        run=write,
        result=result,
        leaves=[out],
    )


def judge_stage(run: RecipeRun, table: TeacherTable) -> Stage:
    """The teacher's logits of the test pairs: as it was trained, and as it labels."""
    teacher = run.teacher(table.name)
    scorers = {run.at("test", f"{table.name}.npy"): teacher}
    scorer = run.scorer(table.name)
    if scorer != teacher:
        scorers[run.at("test", f"{table.name}.{run.recipe.scorer_of(table)}.npy")] = scorer

    def write(on_progress: OnProgress) -> None:
        test = read_pairs(run.judged("test"), TARGETS)
        run.at("test").mkdir(exist_ok=True)
        on_progress("test pairs", 0, len(scorers))
        for done, (out, folder) in enumerate(scorers.items(), start=1):
            scores = open_teacher(folder, run.device, run.threads)
            np.save(out, scores.logits(test.queries, test.titles))
            on_progress("test pairs", done, len(scorers))

    return Stage(
        kind="judge",
        name=table.name,
        options={},
        inputs={
            "the teacher": teacher,
            "what labels": scorer,
            "test judgements": run.judged("test"),
        },
        outputs=lambda: list(scorers),
        run=write,
        result=lambda: {},
        leaves=list(scorers),
    )


def _figures(teacher: Path) -> Result:
    facts = read_description(teacher).training
    return {
        "validation ROC-AUC": _number(facts.get("validation_roc_auc")),
        "best epoch": _number(facts.get("best_epoch")),
    }


def _number(fact: object) -> float | None:
    return float(fact) if isinstance(fact, int | float) else None
