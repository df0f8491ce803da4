"""`python -m tests.indexing.index_process`: one build in a process of its own, to be killed.

Prints `<phase> <done>` for every event and the set's id at the end. It kills itself with SIGKILL
at the moment named by its last argument: <store method>:<n-th call>:before or after, or encode:<n>;
"slow" leaves that to the parent and takes its time; "pause:<rows>" stops until it is continued.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexing.catalogue import open_catalogue
from indexing.index import IndexOptions, index
from tests.indexing.hash_encoder import HashEncoder
from vector_store.open import open_store


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _deadly(call: Callable[..., object], nth: int, when: str) -> Callable[..., object]:
    calls = 0

    def counted(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == nth and when == "before":
            _die()
        result = call(*arguments)
        if calls == nth and when == "after":
            _die()
        return result

    return counted


class DyingEncoder(HashEncoder):
    """Dies at its n-th batch, or never where n is 0; waits a little at each."""

    def __init__(self, nth: int, pause_s: float) -> None:
        super().__init__()
        self._nth = nth
        self._pause_s = pause_s

    def encode_products(self, titles: Sequence[str]) -> NDArray[np.float16]:
        rows = super().encode_products(titles)
        if len(self.batches) == self._nth:
            _die()
        time.sleep(self._pause_s)
        return rows


def main(catalogue: str, store_url: str, rejects: str, death: str) -> None:
    what, _, rest = death.partition(":")

    def watch(phase: str, done: int, total: int | None) -> None:
        print(phase, done, flush=True)
        if death == f"pause:{done}" and phase == "encode":
            os.kill(os.getpid(), signal.SIGSTOP)

    store = open_store(store_url, timeout_ms=10_000)
    if what not in ("slow", "pause", "encode"):
        nth, _, when = rest.partition(":")
        setattr(store, what, _deadly(getattr(store, what), int(nth), when))
    report = index(
        open_catalogue(Path(catalogue)),
        DyingEncoder(int(rest) if what == "encode" else 0, 0.01 if what == "slow" else 0.0),
        store,
        IndexOptions(Path(rejects), chunk_rows=10, batch_titles=4, verify_sample=8),
        watch,
    )
    print(report.set_id, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
