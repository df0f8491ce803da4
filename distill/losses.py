"""What students are trained with: cross-entropy, pairwise and list distillation. Tensors only.

Targets are probabilities of relevance. A teacher's are softened before they come here:
sigmoid(t / T) of its log odds t (BERT2DNN sec. III; softmax over its two logits divided by T is the
same). The student's logits are not divided by T, in the paper and in its code.

Every function gives the mean over what it is given, a float32 scalar.
"""

import torch
from torch import Tensor
from torch.nn import functional

_OUT = torch.finfo(torch.float32).min / 2  # a padded place's logit; a difference stays finite
_NEAREST = 1e-7  # to 0 and 1, of a target whose log odds are asked for


def soft_cross_entropy(logit_N: Tensor, soft_N: Tensor) -> Tensor:
    """-[y log s + (1 - y) log(1 - s)], s = sigmoid(logit), y in [0, 1].

    BERT2DNN eq. 4; the first stage of ReprBERT (sec. 3.4.2).
    """
    return functional.binary_cross_entropy_with_logits(logit_N, soft_N)


def soft_and_hard_cross_entropy(
    logit_N: Tensor, soft_N: Tensor, hard_N: Tensor, hard_weight: float
) -> Tensor:
    """L_soft + lambda L_hard, both cross-entropies as above; ReprBERT eq. 7 with lambda = 0.5.

    (The equation as printed has a slip of sign: both terms are negated sums.)

    Args:
        logit_N: of the student.
        soft_N: the teacher's probabilities.
        hard_N: what people say, in [0, 1]; NaN where nobody has judged the pair, which then has the
            first term alone.
        hard_weight: lambda.
    """
    judged_N = ~hard_N.isnan()
    each_N = functional.binary_cross_entropy_with_logits(
        logit_N, hard_N.where(judged_N, 0.0), reduction="none"
    )
    hard = each_N.where(judged_N, 0.0).mean()
    return soft_cross_entropy(logit_N, soft_N) + hard_weight * hard


def logistic_pair(better_N: Tensor, worse_N: Tensor) -> Tensor:
    """log(1 + exp(-(s_a - s_b))), product a better than product b for one query; RankNet's."""
    return functional.softplus(worse_N - better_N).mean()


def margin_pair(better_N: Tensor, worse_N: Tensor, margin: float) -> Tensor:
    """max(0, margin - (s_a - s_b)), product a better than product b for one query."""
    return functional.relu(margin - (better_N - worse_N)).mean()


def list_distillation(
    student_BN: Tensor, teacher_BN: Tensor, mask_BN: Tensor, temperature: float
) -> Tensor:
    """KL(softmax(t / tau) || softmax(s / tau)) of each list, over its products; mean of the lists.

    ListBERT's own distillation loss is not public; this one is Hinton's over a list.

    Args:
        student_BN: log odds s of B lists of at most N products.
        teacher_BN: log odds t.
        mask_BN: true = a product, false = padding, whose values are never read.
        temperature: tau.
    """
    log_t_BN, log_s_BN = (
        (logit_BN / temperature).where(mask_BN, _OUT).log_softmax(dim=1)
        for logit_BN in (teacher_BN, student_BN)
    )
    difference_BN = (log_t_BN - log_s_BN).where(mask_BN, 0.0)
    return (log_t_BN.exp() * difference_BN).sum(dim=1).mean()


def log_odds(target_N: Tensor) -> Tensor:
    """log(y / (1 - y)), y kept 1e-7 away from 0 and 1."""
    kept_N = target_N.clamp(_NEAREST, 1.0 - _NEAREST)
    return torch.log(kept_N) - torch.log1p(-kept_N)
