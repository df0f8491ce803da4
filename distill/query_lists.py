"""Pairs as one list per query, and lists in batches: what listwise losses learn from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.errors import TrainingRefused

_POOL = 50  # batches within which lists are sorted by length, as in export.tokens


@dataclass(frozen=True)
class ListBatch:
    """B lists: the pairs of all of them one after the other, and their places in [B, n]."""

    rows: NDArray[np.int64]  # [P] rows of the pairs
    mask: Tensor  # bool [B, n]; its P true places, read row by row, are the pairs'

    def spread(self, values: Tensor) -> Tensor:
        """Values [P] of the pairs as [B, n], 0 in padded places."""
        mask = self.mask.to(values.device)
        return values.new_zeros(mask.shape).masked_scatter(mask, values)


class QueryLists:
    """The lists that teach an order: those whose targets are not all the same."""

    def __init__(self, queries: Sequence[str], targets: NDArray[np.float32]) -> None:
        """Groups rows 0..n-1 by query.

        Raises:
            TrainingRefused: no query has two products of different targets.
        """
        rows: dict[str, list[int]] = {}
        for row, query in enumerate(queries):
            rows.setdefault(query, []).append(row)
        self.lists = [
            np.array(members, dtype=np.int64)
            for members in rows.values()
            if np.ptp(targets[members]) > 0
        ]
        self.left_out = len(rows) - len(self.lists)
        if not self.lists:
            raise TrainingRefused(
                f"expected queries with products of different targets, got none among {len(rows)}: "
                "a listwise loss has nothing to put in order"
            )

    def batches(
        self,
        lengths: NDArray[np.int64],
        size: int,
        longest: int,
        generator: np.random.Generator,
    ) -> list[ListBatch]:
        """Every list once, in random batches of at most `size` pairs.

        Args:
            lengths: tokens of each pair; lists of like length stand together.
            size: pairs of a batch; a longer list is a batch of its own.
            longest: products of a list; of a longer one so many are drawn, anew at each call.
            generator: decides.
        """
        lists = [
            members
            if len(members) <= longest
            else generator.choice(members, size=longest, replace=False)
            for members in self.lists
        ]
        order = generator.permutation(len(lists))
        batches: list[ListBatch] = []
        for pool in np.split(order, range(_POOL * size, len(order), _POOL * size)):
            by_length = sorted(pool, key=lambda index: int(lengths[lists[index]].max()))
            batches += _packed([lists[index] for index in by_length], size)
        return [batches[index] for index in generator.permutation(len(batches))]


def _packed(lists: Sequence[NDArray[np.int64]], size: int) -> list[ListBatch]:
    """Lists in their order, as many to a batch as fit."""
    batches: list[ListBatch] = []
    held: list[NDArray[np.int64]] = []
    for members in lists:
        if held and sum(map(len, held)) + len(members) > size:
            batches.append(list_batch(held))
            held = []
        held.append(members)
    return [*batches, list_batch(held)] if held else batches


def list_batch(lists: Sequence[NDArray[np.int64]]) -> ListBatch:
    """Lists of rows as one batch, in that order."""
    sizes = torch.tensor([len(members) for members in lists])
    mask = torch.arange(int(sizes.max()))[None, :] < sizes[:, None]
    return ListBatch(np.concatenate(lists), mask)
