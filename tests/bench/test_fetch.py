"""bench.fetch on real stores: what it compares, and that it leaves nothing behind."""

import json
import subprocess
import sys
from pathlib import Path

from vector_store.open import open_store


def test_stores_are_compared_and_left_as_they_were(
    redis_url: str, redis_cluster_url: str, tmp_path: Path
) -> None:
    urls = [f"{redis_url}?ns=fetch", f"{redis_cluster_url}?ns=fetch", f"lmdb:{tmp_path / 'rows'}"]
    sizes = ("--products", "300", "--candidates", "10", "200", "--requests", "3", "--rounds", "2")
    stores = [part for url in urls for part in ("--store", url)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.fetch", *stores, *sizes, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"10", "200"}
    assert all(len(medians) == 3 and min(medians) > 0 for medians in found["200"])
    assert done.stderr.count("redis+cluster://") == 2
    for url in urls:
        store = open_store(url)
        assert store.headers() == []
        store.close()
