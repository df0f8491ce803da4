"""Several scorers on the same judged pairs: figures with intervals, compared pair by pair.

Differences and ratios are paired: both figures are taken on the same resamples of the queries, so
what is hard for every scorer cancels, and the interval is narrower than that of either.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from evaluation import weighted
from evaluation.agreement import Agreement, agreement
from evaluation.errors import EvaluationError, UndefinedMetric
from evaluation.judgments import Judgments
from evaluation.reliability import Reliability, reliability
from evaluation.resampling import RESAMPLES, Interval, Resampling, Sampled, Statistic
from evaluation.slices import Slice, slices

METRICS = ("roc_auc", "neg_pr_auc", "ndcg_at_10")

Figures = dict[str, Interval | None]
"""By metric; None = no value on these pairs, or too few queries for an interval."""


@dataclass(frozen=True)
class Scorer:
    """A named way to score the pairs."""

    name: str
    scores: NDArray[np.float32]  # [n]; NaN = not scored
    probability: bool  # a probability of relevance, not just an order


@dataclass(frozen=True)
class Scored:
    """Pairs that every scorer has scored."""

    judgments: Judgments
    scorers: tuple[Scorer, ...]
    left_out: int  # pairs that some scorer lacks


@dataclass(frozen=True, kw_only=True)
class AssessOptions:
    """How scorers are compared; names are those of the scorers."""

    reference: str | None = None  # differences are taken from this scorer
    teacher: str | None = None  # ratios, and agreement with its labels
    teacher_relevant_from: float = 0.5  # its probability from which it calls a pair relevant
    train_queries: frozenset[str] | None = None  # as slices
    frequencies: dict[str, float] | None = None  # as slices
    with_slices: bool = True
    resamples: int = RESAMPLES
    seed: int = 0


class ScorerFigures(BaseModel):
    """One scorer: its figures, less the reference's, and over the teacher's."""

    model_config = ConfigDict(frozen=True)

    scorer: str
    figures: Figures
    difference: Figures | None  # None: no reference, or the reference itself
    ratio: Figures | None  # None: no teacher, or the teacher itself
    reliability: Reliability | None  # None: no probability


class Assessment(BaseModel):
    """What `assess` found; JSON-able."""

    model_config = ConfigDict(frozen=True)

    pairs: int
    queries: int
    left_out: int
    unknown_products: int
    negative_share: float
    resamples: int
    seed: int
    reference: str | None
    teacher: str | None
    scorers: list[ScorerFigures]
    agreement: list[Agreement]  # of every other probability with the teacher
    slices: list[Slice]


def scored_by_all(judgments: Judgments, scorers: Sequence[Scorer]) -> Scored:
    """The pairs that no scorer lacks, so that all figures are of the same pairs.

    Raises:
        EvaluationError: no scorer, two of one name, scores that don't fit the pairs, or no pair
            left.
    """
    names = [scorer.name for scorer in scorers]
    if not names or len(set(names)) < len(names):
        raise EvaluationError(f"expected scorers of distinct names, got {names}")
    for scorer in scorers:
        if scorer.scores.shape != (len(judgments),):
            raise EvaluationError(
                f"{scorer.name}: expected {len(judgments)} scores, one per pair, got "
                f"{list(scorer.scores.shape)}"
            )
    kept = np.flatnonzero(~np.isnan([scorer.scores for scorer in scorers]).any(axis=0))
    if not kept.size:
        raise EvaluationError(
            f"none of {len(judgments)} pairs was scored by all of {', '.join(names)}"
        )
    return Scored(
        judgments.take(kept),
        tuple(replace(scorer, scores=scorer.scores[kept]) for scorer in scorers),
        len(judgments) - len(kept),
    )


def assess(scored: Scored, options: AssessOptions) -> Assessment:
    """Figures of every scorer on the same pairs, with intervals by resampling queries.

    Raises:
        EvaluationError: reference or teacher is no scorer's name, or the teacher's scores are no
            probabilities.
        UndefinedMetric: the pairs are all relevant or all irrelevant.
    """
    judged = scored.judgments
    labels = judged.labels
    if labels.all() or not labels.any():
        raise UndefinedMetric(
            f"expected relevant and irrelevant pairs, got {int(labels.sum())} relevant of "
            f"{len(labels)}"
        )
    _check_names(scored, options)
    resampling = Resampling(judged.queries, resamples=options.resamples, seed=options.seed)
    sampled = resampling.samples(_statistics(scored))
    return Assessment(
        pairs=len(judged),
        queries=len(set(judged.queries)),
        left_out=scored.left_out,
        unknown_products=sum(judged.unknown_products.values()),
        negative_share=1 - float(labels.mean()),
        resamples=options.resamples,
        seed=options.seed,
        reference=options.reference,
        teacher=options.teacher,
        scorers=[
            _figures(scorer, judged, sampled, options, resampling) for scorer in scored.scorers
        ],
        agreement=_agreements(scored, options, resampling),
        slices=slices(
            judged,
            {scorer.name: scorer.scores for scorer in scored.scorers},
            train_queries=options.train_queries,
            frequencies=options.frequencies,
            resamples=options.resamples,
            seed=options.seed,
        )
        if options.with_slices
        else [],
    )


def _check_names(scored: Scored, options: AssessOptions) -> None:
    by_name = {scorer.name: scorer for scorer in scored.scorers}
    for role, name in (("reference", options.reference), ("teacher", options.teacher)):
        if name is not None and name not in by_name:
            raise EvaluationError(f"expected as {role} one of {', '.join(by_name)}, got {name!r}")
    if options.teacher is not None and not by_name[options.teacher].probability:
        raise EvaluationError(
            f"{options.teacher}: a teacher's labels need its probabilities, not just an order"
        )


def _statistics(scored: Scored) -> dict[str, Statistic]:
    """By scorer and metric, as one flat name."""
    judged = scored.judgments
    found: dict[str, Statistic] = {}
    for scorer in scored.scorers:
        found[_key(scorer.name, "roc_auc")] = weighted.roc_auc(judged.labels, scorer.scores)
        found[_key(scorer.name, "neg_pr_auc")] = weighted.neg_pr_auc(judged.labels, scorer.scores)
        found[_key(scorer.name, "ndcg_at_10")] = weighted.ndcg(
            judged.queries, judged.relevance, scorer.scores
        )
    return found


def _key(scorer: str, metric: str) -> str:
    return f"{metric} of {scorer}"


def _figures(
    scorer: Scorer,
    judged: Judgments,
    sampled: dict[str, Sampled],
    options: AssessOptions,
    resampling: Resampling,
) -> ScorerFigures:
    own = {metric: sampled[_key(scorer.name, metric)] for metric in METRICS}

    def of(name: str, metric: str) -> Sampled:
        return sampled[_key(name, metric)]

    reference, teacher = options.reference, options.teacher
    return ScorerFigures(
        scorer=scorer.name,
        figures={metric: figure.interval() for metric, figure in own.items()},
        difference=None
        if reference is None or reference == scorer.name
        else {m: figure.minus(of(reference, m)).interval() for m, figure in own.items()},
        ratio=None
        if teacher is None or teacher == scorer.name
        else {m: figure.over(of(teacher, m)).interval() for m, figure in own.items()},
        reliability=reliability(judged.labels, scorer.scores, resampling)
        if scorer.probability
        else None,
    )


def _agreements(scored: Scored, options: AssessOptions, resampling: Resampling) -> list[Agreement]:
    if options.teacher is None:
        return []
    taught = next(scorer for scorer in scored.scorers if scorer.name == options.teacher)
    teacher, relevant_from = (taught.name, taught.scores), options.teacher_relevant_from
    return [
        agreement((scorer.name, scorer.scores), teacher, resampling, relevant_from)
        for scorer in scored.scorers
        if scorer.probability and scorer.name != options.teacher
    ]
