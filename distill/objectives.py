"""What a student may be trained for, with the options of each; nothing here imports torch.

Pointwise   its score should be the target (BERT2DNN, ReprBERT, and their fine-tuning)
Pairwise    the better product of a query should score higher (first stage of DRFC and DRDD)
Listwise    a query's products should compare as they do for the teacher (ListBERT's student)
"""

import math
from dataclasses import dataclass
from typing import Literal

from distill.errors import TrainingRefused


@dataclass(frozen=True, kw_only=True)
class Pointwise:
    """Cross-entropy of each pair against its target.

    hard_weight: lambda of ReprBERT eq. 7: soft + lambda * hard, for pairs with both labels; the
        paper's is 0.5. 0: the target alone
    pairs_per_title: so many pairs of one title stand in one batch, where there are as many. The
        title is encoded once for all of them, which is most of what a step costs a student with an
        encoder; in return a batch knows fewer titles
    in_blocks: pairs that stand together in their file stand in one batch. Of a transfer set made in
        blocks, each query and title is then encoded once for all of its pairs in the block; of
        another file, whose order may mean something, a batch would pull to one side

    Raises:
        TrainingRefused: a value out of range; the text names it.
    """

    hard_weight: float = 0.0
    pairs_per_title: int = 1
    in_blocks: bool = False

    def __post_init__(self) -> None:
        """Checks the ranges."""
        _at_least(0.0, "hard_weight", self.hard_weight)
        _at_least(1, "pairs_per_title", self.pairs_per_title)
        if self.in_blocks and self.pairs_per_title > 1:
            raise TrainingRefused(
                f"in_blocks: keeps pairs in the order of their file, pairs_per_title "
                f"{self.pairs_per_title} puts them in another: leave one of the two out"
            )


@dataclass(frozen=True, kw_only=True)
class Pairwise:
    """A margin between two products of a query.

    pair_loss: log(1 + exp(-(s_a - s_b))), or max(0, margin - (s_a - s_b))
    margin: of the latter, in log odds
    least_gap: targets that differ by less don't say which product is better
    random_negatives: a is compared with a random product of the batch too

    Raises:
        TrainingRefused: a value out of range; the text names it.
    """

    pair_loss: Literal["logistic", "margin"] = "logistic"
    margin: float = 1.0
    least_gap: float = 0.1
    random_negatives: bool = True

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.pair_loss not in ("logistic", "margin"):
            raise TrainingRefused(f"pair_loss: expected logistic or margin, got {self.pair_loss!r}")
        _above_0("margin", self.margin)
        if not 0.0 < self.least_gap <= 1.0:
            raise TrainingRefused(
                f"least_gap: expected above 0 and at most 1 (targets are probabilities), got "
                f"{self.least_gap}"
            )


@dataclass(frozen=True, kw_only=True)
class Listwise:
    """KL divergence between the softmax of the teacher and that of the student over a list.

    list_size: of a longer list so many products are drawn each epoch
    list_temperature: tau, which divides both
    pointwise_weight: so much soft cross-entropy is added: a softmax knows no absolute scale

    Raises:
        TrainingRefused: a value out of range; the text names it.
    """

    list_size: int = 32
    list_temperature: float = 1.0
    pointwise_weight: float = 0.0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        _at_least(2, "list_size", self.list_size)
        _above_0("list_temperature", self.list_temperature)
        _at_least(0.0, "pointwise_weight", self.pointwise_weight)


Objective = Pointwise | Pairwise | Listwise


def _at_least(least: float, name: str, value: float) -> None:
    if not least <= value < math.inf:
        raise TrainingRefused(f"{name}: expected at least {least:g}, got {value}")


def _above_0(name: str, value: float) -> None:
    if not 0.0 < value < math.inf:
        raise TrainingRefused(f"{name}: expected above 0, got {value}")
