"""BERT2DNN's sentence embedding, shared by its two students."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# Released code draws the table with std 1/sqrt(V), about 1e-3, and leaves it to billions of pairs
# to grow it. With 50 thousand pairs such a table stays near zero, and all texts look alike.
TABLE_STD = 0.1


class Bag(nn.Module):
    """e = sum_i E[w_i] / sqrt(n) over the n known tokens of a text; the zero vector where n = 0.

    Shapes: N texts, T tokens, V entries of the vocabulary, E width of the table (64).
    One table for queries and products: the paper's 158.5M parameters leave room for no second.

    A CWUB tokenizer gives known tokens only. WordPiece gives [CLS], [SEP] and [UNK] too, which are
    no words of the text: they would make every two texts alike, and n larger. `not_counted` are
    their ids; they are dropped as CWUB drops unknown tokens.
    """

    def __init__(self, vocabulary: int, width: int, not_counted: Sequence[int] = ()) -> None:
        """Table of `vocabulary` x `width`; its gradient is sparse, a batch sees few tokens."""
        super().__init__()
        self.not_counted = tuple(not_counted)
        self.E = nn.Embedding(vocabulary, width, sparse=True)
        nn.init.normal_(self.E.weight, std=TABLE_STD)

    @torch.no_grad()
    def begin_with(self, meanings_VH: Tensor, weights_V: Tensor) -> None:
        """Fills the table from an encoder's word embeddings, float32 [V or more, H].

        Taken are their principal components, each scaled to the variance of a random column
        (whitened): as they are, the first few would drown the others. With H < E the last columns
        stay random. Then each row is multiplied by its token's weight, float32 [V]: meanings don't
        say which words of a text matter.
        """
        centred_VH = (meanings_VH - meanings_VH.mean(dim=0)).double()
        variances_H, directions_HH = torch.linalg.eigh(centred_VH.T @ centred_VH / len(centred_VH))
        taken = min(self.E.embedding_dim, centred_VH.shape[1])
        components_VK = centred_VH @ directions_HH.flip(1)[:, :taken]
        components_VK *= TABLE_STD / variances_H.flip(0)[:taken].clamp(min=1e-12).sqrt()
        self.E.weight[:, :taken] = components_VK[: self.E.num_embeddings].float()
        self.E.weight *= weights_V.unsqueeze(1)

    def forward(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """Bag embedding, float32 [N, E]."""
        mask_NT = token_mask_NT.to(torch.float32)
        for token in self.not_counted:
            mask_NT = mask_NT * (token_ids_NT != token)
        n_N1 = mask_NT.sum(dim=1, keepdim=True)
        sum_NE: Tensor
        if self.training:
            # The same sum without a look at padding, and without a gradient for it. Graphs are
            # traced from the other one: ONNX has no such operator.
            counted_NT = mask_NT > 0
            n_N = counted_NT.sum(dim=1)
            sum_NE = functional.embedding_bag(
                token_ids_NT[counted_NT],
                self.E.weight,
                n_N.cumsum(dim=0) - n_N,
                mode="sum",
                sparse=True,
            )
        else:
            sum_NE = (self.E(token_ids_NT) * mask_NT.unsqueeze(-1)).sum(dim=1)
        return sum_NE / n_N1.clamp(min=1.0).sqrt()
