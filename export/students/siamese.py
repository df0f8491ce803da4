"""Siamese BERT, the plainest baseline of ReprBERT (Yao et al., KDD 2022, Table 2): one cosine.

Shapes: N texts or pairs, T tokens with [CLS] and [SEP], H width of the encoder.

    h      = hidden states of the encoder's last layer kept         one encoder for both sides
    v_s    = pool(h) / |pool(h)|                                    s in {query, product}
    logit  = a (v_q . v_p - c)                                      = a cos(q, p) + b
    score  = sigmoid(logit)

Rows are normalised in the towers, so the head is a dot product. Of this baseline the paper says
no more than that it is a BERT whose stored vector is as wide as the encoder. Chosen here:
- a and c are learned: a cosine is no probability, and the paper names no loss for binary labels;
- the mean of the tokens is the default for pool, [CLS] the option (`pooling.pooled` says why);
- the paper's has all 12 layers; here as many as asked for, so that it can be compared with other
  students at the same cost of a query.
"""

from typing import ClassVar

from torch import Tensor, nn

from export.students.encoder import EncoderConfig, build_encoder, last_states
from export.students.pooling import Pooling, pooled
from export.students.similarity import Scale, unit
from export.students.student import Segments, StudentConfig


class SiameseConfig(StudentConfig):
    """The encoder's sizes, and what its token states become a sentence by."""

    encoder: EncoderConfig
    pooling: Pooling = "mean"


class Siamese(nn.Module):
    """Two texts, one encoder, one cosine."""

    kind: ClassVar[str] = "siamese"

    def __init__(self, config: SiameseConfig) -> None:
        """Random weights; `encoder.load_encoder_weights` fills `self.encoder`."""
        super().__init__()
        self.config = config
        sentence: Segments = {"sentence": (0, config.encoder.hidden_size)}
        self.query_segments, self.product_segments = sentence, dict(sentence)
        self.encoder = build_encoder(config.encoder)
        self.scale = Scale(a=5.0, c=0.6)  # the mean cosine of a fresh MiniLM

    def query(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """v_q, float32 [N, H]."""
        return self._encode(token_ids_NT, token_mask_NT)

    def product(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """v_p, float32 [N, H]."""
        return self._encode(token_ids_NT, token_mask_NT)

    def _encode(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        h_NTH = last_states(self.encoder, token_ids_NT, token_mask_NT)
        return unit(pooled(h_NTH, token_mask_NT, self.config.pooling))

    def head(self, q: Tensor, p: Tensor) -> Tensor:
        """Logits, float32 [N], of q [N or 1, H] and p [N, H]."""
        logit_N: Tensor = self.scale((q * p).sum(dim=-1))
        return logit_N

    def dense_head(self) -> None:
        """A dot product has no layer to fuse."""

    def forward(
        self, query_ids: Tensor, query_mask: Tensor, product_ids: Tensor, product_mask: Tensor
    ) -> Tensor:
        """Logits of N pairs, float32 [N]."""
        return self.head(self.query(query_ids, query_mask), self.product(product_ids, product_mask))
