"""ONNX graphs run over many texts or pairs, as a bundle runs them; torch is not involved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export.tokens import TokenRows

HeadRun = Callable[[NDArray[np.float32], NDArray[np.float16]], NDArray[np.float32]]
"""A head that runs: q [1, d_q], P [n, d_p] -> scores float32 [n]."""

_TEXTS = 64  # titles per run of a float32 product graph, of like length


def open_graph(path: Path) -> ort.InferenceSession:
    """A session on one thread, as the service's: the same sums in the same order."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def onnx_head(graph: ort.InferenceSession) -> HeadRun:
    """The head graph as a function."""

    def run(q: NDArray[np.float32], P: NDArray[np.float16]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = graph.run(["score"], {"q": q, "P": P})[0]
        return scores

    return run


def query_rows(graph: ort.InferenceSession, tokens: TokenRows) -> NDArray[np.float32]:
    """Query row of every distinct text, float32 [n, d_q]; one text at a time, as in a request."""
    one_by_one = np.arange(len(tokens))[:, None]
    return np.concatenate([_run(graph, tokens, row, "q") for row in one_by_one])


def product_rows(
    graph: ort.InferenceSession, tokens: TokenRows, *, alone: bool
) -> NDArray[np.float16]:
    """Product row of every distinct text, float16 [n, d_p]; `alone` for int8 graphs."""
    return _batched(graph, tokens, "P", 1 if alone else _TEXTS)


def float32_product_rows(graph: ort.InferenceSession, tokens: TokenRows) -> NDArray[np.float32]:
    """The same before the cast, of a graph made by `graphs.with_float32_rows`."""
    return _batched(graph, tokens, "rows", _TEXTS)


def pair_scores(
    head: HeadRun,
    q: NDArray[np.float32],
    P: NDArray[np.float16],
    query_row: NDArray[np.int64],
    title_row: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Scores of pairs (q[query_row[i]], P[title_row[i]]), float32 [n]; one run per query."""
    scores = np.empty(len(query_row), dtype=np.float32)
    for members in by_query(query_row):
        scores[members] = head(q[query_row[members[:1]]], P[title_row[members]])
    return scores


def by_query(query_row: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Positions of each query's pairs."""
    order = np.argsort(query_row, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(query_row[order])) + 1)


def _batched(
    graph: ort.InferenceSession, tokens: TokenRows, output: str, step: int
) -> NDArray[Any]:
    order = np.argsort(tokens.lengths, kind="stable")
    parts = [
        _run(graph, tokens, order[start : start + step], output)
        for start in range(0, len(order), step)
    ]
    rows = np.concatenate(parts)
    rows[order] = rows.copy()
    return rows


def _run(
    graph: ort.InferenceSession, tokens: TokenRows, rows: NDArray[np.int64], output: str
) -> NDArray[Any]:
    token_ids, token_mask = tokens.batch(rows)
    feeds = {"token_ids": token_ids.numpy(), "token_mask": token_mask.numpy()}
    result: NDArray[Any] = graph.run([output], feeds)[0]
    return result
