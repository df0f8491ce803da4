"""ReprBERT (Yao et al., KDD 2022): sentence vectors of L encoder layers and a rich interaction.

Shapes: N texts or pairs, T tokens with [CLS] and [SEP], S = T - 1 key positions, H width of the
encoder, D = 128 width of a sentence vector, R = 3 D width of an interaction, L layers (2).

    h^(1..L)  = hidden states of the encoder's first L layers             shared by both sides
    v_s^(l)   = softmax(Q K^T / sqrt(D) + mask) K                         eq. 2, s in {q, p}
                with Q = h_0 W_s^(l) ([CLS]), K = V = h_1..n W_s^(l)      one W for Q, K and V
    I(p, q)   = [max(p, q) ; p - q ; p + q]                               signed, order p - q
    r_late    = I(p^(L), q^(L)),  r_int = WeightedPool(I(p^(l), q^(l)), l < L)
    r         = max(r_int, r_late)                                        elementwise
    y         = softmax(W2 (MLP1(r) + r)),  score = y_1

Where the paper is ambiguous:
- eq. 2 has no softmax, scale or mask, but the text names Vaswani's attention; without them a
  vector's norm grows with the cube of the states, so they are here. A text without tokens gets Q.
- [SEP] is no key, as [CLS] is none: neither is a word of the text.
- eq. 2 writes W_q and W_p, but the paper's parameter count fits a single W for both sides and
  layers. Each side and layer has its own here: about 0.1M parameters each in its encoder.
- MLP1 is 384 x 384: the residual needs it, and so does the 297K of Table 2; ReLU as in the code.
- "Memory is fixed" for any L is wrong: max is not linear, so all L vectors are in the row.
"""

import math
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from export.students.encoder import EncoderConfig, build_encoder
from export.students.student import DenseHead, Segments, StudentConfig, linear

# Logit of a masked key: its weight is exactly 0, yet a row of nothing else gives no NaN.
_MASKED = -1e9


class ReprBertConfig(StudentConfig):
    """The encoder's sizes (its num_hidden_layers is L) and the width of a sentence vector."""

    encoder: EncoderConfig
    projection: PositiveInt = 128


class ContextGuidedAttention(nn.Module):
    """One side's sentence vector from one layer's hidden states (CGA, eq. 2)."""

    def __init__(self, hidden: int, projection: int) -> None:
        """W is H x D, without bias."""
        super().__init__()
        self.W = nn.Linear(hidden, projection, bias=False)

    def forward(self, h_NTH: Tensor, token_mask_NT: Tensor) -> Tensor:
        """Sentence vectors, float32 [N, D]."""
        hW_NTD = self.W(h_NTH)
        Q_N1D, K_NSD = hW_NTD[:, :1], hW_NTD[:, 1:]
        # A key is a token that another token follows: the last one of a text is [SEP].
        key_NS = functional.pad(token_mask_NT[:, 2:], (0, 1)) > 0
        logits_N1S = Q_N1D @ K_NSD.transpose(1, 2) / math.sqrt(K_NSD.shape[-1])
        logits_N1S = logits_N1S.masked_fill(~key_NS.unsqueeze(1), _MASKED)
        v_ND = (logits_N1S.softmax(dim=-1) @ K_NSD).squeeze(1)
        has_key_N1 = key_NS.any(dim=1, keepdim=True)
        return torch.where(has_key_N1, v_ND, Q_N1D.squeeze(1))


def interaction(p_ND: Tensor, q_ND: Tensor) -> Tensor:
    """I(p, q), float32 [N, R]; asymmetric, as p - q is. q may be [1, D]."""
    return torch.cat([torch.maximum(p_ND, q_ND), p_ND - q_ND, p_ND + q_ND], dim=-1)


class ReprBert(nn.Module):
    """The paper's model (the released code is a different relative of it)."""

    kind: ClassVar[str] = "reprbert"

    def __init__(self, config: ReprBertConfig) -> None:
        """Random weights; `encoder.load_encoder_weights` fills `self.encoder`."""
        super().__init__()
        self.config = config
        D, L = config.projection, config.encoder.num_hidden_layers
        layers: Segments = {f"layer{layer + 1}": (layer * D, D) for layer in range(L)}
        self.query_segments, self.product_segments = layers, dict(layers)
        self.encoder = build_encoder(config.encoder)
        self.cga_q = nn.ModuleList(
            ContextGuidedAttention(config.encoder.hidden_size, D) for _ in range(L)
        )
        self.cga_p = nn.ModuleList(
            ContextGuidedAttention(config.encoder.hidden_size, D) for _ in range(L)
        )
        self.pool = nn.Parameter(torch.zeros(L - 1))
        self.mlp1 = nn.Linear(3 * D, 3 * D)
        self.W2 = nn.Linear(3 * D, 2)

    def query(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """[q^(1) ; .. ; q^(L)], float32 [N, L D]."""
        return self._encode(self.cga_q, token_ids_NT, token_mask_NT)

    def product(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """[p^(1) ; .. ; p^(L)], float32 [N, L D]."""
        return self._encode(self.cga_p, token_ids_NT, token_mask_NT)

    def _encode(self, cga: nn.ModuleList, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        states = self.encoder(
            input_ids=token_ids_NT, attention_mask=token_mask_NT, output_hidden_states=True
        ).hidden_states[1:]  # [0] is the embedding layer
        return torch.cat(
            [attend(h_NTH, token_mask_NT) for attend, h_NTH in zip(cga, states, strict=True)],
            dim=-1,
        )

    def head(self, q: Tensor, p: Tensor) -> Tensor:
        """Logits, float32 [N], of q [N or 1, L D] and p [N, L D]."""
        L = len(self.cga_q)
        *r_mid, r_NR = [
            interaction(p_ND, q_ND)
            for p_ND, q_ND in zip(p.chunk(L, dim=-1), q.chunk(L, dim=-1), strict=True)
        ]
        if len(r_mid) == 1:  # L = 2: the pool of one term is that term
            r_NR = torch.maximum(r_mid[0], r_NR)
        elif r_mid:
            weights_LNR = self.pool.softmax(dim=0).view(-1, 1, 1)  # of layers 1 .. L - 1
            r_int_NR = (weights_LNR * torch.stack(r_mid)).sum(dim=0)
            r_NR = torch.maximum(r_int_NR, r_NR)
        x_NR = torch.relu(self.mlp1(r_NR)) + r_NR
        # softmax over two classes is the sigmoid of the difference of their logits
        w_1R = self.W2.weight[1:] - self.W2.weight[:1]
        return functional.linear(x_NR, w_1R, self.W2.bias[1:] - self.W2.bias[:1]).squeeze(-1)

    def dense_head(self) -> DenseHead:
        """Interaction, MLP1 with its residual, and the difference of W2's two classes."""
        W2_RC, b2_C = linear(self.W2)
        return DenseHead(
            kind="interaction",
            layers=(linear(self.mlp1),),
            last=W2_RC[:, 1] - W2_RC[:, 0],
            last_bias=float(b2_C[1] - b2_C[0]),
            vectors=len(self.cga_q),
            width=self.config.projection,
            pool=self.pool.detach().softmax(dim=0).numpy(),
        )

    def forward(
        self, query_ids: Tensor, query_mask: Tensor, product_ids: Tensor, product_mask: Tensor
    ) -> Tensor:
        """Logits of N pairs, float32 [N]."""
        return self.head(self.query(query_ids, query_mask), self.product(product_ids, product_mask))
