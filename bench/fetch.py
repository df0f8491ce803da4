"""Stores side by side: how long the rows of a request take to fetch, in turn, in one run.

    python -m bench.fetch --store redis://127.0.0.1:6379/0 \
        --store redis+cluster://127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003/

Writes a vector set of random rows into each store, fetches the same random ids from each of them in
turn, and removes the set again. The first store is what the others are compared with.
"""

import argparse
import json
import secrets
import sys
from datetime import UTC, datetime
from time import perf_counter

import numpy as np

from loadtest.figures import markdown_table, median_spread, quantiles
from vector_store.header import SetHeader
from vector_store.ids import ProductIds
from vector_store.open import open_store
from vector_store.protocol import VectorStore
from vector_store.rows import FOUND, pack

_BATCH = 1_000
_WARM_UP = 20


def main() -> None:
    """Measures, prints a table, and JSON on standard output where it is asked for."""
    options = _options()
    draw = np.random.default_rng(options.seed)
    stores = [open_store(url, timeout_ms=10_000) for url in options.store]
    header = _header(options.width)
    written: list[VectorStore] = []
    try:
        for store in stores:
            written.append(store)
            _write(store, header, options.products, draw)
        found = {
            n: [_round(stores, header, options, n, draw) for _ in range(options.rounds)]
            for n in options.candidates
        }
    finally:
        for store in written:
            store.drop(header)
            store.close()
    rows = [
        [f"{n:,}", store.url, _cell(found[n], i), "" if i == 0 else _ratio(found[n], i)]
        for n in options.candidates
        for i, store in enumerate(stores)
    ]
    columns = ["ids", "store", "p50 ms", f"/ {stores[0].url}"]
    print(markdown_table(columns, rows), file=sys.stderr)  # noqa: T201 - a script's answer
    if options.json:
        json.dump({str(n): medians for n, medians in found.items()}, sys.stdout)


def _round(
    stores: list[VectorStore],
    header: SetHeader,
    options: argparse.Namespace,
    n: int,
    draw: np.random.Generator,
) -> list[float]:
    """p50 in ms of every store, on the same ids in turn."""
    spent: list[list[float]] = [[] for _ in stores]
    for turn in range(-_WARM_UP, options.requests):
        chosen = draw.choice(options.products, n, replace=False)
        ids = ProductIds.from_strings([f"p{number}" for number in chosen.tolist()])
        for times, store in zip(spent, stores, strict=True):
            started = perf_counter()
            rows = store.fetch(header, ids)
            if turn >= 0:
                times.append((perf_counter() - started) * 1e3)
            if not (rows.status == FOUND).all():
                sys.exit(
                    f"{store.url}: expected {n} rows, {int((rows.status != FOUND).sum())} lack"
                )
    return [quantiles(times)["p50"] for times in spent]


def _write(store: VectorStore, header: SetHeader, products: int, draw: np.random.Generator) -> None:
    store.put_header(header)
    for start in range(0, products, _BATCH):
        ids = [f"p{number}" for number in range(start, min(start + _BATCH, products))]
        rows = draw.normal(0, 1, (len(ids), header.width)).astype(np.float16)
        store.insert(header, ids, pack(rows, np.ones(len(ids), np.uint64), 0), b"")


def _header(width: int) -> SetHeader:
    fingerprint = secrets.token_hex(32)
    return SetHeader(
        format_version=1,
        set_id=f"{fingerprint[:8]}.1",
        fingerprint=fingerprint,
        model="bench.fetch",
        width=width,
        dtype="float16",
        segments={"random": (0, width)},
        count=0,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        sealed=None,
    )


def _cell(rounds: list[list[float]], store: int) -> str:
    return median_spread([medians[store] for medians in rounds])


def _ratio(rounds: list[list[float]], store: int) -> str:
    return median_spread([medians[store] / medians[0] for medians in rounds])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", action="append", required=True, help="URL; give two or more")
    parser.add_argument("--products", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=256, help="floats of a row")
    parser.add_argument("--candidates", type=int, nargs="+", default=[100, 1_000, 5_000])
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
