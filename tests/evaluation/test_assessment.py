"""Several scorers on one set of pairs, and the report made of it."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluation import metrics
from evaluation.assessment import (
    Assessment,
    AssessOptions,
    Scored,
    Scorer,
    assess,
    scored_by_all,
)
from evaluation.curves import Curve, CurvePlot, CurvePoint
from evaluation.errors import EvaluationError, LibraryMissing, UndefinedMetric
from evaluation.judgments import Judgments
from evaluation.report import Section, write_report
from evaluation.report_folder import Provenance, check_report, report_folder, table
from evaluation.resampling import Interval

PROVENANCE = Provenance(
    title="Students", data="judged.csv", data_sha256="0" * 64, command="winnow evaluate", seed=0
)
PNG = b"\x89PNG\r\n\x1a\n"


def pairs(queries: int = 60, each: int = 6) -> tuple[Judgments, dict[str, NDArray[np.float32]]]:
    """Pairs, and scorers that are better and worse at them."""
    generator = np.random.default_rng(0)
    relevance = generator.integers(0, 4, queries * each).astype(np.float64)
    noise = generator.normal(size=(3, len(relevance)))
    z = {
        "teacher": relevance - 1.5 + 0.7 * noise[0],
        "student": relevance - 1.5 + 1.2 * noise[1],
        "bm25": 5 + relevance / 3 + noise[2],
    }
    judged = Judgments(
        queries=[f"q{pair // each}" for pair in range(len(relevance))],
        product_ids=[""] * len(relevance),
        titles=["a title"] * len(relevance),
        relevance=relevance,
        relevant_from=2,
        unknown_products={"q9": 3},
    )
    scores = {
        name: (1 / (1 + np.exp(-z[name])) if name != "bm25" else z[name]).astype(np.float32)
        for name in z
    }
    return judged, scores


def scored() -> Scored:
    judged, scores = pairs()
    scorers = [Scorer(name, values, probability=name != "bm25") for name, values in scores.items()]
    return scored_by_all(judged, scorers)


def found(options: AssessOptions) -> Assessment:
    return assess(scored(), options)


def value(figure: Interval | None) -> float:
    assert figure is not None
    return figure.value


def test_every_figure_is_the_metric() -> None:
    judged, scores = pairs()
    assessment = found(AssessOptions(resamples=100, reference="bm25", teacher="teacher"))
    by_name = {entry.scorer: entry for entry in assessment.scorers}
    for name, values in scores.items():
        expected = {
            "roc_auc": metrics.roc_auc(judged.labels, values),
            "neg_pr_auc": metrics.neg_pr_auc(judged.labels, values),
            "ndcg_at_10": metrics.ndcg(judged.queries, judged.relevance, values).value,
        }
        figures = by_name[name].figures
        assert {metric: value(figures[metric]) for metric in expected} == pytest.approx(expected)
        for metric, figure in figures.items():
            assert figure is not None, metric
            assert figure.low < figure.value < figure.high
    student, teacher, bm25 = (by_name[name] for name in ("student", "teacher", "bm25"))
    assert student.difference is not None
    assert student.ratio is not None
    assert value(student.difference["roc_auc"]) == pytest.approx(
        value(student.figures["roc_auc"]) - value(bm25.figures["roc_auc"])
    )
    assert value(student.ratio["neg_pr_auc"]) == pytest.approx(
        value(student.figures["neg_pr_auc"]) / value(teacher.figures["neg_pr_auc"])
    )
    assert bm25.difference is None
    assert teacher.ratio is None
    assert bm25.reliability is None  # no probability
    assert student.reliability is not None
    assert [entry.student for entry in assessment.agreement] == ["student"]
    assert (assessment.pairs, assessment.queries, assessment.unknown_products) == (360, 60, 3)
    assert assessment.negative_share == pytest.approx(1 - judged.labels.mean())


def test_without_reference_and_teacher_nothing_is_compared() -> None:
    assessment = found(AssessOptions(resamples=50, with_slices=False))
    assert all(entry.difference is entry.ratio is None for entry in assessment.scorers)
    assert not assessment.agreement
    assert not assessment.slices


def test_pairs_that_a_scorer_lacks_are_left_out_for_all() -> None:
    judged, scores = pairs()
    scores["student"][[0, 7]] = np.nan
    scores["bm25"][[7, 9]] = np.nan
    both = scored_by_all(
        judged, [Scorer(name, scores[name], probability=False) for name in ("student", "bm25")]
    )
    assert (both.left_out, len(both.judgments)) == (3, 357)
    kept = [pair for pair in range(360) if pair not in {0, 7, 9}]
    assert both.scorers[0].scores.tolist() == scores["student"][kept].tolist()
    assert both.judgments.relevance.tolist() == judged.relevance[kept].tolist()


def test_scorers_that_are_refused() -> None:
    judged, scores = pairs()
    one = Scorer("one", scores["student"], probability=True)
    with pytest.raises(EvaluationError, match="distinct names, got "):
        scored_by_all(judged, [one, one])
    with pytest.raises(EvaluationError, match=r"one: expected 360 scores.*\[359\]"):
        scored_by_all(judged, [Scorer("one", scores["student"][1:], probability=True)])
    nothing = Scorer("none", np.full(360, np.nan, dtype=np.float32), probability=True)
    with pytest.raises(EvaluationError, match="none of 360 pairs was scored by all of one, none"):
        scored_by_all(judged, [one, nothing])


def test_options_that_are_refused() -> None:
    with pytest.raises(EvaluationError, match="as teacher one of teacher, student, bm25, got 'x'"):
        found(AssessOptions(teacher="x"))
    with pytest.raises(EvaluationError, match="as reference one of"):
        found(AssessOptions(reference="x"))
    with pytest.raises(EvaluationError, match="bm25: a teacher's labels need its probabilities"):
        found(AssessOptions(teacher="bm25"))
    judged, scores = pairs()
    judged.relevance[:] = 3
    one_class = scored_by_all(judged, [Scorer("s", scores["student"], probability=True)])
    with pytest.raises(UndefinedMetric, match="got 360 relevant of 360"):
        assess(one_class, AssessOptions())


def curve_plot() -> CurvePlot:
    points = tuple(
        CurvePoint(float(x), Interval(value=y, low=y - 0.01, high=y + 0.02))
        for x, y in ((1, 0.7), (10, 0.8))
    )
    return CurvePlot(
        name="temperature",
        title="Temperature",
        x_label="T",
        y_label="ROC-AUC",
        curves=(Curve("student", points),),
        levels=(("teacher", 0.85),),
        log_x=True,
    )


def test_a_report_is_tables_plots_and_json(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="reports need the extra plot")
    folder = tmp_path / "reports" / "one"
    options = AssessOptions(resamples=50, reference="bm25", teacher="teacher")
    assessment = found(options)
    sections = [Section("Sizes", ("student", "bytes"), [("student", 140)])]
    write_report(folder, scored(), assessment, PROVENANCE, [curve_plot()], sections)
    plots = ["precision_recall", "reliability", "roc", "scores", "temperature"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*(f"{plot}.png" for plot in plots), "report.json", "report.md"]
    )
    assert all((folder / f"{plot}.png").read_bytes().startswith(PNG) for plot in plots)
    assert [path.name for path in folder.parent.iterdir()] == ["one"]

    document = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert (
        Assessment.model_validate({name: document[name] for name in Assessment.model_fields})
        == assessment
    )
    assert document["data_sha256"] == "0" * 64
    assert document["versions"]["numpy"] == np.__version__
    assert document["curves"][0]["curves"]["student"][1] == {
        **{"x": 10.0, "value": 0.8},
        **{"low": pytest.approx(0.79), "high": pytest.approx(0.82)},
    }

    text = (folder / "report.md").read_text(encoding="utf-8")
    student = next(entry for entry in assessment.scorers if entry.scorer == "student")
    assert f"| student | {student.figures['roc_auc']} |" in text
    for expected in ("`winnow evaluate`", "0" * 64, "less bm25", "over teacher", "too few"):
        assert expected in text
    assert "## Sizes\n\n| student | bytes |\n| --- | --- |\n| student | 140 |\n" in text
    for plot in plots:
        assert f"({plot}.png)" in text


def test_the_same_report_has_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="reports need the extra plot")
    assessment = found(AssessOptions(resamples=50))
    for name in ("a", "b"):
        write_report(tmp_path / name, scored(), assessment, PROVENANCE)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_a_scorer_that_is_not_drawn_stands_in_the_tables(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="reports need the extra plot")
    options = AssessOptions(resamples=50)
    all_of_them = scored()
    kept = tuple(each for each in all_of_them.scorers if each.name != "bm25")
    without = replace(all_of_them, scorers=kept)
    write_report(tmp_path / "few", without, assess(without, options), PROVENANCE)
    write_report(
        tmp_path / "all",
        all_of_them,
        assess(all_of_them, options),
        PROVENANCE,
        not_drawn=["bm25"],
    )
    for plot in (tmp_path / "few").glob("*.png"):
        assert plot.read_bytes() == (tmp_path / "all" / plot.name).read_bytes(), plot.name
    assert "| bm25 |" in (tmp_path / "all" / "report.md").read_text(encoding="utf-8")


def test_many_scorers_and_infinite_scores_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="reports need the extra plot")
    judged, scores = pairs()
    scores["bm25"][0] = np.inf
    many = [Scorer(f"bm25 {place}", scores["bm25"], probability=False) for place in range(10)]
    both = scored_by_all(judged, many)
    write_report(tmp_path / "r", both, assess(both, AssessOptions(resamples=50)), PROVENANCE)
    assert not (tmp_path / "r" / "reliability.png").exists()  # none is a probability
    assert (tmp_path / "r" / "scores.png").stat().st_size > 10_000


def fail_half_way(folder: Path) -> None:
    with report_folder(folder) as staging:
        (staging / "new.png").write_bytes(PNG)
        raise RuntimeError("half way")


def test_only_a_report_is_replaced_and_only_by_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="reports need the extra plot")
    folder = tmp_path / "report"
    with report_folder(folder) as staging:
        (staging / "report.json").write_text("{}", encoding="utf-8")
        (staging / "old.png").write_bytes(PNG)
    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["old.png", "report.json"]
    with report_folder(folder) as staging:
        (staging / "report.json").write_text("{}", encoding="utf-8")
    assert [path.name for path in folder.iterdir()] == ["report.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["report"]

    monkeypatch.chdir(folder)
    with report_folder(Path()) as staging:  # the folder that one stands in
        (staging / "report.json").write_text('{"new": 1}', encoding="utf-8")
    assert (folder / "report.json").read_text(encoding="utf-8") == '{"new": 1}'
    assert [path.name for path in tmp_path.iterdir()] == ["report"]

    foreign = tmp_path / "photos"
    foreign.mkdir()
    check_report(foreign)  # empty: nothing to lose
    (foreign / "cat.png").write_bytes(PNG)
    with pytest.raises(EvaluationError, match="expected a new folder, or an earlier report"):
        check_report(foreign)
    with pytest.raises(EvaluationError, match="expected a new folder"):
        check_report(foreign / "cat.png")


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(LibraryMissing, match=r"matplotlib: pip install 'winnow-relevance\[plot\]'"):
        check_report(tmp_path / "report")


def test_tables_escape_what_would_end_a_cell() -> None:
    assert table(("a", "b"), [("x|y", None)]) == "| a | b |\n| --- | --- |\n| x\\|y |  |"
