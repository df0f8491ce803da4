"""Memory of the workers that serve a BERT2DNN with three million vocabulary entries.

    python examples/large_vocabulary/memory.py [--entries 3000000] [--workers 2] [--work FOLDER]

The student has random weights, which weigh as much as trained ones; its vocabulary holds the shop's
words and random hashes. Export, index and serve are those of any student. Needs the training
environment, 8 GB of memory and 4 GB of disk for a few minutes.
"""

import argparse
import csv
import shutil
from pathlib import Path

import numpy as np
import torch

from export.bundle_export import Publication, export_bundle
from export.checkpoint import load_checkpoint, save_checkpoint
from export.pairs import Pairs
from export.students.bert2dnn import Bert2DnnConfig, Bert2DnnFc
from loadtest.closed_loop import measure
from loadtest.commands import index, memory_mb, serve
from loadtest.traffic import Traffic, read_ids
from model_store.cwub import VOCABULARY_FILE, Vocabulary, build_vocabulary
from model_store.manifest import Calibration, Thresholds, TokenizerSpec
from model_store.registry import activate

SHOP = Path(__file__).parents[1] / "shop"
NAME, SEED = "large-vocabulary", 7
REQUESTS = 2_000


def main() -> None:
    """Builds the bundle, serves it, and prints what each worker has to itself."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=int, default=3_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path(".data") / "large-vocabulary")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    checkpoint, bundles = options.work / "checkpoint", options.work / "bundles"
    checkpoint.mkdir(parents=True)
    pairs = _pairs()
    _write_checkpoint(checkpoint, options.entries, pairs)
    publication = Publication(
        name=NAME,
        version="1",
        thresholds=Thresholds(default=0.5, price=0.5, sale=0.5, chosen_on="not chosen"),
        calibration=Calibration(),
        metrics=[],
        int8_product=False,
    )
    export_bundle(load_checkpoint(checkpoint), pairs, bundles, publication)
    activate(bundles, NAME, "1")
    store = f"lmdb:{options.work / 'rows'}"
    index(SHOP / "products.csv", NAME, store, bundles)
    ids = read_ids(SHOP / "products.csv")
    traffic = Traffic(ids, sorted(set(pairs.queries)), SEED)
    with serve(store, NAME, bundles, options.workers, {}) as served:
        before = [memory_mb(pid) for pid in served.workers()]
        run = measure(served.url, traffic.requests(REQUESTS, 1_000, "zipf", "score"), 8)
        run.require_ok()
        after = [memory_mb(pid) for pid in served.workers()]
    print(f"{options.entries:,} entries of 64 floats: {options.entries * 256 / 2**20:,.0f} MB")
    for name, workers in (("ready", before), (f"after {REQUESTS:,} requests", after)):
        for number, memory in enumerate(workers, 1):
            print(
                f"{name}, worker {number}: no file's {memory['anonymous']} MB, "
                f"unique {memory['uss']} MB, with its shares {memory['pss']} MB"
            )


def _pairs() -> Pairs:
    with (SHOP / "products.csv").open(encoding="utf-8", newline="") as file:
        titles = {row["product_id"]: row["title"] for row in csv.DictReader(file)}
    with (SHOP / "judgments.valid.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    targets = np.array([float(row["relevance"]) >= 2 for row in rows], dtype=np.float32)
    return Pairs(
        "judgments.valid.csv",
        "0" * 64,
        [row["query"] for row in rows],
        [titles[row["product_id"]] for row in rows],
        targets,
    )


def _write_checkpoint(folder: Path, entries: int, pairs: Pairs) -> None:
    words, _ = build_vocabulary([*pairs.queries, *pairs.titles], 1)
    draw = np.random.default_rng(SEED)
    hashes = np.unique(np.concatenate([words._hashes, draw.integers(0, 2**64, entries, np.uint64)]))
    vocabulary = Vocabulary(hashes)
    vocabulary.save(folder / VOCABULARY_FILE)
    torch.manual_seed(SEED)
    student = Bert2DnnFc(Bert2DnnConfig(vocabulary=len(vocabulary)))
    spec = TokenizerSpec(kind="cwub", files=[VOCABULARY_FILE], query_tokens=16, product_tokens=40)
    save_checkpoint(student, spec, {"seed": SEED}, folder)


if __name__ == "__main__":
    main()
