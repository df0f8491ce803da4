"""The one shape every tokenizer has, and the one place that chooses among them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from model_store.cwub import VOCABULARY_FILE, CwubTokenizer, Vocabulary
from model_store.manifest import TokenizerSpec
from model_store.wordpiece import TOKENIZER_FILE, WordPieceTokenizer
from model_store.words import Word

Side = Literal["query", "product"]


class Tokenizer(Protocol):
    """Text -> token ids; what the `query` and `product` graphs take as input."""

    @property
    def size(self) -> int:
        """One more than the largest id."""
        ...

    def encode(
        self, texts: Sequence[str], side: Side
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and mask (1 = token, 0 = padding), both int64 [n, length], length >= 1."""
        ...

    def words(self, text: str, side: Side) -> list[Word]:
        """The words of a text, in its order, and the text without each."""
        ...


def open_tokenizer(folder: Path, spec: TokenizerSpec) -> Tokenizer:
    """The tokenizer whose files lie in `folder`.

    Raises:
        TokenizerError: its files are missing or are no tokenizer.
    """
    if spec.kind == "cwub":
        vocabulary = Vocabulary.open(folder / VOCABULARY_FILE)
        return CwubTokenizer(vocabulary, spec.query_tokens, spec.product_tokens)
    return WordPieceTokenizer(folder / TOKENIZER_FILE, spec.query_tokens, spec.product_tokens)
