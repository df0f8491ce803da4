"""A small real scorer: log odds by the share of a query's words that stand in the title."""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FACTORS_FILE = "factors.txt"


class OverlapScorer:
    """logit = slope * (share of the query's words in the title - 0.5); counts what it scored."""

    def __init__(self, slope: float = 6.0, seconds_per_call: float = 0.0) -> None:
        self.slope = slope
        self.sha256 = hashlib.sha256(f"overlap {slope}".encode()).hexdigest()
        self.scored = 0
        self.calls = 0
        self._seconds_per_call = seconds_per_call

    def logits(self, queries: Sequence[str], titles: Sequence[str]) -> NDArray[np.float32]:
        time.sleep(self._seconds_per_call)
        self.calls += 1
        self.scored += len(queries)
        shares = [
            len(set(query.lower().split()) & set(title.lower().split())) / len(query.split())
            for query, title in zip(queries, titles, strict=True)
        ]
        return (np.float32(self.slope) * (np.array(shares, np.float32) - np.float32(0.5))).astype(
            np.float32
        )


def save_overlap(folder: Path, slope: float, seconds_per_call: float = 0.0) -> None:
    """A folder that `open_overlap` opens, as a teacher's folder is."""
    folder.mkdir()
    (folder / FACTORS_FILE).write_text(f"{slope} {seconds_per_call}", encoding="utf-8")


def open_overlap(folder: Path) -> OverlapScorer:
    slope, seconds_per_call = (folder / FACTORS_FILE).read_text(encoding="utf-8").split()
    return OverlapScorer(float(slope), float(seconds_per_call))
