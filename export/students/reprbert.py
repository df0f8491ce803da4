"""ReprBERT (Yao et al., KDD 2022): sentence vectors of L encoder layers and a rich interaction.

Shapes: N texts or pairs, T tokens with [CLS] and [SEP], H width of the encoder, D = 128 width of
a sentence vector, R = 3 D width of an interaction, L layers (2), V sentence vectors of a row.

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

Ablations (Table 4), each a flag; a row holds the vectors that are still read, and no others:
- late = False:          r = r_int (the paper's count of operations has the same terms). Layer L
                         is not built, for nothing would read it: of two layers one remains.
- intermediate = False:  r = r_late. With L = 1 there is none anyway.
- attention = False:     v_s^(l) = mean of h_1..n W_s^(l), the same W and the same keys
                         (`pooling.MeanOfWords`). What stood there in the paper's own ablation
                         is not known to us.
"""

from typing import ClassVar, Self

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from export.students.encoder import EncoderConfig, build_encoder
from export.students.pooling import ContextGuidedAttention, MeanOfWords
from export.students.student import DenseHead, Segments, StudentConfig, linear


class ReprBertConfig(StudentConfig):
    """The encoder's sizes (its num_hidden_layers is L), a sentence vector's width, ablations."""

    encoder: EncoderConfig
    projection: PositiveInt = 128
    late: bool = True
    intermediate: bool = True
    attention: bool = True

    @property
    def layers(self) -> list[int]:
        """Encoder layers, counted from 1, whose sentence vectors interact; V of them."""
        L = self.encoder.num_hidden_layers
        intermediate = range(1, L) if self.intermediate else ()
        return [*intermediate, L] if self.late else [*intermediate]

    @model_validator(mode="after")
    def _something_interacts(self) -> Self:
        if not self.layers:
            raise ValueError(
                "expected late or intermediate interaction, got neither: without late there must "
                "be intermediate, and at least 2 layers for it"
            )
        return self


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
        D, V = config.projection, len(config.layers)
        vectors: Segments = {f"layer{layer}": (i * D, D) for i, layer in enumerate(config.layers)}
        self.query_segments, self.product_segments = vectors, dict(vectors)
        deepest = {"num_hidden_layers": max(config.layers)}
        self.encoder = build_encoder(config.encoder.model_copy(update=deepest))
        sentence = ContextGuidedAttention if config.attention else MeanOfWords
        self.cga_q = nn.ModuleList(sentence(config.encoder.hidden_size, D) for _ in range(V))
        self.cga_p = nn.ModuleList(sentence(config.encoder.hidden_size, D) for _ in range(V))
        # Both sides begin alike: in unrelated axes, p - q and max(p, q) would say nothing of how
        # near two texts are until training had turned one onto the other.
        self.cga_p.load_state_dict(self.cga_q.state_dict())
        self.pool = nn.Parameter(torch.zeros(V - 1 if config.late else V))
        self.mlp1 = nn.Linear(3 * D, 3 * D)
        self.W2 = nn.Linear(3 * D, 2)

    def query(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """[q^(1) ; .. ; q^(L)], float32 [N, V D]."""
        return self._encode(self.cga_q, token_ids_NT, token_mask_NT)

    def product(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """[p^(1) ; .. ; p^(L)], float32 [N, V D]."""
        return self._encode(self.cga_p, token_ids_NT, token_mask_NT)

    def _encode(
        self, vectors: nn.ModuleList, token_ids_NT: Tensor, token_mask_NT: Tensor
    ) -> Tensor:
        states = self.encoder(
            input_ids=token_ids_NT, attention_mask=token_mask_NT, output_hidden_states=True
        ).hidden_states  # [0] is the embedding layer
        return torch.cat(
            [
                vector(states[layer], token_mask_NT)
                for vector, layer in zip(vectors, self.config.layers, strict=True)
            ],
            dim=-1,
        )

    def head(self, q: Tensor, p: Tensor) -> Tensor:
        """Logits, float32 [N], of q [N or 1, V D] and p [N, V D]."""
        V = len(self.config.layers)
        r_NR = self._combined(
            [
                interaction(p_ND, q_ND)
                for p_ND, q_ND in zip(p.chunk(V, dim=-1), q.chunk(V, dim=-1), strict=True)
            ]
        )
        x_NR = torch.relu(self.mlp1(r_NR)) + r_NR
        # softmax over two classes is the sigmoid of the difference of their logits
        w_1R = self.W2.weight[1:] - self.W2.weight[:1]
        return functional.linear(x_NR, w_1R, self.W2.bias[1:] - self.W2.bias[:1]).squeeze(-1)

    def _combined(self, interactions: list[Tensor]) -> Tensor:
        """The r of a head, float32 [N, R], from its V interactions."""
        middle = interactions[:-1] if self.config.late else interactions
        if not middle:
            return interactions[-1]
        if len(middle) == 1:  # the pool of one term is that term
            r_int_NR = middle[0]
        else:
            weights_V11 = self.pool.softmax(dim=0).view(-1, 1, 1)
            r_int_NR = (weights_V11 * torch.stack(middle)).sum(dim=0)
        return torch.maximum(r_int_NR, interactions[-1]) if self.config.late else r_int_NR

    def dense_head(self) -> DenseHead | None:
        """Interaction, MLP1 with its residual, and the difference of W2's two classes.

        None without late interaction of three layers or more: the kernel takes the maximum of the
        pool and one more vector, and there is none. (With two, the pool is the one vector.)
        """
        V = len(self.config.layers)
        if not self.config.late and V > 1:
            return None
        W2_RC, b2_C = linear(self.W2)
        return DenseHead(
            kind="interaction",
            layers=(linear(self.mlp1),),
            last=W2_RC[:, 1] - W2_RC[:, 0],
            last_bias=float(b2_C[1] - b2_C[0]),
            vectors=V,
            width=self.config.projection,
            pool=self.pool.detach().softmax(dim=0).numpy()[: V - 1],
        )

    def forward(
        self, query_ids: Tensor, query_mask: Tensor, product_ids: Tensor, product_mask: Tensor
    ) -> Tensor:
        """Logits of N pairs, float32 [N]."""
        return self.head(self.query(query_ids, query_mask), self.product(product_ids, product_mask))
