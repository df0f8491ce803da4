"""A query and a title as one text of tokens, as cross-encoders read them: [CLS] query [SEP] title
[SEP] with segments 0 and 1, or whatever the encoder's own tokenizer makes of two texts.

Each distinct text is tokenised once, however many pairs it stands in. No torch here: a converted
teacher labels without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from export.errors import EncoderRefused

_CHUNK = 1024  # texts per call of the tokenizer
_PADDINGS = ("[PAD]", "<pad>")


@dataclass(frozen=True)
class PairBatch:
    """N pairs of at most T tokens: ids, mask (1 = token) and segments, int64 [N, T]."""

    token_ids: NDArray[np.int64]
    token_mask: NDArray[np.int64]
    segments: NDArray[np.int64]

    @property
    def parts(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """In the order in which a cross-encoder takes them."""
        return self.token_ids, self.token_mask, self.segments


@dataclass(frozen=True)
class _Layout:
    """The special tokens around two texts, and the segment of each place."""

    before: list[int]
    between: list[int]
    after: list[int]
    first: int  # segment of the query's tokens, and of those before and behind it
    second: int


class PairTokenizer:
    """Texts -> token ids, and what stands around and between the two texts of a pair."""

    def __init__(self, tokenizer: Tokenizer, pad: int | None) -> None:
        """Learns the layout from what `tokenizer` makes of two texts.

        Args:
            tokenizer: of the encoder; padding and truncation are switched off.
            pad: the id in padded places; None for the one that the tokenizer names.

        Raises:
            EncoderRefused: no special token in front or none between: not an encoder's tokenizer.
        """
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self._layout = _layout(tokenizer)
        named = [tokenizer.token_to_id(token) for token in _PADDINGS]
        self.pad = pad if pad is not None else next((i for i in named if i is not None), 0)

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return vocabulary_size(self._tokenizer)

    @property
    def special_tokens(self) -> int:
        """How many tokens of a pair belong to neither text."""
        return len(self._layout.before) + len(self._layout.between) + len(self._layout.after)

    def save(self, path: str) -> None:
        """Writes tokenizer.json."""
        self._tokenizer.save(path)

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, whole and without special tokens."""
        ids: list[list[int]] = []
        for start in range(0, len(texts), _CHUNK):
            chunk = list(texts[start : start + _CHUNK])
            encoded = self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
            ids += [one.ids for one in encoded]
        return ids

    def lay_out(self, query: Sequence[int], title: Sequence[int]) -> tuple[list[int], list[int]]:
        """Token ids of a pair and their segments."""
        layout = self._layout
        first = [*layout.before, *query, *layout.between]
        second = [*title, *layout.after]
        segments = [layout.first] * len(first) + [layout.second] * len(second)
        return first + second, segments


class PairRows:
    """Pairs as token ids: each distinct text tokenised once, cut to a limit pair by pair.

    Of a pair that is too long, the title gives way, but the query keeps no more than half of the
    places then: product titles carry their essence in front, and a query that long is a title.
    """

    def __init__(
        self,
        tokenizer: PairTokenizer,
        queries: Sequence[str],
        titles: Sequence[str],
        limit: int | None,
    ) -> None:
        """Tokenises aligned `queries` and `titles`; `limit` counts special tokens too."""
        self._tokenizer = tokenizer
        distinct = {text: row for row, text in enumerate(dict.fromkeys((*queries, *titles)))}
        self._ids = tokenizer.texts(list(distinct))
        self._pairs = np.array(
            [
                (distinct[query], distinct[title])
                for query, title in zip(queries, titles, strict=True)
            ],
            dtype=np.int64,
        ).reshape(-1, 2)
        whole = np.array([len(ids) for ids in self._ids], dtype=np.int64)[self._pairs]
        self._kept = whole if limit is None else _cut(whole, limit - tokenizer.special_tokens)
        self.lengths: NDArray[np.int64] = self._kept.sum(axis=1) + tokenizer.special_tokens

    def __len__(self) -> int:
        return len(self._pairs)

    def batch(self, rows: NDArray[np.int64]) -> PairBatch:
        """Those pairs, padded to the longest of them."""
        shape = (len(rows), int(self.lengths[rows].max()))
        token_ids = np.full(shape, self._tokenizer.pad, dtype=np.int64)
        token_mask, segments = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for place, row in enumerate(rows):
            (query, title), (query_kept, title_kept) = self._pairs[row], self._kept[row]
            ids, segment = self._tokenizer.lay_out(
                self._ids[query][:query_kept], self._ids[title][:title_kept]
            )
            token_ids[place, : len(ids)] = ids
            token_mask[place, : len(ids)] = 1
            segments[place, : len(ids)] = segment
        return PairBatch(token_ids, token_mask, segments)


def vocabulary_size(tokenizer: Tokenizer) -> int:
    """One more than the tokenizer's largest id."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def batches_by_length(lengths: NDArray[np.int64], tokens: int) -> list[NDArray[np.int64]]:
    """Rows 0..n-1 from long to short, as many at a time as fill `tokens` with their padding."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, tokens // int(lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def covering_limit(lengths: NDArray[np.int64], share: float, most: int | None) -> int:
    """Smallest multiple of 8 that leaves `share` of the pairs whole, at most `most` tokens."""
    covering = int(np.quantile(lengths, share, method="higher"))
    rounded = max(8, -(-covering // 8) * 8)
    return rounded if most is None else min(rounded, most)


def _cut(whole: NDArray[np.int64], room: int) -> NDArray[np.int64]:
    """Kept tokens [n, 2] of queries and titles of `whole` [n, 2] tokens, `room` for both."""
    query, title = whole[:, 0], whole[:, 1]
    query = np.minimum(query, np.maximum(room - title, room // 2))
    return np.stack([query, np.minimum(title, room - query)], axis=1)


def _layout(tokenizer: Tokenizer) -> _Layout:
    """What stands around "a" and "a" as a pair.

    A tokenizer whose file has a template for one text only gets BERT's for two.
    """
    pair = tokenizer.encode("a", "a")
    place = np.array([-1 if side is None else side for side in pair.sequence_ids])
    ids, segments = np.array(pair.ids), np.array(pair.type_ids)
    query, title = np.flatnonzero(place == 0), np.flatnonzero(place == 1)
    if not query.size or not title.size:
        raise EncoderRefused("the tokenizer makes nothing of the letter a: not one for text")
    before, between = ids[: query[0]], ids[query[-1] + 1 : title[0]]
    after = ids[title[-1] + 1 :]
    first, second = int(segments[query[0]]), int(segments[title[0]])
    if not len(between):
        alone = tokenizer.encode("a")
        inside = [i for i, side in enumerate(alone.sequence_ids) if side is not None]
        before, after = np.array(alone.ids[: inside[0]]), np.array(alone.ids[inside[-1] + 1 :])
        between, first, second = after, 0, 1
    if not len(before) or not len(between):
        raise EncoderRefused(
            f"expected a tokenizer that makes [CLS] a [SEP] a [SEP], or the like, of two texts, "
            f"got {pair.tokens}: not an encoder's"
        )
    return _Layout(before.tolist(), between.tolist(), after.tolist(), first, second)
