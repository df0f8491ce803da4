"""Learning from pairs one by one: what BERT2DNN and ReprBERT are distilled with."""

import numpy as np
import torch
from torch import Tensor

from distill.losses import soft_and_hard_cross_entropy, soft_cross_entropy
from distill.objectives import Pointwise
from distill.student_pairs import PairRows, StudentPairs
from export.tokens import blocks_of, consecutive_batches, random_batches


class PointwiseMaterial:
    """Every pair once an epoch, in random batches or in blocks."""

    def __init__(
        self, pairs: StudentPairs, options: Pointwise, *, batch_size: int, seed: int
    ) -> None:
        """`seed` and the number of an epoch decide its batches."""
        self._pairs = pairs
        self._options = options
        self._batch_size = batch_size
        self._seed = seed
        self.steps = -(-len(pairs) // batch_size)

    def batches(self, epoch: int) -> list[PairRows]:
        """The batches of an epoch, counted from 1; the same epoch gives the same ones again."""
        random = np.random.default_rng([self._seed, epoch])
        if self._options.in_blocks:
            return consecutive_batches(len(self._pairs), self._batch_size, random)
        together = self._options.pairs_per_title
        titles = self._pairs.titles.text_row
        blocks = blocks_of(titles, together, random) if together > 1 else None
        return random_batches(len(self._pairs), self._batch_size, random, blocks)

    def loss(self, batch: PairRows) -> Tensor:
        """Soft cross-entropy, with lambda times the hard one where there are human labels."""
        rows = torch.from_numpy(batch).to(self._pairs.soft.device)
        logit_N, soft_N = self._pairs.logits(batch), self._pairs.soft[rows]
        if self._options.hard_weight == 0.0 or self._pairs.hard is None:
            return soft_cross_entropy(logit_N, soft_N)
        return soft_and_hard_cross_entropy(
            logit_N, soft_N, self._pairs.hard[rows], self._options.hard_weight
        )
