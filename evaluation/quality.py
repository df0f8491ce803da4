"""All figures of one evaluation: what `winnow evaluate` prints and a manifest keeps."""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from evaluation.errors import EvaluationError, UndefinedMetric
from evaluation.judgments import Judgments
from evaluation.metrics import confusion, ndcg, neg_pr_auc, negative_share, roc_auc
from model_store.manifest import OfflineMetrics


class Quality(BaseModel):
    """Figures over the scored pairs; the pairs that were left out are counted."""

    model_config = ConfigDict(frozen=True)

    pairs: int
    queries: int
    unscored: int
    unknown_products: int
    negative_share: float
    roc_auc: float
    neg_pr_auc: float
    ndcg_at_10: float | None
    ndcg_queries: int
    threshold: float
    accuracy: float
    precision: float | None
    recall: float | None
    f1: float | None


def quality(judgments: Judgments, scores: NDArray[np.float32], threshold: float) -> Quality:
    """Figures of scores float32 [n], NaN = not scored, at one threshold.

    Raises:
        EvaluationError: no pair was scored.
        UndefinedMetric: the scored pairs are all relevant or all irrelevant.
    """
    scored = np.flatnonzero(~np.isnan(scores))
    if not scored.size:
        raise EvaluationError(
            f"none of {len(scores)} pairs was scored: is the catalogue of these judgements indexed?"
        )
    labels, values = judgments.labels[scored], scores[scored].astype(np.float64)
    queries = [judgments.queries[pair] for pair in scored]
    called = confusion(labels, values, float(np.float32(threshold)))
    try:
        ranked = ndcg(queries, judgments.relevance[scored], values)
    except UndefinedMetric:
        ranked = None  # no query has a product with a gain
    return Quality(
        pairs=len(scored),
        queries=len(set(queries)),
        unscored=len(scores) - len(scored),
        unknown_products=sum(judgments.unknown_products.values()),
        negative_share=negative_share(labels),
        roc_auc=roc_auc(labels, values),
        neg_pr_auc=neg_pr_auc(labels, values),
        ndcg_at_10=None if ranked is None else ranked.value,
        ndcg_queries=0 if ranked is None else ranked.queries,
        threshold=threshold,
        accuracy=called.accuracy,
        precision=called.precision,
        recall=called.recall,
        f1=called.f1,
    )


def offline_metrics(
    found: Quality, dataset: str, split: str, dataset_sha256: str
) -> OfflineMetrics:
    """What a manifest keeps of the figures, and of the judgements they were taken on."""
    return OfflineMetrics(
        dataset=dataset,
        split=split,
        dataset_sha256=dataset_sha256,
        pairs=found.pairs,
        queries=found.queries,
        negative_share=found.negative_share,
        roc_auc=found.roc_auc,
        neg_pr_auc=found.neg_pr_auc,
        ndcg_at_10=found.ndcg_at_10,
    )
