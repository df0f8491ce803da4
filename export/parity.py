"""The gate: does each graph compute what its reference computes, on real pairs? Nothing is written.

float32 graphs are held against the torch student, each alone and all else equal; int8 graphs
against the float32 graphs. What is compared is scores, since rows have no scale of their own.
"""

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from evaluation.errors import UndefinedMetric
from evaluation.metrics import decisions_changed, roc_auc, spearman
from export.errors import ExportRefused
from export.pairs import Pairs
from export.scoring import head_scores, tower_rows
from export.sessions import (
    HeadRun,
    float32_product_rows,
    onnx_head,
    pair_scores,
    product_rows,
    query_rows,
)
from export.students.student import Student
from export.tokens import TokenRows
from model_store.manifest import GraphName, Parity, Precision
from model_store.tokenizer import Tokenizer

FLOAT32_TOLERANCE = 1e-5  # largest score difference between a float32 graph and torch
AUC_TOLERANCE = 0.002  # largest change of ROC-AUC with which an int8 graph is run

# Largest share of judged pairs that a threshold decides differently with an int8 graph, in the mean
# over thresholds. ROC-AUC is not enough: ranks stay while scores move where many lie together.
DECISIONS_TOLERANCE = 0.005

# Below this a float16 step is finer than the float32 rounding of a sum of a few hundred terms.
_SMALLEST_COMPARED = 2.0**-6

_TILE_ROWS = 64

Scores = NDArray[np.float32]


class Sample:
    """Pairs whose scores are compared; `labels` belong to the first of them.

    The pairs after those are every combination of odd texts (empty, emoji, long): they have no
    judgement, but a graph must agree on them too.
    """

    def __init__(self, tokenizer: Tokenizer, judged: Pairs, odd: list[str]) -> None:
        """Tokenises all texts once."""
        self.labels = judged.labels
        queries = [*judged.queries, *(query for query in odd for _ in odd)]
        self.queries = TokenRows(tokenizer, queries, "query")
        self.titles = TokenRows(tokenizer, [*judged.titles, *odd * len(odd)], "product")

    @property
    def query_row(self) -> NDArray[np.int64]:
        """Where each pair's query row is, int64 [n]."""
        return self.queries.text_row

    @property
    def title_row(self) -> NDArray[np.int64]:
        """Where each pair's product row is, int64 [n]."""
        return self.titles.text_row


@dataclass(frozen=True)
class Rows:
    """What the float32 graphs made of a sample's distinct texts: q [., d_q], P [., d_p]."""

    q: NDArray[np.float32]
    P: NDArray[np.float16]


@dataclass(frozen=True)
class Float32Gate:
    """A passed gate: the graphs' rows, and the share of float16 values that are torch's exactly."""

    rows: Rows
    parity: list[Parity]
    equal_float16: float


def check_float32(
    student: Student,
    sample: Sample,
    query: ort.InferenceSession,
    product: ort.InferenceSession,
    wide_product: ort.InferenceSession,
    head: ort.InferenceSession,
) -> Float32Gate:
    """Holds the three float32 graphs against torch; `wide_product` is `with_float32_rows`.

    Raises:
        ExportRefused: a score differs by more than FLOAT32_TOLERANCE, a row is not finite, or a
            float16 value is more than one step off.
    """
    q_row, p_row = sample.query_row, sample.title_row
    q_torch = tower_rows(student.query, sample.queries)
    p_torch = tower_rows(student.product, sample.titles)
    rows = Rows(
        q=query_rows(query, sample.queries), P=product_rows(product, sample.titles, alone=False)
    )
    with np.errstate(over="ignore"):  # an infinity is refused below
        half_torch = p_torch.astype(np.float16)
    equal = _check_rows(rows, half_torch)

    expected = head_scores(student, q_torch[q_row], p_torch[p_row])
    from_query = head_scores(student, rows.q[q_row], p_torch[p_row])
    p_onnx = float32_product_rows(wide_product, sample.titles)
    from_product = head_scores(student, q_torch[q_row], p_onnx[p_row])
    expected_head = head_scores(student, q_torch[q_row], half_torch[p_row].astype(np.float32))
    from_head = pair_scores(onnx_head(head), q_torch, half_torch, q_row, p_row)

    parity = [
        _compare("query", "float32", sample, expected, from_query),
        _compare("product", "float32", sample, expected, from_product),
        _compare("head", "float32", sample, expected_head, from_head),
    ]
    for entry in parity:
        if not entry.max_score_difference <= FLOAT32_TOLERANCE:
            raise ExportRefused(
                f"{entry.graph}.onnx: expected scores within {FLOAT32_TOLERANCE:g} of torch's on "
                f"{entry.pairs} pairs, got a difference of {entry.max_score_difference:g}: "
                "nothing was published"
            )
    return Float32Gate(rows, parity, equal)


def check_int8(
    name: GraphName,
    int8: ort.InferenceSession,
    sample: Sample,
    rows: Rows,
    head: ort.InferenceSession,
) -> Parity:
    """Scores with one graph in int8, against scores with all three in float32.

    An int8 product graph encodes each title alone, as it will.
    """
    q_row, p_row = sample.query_row, sample.title_row
    expected = pair_scores(onnx_head(head), rows.q, rows.P, q_row, p_row)
    q, P = rows.q, rows.P
    if name == "query":
        q = query_rows(int8, sample.queries)
    elif name == "product":
        P = product_rows(int8, sample.titles, alone=True)
    got = pair_scores(onnx_head(int8 if name == "head" else head), q, P, q_row, p_row)
    return _compare(name, "int8", sample, expected, got)


def check_native(kernel: HeadRun, sample: Sample, rows: Rows, head: ort.InferenceSession) -> Parity:
    """Scores of the fused head, against those of the float32 head graph."""
    q_row, p_row = sample.query_row, sample.title_row
    expected = pair_scores(onnx_head(head), rows.q, rows.P, q_row, p_row)
    got = pair_scores(kernel, rows.q, rows.P, q_row, p_row)
    return _compare("head", "native", sample, expected, got)


def passes(parity: Parity) -> bool:
    """Whether an int8 graph or the fused head may be run: ROC-AUC and decisions stay."""
    if parity.auc is None or parity.auc_reference is None or parity.decisions_changed is None:
        return False
    return (
        abs(parity.auc - parity.auc_reference) <= AUC_TOLERANCE
        and parity.decisions_changed <= DECISIONS_TOLERANCE
    )


def tile_independent(head: HeadRun, rows: Rows) -> bool:
    """Whether a pair's score is the same, bit by bit, in tiles of any size."""
    q, P = rows.q[:1], rows.P[:_TILE_ROWS]
    whole = head(q, P)
    return all(
        np.array_equal(
            whole[start : start + size],
            head(q, P[start : start + size]),
        )
        for size in (1, 2, 7, 16)
        for start in range(0, len(P), size)
    )


def _check_rows(rows: Rows, half_torch: NDArray[np.float16]) -> float:
    for name, values in (("query", rows.q), ("product", rows.P)):
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).any(axis=1).sum())
            raise ExportRefused(
                f"{name}.onnx: expected finite rows, got NaN or infinity in {bad} of "
                f"{len(values)}: a product row's values must stay below 65504, as float16 does"
            )
    compared = np.maximum(np.abs(half_torch), np.float16(_SMALLEST_COMPARED))
    steps = np.abs(rows.P.astype(np.float32) - half_torch.astype(np.float32)) / np.spacing(compared)
    if not steps.max(initial=0.0) <= 1.0:
        raise ExportRefused(
            "product.onnx: expected float16 rows within one float16 step of torch's, got "
            f"{steps.max():g} steps: nothing was published"
        )
    return float((half_torch == rows.P).mean())


def _compare(
    graph: GraphName, precision: Precision, sample: Sample, expected: Scores, got: Scores
) -> Parity:
    difference = np.abs(expected.astype(np.float64) - got.astype(np.float64))
    if not np.isfinite(difference).all():
        raise ExportRefused(
            f"{graph} ({precision}): expected finite scores, got NaN in "
            f"{int((~np.isfinite(got)).sum())} of {len(got)}"
        )
    judged = len(sample.labels)
    return Parity(
        graph=graph,
        precision=precision,
        pairs=len(got),
        max_score_difference=float(difference.max()),
        mean_score_difference=float(difference.mean()),
        spearman=_spearman(expected, got),
        auc_reference=_auc(sample.labels, expected[:judged]),
        auc=_auc(sample.labels, got[:judged]),
        decisions_changed=decisions_changed(expected[:judged], got[:judged]),
    )


def _spearman(expected: Scores, got: Scores) -> float | None:
    try:
        return spearman(expected, got)
    except UndefinedMetric:
        return None


def _auc(labels: NDArray[np.bool_], scores: Scores) -> float | None:
    try:
        return roc_auc(labels, scores)
    except UndefinedMetric:
        return None
