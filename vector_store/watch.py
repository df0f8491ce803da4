"""Telling whoever keeps rows of a vector set in memory that they have changed. Knows no store."""

from collections.abc import Sequence
from typing import Protocol


class Watcher(Protocol):
    """Keeps rows. It counts as paused until `ready` is called for the first time.

    All calls come from one thread of the watch, or from `watch` itself; they must be quick.
    """

    def invalidated(self, ids: Sequence[bytes]) -> None:
        """The rows of these products were written, removed or have expired: forget them."""

    def lost(self) -> None:
        """Changes may go unseen from here on: forget every row and keep none."""

    def ready(self) -> None:
        """Every change from here on will be told: rows may be kept."""


class Watch(Protocol):
    """One watcher on one vector set, until it is closed."""

    def close(self) -> None:
        """Stop. Nothing is told afterwards; may be called twice, never by the watcher."""


class NothingToWatch:
    """The watch of a store whose rows never change while a set exists."""

    def close(self) -> None:
        """Nothing to stop."""
