"""Training pairs as tokens on a device, and a student's logits of them; no loss here."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.start import BAGS
from export.pairs import Pairs
from export.students.student import Student
from export.tokens import TokenRows
from model_store.tokenizer import Tokenizer

_TEXTS = 16  # of like length, at a time through a tower

PairRows = NDArray[np.int64]
"""Rows of pairs, in the order of their file."""


class StudentPairs:
    """n pairs: every distinct text tokenised once, targets beside them.

    soft, hard: `Pairs.targets` and `Pairs.hard` on the device, float32 [n]
    """

    def __init__(
        self, student: Student, tokenizer: Tokenizer, pairs: Pairs, device: torch.device
    ) -> None:
        """Tokenises; the student is on the device already."""
        self._student = student
        self._device = device
        self.queries = TokenRows(tokenizer, pairs.queries, "query")
        self.titles = TokenRows(tokenizer, pairs.titles, "product")
        self.soft = torch.from_numpy(pairs.targets).to(device)
        self.hard = None if pairs.hard is None else torch.from_numpy(pairs.hard).to(device)

    def __len__(self) -> int:
        return len(self.soft)

    def logits(self, pairs: PairRows) -> Tensor:
        """Logits of pairs, float32 [N]."""
        return self.head(self.query_rows(pairs), self.product_rows(pairs))

    def head(self, q_Nd: Tensor, p_Nd: Tensor) -> Tensor:
        """Logits of aligned rows, float32 [N]."""
        return self._student.head(q_Nd, p_Nd)

    def query_rows(self, pairs: PairRows) -> Tensor:
        """Query rows of pairs, float32 [N, d_q]."""
        return self._encoded(self._student.query, self.queries, pairs)

    def product_rows(self, pairs: PairRows) -> Tensor:
        """Product rows of pairs, float32 [N, d_p]."""
        return self._encoded(self._student.product, self.titles, pairs)

    def _encoded(
        self, tower: Callable[[Tensor, Tensor], Tensor], texts: TokenRows, pairs: PairRows
    ) -> Tensor:
        """Rows of the pairs' texts, float32 [N, d].

        The towers are what a step costs, so each text of the batch is encoded once and by an
        encoder, on a CPU, with others of its length. Batches of like lengths would pad as little,
        but where length tells something of the target, as it often does, such a batch pulls to one
        side. (A bag adds up tokens without padding, a GPU is quicker with all at once.)
        """
        rows, row_of = np.unique(texts.text_row[pairs], return_inverse=True)
        order = np.argsort(texts.lengths[rows], kind="stable")
        in_parts = self._device.type == "cpu" and self._student.kind not in BAGS
        size = _TEXTS if in_parts else len(order)
        parts = []
        for start in range(0, len(order), size):
            token_ids_NT, token_mask_NT = texts.batch(rows[order[start : start + size]])
            parts.append(tower(token_ids_NT.to(self._device), token_mask_NT.to(self._device)))
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return torch.cat(parts)[torch.from_numpy(place[row_of]).to(self._device)]
