"""Rows and scores of a torch student for many texts: what validation, gate and thresholds need."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.pairs import Pairs
from export.students.student import Student
from export.tokens import TokenRows
from model_store.tokenizer import Tokenizer

_TEXTS = 64  # texts per run of a tower, of like length
_PAIRS = 4096  # pairs per run of the head


def tower_rows(tower: Callable[[Tensor, Tensor], Tensor], tokens: TokenRows) -> NDArray[np.float32]:
    """Rows of every distinct text, float32 [n, d]; `tower` is a student's query or product."""
    order = np.argsort(tokens.lengths, kind="stable")
    with torch.inference_mode():
        parts = [
            tower(*tokens.batch(order[start : start + _TEXTS])).numpy()
            for start in range(0, len(order), _TEXTS)
        ]
    rows = np.concatenate(parts)
    rows[order] = rows.copy()
    return rows


def head_scores(
    student: Student, q: NDArray[np.float32], p: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Scores in [0, 1] of aligned rows q [n, d_q] and p [n, d_p], float32 [n]."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(q), _PAIRS):
            end = start + _PAIRS
            logit = student.head(torch.from_numpy(q[start:end]), torch.from_numpy(p[start:end]))
            parts.append(torch.sigmoid(logit).numpy())
    return np.concatenate(parts)


def score_tokens(student: Student, queries: TokenRows, titles: TokenRows) -> NDArray[np.float32]:
    """Scores of pairs whose texts are tokenised already, float32 [n]."""
    student.eval()
    q = tower_rows(student.query, queries)
    p = tower_rows(student.product, titles)
    return head_scores(student, q[queries.text_row], p[titles.text_row])


def score_pairs(student: Student, tokenizer: Tokenizer, pairs: Pairs) -> NDArray[np.float32]:
    """Scores of pairs, float32 [n]."""
    return score_tokens(
        student,
        TokenRows(tokenizer, pairs.queries, "query"),
        TokenRows(tokenizer, pairs.titles, "product"),
    )
