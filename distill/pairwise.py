"""Learning from pairs of products: the first stage of DRFC and DRDD (Jiang et al., DLP-KDD 2019).

A Siamese network: one student scores (query, product a) and (query, product b), a the better one,
and descends on the difference. What makes a better is its target: a click ratio or, without
clicks, a judgement or a teacher's score. Beside b stands a random product of the same batch, worse
than a by assumption ("random in-batch negatives co-training").

Only the paper's abstract is public to us, and what BERT2DNN says of it: the logistic loss, the
least gap, one b for each a and epoch, and equal weights of both negatives are chosen here. The
second stage is ordinary training on judgements (`distill.pointwise`), from this one's checkpoint.
With BERT2DNN's layers this is DRFC, with deep-dot's DRDD.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.errors import TrainingRefused
from distill.losses import logistic_pair, margin_pair
from distill.objectives import Pairwise
from distill.student_pairs import StudentPairs
from export.tokens import random_batches

Triples = NDArray[np.int64]
"""[2, N]: rows of the pairs (query, a) and (query, b)."""


class Better:
    """Of every pair: the pairs of the same query whose target is lower by at least a gap."""

    def __init__(
        self, query_row: NDArray[np.int64], targets: NDArray[np.float32], least_gap: float
    ) -> None:
        """Pairs 0..n-1 with their query and target in [0, 1].

        Raises:
            TrainingRefused: there is no such pair at all.
        """
        # Sorted by query and, within one, by target: what is worse than a pair by the gap is a
        # run that begins where its query does.
        key = 2.0 * query_row + targets.astype(np.float64)
        self._order = np.argsort(key, kind="stable")
        key = key[self._order]
        query = query_row[self._order]
        first = np.searchsorted(query, query)
        end = np.maximum(first, np.searchsorted(key, key - least_gap + 1e-7, side="right"))
        self._places = np.flatnonzero(end > first)
        self._first, self._end = first[self._places], end[self._places]
        if not len(self._places):
            raise TrainingRefused(
                f"expected queries with products whose targets differ by {least_gap:g} or more, "
                "got none: lower least_gap, or give judgements, click ratios or teacher scores"
            )

    def __len__(self) -> int:
        return len(self._places)

    def draw(self, random: np.random.Generator) -> Triples:
        """Each pair that has a worse one, with one of those at random."""
        worse = random.integers(self._first, self._end)
        return np.stack([self._order[self._places], self._order[worse]])


class PairwiseMaterial:
    """Every pair that has a worse one once an epoch, beside another of those each time."""

    def __init__(
        self, pairs: StudentPairs, options: Pairwise, *, batch_size: int, seed: int
    ) -> None:
        """`seed` and the number of an epoch decide its batches.

        Raises:
            TrainingRefused: no query has products that differ.
        """
        self._pairs = pairs
        self._options = options
        self._batch_size = batch_size
        self._seed = seed
        self._better = Better(pairs.queries.text_row, pairs.soft.cpu().numpy(), options.least_gap)
        self.steps = -(-len(self._better) // batch_size)

    def batches(self, epoch: int) -> list[Triples]:
        """The batches of an epoch, counted from 1; the same epoch gives the same ones again."""
        random = np.random.default_rng([self._seed, epoch])
        triples = self._better.draw(random)
        batches = random_batches(len(self._better), self._batch_size, random)
        return [triples[:, chosen] for chosen in batches]

    def loss(self, batch: Triples) -> Tensor:
        """Of a against b and, if asked for, of a against another product of the batch."""
        better = batch[0]
        q_Nd = self._pairs.query_rows(better)
        p_a_Nd, p_b_Nd = self._pairs.product_rows(batch.ravel()).chunk(2)
        s_a_N, s_b_N = self._pairs.head(q_Nd, p_a_Nd), self._pairs.head(q_Nd, p_b_Nd)
        loss = self._pair_loss(s_a_N, s_b_N)
        if not self._options.random_negatives:
            return loss
        other_N, strange_N = self._others(better)
        if not strange_N.any():
            return loss
        s_other_N = self._pairs.head(q_Nd, p_a_Nd[other_N])
        return (loss + self._pair_loss(s_a_N[strange_N], s_other_N[strange_N])) / 2

    def _others(self, better: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """For each triple the place of another one's product a, and whether its query is another.

        torch's random state decides, as it does for dropout.
        """
        size = len(better)
        step = torch.randint(1, size, (size,)) if size > 1 else torch.zeros(1, dtype=torch.long)
        other_N = (torch.arange(size) + step) % size
        query_N = torch.from_numpy(self._pairs.queries.text_row[better])
        title_N = torch.from_numpy(self._pairs.titles.text_row[better])
        strange_N = (query_N != query_N[other_N]) & (title_N != title_N[other_N])
        device = self._pairs.soft.device
        return other_N.to(device), strange_N.to(device)

    def _pair_loss(self, better_N: Tensor, worse_N: Tensor) -> Tensor:
        if self._options.pair_loss == "margin":
            return margin_pair(better_N, worse_N, self._options.margin)
        return logistic_pair(better_N, worse_N)
