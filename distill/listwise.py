"""Listwise losses: what ListBERT's teachers (SIGIR eCom 2022) are fine-tuned with. Tensors only.

B lists of at most n products: scores s, grades y >= 0 and mask (true = a product, false = padding),
all [B, n]. Every function gives the loss of each list, float32 [B]: 0 for a list without a grade
above 0, which no order fits better than another (approxNDCG's maxDCG is 0 there). What stands in
padded places is never read.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

RANK_TEMPERATURE = 0.1  # of approxNDCG: TF-Ranking's default

_OUT = torch.finfo(torch.float32).min / 2  # a padded place's score; a difference stays finite


def ranknet(scores: Tensor, grades: Tensor, mask: Tensor) -> Tensor:
    """Sum over i, j with y_i > y_j of log(1 + exp(-(s_i - s_j))); Burges et al. (2005)."""
    scores, grades = _padded(scores, grades, mask)
    margin_BNN = scores[:, :, None] - scores[:, None, :]
    pair_BNN = mask[:, :, None] & mask[:, None, :]
    better_BNN = (grades[:, :, None] > grades[:, None, :]) & pair_BNN
    margin_BNN = margin_BNN.where(better_BNN, margin_BNN.new_zeros(()))
    loss_B = functional.softplus(-margin_BNN).where(better_BNN, 0.0).sum(dim=(1, 2))
    return _with_positives(loss_B, grades)


def listnet(scores: Tensor, grades: Tensor, mask: Tensor) -> Tensor:
    """-sum_i softmax(y)_i log softmax(s)_i: ListNet's top-1 form; Cao et al. (2007)."""
    scores, grades = _padded(scores, grades, mask)
    target = grades.masked_fill(~mask, _OUT).softmax(dim=1)
    log_p = scores.masked_fill(~mask, _OUT).log_softmax(dim=1)
    loss_B = -(target * log_p.where(mask, 0.0)).sum(dim=1)
    return _with_positives(loss_B, grades)


def listmle(scores: Tensor, grades: Tensor, mask: Tensor, tie_break: Tensor) -> Tensor:
    """-sum_k log(exp(s_pi(k)) / sum_{j >= k} exp(s_pi(j))), pi by grade; Xia et al. (2008).

    Equal grades are put in the order of `tie_break` [B, n], upwards: random numbers, new each step.
    """
    scores, grades = _padded(scores, grades, mask)
    first = tie_break.masked_fill(~mask, torch.inf).argsort(dim=1)
    key = grades.masked_fill(~mask, -1.0).gather(1, first)
    order = first.gather(1, key.argsort(dim=1, descending=True, stable=True))
    ordered, real = scores.gather(1, order), mask.gather(1, order)
    # The sum over j >= k is one over all that come before k when read from behind.
    tail = ordered.masked_fill(~real, _OUT).flip(1).logcumsumexp(dim=1).flip(1)
    loss_B = (tail - ordered).where(real, 0.0).sum(dim=1)
    return _with_positives(loss_B, grades)


def approx_ndcg(
    scores: Tensor, grades: Tensor, mask: Tensor, temperature: float = RANK_TEMPERATURE
) -> Tensor:
    """-(1 / maxDCG) sum_i (2^{y_i} - 1) / log2(1 + rank_i), Qin, Liu & Li (2010).

    rank_i = 1 + sum_{j != i} sigmoid((s_j - s_i) / temperature).
    """
    scores, grades = _padded(scores, grades, mask)
    above_BNN = torch.sigmoid((scores[:, None, :] - scores[:, :, None]) / temperature)
    others_BNN = mask[:, None, :] & ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    rank = 1.0 + above_BNN.where(others_BNN, 0.0).sum(dim=2)
    gain = torch.exp2(grades) - 1.0
    best = gain.sort(dim=1, descending=True).values
    places = torch.arange(1, mask.shape[1] + 1, dtype=scores.dtype, device=scores.device)
    most_B = (best / torch.log2(1.0 + places)).sum(dim=1)
    dcg_B = (gain / torch.log2(1.0 + rank)).sum(dim=1)
    return _with_positives(-dcg_B / most_B.where(most_B > 0, 1.0), grades)


def mean_over_lists(losses: Tensor, grades: Tensor, mask: Tensor) -> Tensor:
    """Mean of losses [B] over the lists that have a grade above 0; 0 where none has."""
    counted = (grades.where(mask, 0.0) > 0).any(dim=1)
    return losses.sum() / counted.sum().clamp(min=1)


LISTWISE: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "ranknet": ranknet,
    "listnet": listnet,
    "listmle": lambda s, y, mask: listmle(s, y, mask, torch.rand(s.shape, device=s.device)),
    "approxndcg": approx_ndcg,
}


def _padded(scores: Tensor, grades: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Zeros in padded places, whatever stood there: not even a NaN gets into a gradient."""
    return scores.where(mask, 0.0), grades.where(mask, 0.0)


def _with_positives(loss_B: Tensor, grades: Tensor) -> Tensor:
    return loss_B.where((grades > 0).any(dim=1), 0.0)
