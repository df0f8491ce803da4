"""WordPiece ids through Hugging Face `tokenizers` (Rust, the reference for BERT checkpoints)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as HfTokenizer

from model_store.errors import TokenizerError
from model_store.words import Word, WordStatus

TOKENIZER_FILE = "tokenizer.json"


class WordPieceTokenizer:
    """[CLS] tokens [SEP] with their mask, as the encoder was trained on.

    `tokenizers` keeps truncation inside the tokenizer object, so each side has one of its own.
    """

    def __init__(self, path: Path, query_tokens: int, product_tokens: int) -> None:
        """Reads `tokenizer.json`; the limits count [CLS] and [SEP].

        Raises:
            TokenizerError: the file can't be read or is no tokenizer.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TokenizerError(f"{path.name}: can't be read: {error}") from error
        self._sides: dict[Literal["query", "product"], HfTokenizer] = {
            "query": _limited(text, query_tokens, path.name),
            "product": _limited(text, product_tokens, path.name),
        }

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return max(self._sides["query"].get_vocab(with_added_tokens=True).values()) + 1

    def encode(
        self, texts: Sequence[str], side: Literal["query", "product"]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and mask, both [n, length]; length is the longest text's."""
        encodings = self._sides[side].encode_batch_fast(list(texts))
        return (
            np.array([encoding.ids for encoding in encodings], dtype=np.int64),
            np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64),
        )

    def words(self, text: str, side: Literal["query", "product"]) -> list[Word]:
        """The words of a text, each with its pieces; a punctuation mark is a word too."""
        tokenizer = self._sides[side]
        seen = tokenizer.encode(text)
        pieces: dict[int, list[str]] = {}
        spans: dict[int, tuple[int, int]] = {}
        for part in (seen, *seen.overflowing):
            for token, word, span in zip(part.tokens, part.word_ids, part.offsets, strict=True):
                if word is None:  # [CLS], [SEP] and padding
                    continue
                first, last = spans.get(word, span)
                spans[word] = min(first, span[0]), max(last, span[1])
                if part is seen:
                    pieces.setdefault(word, []).append(token)
        unknown = tokenizer.model.unk_token
        words = []
        for word, (start, end) in spans.items():
            own = pieces.get(word, [])
            status: WordStatus = "cut" if not own else "unknown" if unknown in own else "known"
            # A space, so that what stood on both sides stays two words.
            without = f"{text[:start]} {text[end:]}"
            words.append(Word(text[start:end], tuple(own), status, without))
        return words


def _limited(text: str, limit: int, name: str) -> HfTokenizer:
    try:
        tokenizer = HfTokenizer.from_str(text)
    except Exception as error:  # tokenizers raises bare Exception for every malformed file
        raise TokenizerError(
            f"{name}: not a tokenizer of the `tokenizers` library: {error}"
        ) from error
    pad = tokenizer.token_to_id("[PAD]")
    if pad is None:
        raise TokenizerError(
            f"{name}: expected a [PAD] token, found none: not a BERT-type tokenizer"
        )
    tokenizer.enable_truncation(max_length=limit)
    tokenizer.enable_padding(pad_id=pad, pad_token="[PAD]")  # noqa: S106 - a token of text
    return tokenizer
