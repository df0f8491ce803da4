"""BERT2DNN, fully connected (Jiang et al., ICDM 2020): a bag of words and an MLP.

Shapes: N texts or pairs, T tokens, E = 64 width of the table, H = 1024 width of hidden layer 1.

    e_s    = sum_i E[w_i] / sqrt(n)              s in {query, product}, over its n known tokens
    x      = [e_q ; e_p]                         128 wide
    logit  = w5 relu(W4 relu(W3 relu(W2 relu(W1 x + b1))))  4 hidden layers: 1024, 256, 128, 64
    score  = sigmoid(logit)

Layer 1 is linear in x, so W1 x + b1 = (W1_q e_q + b1) + W1_p e_p: its query half is computed once
per request and is the query row. The paper's layer sizes are used (its 0.3M parameters are theirs;
the released code has 512 in place of 256). No dropout and no norm; the released code's L2 term
never reaches its loss. Where the weights begin is ours.
"""

import itertools
from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from export.students.bag import Bag
from export.students.looks_linear import MIRRORED, begin_linear, random_map
from export.students.student import DenseHead, Segments, StudentConfig, linear

# c of the first logits: with it they spread by about 0.2 over texts that share some words.
FIRST_GAIN = 0.5


class Bert2DnnConfig(StudentConfig):
    """Entries of the vocabulary, width of the table, widths of the hidden layers.

    not_counted: ids of tokens that are no words of a text (`bag.Bag`); none with CWUB
    """

    vocabulary: PositiveInt
    width: PositiveInt = 64
    hidden: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (1024, 256, 128, 64)
    not_counted: tuple[NonNegativeInt, ...] = ()


class Bert2DnnFc(nn.Module):
    """The paper's headline student."""

    kind: ClassVar[str] = "bert2dnn"

    def __init__(self, config: Bert2DnnConfig) -> None:
        """Random weights, with which two texts are the more alike the more words they share."""
        super().__init__()
        self.config = config
        first, *_, last = config.hidden
        self.query_segments: Segments = {"layer1_query": (0, first)}
        self.product_segments: Segments = {"bag": (0, config.width)}
        self.bag = Bag(config.vocabulary, config.width, config.not_counted)
        self.W1_q = nn.Linear(config.width, first)
        self.W1_p = nn.Linear(config.width, first, bias=False)
        layers = [nn.Linear(wide, narrow) for wide, narrow in itertools.pairwise(config.hidden)]
        self.layers = nn.ModuleList(layers)
        self.out = nn.Linear(last, 1)
        self._begin_with_shared_words(layers)

    def query(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """W1_q e_q + b1, float32 [N, H]."""
        e_NE = self.bag(token_ids_NT, token_mask_NT)
        q_NH: Tensor = self.W1_q(e_NE)
        return q_NH

    def product(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """e_p, float32 [N, E]."""
        e_NE: Tensor = self.bag(token_ids_NT, token_mask_NT)
        return e_NE

    def head(self, q: Tensor, p: Tensor) -> Tensor:
        """Logits, float32 [N], of q [N or 1, H] and p [N, E]."""
        x_NH = torch.relu(q + self.W1_p(p))
        for layer in self.layers:
            x_NH = torch.relu(layer(x_NH))  # 1024 -> 256 -> 128 -> 64
        logit_N: Tensor = self.out(x_NH).squeeze(-1)
        return logit_N

    def dense_head(self) -> DenseHead:
        """The whole MLP: the query row is the bias of its first layer."""
        last, last_bias = linear(self.out)
        return DenseHead(
            kind="mlp",
            layers=(linear(self.W1_p), *(linear(layer) for layer in self.layers)),
            last=last[:, 0],
            last_bias=float(last_bias[0]),
        )

    def forward(
        self, query_ids: Tensor, query_mask: Tensor, product_ids: Tensor, product_mask: Tensor
    ) -> Tensor:
        """Logits of N pairs, float32 [N]."""
        return self.head(self.query(query_ids, query_mask), self.product(product_ids, product_mask))

    @torch.no_grad()
    def _begin_with_shared_words(self, layers: Sequence[nn.Linear]) -> None:
        """Weights with which logit = c / sqrt(k) sum_i |r_i (e_q + e_p)| - |r_i (e_q - e_p)|.

        r_i are k random directions, and the sum tells |e_q + e_p| from |e_q - e_p|, as e_q . e_p
        does. |x| = relu(x) + relu(-x), so a direction takes four units of layer 1; the layers above
        are linear at first (`looks_linear`), and what their units sum up to stays the sum.
        """
        k = self.W1_p.out_features // 4
        r_kE = random_map(k, self.config.width) * (k / self.config.width) ** 0.5
        self.W1_q.weight[: 4 * k] = torch.cat([r_kE, -r_kE, r_kE, -r_kE])
        self.W1_p.weight[: 4 * k] = torch.cat([r_kE, -r_kE, -r_kE, r_kE])
        nn.init.zeros_(self.W1_q.bias)
        given: tuple[int, ...] = (1, 1, -1, -1)
        width = k
        for layer in layers:
            out = layer.out_features // 2
            begin_linear(layer, _map_of_sums(out, width), given=given)
            given, width = MIRRORED, out
        begin_linear(self.out, FIRST_GAIN * _all_alike(width), given=given, mirrored=False)


def _map_of_sums(out: int, width: int) -> Tensor:
    """A random map under which sum(y) / sqrt(out) = sum(x) / sqrt(width), float32 [out, width].

    In one unit of y the sum would be as coarse as int8 makes that unit.
    """
    u_1O, s_1W = _all_alike(out), _all_alike(width)
    map_OW = random_map(out, width)
    map_OW -= u_1O.T @ (u_1O @ map_OW)
    map_OW += (u_1O.T - map_OW @ s_1W.T) @ s_1W
    return map_OW


def _all_alike(width: int) -> Tensor:
    """The direction of length 1 in which all values count alike, float32 [1, width]."""
    return torch.full((1, width), 1 / max(width, 1) ** 0.5)
