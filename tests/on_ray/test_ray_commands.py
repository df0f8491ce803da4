"""`winnow index --ray` and `winnow label --ray` on two workers: what they write without it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from distill.lexical_options import LexicalOptions
from export.pairs import Pairs
from model_store.registry import DEFAULT_ROOT
from tests.command import winnow
from tests.on_ray.test_ray_index import NAME
from vector_store.open import open_store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")

SHOP = DEFAULT_ROOT.parents[1] / "examples" / "shop"
TIME_BYTES = 4  # of a record, at its end: when it was encoded


def run(*arguments: str | Path) -> dict[str, object]:
    """What the command says to machines."""
    done = winnow(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


def test_a_catalogue_is_indexed(two_workers: str, tmp_path: Path) -> None:
    rows = []
    catalogue = tmp_path / "products.csv"  # what is rejected is written beside it
    shutil.copy(SHOP / "products.csv", catalogue)
    for name, on_ray in (("here", []), ("there", ["--ray", two_workers])):
        store = f"lmdb:{tmp_path / name}"
        report = run("index", catalogue, "--model", NAME, "--store", store, *on_ray)
        assert report["products"] == 3_055
        opened = open_store(store, timeout_ms=10_000)
        header = opened.header(str(report["set_id"]))
        found = {key: row[:-TIME_BYTES] for batch in opened.scan(header) for key, row in batch}
        opened.close()
        rows.append(found)
    assert len(rows[0]) == 3_055
    assert rows[0] == rows[1]


def test_pairs_are_labelled(two_workers: str, tmp_path: Path) -> None:
    """By boosted trees, which need no torch: 9,000 pairs, three shards."""
    # LightGBM is there where Ray is; where this test is skipped, it may not be.
    from distill.lexical_teach import teach_lexical

    random = np.random.default_rng(3)
    words = np.array(["red", "blue", "lamp", "chair", "hammer", "手机", "2", "inch", "steel"])
    queries = [" ".join(random.choice(words, 2, replace=False)) for _ in range(9_000)]
    titles = [" ".join(random.choice(words, 4, replace=False)) for _ in range(9_000)]
    targets = [
        float(set(query.split()) <= set(title.split()))
        for query, title in zip(queries, titles, strict=True)
    ]
    pairs = Pairs("pairs", "0" * 64, queries, titles, np.array(targets, dtype=np.float32))
    some, others = (pairs.take(np.arange(start, start + 2_000)) for start in (0, 2_000))
    teacher = tmp_path / "teacher"
    options = LexicalOptions(models=1, rounds=30)
    teach_lexical(some, others, (), teacher, options, lambda *_: None, threads=1)
    table = tmp_path / "transfer.csv"
    lines = [f"{query},{title}" for query, title in zip(queries, titles, strict=True)]
    table.write_text("\n".join(["query,title", *lines]) + "\n", encoding="utf-8")
    for name, on_ray in (("here", ["--threads", "1"]), ("there", ["--ray", two_workers])):
        out = tmp_path / name / "words"
        report = run("label", "--teacher", teacher, "--pairs", table, "--out", out, *on_ray)
        assert report["labelled"] == 9_000
    here, there = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "words").iterdir()}
        for name in ("here", "there")
    )
    assert sorted(here) == ["000000.npy", "000001.npy", "000002.npy", "labels.json"]
    assert here == there
