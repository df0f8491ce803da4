"""CWUB, "Chinese word-unigram-bigram" tokens of BERT2DNN, and their memory-mapped vocabulary.

BERT2DNN (ICDM 2020). A unit is one Chinese character or one lower-cased alphabetic
word; a text of n units gives n unigrams and n + 1 bigrams, the ends marked ^ and $. The paper
leaves the rest open; Winnow defines:

- full-width and other compatibility forms are folded first (Unicode NFKC), then lower-cased;
- a run of digits is one unit, inner decimal points kept ("2.5"), split from letters (13 + mm);
- kana count as Chinese characters do; other scripts as alphabetic words;
- punctuation, symbols, emoji, controls and NUL separate units and give no token;
- a text without units has no tokens (its bag is the zero vector, as with only unknown tokens).
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model_store.errors import TokenizerError
from model_store.words import Word

VOCABULARY_FILE = "vocabulary.u64"

_CHARACTER = (
    "々〇"
    "\u3040-\u30ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\U00020000-\U0003ffff"  # Han, supplementary planes
)
_UNIT = re.compile(rf"[{_CHARACTER}]|\d+(?:\.\d+)*|[^\W\d_{_CHARACTER}]+")
_ONE_CHARACTER = re.compile(f"[{_CHARACTER}]")
_JOINER = " "  # can't occur in a unit, so no bigram is ever read as a unigram


def units(text: str) -> list[str]:
    """The units u_1..u_n of a text."""
    return _UNIT.findall(unicodedata.normalize("NFKC", text).lower())


def is_character(unit: str) -> bool:
    """Whether a unit is one Chinese character (or kana), which has no spaces around it in texts."""
    return _ONE_CHARACTER.fullmatch(unit) is not None


def tokens(text: str) -> list[str]:
    """The 2n + 1 CWUB tokens of a text of n units, in the paper's order; none where n = 0.

    >>> tokens("mac电脑")
    ['^ mac', 'mac', 'mac 电', '电', '电 脑', '脑', '脑 $']
    """
    words = units(text)
    if not words:
        return []
    out = [f"^{_JOINER}{words[0]}"]
    for word, following in zip(words, [*words[1:], "$"], strict=True):
        out += (word, f"{word}{_JOINER}{following}")
    return out


def token_hash(token: str) -> int:
    """64-bit hash of a token: stable over machines, processes and Python versions."""
    return int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest(), "little")


class Vocabulary:
    """Token -> row of the embedding table, as one sorted array of 64-bit token hashes.

    A token's id is the rank of its hash. The array is memory-mapped, so its pages are shared
    between processes: 3 million entries are 24 MB once per machine, where a dict of strings takes
    hundreds of MB per worker (`tests/model_store/test_vocabulary_cost.py` measures both). Two
    tokens of one vocabulary never share a hash (building checks); an unknown token is taken for a
    known one with probability entries / 2^64, 2e-13 at 3 million.
    """

    def __init__(self, hashes: NDArray[np.uint64]) -> None:
        """Takes the sorted hashes, in memory or mapped."""
        self._hashes = hashes

    def __len__(self) -> int:
        return len(self._hashes)

    @classmethod
    def open(cls, path: Path) -> "Vocabulary":
        """Maps a vocabulary file.

        Raises:
            TokenizerError: the file can't be read, or is not a whole number of entries.
        """
        try:
            size = path.stat().st_size
            if size == 0 or size % 8:
                raise TokenizerError(
                    f"{path.name}: expected a positive multiple of 8 bytes, got {size}"
                )
            return cls(np.memmap(path, dtype="<u8", mode="r"))
        except OSError as error:
            raise TokenizerError(f"{path.name}: can't be read: {error.strerror}") from error

    def save(self, path: Path) -> None:
        """Writes the file that `open` maps: little-endian unsigned 64-bit, sorted."""
        self._hashes.astype("<u8").tofile(path)

    def ids(self, text: str) -> NDArray[np.int64]:
        """Ids of the known tokens of a text, in order; unknown tokens are dropped, not counted."""
        rank, known = self.look_up(tokens(text))
        ids: NDArray[np.int64] = rank[known].astype(np.int64)
        return ids

    def look_up(self, wanted: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Ids of tokens [n], and which of them are known: the ids of the others mean nothing."""
        hashes = np.fromiter(map(token_hash, wanted), dtype=np.uint64)
        rank = np.searchsorted(self._hashes, hashes)
        rank[rank == len(self._hashes)] = 0  # past the end: compared below, and found different
        return rank, self._hashes[rank] == hashes


def build_vocabulary(
    texts: Iterable[str], minimum_frequency: int, maximum: int | None = None
) -> tuple[Vocabulary, list[str]]:
    """Vocabulary of the tokens seen at least `minimum_frequency` times, and those tokens by id.

    Of more than `maximum` the most frequent are kept; of equally frequent ones those that come
    first by code point, so that the order of the texts decides nothing.

    Raises:
        TokenizerError: no token is that frequent, or two tokens share a hash.
    """
    counts: Counter[str] = Counter()
    for text, times in Counter(texts).items():  # of millions of pairs, far fewer are distinct
        for token in tokens(text):
            counts[token] += times
    frequent = [token for token, n in counts.items() if n >= minimum_frequency]
    if maximum is not None and len(frequent) > maximum:
        frequent = sorted(frequent, key=lambda token: (-counts[token], token))[:maximum]
    kept = sorted((token_hash(token), token) for token in frequent)
    if not kept:
        raise TokenizerError(
            f"no token occurs {minimum_frequency} times in the texts ({len(counts)} distinct "
            "tokens): lower the minimum frequency or give more text"
        )
    hashes = np.array([value for value, _ in kept], dtype=np.uint64)
    clash = np.flatnonzero(hashes[1:] == hashes[:-1])
    if clash.size:
        first = int(clash[0])
        raise TokenizerError(
            f"tokens {kept[first][1]!r} and {kept[first + 1][1]!r} share a 64-bit hash: "
            "drop one of them from the texts"
        )
    return Vocabulary(hashes), [token for _, token in kept]


class CwubTokenizer:
    """CWUB ids with their mask; both sides share one vocabulary, as the paper's one table."""

    def __init__(self, vocabulary: Vocabulary, query_tokens: int, product_tokens: int) -> None:
        """Limits count known tokens; what lies beyond is cut off."""
        self._vocabulary = vocabulary
        self._limit = {"query": query_tokens, "product": product_tokens}

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return len(self._vocabulary)

    def encode(
        self, texts: Sequence[str], side: Literal["query", "product"]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and mask, both [n, length]; length is the longest bag's, at least 1."""
        limit = self._limit[side]
        bags = [self._vocabulary.ids(text)[:limit] for text in texts]
        length = max((len(bag) for bag in bags), default=0) or 1
        token_ids = np.zeros((len(bags), length), dtype=np.int64)
        token_mask = np.zeros((len(bags), length), dtype=np.int64)
        for row, bag in enumerate(bags):
            token_ids[row, : len(bag)] = bag
            token_mask[row, : len(bag)] = 1
        return token_ids, token_mask

    def words(self, text: str, side: Literal["query", "product"]) -> list[Word]:
        """The units of a text; each is part of one unigram and two bigrams."""
        split, named = units(text), tokens(text)
        _, known = self._vocabulary.look_up(named)
        seen = known & (np.cumsum(known) <= self._limit[side])
        most = int(np.flatnonzero(seen)[-1]) + 1 if seen.sum() == self._limit[side] else len(named)
        return [
            Word(
                unit,
                tuple(named[j] for j in range(2 * i, 2 * i + 3) if seen[j]),
                "cut" if 2 * i >= most else "known" if known[2 * i + 1] else "unknown",
                " ".join(split[:i] + split[i + 1 :]),
            )
            for i, unit in enumerate(split)
        ]
