"""What a catalogue's titles say of an encoder's vectors: means, directions and weights of tokens.

meaning.npz    the arrays of `Catalogue`, by name; never a pickle
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.errors import TeacherRefused
from distill.token_vectors import TokenVectors

MEANING_FILE = "meaning.npz"

_DIRECTIONS = 128  # kept of tokens and of sentences


@dataclass(frozen=True)
class Catalogue:
    """What its titles say; stored in meaning.npz.

    sentence_mean: float32 [H]
    sentence_axes: directions over the root of their variance, float32 [H, D]
    token_mean: of each layer, float32 [K, H]
    token_axes: directions of each layer's tokens, float32 [K, H, D]
    idf: of each piece of the tokenizer, float32 [V]
    """

    sentence_mean: NDArray[np.float32]
    sentence_axes: NDArray[np.float32]
    token_mean: NDArray[np.float32]
    token_axes: NDArray[np.float32]
    idf: NDArray[np.float32]


def learn_catalogue(titles: Sequence[TokenVectors], vocabulary: int) -> Catalogue:
    """What the titles say, each counted once."""
    sentences = np.stack([each.layers[-1].mean(axis=0) for each in titles])
    tokens = np.concatenate([each.layers[:, each.own] for each in titles], axis=1)
    directions = [_directions(layer) for layer in tokens]
    axes, lengths = _directions(sentences)
    pieces = np.concatenate([np.unique(each.pieces) for each in titles])
    holding = np.bincount(pieces, minlength=vocabulary)
    return Catalogue(
        sentence_mean=sentences.mean(axis=0),
        sentence_axes=(axes / np.maximum(lengths, 1e-6)).astype(np.float32),
        token_mean=tokens.mean(axis=1),
        token_axes=np.stack([axes for axes, _ in directions]),
        # As scikit-learn's, so that a piece of no title weighs most.
        idf=(np.log((1 + len(titles)) / (1 + holding)) + 1).astype(np.float32),
    )


def _directions(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The strongest directions of n rows about their mean, float32 [H, D], and their deviations."""
    centred = (rows - rows.mean(axis=0)).astype(np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred / max(1, len(rows)))
    strongest = np.arange(len(variances))[::-1][:_DIRECTIONS]
    deviations = np.sqrt(np.maximum(variances[strongest], 0.0))
    return axes[:, strongest].astype(np.float32), deviations.astype(np.float32)


def write_catalogue(catalogue: Catalogue, folder: Path) -> None:
    """Writes meaning.npz into an existing folder; the same catalogue gives the same bytes."""
    arrays = {each.name: getattr(catalogue, each.name) for each in fields(catalogue)}
    np.savez(folder / MEANING_FILE, **arrays)


def read_catalogue(folder: Path) -> Catalogue:
    """What `write_catalogue` wrote.

    Raises:
        TeacherRefused: the file is damaged, or of another shape.
    """
    path = folder / MEANING_FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {each.name: file[each.name] for each in fields(Catalogue)}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise TeacherRefused(f"{path}: not a whole .npz of arrays: {error}") from error
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise TeacherRefused(f"{path}: {name}: expected finite float32, got {array.dtype}")
    return Catalogue(**arrays)
