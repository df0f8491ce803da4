"""Learning from the products of a query together: a listwise teacher's order, for ListBERT.

The teacher's log odds are those of the targets. A softmax over a list knows no absolute scale, and
a filter needs one: with `pointwise_weight`, soft cross-entropy is added, which fixes it.
"""

import numpy as np
import torch
from torch import Tensor

from distill.losses import list_distillation, log_odds, soft_cross_entropy
from distill.objectives import Listwise
from distill.query_lists import ListBatch, QueryLists, list_batch
from distill.student_pairs import StudentPairs
from export.tokens import random_batches


class ListwiseMaterial:
    """Every query's list once an epoch; of a long one so many products, others each time."""

    def __init__(
        self, pairs: StudentPairs, options: Listwise, *, batch_size: int, seed: int
    ) -> None:
        """A batch has as many lists as hold about `batch_size` pairs, always the same number.

        Raises:
            TrainingRefused: no query has products of different targets.
        """
        self._pairs = pairs
        self._options = options
        self._seed = seed
        queries = [pairs.queries.distinct[row] for row in pairs.queries.text_row]
        self._lists = QueryLists(queries, pairs.soft.cpu().numpy()).lists
        mean = float(np.mean([min(len(each), options.list_size) for each in self._lists]))
        self._lists_per_batch = max(1, round(batch_size / mean))
        self.steps = -(-len(self._lists) // self._lists_per_batch)

    def batches(self, epoch: int) -> list[ListBatch]:
        """The batches of an epoch, counted from 1; the same epoch gives the same ones again."""
        random = np.random.default_rng([self._seed, epoch])
        longest = self._options.list_size
        lists = [
            each if len(each) <= longest else random.choice(each, size=longest, replace=False)
            for each in self._lists
        ]
        batches = random_batches(len(lists), self._lists_per_batch, random)
        return [list_batch([lists[index] for index in chosen]) for chosen in batches]

    def loss(self, batch: ListBatch) -> Tensor:
        """KL divergence from the teacher's softmax over each list, and the share of soft CE."""
        rows = torch.from_numpy(batch.rows).to(self._pairs.soft.device)
        logit_P, soft_P = self._pairs.logits(batch.rows), self._pairs.soft[rows]
        loss = list_distillation(
            batch.spread(logit_P),
            batch.spread(log_odds(soft_P)),
            batch.mask.to(logit_P.device),
            self._options.list_temperature,
        )
        if self._options.pointwise_weight == 0.0:
            return loss
        return loss + self._options.pointwise_weight * soft_cross_entropy(logit_P, soft_P)
