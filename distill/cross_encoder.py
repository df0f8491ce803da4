"""The teacher's network: query and title in one text, read together by a pretrained encoder.

    H_NTd = encoder([CLS] query [SEP] title [SEP])      any encoder of transformers
    h_Nd  = H[:, 0], or the mean of H over the tokens
    logit_N = W2 tanh(W1 h + b1) + b2                   ReprBERT sec. 3.4.1: a 2-layer MLP on [CLS]

ReprBERT doesn't name the activation: tanh is that of BERT's own pooler. N pairs, T tokens of the
longest pair, d the encoder's width.
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from distill.pair_tokens import PairBatch
from distill.teacher_file import HeadConfig


class CrossEncoder(nn.Module):
    """Logits of pairs."""

    def __init__(self, encoder: nn.Module, config: Any, head: HeadConfig) -> None:
        """A pretrained or random `encoder` of transformers and a new head from torch's seed."""
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.head_config = head
        width: int = config.hidden_size
        last = nn.Linear(width, 1)
        self.head = nn.Sequential(nn.Dropout(head.dropout), last)
        if head.layers == 2:
            self.head = nn.Sequential(
                nn.Dropout(head.dropout),
                nn.Linear(width, width),
                nn.Tanh(),
                nn.Dropout(head.dropout),
                last,
            )
        for layer in self.head:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)  # BERT's
                nn.init.zeros_(layer.bias)
        known = inspect.signature(encoder.forward).parameters
        # ELECTRA and BERT have segments, DistilBERT takes none, RoBERTa's table has one row.
        self.takes_segments = (
            "token_type_ids" in known and (getattr(config, "type_vocab_size", 0) or 0) > 1
        )

    def forward(self, token_ids_NT: Tensor, token_mask_NT: Tensor, segments_NT: Tensor) -> Tensor:
        """Logits, float32 [N]."""
        inputs = {"input_ids": token_ids_NT, "attention_mask": token_mask_NT}
        if self.takes_segments:
            inputs["token_type_ids"] = segments_NT
        states_NTd: Tensor = self.encoder(**inputs)[0]
        if self.head_config.pooling == "cls":
            pooled_Nd = states_NTd[:, 0]
        else:
            mask_NT1 = token_mask_NT[:, :, None].to(states_NTd.dtype)
            pooled_Nd = (states_NTd * mask_NT1).sum(dim=1) / mask_NT1.sum(dim=1)
        logit_N1: Tensor = self.head(pooled_Nd)
        return logit_N1[:, 0]

    def on(self, batch: PairBatch, device: torch.device) -> Tensor:
        """Logits of a batch, float32 [N], computed on `device`."""
        logit_N: Tensor = self(*(torch.from_numpy(part).to(device) for part in batch.parts))
        return logit_N
