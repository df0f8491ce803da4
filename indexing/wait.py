"""Waits until the vector sets that students need are live: the first step of a rollout."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from indexing.errors import SetRefused
from vector_store.errors import SetNotFound, StoreUnavailable
from vector_store.header import SetHeader
from vector_store.live import live_header
from vector_store.protocol import VectorStore

_LOOK_AGAIN_S: Final = 1.0


@dataclass(frozen=True)
class Awaited:
    """A student and the vector set that it reads: fingerprint, and d_p floats per row."""

    model: str
    fingerprint: str
    width: int


def wait_until_live(
    store: VectorStore,
    awaited: Sequence[Awaited],
    timeout_s: float,
    on_reason: Callable[[str], None],
) -> list[SetHeader]:
    """Headers of the live sets, aligned with `awaited`, as soon as all are there.

    Args:
        store: may be down for now; that is waited for too.
        awaited: students whose sets are needed.
        timeout_s: how long to go on looking; the first look is made in any case.
        on_reason: hears why it still waits, once per reason.

    Raises:
        SetRefused: the time is up; the text has the last reason.
        StoreError: the store refused, and would refuse again.
    """
    give_up = time.monotonic() + timeout_s
    heard = ""
    while True:
        found = _look(store, awaited)
        if not isinstance(found, str):
            return found
        if found != heard:
            on_reason(f"waiting: {found}")
            heard = found
        left_s = give_up - time.monotonic()
        if left_s <= 0:
            raise SetRefused(f"no live vector set within {timeout_s:g} s: {found}")
        time.sleep(min(_LOOK_AGAIN_S, left_s))


def _look(store: VectorStore, awaited: Sequence[Awaited]) -> list[SetHeader] | str:
    """Every header, or why one is not there."""
    headers = []
    for wanted in awaited:
        try:
            headers.append(live_header(store, wanted.fingerprint, wanted.width))
        except (SetNotFound, StoreUnavailable) as error:
            return f"{wanted.model}: {error}"
    return headers
