"""How near query and title are to a pretrained encoder: what the trees see beside words.

sentence_cosine     of the means of all tokens, as sentence encoders are trained
sentence_centred    the same about the catalogue's mean: what all titles share says nothing
sentence_scaled     the same with the catalogue's strongest directions scaled to one length
middle_..., last_...
                    late interaction (as ColBERT's) in two of the encoder's layers: for each token
                    of the query, its largest cosine to a token of the title (class Late)
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.lexical_catalogue import Catalogue, learn_catalogue
from distill.token_vectors import TokenEncoder, TokenVectors
from distill.transfer_options import OnProgress

_LAYERS = ("middle", "last")  # that token_graph.py keeps
_SENTENCE = ("sentence_cosine", "sentence_centred", "sentence_scaled")
_SAMPLE = 3_000  # titles that the catalogue's means and directions are taken of
_CHUNK = 256  # texts at a time, whose vectors take 60 kB each before they are reduced
_MOST_KEPT = 100_000  # texts, of 14 kB each, kept for the pairs to come: a catalogue's titles, once


class Late(NamedTuple):
    """One pair in one layer. A token's fit is its largest cosine to a token of the other text."""

    mean: float  # fit of the query's tokens
    weight: float  # the same by IDF of the tokens
    least: float  # of the query's token that fits worst
    gap: float  # largest IDF * (1 - fit): an important word that is missing
    last: float  # fit of the query's last token
    last_place: float  # where that lies in the title: above 0 = first token, to 1
    title: float  # fit of the title's head to the query, by IDF
    noun: float  # fit of the head's last token


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
        self._kept: dict[str, _Text] = {}

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
        known = self._texts([*queries, *titles])
        for row, (query, title) in enumerate(zip(queries, titles, strict=True)):
            asked, offered = known[query], known[title]
            if not len(asked.weights) or not len(offered.weights):
                continue
            cosines = [float(a @ b) for a, b in zip(asked.sentence, offered.sentence, strict=True)]
            late = [_late(asked, offered, layer) for layer in range(len(_LAYERS))]
            matrix[row] = (*cosines, *(number for each in late for number in each))
        return matrix

    def _texts(self, texts: Sequence[str]) -> dict[str, _Text]:
        """What is known of each distinct text, after a run of those that are new."""
        distinct = dict.fromkeys(texts)
        known = {text: self._kept[text] for text in distinct if text in self._kept}
        new = [text for text in distinct if text not in known]
        for start in range(0, len(new), _CHUNK):
            some = new[start : start + _CHUNK]
            known |= zip(some, map(self._text, self.encoder.vectors(some)), strict=True)
        kept = self._kept | known
        self._kept = dict(list(kept.items())[-_MOST_KEPT:])  # the oldest go
        return known

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


def _late(query: _Text, title: _Text, layer: int) -> Late:
    asked, offered = (text.tokens[layer].astype(np.float32) for text in (query, title))
    cosines = asked @ offered.T  # [n query, n title]
    fits, weights = cosines.max(axis=1), query.weights
    head = slice(0, title.head)
    back, their = cosines[:, head].max(axis=0), title.weights[head]
    return Late(
        mean=float(fits.mean()),
        weight=float(fits @ weights / weights.sum()),
        least=float(fits.min()),
        gap=float((weights * (1.0 - fits)).max()),
        last=float(fits[-1]),
        last_place=(int(cosines[-1].argmax()) + 1) / len(offered),
        title=float(back @ their / their.sum()),
        noun=float(back[-1]),
    )


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; zeros stay zeros."""
    length = np.sqrt((rows * rows).sum(axis=-1, keepdims=True))
    found: NDArray[np.float32] = rows / np.maximum(length, np.float32(1e-9))
    return found
