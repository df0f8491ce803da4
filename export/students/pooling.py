"""One sentence vector from an encoder's hidden states: guided by [CLS], as a mean, or [CLS] alone.

Shapes: N texts, T tokens with [CLS] and [SEP], S = T - 1 key positions, H width of the encoder,
D width of a sentence vector.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Pooling = Literal["mean", "cls"]

# Logit of a masked key: its weight is exactly 0, yet a row of nothing else gives no NaN.
MASKED = -1e9


def pooled(h_NTH: Tensor, token_mask_NT: Tensor, pooling: Pooling) -> Tensor:
    """The state of [CLS], or the mean of all states ([CLS] and [SEP] too), float32 [N, H].

    Baselines of the papers take [CLS]. Where an encoder is cut after its first layers, [CLS] has
    not yet seen the text: after layer 2 of MiniLM-L6 two titles' [CLS] have a cosine of 0.99999,
    their means one of 0.60 (standard deviation 0.08). Hence "mean" wherever nothing else is asked.
    """
    if pooling == "cls":
        return h_NTH[:, 0]
    mask_NT1 = token_mask_NT.to(h_NTH.dtype).unsqueeze(-1)
    return (h_NTH * mask_NT1).sum(dim=1) / mask_NT1.sum(dim=1)


def is_word(token_mask_NT: Tensor) -> Tensor:
    """Which of the places 1 .. T - 1 hold a word of the text, bool [N, S].

    Place 0 is [CLS]; the last token of a text is [SEP], so a word is a token that another follows.
    """
    return functional.pad(token_mask_NT[:, 2:], (0, 1)) > 0


class ContextGuidedAttention(nn.Module):
    """ReprBERT's sentence vector of one side and layer (CGA, eq. 2); see reprbert.py."""

    def __init__(self, hidden: int, projection: int) -> None:
        """W is H x D, without bias."""
        super().__init__()
        self.W = nn.Linear(hidden, projection, bias=False)

    def forward(self, h_NTH: Tensor, token_mask_NT: Tensor) -> Tensor:
        """Sentence vectors, float32 [N, D]; of a text without words, its [CLS]."""
        hW_NTD = self.W(h_NTH)
        Q_N1D, K_NSD = hW_NTD[:, :1], hW_NTD[:, 1:]
        key_NS = is_word(token_mask_NT)
        logits_N1S = Q_N1D @ K_NSD.transpose(1, 2) / math.sqrt(K_NSD.shape[-1])
        logits_N1S = logits_N1S.masked_fill(~key_NS.unsqueeze(1), MASKED)
        v_ND = (logits_N1S.softmax(dim=-1) @ K_NSD).squeeze(1)
        has_key_N1 = key_NS.any(dim=1, keepdim=True)
        return torch.where(has_key_N1, v_ND, Q_N1D.squeeze(1))


class MeanOfWords(nn.Module):
    """CGA without its attention: the same W and the same keys, all of equal weight.

    What an ablation should take away is the guidance, and nothing else: [CLS] alone would take the
    words away too.
    """

    def __init__(self, hidden: int, projection: int) -> None:
        """W is H x D, without bias."""
        super().__init__()
        self.W = nn.Linear(hidden, projection, bias=False)

    def forward(self, h_NTH: Tensor, token_mask_NT: Tensor) -> Tensor:
        """Sentence vectors, float32 [N, D]; of a text without words, its [CLS]."""
        hW_NTD = self.W(h_NTH)
        key_NS1 = is_word(token_mask_NT).to(hW_NTD.dtype).unsqueeze(-1)
        words_N1 = key_NS1.sum(dim=1)
        v_ND = (hW_NTD[:, 1:] * key_NS1).sum(dim=1) / words_N1.clamp(min=1.0)
        return torch.where(words_N1 > 0, v_ND, hW_NTD[:, 0])
