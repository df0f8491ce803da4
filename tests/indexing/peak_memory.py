"""`python -m tests.indexing.peak_memory <catalogue> [<store url> <reject file>]`: KiB at the peak.

Reads the catalogue, or indexes it where a store is named.
"""

import sys
from pathlib import Path

from indexing.catalogue import open_catalogue
from indexing.index import IndexOptions, index
from indexing.plan import count
from tests.indexing.hash_encoder import HashEncoder
from vector_store.open import open_store


class ForgetfulEncoder(HashEncoder):
    """Does not remember titles, which would grow with the catalogue."""

    def encode_products(self, titles):  # type: ignore[no-untyped-def]
        self.titles.clear()
        self.batches.clear()
        return super().encode_products(titles)


def main(catalogue: str, *store: str) -> None:
    opened = open_catalogue(Path(catalogue))
    if store:
        url, rejects = store
        options = IndexOptions(Path(rejects), chunk_rows=1_000)
        target = open_store(url, timeout_ms=10_000)
        index(opened, ForgetfulEncoder(), target, options, lambda *_: None)
    else:
        count(opened, lambda *_: None)
    # Not getrusage: its maximum starts at that of the process that forked this one.
    status = Path("/proc/self/status").read_text("utf-8")
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


if __name__ == "__main__":
    main(*sys.argv[1:])
