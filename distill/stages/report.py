"""The report of a recipe: what everything it made is worth on the test judgements."""

import json
from pathlib import Path

from distill.stages.figures import agreements, checkpoints, score_test_pairs
from distill.stages.report_sections import sections
from distill.stages.run import RecipeRun
from distill.stages.stage import Result, Stage
from distill.stages.students import context_inputs
from distill.stages.teachers import data_inputs
from distill.stages.variants import curves
from distill.transfer_options import OnProgress
from evaluation.assessment import AssessOptions, assess, scored_by_all
from evaluation.report import write_report
from evaluation.report_folder import JSON_FILE, MARKDOWN_FILE
from export.checkpoint import load_checkpoint


def report_stage(run: RecipeRun) -> Stage:
    """Tables and plots of everything the recipe made."""
    recipe, out = run.recipe, run.at(f"report-{run.recipe.name}")
    scorers = {teacher.name: recipe.scorer_of(teacher) for teacher in recipe.teacher}
    # Baselines count words in all of [data]'s titles, and the report says where it comes from.
    inputs = {**data_inputs(run), "test judgements": run.judged("test")}
    for name, scorer in scorers.items():
        inputs[f"teacher {name} on the test pairs"] = run.at("test", f"{name}.npy")
        if scorer != "pytorch":
            labels = run.at("test", f"{name}.{scorer}.npy")
            inputs[f"teacher {name} on the test pairs, as it labels"] = labels
    for table in recipe.student:
        for folder in checkpoints(run, table).values():
            inputs[f"{folder.parent.name}/{folder.name}"] = folder
        if table.publish:
            inputs[f"the bundle of {table.name}"] = run.at("published", f"{table.name}.json")
        inputs |= context_inputs(run, table)

    def write(on_progress: OnProgress) -> None:
        _write(run, out, on_progress)

    return Stage(
        kind="report",
        name=recipe.name,
        options={
            **recipe.report.model_dump(mode="json"),
            "seed": recipe.seed,
            "scorers": scorers,
            "students": [table.model_dump(mode="json") for table in recipe.student],
        },
        inputs=inputs,
        outputs=lambda: [out],
        run=write,
        result=lambda: _result(run, out),
        leaves=[out],
    )


def _write(run: RecipeRun, out: Path, on_progress: OnProgress) -> None:
    recipe = run.recipe
    scores = score_test_pairs(run, on_progress)
    scored = scored_by_all(scores.judged, scores.scorers)
    options = AssessOptions(
        teacher=recipe.against, resamples=recipe.report.resamples, seed=recipe.seed
    )
    facts = {
        table.name: load_checkpoint(run.checkpoint(table)).training for table in recipe.student
    }
    assessment = assess(scored, options)
    # Labels are compared before calibration, which moves probabilities away from the teacher's.
    assessment = assessment.model_copy(update={"agreement": agreements(run, scores)})
    write_report(
        out,
        scored,
        assessment,
        run.provenance(f"Recipe {recipe.name}", "test", recipe.seed),
        curves(recipe, facts, scores.roc_auc, recipe.against),
        sections(run, scores, facts),
        not_drawn=[
            name
            for table in recipe.student
            for name in checkpoints(run, table)
            if name != table.name
        ],
    )


def _result(run: RecipeRun, out: Path) -> Result:
    """The student with the highest ROC-AUC, and its share of what it is held against."""
    report = json.loads((out / JSON_FILE).read_text(encoding="utf-8"))
    students = {table.name for table in run.recipe.student}
    aucs = {
        each["scorer"]: each["figures"]["roc_auc"]["value"]
        for each in report["scorers"]
        if each["figures"]["roc_auc"] is not None
    }
    result: Result = {"report": f"{out.name}/{MARKDOWN_FILE}"}
    if found := students & aucs.keys():
        best = max(sorted(found), key=lambda name: float(aucs[name]))
        result |= {"best": best, "ROC-AUC": aucs[best]}
        if run.recipe.against in aucs:
            result[f"over {run.recipe.against}"] = aucs[best] / aucs[run.recipe.against]
    return result
