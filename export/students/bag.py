"""BERT2DNN's sentence embedding, shared by its two students."""

import torch
from torch import Tensor, nn

# Released code draws the table with std 1/sqrt(V), about 1e-3, and leaves it to billions of pairs
# to grow it. With 50 thousand pairs such a table stays near zero, and all texts look alike.
TABLE_STD = 0.1


class Bag(nn.Module):
    """e = sum_i E[w_i] / sqrt(n) over the n known tokens of a text; the zero vector where n = 0.

    Shapes: N texts, T tokens, V entries of the vocabulary, E width of the table (64).
    One table for queries and products: the paper's 158.5M parameters leave room for no second.
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        """Table of `vocabulary` x `width`; its gradient is sparse, a batch sees few tokens."""
        super().__init__()
        self.E = nn.Embedding(vocabulary, width, sparse=True)
        nn.init.normal_(self.E.weight, std=TABLE_STD)

    def forward(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """Bag embedding, float32 [N, E]."""
        mask_NT = token_mask_NT.to(torch.float32)
        n_N1 = mask_NT.sum(dim=1, keepdim=True)
        sum_NE: Tensor = (self.E(token_ids_NT) * mask_NT.unsqueeze(-1)).sum(dim=1)
        return sum_NE / n_N1.clamp(min=1.0).sqrt()
