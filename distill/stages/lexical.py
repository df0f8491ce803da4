"""From judgements and the catalogue to a lexical teacher, which labels as it is."""

from dataclasses import replace

from distill.lexical_teach import teach_lexical
from distill.recipe_data import TARGETS
from distill.recipe_tables import TeacherTable
from distill.stages.run import RecipeRun
from distill.stages.stage import Result, Stage
from distill.stages.teachers import data_inputs, data_options
from distill.teacher_file import TEACHER_FILE, LexicalTeacherFile, read_teacher_file
from distill.transfer_options import OnProgress
from export.pairs import read_pairs


def lexical_stage(run: RecipeRun, table: TeacherTable) -> Stage:
    """Trees on the judged training pairs, in the terms of every title of the catalogue."""
    encoder = None if table.encoder is None else run.encoder(table.encoder)
    out, seed = run.teacher(table.name), run.recipe.seed_of(table)

    def write(on_progress: OnProgress) -> None:
        if out.exists():
            return
        train, valid = (read_pairs(run.judged(split), TARGETS) for split in ("train", "valid"))
        run.data.check_unseen(train.queries, "judged training pairs")
        options = replace(table.lexical, seed=seed, relevant_from=run.data.relevant_target())
        titles = run.data.products.titles
        teach_lexical(train, valid, titles, out, options, on_progress, run.threads, encoder)

    def result() -> Result:
        facts = read_teacher_file(out / TEACHER_FILE, LexicalTeacherFile).training
        auc = facts["validation_roc_auc"]
        return {
            "validation ROC-AUC": auc if isinstance(auc, float) else None,
            "rounds": str(facts["rounds"]),
        }

    return Stage(
        kind="teacher",
        name=table.name,
        options={**data_options(run), **table.lexical.deciding, "seed": seed},
        inputs={
            **data_inputs(run),
            **({} if encoder is None else {"the encoder": encoder}),
            "training judgements": run.judged("train"),
            "validation judgements": run.judged("valid"),
        },
        outputs=lambda: [out],
        run=write,
        result=result,
        leaves=[out, out.with_name(f"{out.name}.unfinished")],
    )
