"""How near query and title are to a pretrained encoder: what the trees see beside words.

sentence_cosine     of the means of all tokens, as sentence encoders are trained
sentence_centred    the same about the catalogue's mean: what all titles share says nothing
sentence_scaled     the same with the catalogue's strongest directions scaled to one length
middle_..., last_...
                    late interaction (as ColBERT's) in two of the encoder's layers: for each token
                    of the query, its largest cosine to a token of the title (class Late)
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.lexical_catalogue import Catalogue, learn_catalogue
from distill.recent_texts import RecentTexts
from distill.token_vectors import TokenEncoder, TokenVectors
from distill.transfer_options import OnProgress

_LAYERS = ("middle", "last")  # that token_graph.py keeps
_SENTENCE = ("sentence_cosine", "sentence_centred", "sentence_scaled")
_SAMPLE = 3_000  # titles that the catalogue's means and directions are taken of
_CHUNK = 256  # texts at a time, whose vectors take 60 kB each before they are reduced
_MOST_KEPT = 100_000  # texts, of 14 kB each, kept for the pairs to come: a catalogue's titles, once


_ByLayer = NDArray[np.float32]  # [K]


class Late(NamedTuple):
    """One pair, by layer. A token's fit is its largest cosine to a token of the other text."""

    mean: _ByLayer  # fit of the query's tokens
    weight: _ByLayer  # the same by IDF of the tokens
    least: _ByLayer  # of the query's token that fits worst
    gap: _ByLayer  # largest IDF * (1 - fit): an important word that is missing
    last: _ByLayer  # fit of the query's last token
    last_place: _ByLayer  # where that lies in the title: above 0 = first token, to 1
    title: _ByLayer  # fit of the title's head to the query, by IDF
    noun: _ByLayer  # fit of the head's last token


MEANING = (*_SENTENCE, *(f"{layer}_{name}" for layer in _LAYERS for name in Late._fields))


class _Text(NamedTuple):
    """A text, kept for every pair it stands in.

    sentence: vectors of length 1 for each of _SENTENCE, float32 [H], [H] and [D]
    tokens: centred, in the catalogue's directions, of length 1; float16 [K, n, D]
    weights: IDF, float32 [n]
    head: as in TokenVectors
    """

    sentence: tuple[NDArray[np.float32], ...]
    tokens: NDArray[np.float16]
    weights: NDArray[np.float32]
    head: int


class Meaning:
    """Features of pairs by an encoder, in the terms of one catalogue."""

    def __init__(self, encoder: TokenEncoder, catalogue: Catalogue) -> None:
        """Takes what `learn_catalogue` or `read_catalogue` gives."""
        self.catalogue = catalogue
        self.encoder = encoder
        self._texts = RecentTexts(self._vectors, _MOST_KEPT)

    @classmethod
    def learn(
        cls, encoder: TokenEncoder, titles: Sequence[str], on_progress: OnProgress
    ) -> "Meaning":
        """In the terms of these titles, or of evenly spaced ones of many."""
        some = titles[:: -(-len(titles) // _SAMPLE) or 1]
        found: list[TokenVectors] = []
        for start in range(0, len(some), _CHUNK):
            on_progress("meaning of the catalogue", start, len(some))
            found += encoder.vectors(some[start : start + _CHUNK])
        on_progress("meaning of the catalogue", len(some), len(some))
        return cls(encoder, learn_catalogue(found, encoder.vocabulary))

    def matrix(self, queries: Sequence[str], titles: Sequence[str]) -> NDArray[np.float32]:
        """Features of n aligned pairs, float32 [n, len(MEANING)]; NaN: there is no such number.

        Texts of the calls before are kept, up to a limit; a pair's row depends on the pair alone.
        """
        matrix = np.full((len(queries), len(MEANING)), np.nan, dtype=np.float32)
        known = self._texts.of([*queries, *titles])
        asked: dict[str, NDArray[np.float32]] = {
            query: known[query].tokens.astype(np.float32) for query in dict.fromkeys(queries)
        }
        for row, (query, title) in enumerate(zip(queries, titles, strict=True)):
            one, other = known[query], known[title]
            if not len(one.weights) or not len(other.weights):
                continue
            for column, (mine, theirs) in enumerate(zip(one.sentence, other.sentence, strict=True)):
                matrix[row, column] = mine @ theirs
            matrix[row, len(_SENTENCE) :] = _late(asked[query], one.weights, other).ravel()
        return matrix

    def scaled(self, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Of each text the vector that `sentence_scaled` compares, float32 [D], of length 1."""
        return {text: each.sentence[-1] for text, each in self._texts.of(texts).items()}

    def _vectors(self, texts: Sequence[str]) -> Iterator[_Text]:
        for start in range(0, len(texts), _CHUNK):
            yield from map(self._text, self.encoder.vectors(texts[start : start + _CHUNK]))

    def _text(self, vectors: TokenVectors) -> _Text:
        said = self.catalogue
        mean = vectors.layers[-1].mean(axis=0)
        centred = mean - said.sentence_mean
        tokens: NDArray[np.float32] = (
            vectors.layers[:, vectors.own] - said.token_mean[:, np.newaxis]
        )
        return _Text(
            sentence=tuple(map(_unit, (mean, centred, centred @ said.sentence_axes))),
            tokens=_unit(tokens @ said.token_axes).astype(np.float16),
            weights=said.idf[vectors.pieces],
            head=vectors.head,
        )


def _late(
    asked: NDArray[np.float32], weights: NDArray[np.float32], title: _Text
) -> NDArray[np.float32]:
    """The numbers of `Late` in each layer, float32 [K, 8].

    Args:
        asked: tokens of the query, float32 [K, n, D].
        weights: their IDF, float32 [n].
        title: the other text.
    """
    offered = title.tokens.astype(np.float32)
    cosines = asked @ offered.transpose(0, 2, 1)  # [K, n query, n title]
    fits = cosines.max(axis=2)
    head = slice(0, title.head)
    back, their = cosines[:, :, head].max(axis=1), title.weights[head]
    late = Late(
        mean=fits.mean(axis=1),
        weight=np.array([fit @ weights / weights.sum() for fit in fits]),
        least=fits.min(axis=1),
        gap=(weights * (1.0 - fits)).max(axis=1),
        last=fits[:, -1],
        last_place=(cosines[:, -1].argmax(axis=1) + 1) / np.float32(offered.shape[1]),
        title=np.array([fit @ their / their.sum() for fit in back]),
        noun=back[:, -1],
    )
    return np.array(late, dtype=np.float32).T


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; zeros stay zeros."""
    length = np.sqrt((rows * rows).sum(axis=-1, keepdims=True))
    found: NDArray[np.float32] = rows / np.maximum(length, np.float32(1e-9))
    return found
