"""Poly-encoder (Humeau et al., ICLR 2020), as ReprBERT compares with it: m vectors of a query.

Shapes: N texts or pairs, T tokens with [CLS] and [SEP], H width of the encoder, m codes.

    h      = hidden states of the encoder's last layer kept         one encoder for both sides
    y_i    = sum_j softmax_j(c_i . h_j) h_j       i = 1..m          learned codes c_i, query's h
    y_p    = pool(h)                                                product's h
    w      = softmax_i(y_i . y_p)
    dot    = (sum_i w_i y_i) . y_p                                  the paper's score
    logit  = a (dot / sqrt(H) - c),  score = sigmoid(logit)

The head never makes the mixed vector sum_i w_i y_i. The dot product is linear, so

    (sum_i w_i y_i) . y_p  =  sum_i w_i (y_i . y_p)  =  sum_i softmax(s)_i s_i,  s_i = y_i . y_p

and the m dot products that the softmax needs anyway are all there is: m H multiplications per
candidate instead of 2 m H + H, and for all candidates of a request one matrix product
[N, H] x [H, m].

As in its authors' code, dots in a softmax are not divided by sqrt(H), and [CLS] and [SEP] are
tokens like others. Left open, or chosen otherwise:
- m = 16; the paper tries 16, 64 and 360. A query of seven tokens has no use for 64 views of it.
- Codes start as N(0, 1/H): a state is about sqrt(H) long, so the first attention is soft.
- One encoder, not one for each side: ReprBERT counts the parameters of one.
- pool is the mean by default, [CLS] the option (`pooling.pooled` says why).
- a and c are learned: the paper's softmax over a batch of candidates needs no probability.
"""

import math
from typing import ClassVar, Self

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from export.students.encoder import EncoderConfig, build_encoder, last_states
from export.students.pooling import MASKED, Pooling, pooled
from export.students.similarity import Scale
from export.students.student import Segments, StudentConfig

_WIDEST_ROW = 65_536  # floats; what a manifest allows


class PolyConfig(StudentConfig):
    """The encoder's sizes, m, and what a product's states become one vector by."""

    encoder: EncoderConfig
    codes: PositiveInt = 16
    pooling: Pooling = "mean"

    @model_validator(mode="after")
    def _a_row_can_be_stored(self) -> Self:
        if self.codes * self.encoder.hidden_size > _WIDEST_ROW:
            raise ValueError(
                f"expected a query row of at most {_WIDEST_ROW} floats, got {self.codes} codes of "
                f"{self.encoder.hidden_size}: take fewer codes"
            )
        return self


class Poly(nn.Module):
    """m views of a query, of which each product chooses its own mixture."""

    kind: ClassVar[str] = "poly"

    def __init__(self, config: PolyConfig) -> None:
        """Random weights; `encoder.load_encoder_weights` fills `self.encoder`."""
        super().__init__()
        self.config = config
        H, m = config.encoder.hidden_size, config.codes
        self.query_segments: Segments = {f"code{i + 1}": (i * H, H) for i in range(m)}
        self.product_segments: Segments = {"sentence": (0, H)}
        self.encoder = build_encoder(config.encoder)
        self.codes = nn.Parameter(torch.randn(m, H) / math.sqrt(H))
        self.scale = Scale(a=1.3, c=1.0)  # dots spread three times as far as cosines

    def query(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """[y_1 ; .. ; y_m], float32 [N, m H]."""
        h_NTH = last_states(self.encoder, token_ids_NT, token_mask_NT)
        # Codes on the left: as a right factor they would be quantised to int8 with the encoder's
        # matrices, and an attention whose logits are not scaled bears no coarse codes.
        logits_NmT = self.codes @ h_NTH.transpose(1, 2)
        logits_NmT = logits_NmT.masked_fill(token_mask_NT.unsqueeze(1) == 0, MASKED)
        y_NmH = logits_NmT.softmax(dim=-1) @ h_NTH
        return y_NmH.flatten(start_dim=1)

    def product(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """y_p, float32 [N, H]."""
        h_NTH = last_states(self.encoder, token_ids_NT, token_mask_NT)
        return pooled(h_NTH, token_mask_NT, self.config.pooling)

    def head(self, q: Tensor, p: Tensor) -> Tensor:
        """Logits, float32 [N], of q [N or 1, m H] and p [N, H]."""
        H = p.shape[-1]
        y_NmH = q.reshape(len(q), self.config.codes, H)
        s_Nm = _dots(y_NmH[0], p) if len(y_NmH) == 1 else (y_NmH @ p.unsqueeze(-1)).squeeze(-1)
        dot_N = (s_Nm.softmax(dim=-1) * s_Nm).sum(dim=-1)
        logit_N: Tensor = self.scale(dot_N / math.sqrt(H))
        return logit_N

    def dense_head(self) -> None:
        """Its matrix comes with the query; the fused kernel packs matrices once."""

    def forward(
        self, query_ids: Tensor, query_mask: Tensor, product_ids: Tensor, product_mask: Tensor
    ) -> Tensor:
        """Logits of N pairs, float32 [N]."""
        return self.head(self.query(query_ids, query_mask), self.product(product_ids, product_mask))


def _dots(y_mH: Tensor, p_NH: Tensor) -> Tensor:
    """y_i . p of one query and all its candidates as one matrix product, float32 [N, m].

    A row of zeros is added and taken away: ONNX Runtime multiplies a single row by a routine of its
    own, which adds in another order, and a score must not depend on the tile it falls into.
    """
    return (functional.pad(p_NH, (0, 0, 0, 1)) @ y_mH.T)[:-1]
