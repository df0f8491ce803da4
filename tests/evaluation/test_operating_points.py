"""Scale and thresholds together: fitted on all pairs, expected on held-out ones, or refused."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluation.bundle_scale import missed_targets
from evaluation.calibration import fit_platt
from evaluation.errors import EvaluationError, NoCleanSeparation, UndefinedMetric
from evaluation.judgments import Judgments
from evaluation.operating_points import FitOptions, ScaleFit, fit_scale
from evaluation.reliability import log_losses
from evaluation.resampling import Interval
from evaluation.thresholds import Target, target_threshold
from model_store.calibration import calibrated
from model_store.manifest import Calibration, SortMode

IDENTITY = Calibration()


def simulated(
    seed: int, *, queries: int = 120, each: int = 8, slope: float = 2.0, signal: float = 1.5
) -> tuple[Judgments, NDArray[np.float32]]:
    """Pairs with raw scores whose true log odds are slope * logit(raw) - 0.5."""
    generator = np.random.default_rng(seed)
    logit = generator.normal(0, signal / abs(slope), queries * each)
    odds = slope * logit - 0.5
    labels = generator.random(len(logit)) < 1 / (1 + np.exp(-odds))
    judged = Judgments(
        queries=[f"q{pair // each}" for pair in range(len(logit))],
        product_ids=[""] * len(logit),
        titles=["t"] * len(logit),
        relevance=labels.astype(np.float64),
        relevant_from=1,
        unknown_products={},
    )
    return judged, (1 / (1 + np.exp(-logit))).astype(np.float32)


def options(resamples: int = 100, folds: int = 5) -> FitOptions:
    asked: dict[SortMode, Target] = {
        "default": Target("recall", 0.95),
        "sale": Target("keep", 0.6),
        "price": Target("precision", 0.7),
    }
    return FitOptions(targets=asked, resamples=resamples, folds=folds)


def value(figure: Interval | None) -> float:
    assert figure is not None
    return figure.value


def test_scale_and_thresholds_are_those_of_all_pairs() -> None:
    judged, raw = simulated(0)
    fit = fit_scale(judged, raw, IDENTITY, options())
    assert (fit.slope, fit.intercept) == fit_platt(judged.labels, raw)
    assert fit.slope == pytest.approx(2.0, rel=0.15)
    scores = calibrated(raw, Calibration(slope=fit.slope, intercept=fit.intercept))
    for point in fit.points:
        target = options().targets[point.sort]
        assert point.target == str(target)
        assert point.threshold == target_threshold(target, judged.labels, scores)
    assert (fit.pairs, fit.queries, fit.folds, fit.seed) == (960, 120, 5, 0)
    assert fit.negative_share == pytest.approx(1 - judged.labels.mean())


def test_a_misleading_scale_is_put_right() -> None:
    fit = fit_scale(*simulated(1, slope=3.0), IDENTITY, options())
    assert value(fit.after.log_loss) < value(fit.before.log_loss)
    assert value(fit.after.brier) < value(fit.before.brier)
    assert fit.after.reliability.ece < fit.before.reliability.ece
    assert fit.log_loss_change is not None
    assert fit.log_loss_change.high < 0
    assert value(fit.log_loss_change) == pytest.approx(
        value(fit.after.log_loss) - value(fit.before.log_loss)
    )


def test_before_is_the_scale_that_the_bundle_has() -> None:
    judged, raw = simulated(2)
    was = Calibration(slope=0.5, intercept=1.0)
    fit = fit_scale(judged, raw, was, options())
    expected = log_losses(judged.labels, calibrated(raw, was)).mean()
    assert value(fit.before.log_loss) == pytest.approx(expected)


def test_every_expectation_is_of_the_same_held_out_decisions() -> None:
    judged, raw = simulated(3)
    fit = fit_scale(judged, raw, IDENTITY, options())
    for point in fit.points:
        relevant = 1 - fit.negative_share
        kept, precision, recall = value(point.kept), value(point.precision), value(point.recall)
        assert kept * precision == pytest.approx(relevant * recall)
        assert value(point.relevant_lost) == pytest.approx(relevant * (1 - recall))
        assert value(point.irrelevant_shown) == pytest.approx(kept * (1 - precision))


def test_held_out_expectations_do_not_flatter() -> None:
    """Precision asked for on few pairs: what chose the threshold looks better than what comes."""
    chosen, held_out, later = [], [], []
    for seed in range(30):
        judged, raw = simulated(seed, queries=20, each=8)
        try:
            fit = fit_scale(judged, raw, IDENTITY, options())
        except NoCleanSeparation:
            continue
        point = next(point for point in fit.points if point.sort == "price")
        if point.precision is None:
            continue
        scores = calibrated(raw, Calibration(slope=fit.slope, intercept=fit.intercept))
        chosen.append(judged.labels[scores >= np.float32(point.threshold)].mean())
        held_out.append(point.precision.value)
        fresh, raw = simulated(1000 + seed, queries=2000)
        scores = calibrated(raw, Calibration(slope=fit.slope, intercept=fit.intercept))
        later.append(fresh.labels[scores >= np.float32(point.threshold)].mean())
    assert len(later) >= 20
    assert np.mean(chosen) >= 0.7
    assert np.mean(chosen) > np.mean(later) + 0.01
    assert abs(np.mean(held_out) - np.mean(later)) < np.mean(chosen) - np.mean(later)


def test_the_same_seed_gives_the_same_fit() -> None:
    judged, raw = simulated(4, queries=40)
    first = fit_scale(judged, raw, IDENTITY, options())
    assert fit_scale(judged, raw, IDENTITY, options()) == first
    other = FitOptions(targets=options().targets, resamples=100, seed=1)
    again = fit_scale(judged, raw, IDENTITY, other)
    assert (again.slope, again.points[0].threshold) == (first.slope, first.points[0].threshold)
    assert again.after != first.after  # other folds


def refused(judged: Judgments, raw: NDArray[np.float32], asked: FitOptions) -> str:
    with pytest.raises(NoCleanSeparation) as error:
        fit_scale(judged, raw, IDENTITY, asked)
    assert str(error.value).startswith("no clean separation: ")
    assert str(error.value).count("no clean separation") == 1
    return str(error.value)


def test_chance_is_refused() -> None:
    judged, raw = simulated(5, signal=0.001)
    assert "is not surely above 0.5" in refused(judged, raw, options())


def test_a_student_that_ranks_backwards_is_refused() -> None:
    judged, raw = simulated(6, slope=-2.0)
    assert "is not surely above 0.5" in refused(judged, raw, options())


def test_a_positive_auc_without_a_positive_slope_is_refused() -> None:
    """The many are ranked well and mildly, a few are wrong with all certainty."""
    labels = np.array(([True] * 10 + [False] * 10 + [True, False]) * 30)
    raw = np.array(([0.52] * 10 + [0.48] * 10 + [1e-9, 1 - 1e-7]) * 30, dtype=np.float32)
    judged = Judgments(
        queries=[f"q{pair // 22}" for pair in range(len(raw))],
        product_ids=[""] * len(raw),
        titles=["t"] * len(raw),
        relevance=labels.astype(np.float64),
        relevant_from=1,
        unknown_products={},
    )
    assert "the best slope is" in refused(judged, raw, options())


def test_a_target_out_of_reach_is_refused_and_its_sort_mode_named() -> None:
    asked = options()
    out_of_reach = FitOptions(
        targets={**asked.targets, "price": Target("precision", 0.999)}, resamples=100
    )
    text = refused(*simulated(7), out_of_reach)
    assert "precision=0.999 is reached at no threshold" in text
    assert text.endswith("(sort mode price)")


def test_a_target_that_held_out_queries_miss_is_said() -> None:
    fit = fit_scale(*simulated(0), IDENTITY, options())
    assert missed_targets(fit) == []
    default, *others = fit.points
    asked = default.model_copy(update={"target": "recall=0.999"})
    (sentence,) = missed_targets(fit.model_copy(update={"points": [asked, *others]}))
    assert sentence.startswith("default: recall=0.999 was asked for, but on held-out queries")


def test_spellings_of_a_query_are_in_one_fold() -> None:
    judged, raw = simulated(0)
    spelled = [
        query if pair % 2 else f" {query.upper()}" for pair, query in enumerate(judged.queries)
    ]
    # Each query its own fold: held out are the same pairs, if spellings of a query stay together.
    one, other = (
        fit_scale(replace(judged, queries=queries), raw, IDENTITY, options(folds=120))
        for queries in (judged.queries, spelled)
    )
    assert other.after.reliability.ece == one.after.reliability.ece


def test_a_target_that_hangs_on_one_fold_is_refused() -> None:
    judged, raw = simulated(8, queries=25, each=8)
    sure = np.array([query in {"q0", "q1", "q2", "q3"} for query in judged.queries])
    raw[sure], judged.relevance[sure] = np.float32(0.999), 1.0
    wrong = np.arange(len(raw)) % 16 == 5  # just below them, so no others reach this precision
    raw[wrong & ~sure], judged.relevance[wrong & ~sure] = np.float32(0.998), 0.0
    asked = FitOptions(
        targets={**options().targets, "price": Target("precision", 1.0)}, resamples=100
    )
    assert "hangs on a few pairs" in refused(judged, raw, asked)


def test_too_few_queries_are_refused() -> None:
    judged, raw = simulated(9, queries=3)
    with pytest.raises(EvaluationError, match="5 folds and 3 queries: judge more queries"):
        fit_scale(judged, raw, IDENTITY, options())
    with pytest.raises(EvaluationError, match="1 folds"):
        fit_scale(judged, raw, IDENTITY, options(folds=1))
    judged.relevance[:] = 0
    judged.relevance[0] = 1
    text = refused(judged, raw, options(folds=3))
    assert "too few are of each class" in text


def test_other_inputs_that_are_refused() -> None:
    judged, raw = simulated(10, queries=10)
    with pytest.raises(EvaluationError, match=r"each of 80 pairs, got \[79\]"):
        fit_scale(judged, raw[:-1], IDENTITY, options())
    missing = raw.copy()
    missing[3] = np.nan
    with pytest.raises(EvaluationError, match="1 missing"):
        fit_scale(judged, missing, IDENTITY, options())
    with pytest.raises(EvaluationError, match="got none for sale"):
        fit_scale(judged, raw, IDENTITY, FitOptions(targets={"default": Target("keep", 0.5)}))
    judged.relevance[:] = 1
    with pytest.raises(UndefinedMetric, match="got 80 relevant of 80"):
        fit_scale(judged, raw, IDENTITY, options())


def test_the_fit_survives_json() -> None:
    fit = fit_scale(*simulated(11, queries=30), IDENTITY, options())
    assert ScaleFit.model_validate_json(fit.model_dump_json()) == fit
