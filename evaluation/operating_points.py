"""The score scale and the thresholds of a student, and what to expect of them on other queries.

Scale and thresholds are fitted on all judged pairs. What they will do is not read off the same
pairs, where every threshold looks as good as it was made to: the queries are cut into folds, scale
and thresholds are fitted on all folds but one and applied to that one, in turn, and every
expectation is taken on the pairs so held out. That costs no judgement, where a held-out half would
cost half of them, and a threshold that keeps 99 % of the relevant pairs hangs on the lowest 1 %.
The folds' thresholds differ a little from the published ones: expectations are of the procedure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from evaluation import weighted
from evaluation.calibration import fit_platt
from evaluation.errors import EvaluationError, NoCleanSeparation, UndefinedMetric
from evaluation.judgments import Judgments, query_key
from evaluation.reliability import Reliability, expected_losses, reliability
from evaluation.resampling import RESAMPLES, Interval, Resampling, Statistic
from evaluation.thresholds import RECALL_FLOORS, Target, target_threshold
from model_store.calibration import calibrated
from model_store.manifest import Calibration, SortMode

FOLDS = 5

DEFAULT_TARGETS: Mapping[SortMode, Target] = {
    "default": Target("recall", RECALL_FLOORS["default"]),
    "sale": Target("recall", RECALL_FLOORS["sale"]),
    "price": Target("recall", RECALL_FLOORS["price"]),
}


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """What thresholds have to do, and how expectations are taken."""

    targets: Mapping[SortMode, Target] = field(default_factory=lambda: dict(DEFAULT_TARGETS))
    folds: int = FOLDS
    resamples: int = RESAMPLES
    seed: int = 0


class OperatingPoint(BaseModel):
    """One sort mode: its threshold, and what it does to held-out pairs.

    `kept`, `relevant_lost` and `irrelevant_shown` are shares of all pairs; None: too few queries.
    """

    model_config = ConfigDict(frozen=True)

    sort: SortMode
    target: str
    threshold: float
    kept: Interval | None
    precision: Interval | None
    recall: Interval | None
    relevant_lost: Interval | None
    irrelevant_shown: Interval | None


class Scale(BaseModel):
    """One score scale: its losses (nats, squared error) and its reliability."""

    model_config = ConfigDict(frozen=True)

    log_loss: Interval | None
    brier: Interval | None
    reliability: Reliability


class ScaleFit(BaseModel):
    """A fitted scale with its thresholds; `before` is what was there, `after` is held out."""

    model_config = ConfigDict(frozen=True)

    pairs: int
    queries: int
    negative_share: float
    folds: int
    resamples: int
    seed: int
    slope: float
    intercept: float
    roc_auc: Interval
    before: Scale
    after: Scale
    log_loss_change: Interval | None  # after - before, paired
    points: list[OperatingPoint]


def fit_scale(
    judgments: Judgments,
    raw: NDArray[np.float32],
    current: Calibration,
    options: FitOptions,
) -> ScaleFit:
    """Fits scale and thresholds on n judged pairs.

    Args:
        judgments: the pairs.
        raw: the student's uncalibrated scores, float32 [n] in [0, 1].
        current: the scale it has now, which the fit is compared with.
        options: targets, folds, resamples.

    Raises:
        NoCleanSeparation: the ROC-AUC's interval reaches 0.5 or can't be taken, no positive slope
            fits, or a target is met at no threshold, on all pairs or on a part of the folds.
        EvaluationError: fewer queries than folds, a target missing, pairs of one class.
    """
    _check(judgments, raw, options)
    labels = judgments.labels
    resampling = Resampling(judgments.queries, resamples=options.resamples, seed=options.seed)
    roc_auc = _separation(labels, raw, resampling)
    slope, intercept = fit_platt(labels, raw)
    scores = _scaled(raw, slope, intercept)
    thresholds = _thresholds(labels, scores, options)
    held_out, kept = _cross_fitted(judgments, raw, options)
    old = calibrated(raw, current)
    losses = {
        name: expected_losses(labels, probabilities, resampling)
        for name, probabilities in (("before", old), ("after", held_out))
    }
    before, after = (
        Scale(
            log_loss=losses[name]["log_loss"].interval(),
            brier=losses[name]["brier"].interval(),
            reliability=reliability(labels, probabilities, resampling),
        )
        for name, probabilities in (("before", old), ("after", held_out))
    )
    return ScaleFit(
        pairs=len(judgments),
        queries=len(set(judgments.queries)),
        negative_share=1 - float(labels.mean()),
        folds=options.folds,
        resamples=options.resamples,
        seed=options.seed,
        slope=slope,
        intercept=intercept,
        roc_auc=roc_auc,
        before=before,
        after=after,
        log_loss_change=losses["after"]["log_loss"].minus(losses["before"]["log_loss"]).interval(),
        points=[
            _point(sort, options.targets[sort], thresholds[sort], labels, kept[sort], resampling)
            for sort in options.targets
        ],
    )


def _check(judgments: Judgments, raw: NDArray[np.float32], options: FitOptions) -> None:
    if raw.shape != (len(judgments),) or np.isnan(raw).any():
        raise EvaluationError(
            f"expected a score for each of {len(judgments)} pairs, got {list(raw.shape)} with "
            f"{int(np.isnan(raw).sum())} missing"
        )
    if missing := [sort for sort in DEFAULT_TARGETS if sort not in options.targets]:
        raise EvaluationError(f"expected a target for every sort mode, got none for {missing[0]}")
    queries = len(set(judgments.queries))
    if options.folds < 2 or queries < options.folds:
        raise EvaluationError(
            f"expected at least 2 folds and a query for each, got {options.folds} folds and "
            f"{queries} queries: judge more queries"
        )


def _separation(
    labels: NDArray[np.bool_], raw: NDArray[np.float32], resampling: Resampling
) -> Interval:
    """ROC-AUC, if it is surely above chance."""
    if labels.all() or not labels.any():
        raise UndefinedMetric(
            f"expected relevant and irrelevant pairs to calibrate on, got {int(labels.sum())} "
            f"relevant of {len(labels)}"
        )
    figure = resampling.samples({"roc_auc": weighted.roc_auc(labels, raw)})["roc_auc"]
    interval = figure.interval()
    if interval is None:
        raise NoCleanSeparation(
            f"no clean separation: of {len(labels)} pairs too few are of each class to say how "
            f"good the ROC-AUC of {figure.value:.3f} is: judge more queries"
        )
    if interval.low <= 0.5:
        raise NoCleanSeparation(
            f"no clean separation: ROC-AUC {interval} is not surely above 0.5, so these scores "
            "could be chance: train the student again, or judge more queries"
        )
    return interval


def _scaled(raw: NDArray[np.float32], slope: float, intercept: float) -> NDArray[np.float32]:
    return calibrated(raw, Calibration(slope=slope, intercept=intercept))


def _thresholds(
    labels: NDArray[np.bool_], scores: NDArray[np.float32], options: FitOptions
) -> dict[SortMode, float]:
    found: dict[SortMode, float] = {}
    for sort, target in options.targets.items():
        try:
            found[sort] = target_threshold(target, labels, scores)
        except NoCleanSeparation as error:
            raise NoCleanSeparation(f"{error} (sort mode {sort})") from error
    return found


def _cross_fitted(
    judgments: Judgments, raw: NDArray[np.float32], options: FitOptions
) -> tuple[NDArray[np.float32], dict[SortMode, NDArray[np.bool_]]]:
    """Held-out calibrated scores float32 [n], and whether each sort mode keeps a pair, bool [n]."""
    labels = judgments.labels
    fold = _folds(judgments, options)
    held_out = np.empty(len(raw), dtype=np.float32)
    kept = {sort: np.empty(len(raw), dtype=np.bool_) for sort in options.targets}
    for number in range(options.folds):
        mine, others = fold == number, fold != number
        try:
            slope, intercept = fit_platt(labels[others], raw[others])
            thresholds = _thresholds(
                labels[others], _scaled(raw[others], slope, intercept), options
            )
        except UndefinedMetric as error:
            why = str(error).removeprefix("no clean separation: ")
            raise NoCleanSeparation(
                "no clean separation: what all judged pairs give, those without fold "
                f"{number + 1} of {options.folds} don't, so it hangs on a few pairs: {why}"
            ) from error
        held_out[mine] = _scaled(raw[mine], slope, intercept)
        for sort, threshold in thresholds.items():
            kept[sort][mine] = held_out[mine] >= np.float32(threshold)
    return held_out, kept


def _folds(judgments: Judgments, options: FitOptions) -> NDArray[np.int64]:
    """Fold of each pair, int64 [n]; all pairs of a query are in one, folds differ by one query.

    As in splits, what differs in case or white space alone is one query.
    """
    keys = list(dict.fromkeys(query_key(query) for query in sorted(set(judgments.queries))))
    places = np.random.default_rng(options.seed).permutation(len(keys)) % options.folds
    fold_of = dict(zip(keys, places.tolist(), strict=True))
    return np.array([fold_of[query_key(query)] for query in judgments.queries])


def _point(
    sort: SortMode,
    target: Target,
    threshold: float,
    labels: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    resampling: Resampling,
) -> OperatingPoint:
    all_pairs, relevant, shown = (
        part.astype(np.float64) for part in (np.ones(len(labels)), labels, kept)
    )
    statistics: dict[str, Statistic] = {
        "kept": weighted.mean(shown),
        "precision": weighted.ratio(shown * relevant, shown),
        "recall": weighted.ratio(shown * relevant, relevant),
        "relevant_lost": weighted.mean(relevant * (1 - shown)),
        "irrelevant_shown": weighted.mean(shown * (all_pairs - relevant)),
    }
    found = resampling.intervals(statistics)
    return OperatingPoint(
        sort=sort,
        target=str(target),
        threshold=threshold,
        kept=found["kept"],
        precision=found["precision"],
        recall=found["recall"],
        relevant_lost=found["relevant_lost"],
        irrelevant_shown=found["irrelevant_shown"],
    )
