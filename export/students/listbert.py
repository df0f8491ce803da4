"""The student of ListBERT (Myntra, SIGIR eCom 2022): two towers, for listwise distillation.

Shapes: N texts or pairs, T tokens with [CLS] and [SEP], H width of the encoder, D = 128 width of
a sentence vector.

    h      = hidden states of the encoder's last layer kept         one encoder for both sides
    u_s    = W_s pool(h),  v_s = u_s / |u_s|                        s in {query, product}
    logit  = a (v_q . v_p - c)
    score  = sigmoid(logit)

Only the paper's abstract is public to us: a RoBERTa teacher trained with listwise losses, and a
"representation-focused" student, some ten times as fast. All else here is ours: cosine times a
scale, as in DSSM (Huang et al., CIKM 2013), the standing example of that family; 128, the width
of ReprBERT's vectors; a W for each side, since a query is no title. Both begin as the same numbers:
a projection keeps cosines roughly (Johnson and Lindenstrauss, 1984), so that the student starts
from what the encoder knows of two texts; through two of their own, all pairs look alike at first.

A listwise loss sees differences of logits only, so it never moves c: the order of a list is
learned, its place on the scale of probabilities is not. Calibrate before setting a threshold.
"""

from typing import ClassVar

from pydantic import PositiveInt
from torch import Tensor, nn

from export.students.encoder import EncoderConfig, build_encoder, last_states
from export.students.pooling import Pooling, pooled
from export.students.similarity import Scale, unit
from export.students.student import Segments, StudentConfig


class ListBertConfig(StudentConfig):
    """The encoder's sizes, what makes a sentence of its states, and the sentence's width."""

    encoder: EncoderConfig
    pooling: Pooling = "mean"
    projection: PositiveInt = 128


class ListBert(nn.Module):
    """A shared encoder, a projection for each side, and a cosine."""

    kind: ClassVar[str] = "listbert"

    def __init__(self, config: ListBertConfig) -> None:
        """Random weights; `encoder.load_encoder_weights` fills `self.encoder`."""
        super().__init__()
        self.config = config
        sentence: Segments = {"sentence": (0, config.projection)}
        self.query_segments, self.product_segments = sentence, dict(sentence)
        self.encoder = build_encoder(config.encoder)
        self.W_q = nn.Linear(config.encoder.hidden_size, config.projection, bias=False)
        self.W_p = nn.Linear(config.encoder.hidden_size, config.projection, bias=False)
        self.W_p.load_state_dict(self.W_q.state_dict())
        self.scale = Scale(a=5.0, c=0.6)  # the mean cosine of a fresh MiniLM

    def query(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """v_q, float32 [N, D]."""
        return unit(self.W_q(self._sentence(token_ids_NT, token_mask_NT)))

    def product(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """v_p, float32 [N, D]."""
        return unit(self.W_p(self._sentence(token_ids_NT, token_mask_NT)))

    def _sentence(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        h_NTH = last_states(self.encoder, token_ids_NT, token_mask_NT)
        return pooled(h_NTH, token_mask_NT, self.config.pooling)

    def head(self, q: Tensor, p: Tensor) -> Tensor:
        """Logits, float32 [N], of q [N or 1, D] and p [N, D]."""
        logit_N: Tensor = self.scale((q * p).sum(dim=-1))
        return logit_N

    def dense_head(self) -> None:
        """A dot product has no layer to fuse."""

    def forward(
        self, query_ids: Tensor, query_mask: Tensor, product_ids: Tensor, product_mask: Tensor
    ) -> Tensor:
        """Logits of N pairs, float32 [N]."""
        return self.head(self.query(query_ids, query_mask), self.product(product_ids, product_mask))
