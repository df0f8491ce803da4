"""Texts as vectors of their terms, learned from a catalogue's titles: TF-IDF and, of it, LSA.

Two kinds of term, each a space of its own:

words         as lexical_text.py cuts them
characters    3 and 4 letters in a row of a word with a space on either side, so that a misspelt
              word shares most of its terms with the right one

vocabulary.json    the terms of each space, by column
vectors.npz        <space>_weights float32 [V], <space>_axes float32 [V, D]; never a pickle
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.extmath import randomized_svd

from distill.errors import TeacherRefused, TrainingRefused
from distill.lexical_text import Text

VOCABULARY_FILE = "vocabulary.json"
VECTORS_FILE = "vectors.npz"

_PIECES = (3, 4)  # letters of a character term
_AXES = {"words": 128, "characters": 64}
SPACES = tuple(_AXES)

_MOST_TERMS = 200_000  # of a space: its axes then have 100 MB at most
_MANY_TITLES = 1_000  # from here on, a term of one title alone is left out of "characters"


class Vector(NamedTuple):
    """A text of k known terms in a space; without any, its vectors are zero.

    columns, values: its terms, int32 [k] and float32 [k]: (1 + log count) * IDF, of length 1
    latent: these in the space's axes, float32 [D], of length 1
    """

    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    latent: NDArray[np.float32]


@dataclass(frozen=True)
class TermSpace:
    """Terms of one kind, by column.

    weights: IDF, float32 [V]
    axes: the catalogue's D strongest directions (truncated SVD of its TF-IDF), float32 [V, D]
    """

    terms: tuple[str, ...]
    weights: NDArray[np.float32]
    axes: NDArray[np.float32]

    @cached_property
    def _vectoriser(self) -> TfidfVectorizer:
        made = _new_vectoriser(vocabulary=list(self.terms))
        made.idf_ = self.weights
        return made

    def vectors(self, documents: Sequence[Sequence[str]]) -> list[Vector]:
        """The vectors of n texts, each given as its terms; none depends on the others."""
        terms = self._vectoriser.transform(documents)
        latent: NDArray[np.float32] = np.asarray(terms @ self.axes, dtype=np.float32)
        length = np.sqrt((latent * latent).sum(axis=1, keepdims=True))
        latent /= np.maximum(length, np.float32(1e-9))
        rows = list(pairwise(terms.indptr))
        return [
            Vector(terms.indices[start:end].copy(), terms.data[start:end].copy(), axes.copy())
            for (start, end), axes in zip(rows, latent, strict=True)
        ]

    def cosines(
        self, vectors: Sequence[Vector], others: Sequence[Vector]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of n aligned pairs, by their terms and in the axes: both float32 [n]."""
        shared = self._matrix(vectors).multiply(self._matrix(others)).sum(axis=1)
        latent = np.stack([one.latent for one in vectors]), np.stack([one.latent for one in others])
        return np.asarray(shared).ravel(), (latent[0] * latent[1]).sum(axis=1)

    def _matrix(self, vectors: Sequence[Vector]) -> Any:
        """Their terms as rows, scipy.sparse.csr_matrix float32 [n, V]."""
        ends = np.cumsum([0, *(len(each.columns) for each in vectors)])
        columns = np.concatenate([each.columns for each in vectors])
        values = np.concatenate([each.values for each in vectors])
        return csr_matrix((values, columns, ends), shape=(len(vectors), len(self.terms)))

    @cached_property
    def weight_of(self) -> Mapping[str, float]:
        """IDF by term."""
        return dict(zip(self.terms, self.weights.tolist(), strict=True))


def terms_of(text: Text, space: str) -> Sequence[str]:
    """The terms of a text in a space, repeated as they repeat."""
    if space == "words":
        return text.words
    padded = [f" {word} " for word in text.spelt.split()]
    return [
        word[start : start + size]
        for word in padded
        for size in _PIECES
        for start in range(len(word) - size + 1)
    ]


def learn_spaces(titles: Sequence[Text]) -> dict[str, TermSpace]:
    """The spaces of a catalogue, by name; the same titles in the same order give the same ones.

    Raises:
        TrainingRefused: no title has a word.
    """
    return {
        space: _learned([terms_of(title, space) for title in titles], space) for space in SPACES
    }


def _learned(documents: Sequence[Sequence[str]], space: str) -> TermSpace:
    rare = space == "characters" and len(documents) >= _MANY_TITLES
    vectoriser = _new_vectoriser(min_df=2 if rare else 1, max_features=_MOST_TERMS)
    try:
        matrix = vectoriser.fit_transform(documents)
    except ValueError as error:  # scikit-learn's "empty vocabulary"
        raise TrainingRefused(
            f"catalogue: expected titles with words, got none in {len(documents)}: {error}"
        ) from error
    most = min(_AXES[space], *(size - 1 for size in matrix.shape))
    axes = np.zeros((matrix.shape[1], 0), dtype=np.float32)
    if most > 0:
        _, _, directions = randomized_svd(matrix, most, n_iter=5, random_state=0)
        axes = np.ascontiguousarray(directions.T, dtype=np.float32)
    terms = tuple(str(term) for term in vectoriser.get_feature_names_out())
    return TermSpace(terms, vectoriser.idf_.astype(np.float32), axes)


def _new_vectoriser(**told: Any) -> TfidfVectorizer:
    return TfidfVectorizer(analyzer=_as_given, sublinear_tf=True, dtype=np.float32, **told)


def _as_given(terms: Sequence[str]) -> Sequence[str]:
    return terms


def write_spaces(spaces: Mapping[str, TermSpace], folder: Path) -> None:
    """Writes both files into an existing folder; the same spaces give the same bytes."""
    vocabulary = {name: list(space.terms) for name, space in spaces.items()}
    text = json.dumps(vocabulary, ensure_ascii=False, indent=0) + "\n"
    (folder / VOCABULARY_FILE).write_text(text, encoding="utf-8")
    arrays = {f"{name}_weights": space.weights for name, space in spaces.items()}
    arrays |= {f"{name}_axes": space.axes for name, space in spaces.items()}
    np.savez(folder / VECTORS_FILE, **arrays)  # type: ignore[arg-type]  # allow_pickle comes after


def read_spaces(folder: Path) -> dict[str, TermSpace]:
    """What `write_spaces` wrote.

    Raises:
        TeacherRefused: a file is missing or damaged, or the two don't fit each other.
    """
    vocabulary = _read_vocabulary(folder / VOCABULARY_FILE)
    path = folder / VECTORS_FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise TeacherRefused(f"{path}: not a whole .npz of arrays: {error}") from error
    spaces = {}
    for name, terms in vocabulary.items():
        weights = _array(arrays, f"{name}_weights", (len(terms),), path)
        axes = _array(arrays, f"{name}_axes", (len(terms), None), path)
        spaces[name] = TermSpace(tuple(terms), weights, axes)
    return spaces


def _read_vocabulary(path: Path) -> dict[str, list[str]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TeacherRefused(f"{path}: can't be read as JSON: {error}") from error
    if not isinstance(found, dict) or set(found) != set(SPACES):
        raise TeacherRefused(f"{path}: expected an object of {' and '.join(SPACES)}")
    for name, terms in found.items():
        whole = isinstance(terms, list) and all(isinstance(term, str) for term in terms)
        if not whole or not terms or len(set(terms)) < len(terms):
            raise TeacherRefused(f"{path}: {name}: expected a list of distinct strings")
    return found


def _array(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...], path: Path
) -> NDArray[np.float32]:
    """An array of that shape (None: any length), float32, finite."""
    array = arrays.get(name)
    if array is None:
        raise TeacherRefused(f"{path}: lacks {name}")
    fits = len(array.shape) == len(shape) and all(
        expected in (None, got) for expected, got in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != np.float32:
        raise TeacherRefused(
            f"{path}: {name}: expected float32 {list(shape)}, got {array.dtype} {list(array.shape)}"
        )
    if not np.isfinite(array).all():
        raise TeacherRefused(f"{path}: {name}: holds NaN or infinity: train the teacher again")
    return array
