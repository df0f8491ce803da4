"""Rows and scores of a torch student for many texts: what validation, gate and thresholds need."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation.judgments import Judgments
from export.pairs import Pairs
from export.students.student import Student
from export.tokens import TokenRows
from model_store.tokenizer import Tokenizer

_TEXTS = 64  # texts per run of a tower, of like length
_PAIRS = 4096  # pairs per run of the head


def tower_rows(
    tower: Callable[[Tensor, Tensor], Tensor],
    tokens: TokenRows,
    device: torch.device | None = None,
) -> NDArray[np.float32]:
    """Rows of every distinct text, float32 [n, d]; `tower` is a student's query or product.

    `device` is the student's, the CPU unless told.
    """
    order = np.argsort(tokens.lengths, kind="stable")
    parts = []
    with torch.inference_mode():
        for start in range(0, len(order), _TEXTS):
            ids, mask = tokens.batch(order[start : start + _TEXTS])
            parts.append(tower(ids.to(device), mask.to(device)).cpu().numpy())
    rows = np.concatenate(parts)
    rows[order] = rows.copy()
    return rows


def head_scores(
    student: Student,
    q: NDArray[np.float32],
    p: NDArray[np.float32],
    device: torch.device | None = None,
) -> NDArray[np.float32]:
    """Scores in [0, 1] of aligned rows q [n, d_q] and p [n, d_p], float32 [n]."""
    return _pair_scores(student, q, p, np.arange(len(q)), np.arange(len(p)), device)


def score_tokens(
    student: Student, queries: TokenRows, titles: TokenRows, device: torch.device | None = None
) -> NDArray[np.float32]:
    """Scores of pairs whose texts are tokenised already, float32 [n]."""
    student.eval()
    q = tower_rows(student.query, queries, device)
    p = tower_rows(student.product, titles, device)
    return _pair_scores(student, q, p, queries.text_row, titles.text_row, device)


def _pair_scores(
    student: Student,
    q: NDArray[np.float32],
    p: NDArray[np.float32],
    query_row: NDArray[np.int64],
    title_row: NDArray[np.int64],
    device: torch.device | None,
) -> NDArray[np.float32]:
    """Scores of q[query_row] and p[title_row], float32 [n]; never all of these rows at once."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(query_row), _PAIRS):
            chosen = slice(start, start + _PAIRS)
            q_Nd = torch.from_numpy(q[query_row[chosen]]).to(device)
            p_Nd = torch.from_numpy(p[title_row[chosen]]).to(device)
            parts.append(torch.sigmoid(student.head(q_Nd, p_Nd)).cpu().numpy())
    return np.concatenate(parts)


def score_pairs(
    student: Student, tokenizer: Tokenizer, pairs: Pairs | Judgments
) -> NDArray[np.float32]:
    """Scores of pairs, float32 [n]."""
    return score_tokens(
        student,
        TokenRows(tokenizer, pairs.queries, "query"),
        TokenRows(tokenizer, pairs.titles, "product"),
    )
