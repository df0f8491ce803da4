"""Memory is flat: five times the rows take hardly more than the rows themselves did."""

import gzip
import json
import subprocess
import sys
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the peak from Linux's /proc"
)


def _peak_kib(*arguments: str) -> int:
    done = subprocess.run(
        [sys.executable, "-m", "tests.indexing.peak_memory", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(done.stdout)


def _write(path: Path, rows: int) -> Path:
    products = [(f"p{i}", f"title {i} " + "x" * 200) for i in range(rows)]
    if path.suffix == ".parquet":
        ids, titles = zip(*products, strict=True)
        pq.write_table(pa.table({"product_id": ids, "title": titles}), path, row_group_size=5_000)
    elif path.suffix == ".jsonl":
        lines = (json.dumps({"product_id": i, "title": t}) for i, t in products)
        path.write_text("\n".join(lines), "utf-8")
    else:
        text = "product_id,title\n" + "".join(f"{i},{t}\n" for i, t in products)
        path.write_bytes(gzip.compress(text.encode(), 1))
    return path


@pytest.mark.parametrize("name", ["c.csv.gz", "c.jsonl", "c.parquet"])
def test_reading(tmp_path: Path, name: str) -> None:
    few = _peak_kib(str(_write(tmp_path / f"few-{name}", 40_000)))
    many = _peak_kib(str(_write(tmp_path / f"many-{name}", 200_000)))
    assert many < 1.15 * few


def test_indexing(tmp_path: Path, redis_url: str) -> None:
    peaks = []
    for rows in (10_000, 50_000):
        url = f"{redis_url}?ns=test-{uuid.uuid4().hex}"
        path = _write(tmp_path / f"{rows}.csv.gz", rows)
        peaks.append(_peak_kib(str(path), url, str(tmp_path / "rejects.jsonl")))
    assert peaks[1] < 1.15 * peaks[0]
