"""One candidate list over HTTP beside its bare costs, measured in turn in one run.

    python -m loadtest.candidates --url http://127.0.0.1:8000 --redis redis://127.0.0.1:6379/0 \
        --bundle model_store/bundles/NAME/VERSION --queries FILE

Bare costs are the parts with nothing around them, in one thread: the query graph on token ids, one
blocking MGET and joining its values, the head in tiles. Ids are drawn at random for every request,
queries in turn (give more than requests plus warm-up, or the service answers from its query cache),
and each request is followed by its bare parts on another draw, so both see the same machine. Fails
when an answer is not 200 or not fully covered: degraded answers look fast.
"""

import argparse
import json
import random
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import redis
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tokenizers import Tokenizer

TILE = 512


@dataclass(frozen=True)
class Parts:
    """The bundle's graphs and the store's keys, used without the project's code."""

    manifest: dict[str, Any]
    query: ort.InferenceSession
    head: ort.InferenceSession
    tokenizer: Tokenizer
    store: "redis.Redis"
    keys: list[bytes]
    ids: list[str]


def main() -> None:
    """Measures and prints; a table for people on standard error, JSON on standard output."""
    options = _options()
    parts = _parts(options.bundle, options.redis)
    queries = options.queries.read_text(encoding="utf-8").splitlines()
    draw = random.Random(options.seed)
    whole, bare = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    with httpx.Client(base_url=options.url, timeout=30) as client:
        for turn in track(range(-options.warmup, options.requests), "measuring", console=_CONSOLE):
            query = queries[turn % len(queries)]
            position = draw.sample(range(len(parts.ids)), options.candidates)
            timings = _request(client, parts, query, [parts.ids[i] for i in position])
            position = draw.sample(range(len(parts.ids)), options.candidates)
            costs = _bare(parts, query, [parts.keys[i] for i in position])
            if turn >= 0:
                for name, value in timings.items():
                    whole[name].append(value)
                for name, value in costs.items():
                    bare[name].append(value)
    _report(options, parts, whole, bare)


_CONSOLE = Console(stderr=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--bundle", type=Path, required=True, help="a bundle's version folder")
    parser.add_argument("--queries", type=Path, required=True, help="one query per line")
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--warmup", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def _parts(bundle: Path, redis_url: str) -> Parts:
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    if manifest["tokenizer"]["kind"] != "wordpiece":
        sys.exit("this script measures WordPiece students; the bundle has a CWUB tokenizer")
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    tokenizer.enable_truncation(manifest["tokenizer"]["query_tokens"])
    tokenizer.no_padding()  # some files ask for a fixed length: one query needs none
    store = redis.Redis.from_url(redis_url)
    pattern = f"*:{manifest['vector_fingerprint'][:8]}.*:{{*"
    keys = list(store.scan_iter(match=pattern, count=5000))
    if not keys:
        sys.exit(f"no rows of this bundle in {redis_url}: index the catalogue into it first")
    ids = [key.decode().split("}:", 1)[1] for key in keys]
    query, head = (_session(bundle, manifest, name) for name in ("query", "head"))
    return Parts(manifest, query, head, tokenizer, store, keys, ids)


def _session(bundle: Path, manifest: dict[str, Any], graph: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    file = manifest["graphs"][graph]["files"][manifest["graphs"][graph]["run"]]
    return ort.InferenceSession(bundle / file, options, providers=["CPUExecutionProvider"])


def _request(
    client: httpx.Client, parts: Parts, query: str, product_ids: list[str]
) -> dict[str, float]:
    body = {"query": query, "product_ids": product_ids, "model": parts.manifest["name"]}
    started = perf_counter()
    response = client.post("/score", json=body)
    total = (perf_counter() - started) * 1e3
    answer = response.json()
    if response.status_code != 200 or not answer["coverage"]["full"]:
        sys.exit(f"expected a fully covered 200, got {response.status_code}: {answer}")
    return {"whole request": total, **answer["timings_ms"]}


def _bare(parts: Parts, query: str, keys: list[bytes]) -> dict[str, float]:
    started = perf_counter()
    encoding = parts.tokenizer.encode(query)
    feeds = {
        "token_ids": np.array([encoding.ids], dtype=np.int64),
        "token_mask": np.array([encoding.attention_mask], dtype=np.int64),
    }
    q = parts.query.run(["q"], feeds)[0]
    encoded = perf_counter()
    # redis-py types every command as maybe awaitable; this is the blocking client.
    values: list[bytes] = parts.store.mget(keys)  # type: ignore[assignment]
    width = parts.manifest["product_row"]["width"]
    records = np.frombuffer(b"".join(values), dtype=np.uint8).reshape(len(keys), -1)
    rows = np.ascontiguousarray(records[:, : 2 * width]).view(np.float16)
    fetched = perf_counter()
    for start in range(0, len(rows), TILE):
        parts.head.run(["score"], {"q": q, "P": rows[start : start + TILE]})
    done = perf_counter()
    return {
        "query": (encoded - started) * 1e3,
        "rows": (fetched - encoded) * 1e3,
        "head": (done - fetched) * 1e3,
        "sum of parts": (done - started) * 1e3,
    }


def _report(
    options: argparse.Namespace,
    parts: Parts,
    whole: dict[str, list[float]],
    bare: dict[str, list[float]],
) -> None:
    ratio = statistics.median(whole["whole request"]) / statistics.median(bare["sum of parts"])
    precision = {name: graph["run"] for name, graph in parts.manifest["graphs"].items()}
    table = Table(
        title=f"{parts.manifest['name']}, {options.candidates} candidates drawn from "
        f"{len(parts.ids)}, {options.requests} requests, head {precision['head']}"
    )
    for column in ("", "bare p50", "bare p99", "service p50", "service p99"):
        table.add_column(column, justify="right" if column else "left")
    rows = [
        *(name for name in whole if name not in {"whole request", *bare}),
        *(name for name in bare if name in whole),
    ]
    for name in rows:
        table.add_row(f"{name}, ms", *_cells(bare.get(name)), *_cells(whole.get(name)))
    table.add_row(
        "all, ms", *_cells(bare["sum of parts"]), *_cells(whole["whole request"]), style="bold"
    )
    _CONSOLE.print(table)
    _CONSOLE.print(f"whole request / sum of bare parts, p50: {ratio:.2f}")
    json.dump(
        {
            "model": parts.manifest["name"],
            "precision": precision,
            "candidates": options.candidates,
            "products": len(parts.ids),
            "requests": options.requests,
            "bare_ms": {name: _quantiles(values) for name, values in bare.items()},
            "service_ms": {name: _quantiles(values) for name, values in whole.items()},
            "ratio_p50": round(ratio, 3),
        },
        sys.stdout,
        indent=2,
    )
    sys.stdout.write("\n")


def _quantiles(values: list[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(values, q)), 3) for q in (50, 99)}


def _cells(values: list[float] | None) -> list[str]:
    return [f"{value:.2f}" for value in _quantiles(values).values()] if values else ["", ""]


if __name__ == "__main__":
    main()
