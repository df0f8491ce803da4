"""Texts as token ids, tokenised once and padded per batch; no formula and no file here."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_store.tokenizer import Side, Tokenizer

_CHUNK = 1024  # texts per call of the tokenizer


class TokenRows:
    """Token ids of many texts, ragged: each distinct text once, in order of first sight."""

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str], side: Side) -> None:
        """Tokenises `texts`; row i of `text_row` is where text i's ids are kept."""
        self.distinct = list(dict.fromkeys(texts))
        row_of = {text: row for row, text in enumerate(self.distinct)}
        self.text_row: NDArray[np.int64] = np.array(
            [row_of[text] for text in texts], dtype=np.int64
        )
        ids, lengths = [], []
        for start in range(0, len(self.distinct), _CHUNK):
            chunk_ids, chunk_mask = tokenizer.encode(self.distinct[start : start + _CHUNK], side)
            ids.append(chunk_ids[chunk_mask > 0].astype(np.int32))
            lengths.append(chunk_mask.sum(axis=1))
        self.ids: NDArray[np.int32] = np.concatenate(ids)
        self.lengths: NDArray[np.int64] = np.concatenate(lengths).astype(np.int64)
        self._starts = np.cumsum(self.lengths) - self.lengths

    def __len__(self) -> int:
        return len(self.distinct)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Token ids and mask of those rows, int64 [n, length], as a tokenizer would pad them.

        What stands in padded places is never read, so 0 will do for every tokenizer.
        """
        lengths = self.lengths[rows]
        token_mask = np.arange(max(1, int(lengths.max()))) < lengths[:, None]
        token_ids = np.zeros(token_mask.shape, dtype=np.int64)
        # Where each text's ids begin, less how many ids of the batch come before them.
        shift = self._starts[rows] - (np.cumsum(lengths) - lengths)
        token_ids[token_mask] = self.ids[np.repeat(shift, lengths) + np.arange(lengths.sum())]
        return torch.from_numpy(token_ids), torch.from_numpy(token_mask.astype(np.int64))

    def covering_length(self, share: float) -> int:
        """Smallest number of tokens within which `share` of the distinct texts lie whole."""
        return int(np.quantile(self.lengths, share, method="higher"))


def bucketed_batches(
    lengths: NDArray[np.int64], batch_size: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Rows 0..n-1 in random batches of texts of like length, so that little is padding.

    Rows are shuffled, sorted by length within pools of 50 batches, and the batches shuffled again.
    Where length tells something of the target, so does a batch, and training suffers.
    """
    order = generator.permutation(len(lengths))
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), 50 * batch_size):
        pool = order[start : start + 50 * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def random_batches(
    rows: int,
    batch_size: int,
    generator: np.random.Generator,
    blocks: NDArray[np.int64] | None = None,
) -> list[NDArray[np.int64]]:
    """Rows 0..n-1 in random batches; those of one block (0, 1, ..., [n]) stand together.

    All batches but the last have `batch_size` rows, so a block may be cut where a batch ends.
    """
    order = generator.permutation(rows)
    if blocks is not None:
        _, first, block = np.unique(blocks[order], return_index=True, return_inverse=True)
        order = order[np.argsort(first[block], kind="stable")]
    return [order[start : start + batch_size] for start in range(0, rows, batch_size)]


def consecutive_batches(
    rows: int, batch_size: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Rows 0..n-1 in batches of rows that follow each other, the batches in random order.

    Where they begin is drawn too, so that what stands around a cut is not always cut there.
    """
    order = np.roll(np.arange(rows), int(generator.integers(batch_size)))
    batches = [order[start : start + batch_size] for start in range(0, rows, batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def blocks_of(
    groups: NDArray[np.int64], size: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Blocks of at most `size` random rows of the same group, as numbers 0, 1, ..., [n]."""
    order = generator.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    place = np.arange(len(order)) - np.repeat(starts, sizes)  # of a row within its group
    blocks = np.empty(len(order), dtype=np.int64)
    blocks[order] = np.cumsum(place % size == 0) - 1
    return blocks
