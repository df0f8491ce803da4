"""What every store refuses before it writes: one place, so that no store is laxer than another."""

from collections.abc import Sequence

from vector_store.errors import InvalidRow, SetNotFound, StoreError
from vector_store.header import SetHeader
from vector_store.keys import stored_ids


def check_writable(url: str, *, read_only: bool) -> None:
    """Refuse a write through a store that was opened for reading."""
    if read_only:
        raise StoreError(f"{url} was opened read-only; open it for writing to change it")


def not_found(set_id: str, url: str) -> SetNotFound:
    return SetNotFound(
        f"there is no vector set {set_id} in {url}; `winnow sets list` shows those that exist"
    )


def check_replaceable(stored: SetHeader | None, header: SetHeader) -> None:
    """Refuse a header that says something else of the rows already stored under its id."""
    if stored is None:
        return
    for field in ("fingerprint", "width", "dtype", "bucket_count"):
        expected, got = getattr(stored, field), getattr(header, field)
        if expected != got:
            raise StoreError(
                f"vector set {header.set_id} has {field} {expected}, the new header {got}; "
                "start a set of the next generation instead"
            )
    if stored.sealed is not None and header.sealed is None:
        raise StoreError(
            f"vector set {header.set_id} is sealed since {stored.sealed} and cannot be opened "
            "again; start a set of the next generation instead"
        )


def check_insertable(
    stored: SetHeader | None,
    header: SetHeader,
    ids: Sequence[str],
    records: Sequence[bytes],
    url: str,
) -> list[bytes]:
    """The ids as bytes, if this batch may be inserted; else the errors of VectorStore.insert."""
    if stored is None:
        raise not_found(header.set_id, url)
    if stored.sealed is not None:
        raise StoreError(
            f"vector set {header.set_id} is sealed since {stored.sealed}; "
            "index into a set of the next generation instead"
        )
    check_replaceable(stored, header)
    if len(ids) != len(records):
        raise InvalidRow(f"expected one record per id, got {len(ids)} ids, {len(records)} records")
    for position, record in enumerate(records):
        if len(record) != header.record_bytes:
            raise InvalidRow(
                f"expected records of {header.record_bytes} bytes (width {header.width}), got "
                f"{len(record)} bytes at position {position} of the batch; pack rows of this width"
            )
    return stored_ids(ids)


def check_activatable(header: SetHeader, fingerprint: str) -> None:
    """Refuse to make a set live that is unfinished or holds rows of another product graph."""
    if header.fingerprint != fingerprint:
        raise StoreError(
            f"expected a vector set with fingerprint {fingerprint}, got {header.set_id} with "
            f"{header.fingerprint}; index the catalogue with this bundle first"
        )
    if header.sealed is None:
        raise StoreError(
            f"vector set {header.set_id} isn't sealed: indexing has not finished; run it to the end"
        )


def check_droppable(header: SetHeader, live: str | None) -> None:
    """Refuse to drop the live set."""
    if live == header.set_id:
        raise StoreError(
            f"vector set {header.set_id} is live and cannot be dropped; "
            f"make another set of fingerprint {header.fingerprint} live first"
        )
