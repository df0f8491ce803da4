"""Every key that a vector store writes; names are made here and nowhere else.

Redis                                               LMDB
  row       <ns>:<set id>:{<bucket>}:<product id>     database rows:<set id>, key <product id>
  header    <ns>:set:<set id>                         database meta, key header:<set id>
    while it is dropped: <ns>:dropping:<set id>
  progress  <ns>:progress:<set id>                    database meta, key progress:<set id>
  set list  <ns>:sets                                 (the header keys)
  live      <ns>:live, one field per fingerprint      database meta, key live:<fingerprint>
  landing   <ns>:landing:<set id>, cluster only

The bucket is a hash tag: a Redis cluster keeps all rows of one bucket in one slot. In a cluster
<ns> is written {<ns>} in all keys but those of rows: they lie in one slot, where MULTI holds.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final
from zlib import crc32

from vector_store.errors import InvalidId, StoreError

MAX_ID_BYTES: Final = 256

# Not valid UTF-8, so no product has it: looking it up finds nothing, in any store.
IMPOSSIBLE_ID: Final = b"\xff"

LMDB_META: Final = b"meta"
LMDB_HEADER_PREFIX: Final = b"header:"


def lookup_ids(ids: Sequence[str]) -> list[bytes]:
    """Product ids as the bytes to look up; IMPOSSIBLE_ID in place of one that cannot exist."""
    encoded = [product_id.encode("utf-8", "surrogatepass") for product_id in ids]
    lengths = [len(raw) for raw in encoded]
    if encoded and (min(lengths) == 0 or max(lengths) > MAX_ID_BYTES):
        return [raw if 0 < len(raw) <= MAX_ID_BYTES else IMPOSSIBLE_ID for raw in encoded]
    return encoded


def stored_ids(ids: Sequence[str]) -> list[bytes]:
    """Product ids as the bytes to store.

    Raises:
        InvalidId: an id is empty, longer than MAX_ID_BYTES in UTF-8, or holds a lone surrogate.
    """
    encoded = []
    for position, product_id in enumerate(ids):
        try:
            raw = product_id.encode()
        except UnicodeEncodeError as error:
            raise InvalidId(
                f"product id {position} of the batch ({product_id[:40]!r}) isn't valid Unicode: "
                f"{error.reason}; correct it in the catalogue"
            ) from error
        if not 0 < len(raw) <= MAX_ID_BYTES:
            raise InvalidId(
                f"expected product ids of 1 to {MAX_ID_BYTES} bytes in UTF-8, got {len(raw)} bytes "
                f"at position {position} of the batch ({product_id[:40]!r}); "
                "shorten it in the catalogue"
            )
        encoded.append(raw)
    return encoded


def query_id(query: str) -> str:
    """The id under which a query's row is stored: BLAKE2b-128 of the exact text, 32 hex digits.

    A query may be longer than an id may be.
    """
    return blake2b(query.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class RedisKeys:
    """Key names of one namespace in Redis, on one server or in a cluster."""

    def __init__(self, namespace: str, *, cluster: bool = False) -> None:
        if not re.fullmatch(r"[^{}\s\x00-\x1f]{1,64}", namespace):
            raise StoreError(
                "expected a Redis namespace of 1 to 64 characters without braces and spaces "
                f"(braces would move every row of a cluster into one slot), got {namespace!r}"
            )
        self.namespace = namespace
        self._about_sets = f"{{{namespace}}}" if cluster else namespace
        self.sets = f"{self._about_sets}:sets"
        self.live = f"{self._about_sets}:live"

    def header(self, set_id: str) -> str:
        return f"{self._about_sets}:set:{set_id}"

    def dropping(self, set_id: str) -> str:
        return f"{self._about_sets}:dropping:{set_id}"

    def progress(self, set_id: str) -> str:
        return f"{self._about_sets}:progress:{set_id}"

    def landing(self, set_id: str) -> str:
        """While an insert is under way in a cluster: the rows that it adds."""
        return f"{self._about_sets}:landing:{set_id}"

    def rows(self, set_id: str, bucket_count: int, raw_ids: Sequence[bytes]) -> list[bytes]:
        """Row keys; the bucket of an id is CRC-32 modulo the count, the same on every machine."""
        prefixes = _row_prefixes(self.namespace, set_id, bucket_count)
        return [prefixes[crc32(raw) % bucket_count] + raw for raw in raw_ids]

    def row_prefixes(self, set_id: str, bucket_count: int) -> bytes:
        """What row keys begin with, bucket by bucket, back to back: all are equally long."""
        return _joined_row_prefixes(self.namespace, set_id, bucket_count)

    def row_prefix(self, set_id: str) -> bytes:
        """What all row keys of one set begin with, and no other key."""
        return f"{self.namespace}:{set_id}:{{".encode()

    def id_start(self, set_id: str) -> int:
        """Where the product id begins in a row key."""
        return len(_row_prefixes(self.namespace, set_id, 1)[0])

    def row_pattern(self, set_id: str) -> str:
        """SCAN pattern that matches the rows of one set and nothing else."""
        return f"{_escape_glob(f'{self.namespace}:{set_id}:')}{{[0-9][0-9][0-9]}}:*"

    def product_id(self, set_id: str, row_key: bytes) -> str:
        return row_key[self.id_start(set_id) :].decode()


@lru_cache(maxsize=64)
def _row_prefixes(namespace: str, set_id: str, bucket_count: int) -> tuple[bytes, ...]:
    return tuple(f"{namespace}:{set_id}:{{{b:03d}}}:".encode() for b in range(bucket_count))


@lru_cache(maxsize=64)
def _joined_row_prefixes(namespace: str, set_id: str, bucket_count: int) -> bytes:
    return b"".join(_row_prefixes(namespace, set_id, bucket_count))


def _escape_glob(text: str) -> str:
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", text)


def lmdb_rows(set_id: str) -> bytes:
    return b"rows:" + set_id.encode()


def lmdb_header(set_id: str) -> bytes:
    return LMDB_HEADER_PREFIX + set_id.encode()


def lmdb_progress(set_id: str) -> bytes:
    return b"progress:" + set_id.encode()


def lmdb_live(fingerprint: str) -> bytes:
    return b"live:" + fingerprint.encode()
