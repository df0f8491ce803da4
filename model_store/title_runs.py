"""How titles are run through a product graph together, so that a row depends on its title alone.

Matrix kernels round differently for one row than for several, and for other lengths: to the last
bit of float16, one row in fifty. So a title is always run at a width that it alone decides, and
never alone. An int8 graph quantises its activations per run, padding and company included: there
every title is run by itself.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

_WIDTHS: Final = 8  # widths are multiples of it: few runs, little padding
_LEAST_TITLES: Final = 2


def runs(
    token_mask: NDArray[np.int64], *, alone: bool
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], int]]:
    """Runs of n titles by their mask, int64 [n, length].

    Yields:
        Positions of the titles of a run, intp [k]; those whose tokens are run, the same and
        repeated where they were too few; the width of the run, which may exceed `length`.
    """
    length = token_mask.shape[1]
    lengths = np.where(token_mask.any(axis=1), length - token_mask[:, ::-1].argmax(axis=1), 1)
    if alone:
        for position, own in enumerate(lengths.tolist()):
            yield np.array([position]), np.array([position]), own
        return
    widths = -(-lengths // _WIDTHS) * _WIDTHS
    for width in np.unique(widths).tolist():
        positions = np.flatnonzero(widths == width)
        yield positions, np.resize(positions, max(len(positions), _LEAST_TITLES)), width


def widened(tokens: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Token ids or their mask [k, length] as [k, width]: cut, or filled with what is no token."""
    wide = np.zeros((len(tokens), width), dtype=np.int64)
    kept = min(width, tokens.shape[1])
    wide[:, :kept] = tokens[:, :kept]
    return wide
