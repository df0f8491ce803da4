"""The contract of a vector store. Batches only: a call per product would cost a round trip each."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from vector_store.header import SetHeader
from vector_store.ids import ProductIds
from vector_store.rows import Rows
from vector_store.watch import Watch, Watcher


class VectorStore(Protocol):
    """Product rows in vector sets, and one live set per fingerprint.

    `get` and `fetch` may be called from several threads at once. Every method may raise StoreError,
    and StoreUnavailable when the same call may succeed later.
    """

    @property
    def url(self) -> str:
        """Where the rows are, as shown to people: without a password."""

    def headers(self) -> list[SetHeader]:
        """Headers of all vector sets, in the order of their ids."""

    def header(self, set_id: str) -> SetHeader:
        """Header of one set.

        Raises:
            SetNotFound: there is no such set.
            SetCorrupt: its header cannot be read.
        """

    def put_header(self, header: SetHeader) -> None:
        """Create a set, or replace its header: progress of the count, sealing.

        A change of fingerprint, width, dtype or bucket count is refused, and so is opening a
        sealed set again: the rows that are there would be read wrongly.
        """

    def insert(
        self, header: SetHeader, ids: Sequence[str], records: Sequence[bytes], progress: bytes
    ) -> list[bool]:
        """Add the records that aren't there yet: True where one was added, aligned with `ids`.

        An id twice in the batch: its first record is kept. Rows and `progress` (any bytes the
        indexer needs to resume) land together or not at all, so a killed indexer finds in
        `progress` exactly what its rows say. If StoreUnavailable leaves it open whether the batch
        landed, insert it again: nothing is counted twice in the store. A Redis Cluster has no
        transaction over its servers: what holds there is told at RedisClusterStore.insert.

        Raises:
            InvalidId, InvalidRow: something in the batch cannot be stored; nothing was.
            SetNotFound: the set has no header yet, see put_header.
            StoreError: the set is sealed, has another fingerprint, or the store is full.
        """

    def progress(self, set_id: str) -> bytes | None:
        """What the last insert into the set left as its progress; None before the first."""

    def get(self, header: SetHeader, ids: Sequence[str]) -> list[bytes | None]:
        """Records aligned with `ids`, None where there is none; ids may repeat.

        An id that no store can hold (empty, too long) has no record: None, not an error.
        """

    def fetch(self, header: SetHeader, ids: ProductIds) -> Rows:
        """Product rows aligned with `ids`: what unpacking the records of `get` gives, sooner.

        For sets of product rows, which are float16.
        """

    def scan(self, header: SetHeader) -> Iterator[list[tuple[str, bytes]]]:
        """All (id, record) pairs of a set, in batches of bounded size and in any order.

        On Redis an id may come back in a later batch, with the same record (that is how SCAN
        works); memory stays flat because nobody remembers them all. Count distinct ids. In a
        cluster a key is missed if its slot moves, during the scan, to a server already scanned.
        """

    def live(self, fingerprint: str) -> str | None:
        """Id of the set that serves this fingerprint, None if there is none."""

    def set_live(self, fingerprint: str, set_id: str) -> None:
        """Serve this fingerprint from this set.

        Raises:
            SetNotFound: there is no such set.
            StoreError: it isn't sealed, or its rows have another fingerprint.
        """

    def drop(self, header: SetHeader) -> None:
        """Remove a set: rows, progress, header. A set that isn't there is no error.

        Raises:
            StoreError: the set is live.
        """

    def watch(self, header: SetHeader, watcher: Watcher) -> Watch:
        """Tell `watcher` when rows of this set change, from now until the watch is closed.

        Returns at once and raises nothing: a store that cannot be watched now is one whose
        watcher is not ready. In memory and in LMDB rows never change while their set exists.
        """

    def ping(self) -> None:
        """Return if the store answers.

        Raises:
            StoreUnavailable: it doesn't; the message has the reason.
        """

    def close(self) -> None:
        """Give back files and connections; the store is not used afterwards."""
