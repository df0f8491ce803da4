"""deep-dot, BERT2DNN's two-tower variant ("BERT2Dot", Jiang et al., ICDM 2020).

Shapes: N texts or pairs, T tokens, E = 64 width of the table, D = 64 width of a tower's output.

    e_s    = sum_i E[w_i] / sqrt(n)              s in {query, product}, over its n known tokens
    v_s    = W5_s relu(W4_s relu(W3_s relu(W2_s relu(W1_s e_s))))   biases left out; unshared towers
    logit  = v_q . v_p + b
    score  = sigmoid(logit)

The paper gives "similar 4 hidden layers", "different sets of parameters" and a "simple dot
product". Left open and chosen here: the last layer is linear and b is learned, because the dot of
two ReLU outputs is never negative and its sigmoid never below 0.5; no normalisation; both towers
begin as the same linear map (`looks_linear`), so that the first scores are those of shared words.
"""

import itertools
from typing import ClassVar

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from export.students.bag import Bag
from export.students.looks_linear import MIRRORED, begin_linear, random_map
from export.students.student import Segments, StudentConfig


class DeepDotConfig(StudentConfig):
    """Entries of the vocabulary, width of the table, widths of the hidden layers and the output.

    not_counted: ids of tokens that are no words of a text (`bag.Bag`); none with CWUB
    """

    vocabulary: PositiveInt
    width: PositiveInt = 64
    hidden: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (1024, 256, 128, 64)
    output: PositiveInt = 64
    not_counted: tuple[NonNegativeInt, ...] = ()


class DeepDot(nn.Module):
    """Two towers and a dot product: the cheapest head there is."""

    kind: ClassVar[str] = "deepdot"

    def __init__(self, config: DeepDotConfig) -> None:
        """Random weights, with which a text is most like itself and words count alike."""
        super().__init__()
        self.config = config
        self.query_segments: Segments = {"tower": (0, config.output)}
        self.product_segments: Segments = {"tower": (0, config.output)}
        self.bag = Bag(config.vocabulary, config.width, config.not_counted)
        self.tower_q = _tower(config)
        self.tower_p = _tower(config)
        self.tower_p.load_state_dict(self.tower_q.state_dict())
        self.b = nn.Parameter(torch.zeros(()))

    def query(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """v_q, float32 [N, D]."""
        v_ND: Tensor = self.tower_q(self.bag(token_ids_NT, token_mask_NT))
        return v_ND

    def product(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """v_p, float32 [N, D]."""
        v_ND: Tensor = self.tower_p(self.bag(token_ids_NT, token_mask_NT))
        return v_ND

    def head(self, q: Tensor, p: Tensor) -> Tensor:
        """Logits, float32 [N], of q [N or 1, D] and p [N, D]."""
        return (q * p).sum(dim=-1) + self.b

    def dense_head(self) -> None:
        """A dot product has no layer to fuse."""

    def forward(
        self, query_ids: Tensor, query_mask: Tensor, product_ids: Tensor, product_mask: Tensor
    ) -> Tensor:
        """Logits of N pairs, float32 [N]."""
        return self.head(self.query(query_ids, query_mask), self.product(product_ids, product_mask))


def _tower(config: DeepDotConfig) -> nn.Sequential:
    """Layers that begin as one random linear map, which keeps dot products roughly."""
    widths = (config.width, *config.hidden)
    tower = nn.Sequential()
    given: tuple[int, ...] = (1,)
    width = config.width
    for wide, narrow in itertools.pairwise(widths):
        layer = nn.Linear(wide, narrow)
        begin_linear(layer, random_map(narrow // 2, width), given=given)
        tower.append(layer).append(nn.ReLU())
        given, width = MIRRORED, narrow // 2
    last = nn.Linear(widths[-1], config.output)
    begin_linear(last, random_map(config.output, width), given=given, mirrored=False)
    return tower.append(last)
