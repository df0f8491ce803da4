"""From the similarity of two vectors to a logit, shared by the students whose head is a dot."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def unit(v_ND: Tensor) -> Tensor:
    """Vectors of length 1, v / |v|, float32 [N, D]: the dot of two is their cosine.

    In a float16 row no value is off by more than 2^-11 of itself, so no cosine by more than 2^-11.
    """
    return functional.normalize(v_ND, dim=-1)


class Scale(nn.Module):
    """logit = a (similarity - c), a > 0 and c learned; the same as a similarity + b, b = -a c.

    Written so because Adam moves every number by about its learning rate a step. b would have to
    travel as far as a times the mean similarity, thousands of steps; c only as far as the mean
    similarity. a = exp(log_a) grows by a share of itself, and can't change its sign.

    It grows slowly, too, and what it leaves the encoder has to make up for: begin with an `a` under
    which logits spread as the labels' do.
    """

    def __init__(self, a: float, c: float) -> None:
        """The values to start from."""
        super().__init__()
        self.log_a = nn.Parameter(torch.tensor(math.log(a)))
        self.c = nn.Parameter(torch.tensor(c))

    def forward(self, similarity_N: Tensor) -> Tensor:
        """Logits, float32 [N]."""
        return self.log_a.exp() * (similarity_N - self.c)
