"""What every peer does with a request: query row, one MGET, head, calibrated scores. No server.

Runs in each peer's own environment, so it imports nothing of the project: it reads a bundle and a
store as anybody could from the documentation. Written as a careful user would: blocking redis-py
with hiredis, rows without a copy per product, ONNX Runtime on one thread in tiles. No caches.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from zlib import crc32

import numpy as np
import onnxruntime as ort
import redis
from numpy.typing import NDArray
from tokenizers import Tokenizer

TILE = 512  # rows of one run of the head: 10 to 25 % faster than all of them at once
TRAILER_BYTES = 12  # after the row in a record: text hash and time


class JobError(Exception):
    """The bundle or the store can't be used by the peers; the text says what to do."""


@dataclass(frozen=True)
class Job:
    """A loaded bundle and the keys of its live vector set; safe to use from several threads."""

    tokenizer: Tokenizer
    query: ort.InferenceSession
    head: ort.InferenceSession
    store: "redis.Redis"
    key_prefixes: tuple[bytes, ...]  # one per bucket
    width: int
    slope: float
    intercept: float

    def scores(self, query: str, product_ids: Sequence[str]) -> NDArray[np.float32]:
        """Calibrated scores, float32 [n], aligned with `product_ids`.

        Raises:
            KeyError: a product has no row: nobody measures a partial answer.
        """
        if not product_ids:
            return np.zeros(0, dtype=np.float32)
        return self._calibrated(self._head(self._query_row(query), self._rows(product_ids)))

    def product_ids(self) -> list[str]:
        """Every product id of the live vector set, sorted."""
        pattern = self.key_prefixes[0].split(b"{")[0] + b"{*"
        keys = cast(list[bytes], list(self.store.scan_iter(match=pattern, count=5000)))
        return sorted({key.split(b"}:", 1)[1].decode() for key in keys})

    def _query_row(self, query: str) -> NDArray[np.float32]:
        encoding = self.tokenizer.encode(query)
        feeds = {
            "token_ids": np.array([encoding.ids], dtype=np.int64),
            "token_mask": np.array([encoding.attention_mask], dtype=np.int64),
        }
        q: NDArray[np.float32] = self.query.run(["q"], feeds)[0]
        return q

    def _rows(self, product_ids: Sequence[str]) -> NDArray[np.float16]:
        raw = [product_id.encode() for product_id in product_ids]
        prefixes, buckets = self.key_prefixes, len(self.key_prefixes)
        keys = [prefixes[crc32(one) % buckets] + one for one in raw]
        records = cast(list[bytes | None], self.store.mget(keys))
        if None in records:
            raise KeyError(product_ids[records.index(None)])
        grid = np.frombuffer(b"".join(cast(list[bytes], records)), dtype=np.uint8)
        grid = grid.reshape(len(records), 2 * self.width + TRAILER_BYTES)
        return np.ascontiguousarray(grid[:, : 2 * self.width]).view(np.float16)

    def _head(self, q: NDArray[np.float32], P: NDArray[np.float16]) -> NDArray[np.float32]:
        tiles = [P[start : start + TILE] for start in range(0, len(P), TILE)]
        return np.concatenate([self.head.run(["score"], {"q": q, "P": tile})[0] for tile in tiles])

    def _calibrated(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        inside = np.clip(raw.astype(np.float64), 1e-12, 1.0 - 1e-12)
        z = self.slope * (np.log(inside) - np.log1p(-inside)) + self.intercept
        calibrated: NDArray[np.float32] = (1.0 / (1.0 + np.exp(-z))).astype(np.float32)
        return calibrated


def open_job(bundle: Path, redis_url: str) -> Job:
    """Loads a bundle's version folder and finds its live vector set.

    Raises:
        JobError: not a WordPiece bundle, or no live vector set in this Redis.
    """
    manifest: dict[str, Any] = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    if manifest["tokenizer"]["kind"] != "wordpiece":
        raise JobError(
            f"expected a bundle with a WordPiece tokenizer (such as ReprBERT), got "
            f"{manifest['name']} with {manifest['tokenizer']['kind']}: the peers know no other"
        )
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    tokenizer.enable_truncation(manifest["tokenizer"]["query_tokens"])
    tokenizer.no_padding()  # some files ask for a fixed length: one query needs none
    connect, namespace = _redis_url(redis_url)
    store = redis.Redis.from_url(connect)
    calibration = manifest["calibration"]
    return Job(
        tokenizer,
        _session(bundle, manifest, "query"),
        _session(bundle, manifest, "head"),
        store,
        _key_prefixes(store, namespace, manifest),
        manifest["product_row"]["width"],
        calibration["slope"],
        calibration["intercept"],
    )


def job_from_environment() -> Job:
    """The job of a peer: PEER_BUNDLE and PEER_REDIS, set by the script that starts it."""
    return open_job(Path(os.environ["PEER_BUNDLE"]), os.environ["PEER_REDIS"])


def _redis_url(url: str) -> tuple[str, str]:
    """What redis-py connects to, and the namespace of the keys (`?ns=`)."""
    parts = urlsplit(url)
    parameters = dict(parse_qsl(parts.query))
    namespace = parameters.pop("ns", "winnow")
    return urlunsplit(parts._replace(query=urlencode(parameters))), namespace


def _key_prefixes(
    store: "redis.Redis", namespace: str, manifest: dict[str, Any]
) -> tuple[bytes, ...]:
    set_id = cast(
        bytes | None, store.hget(f"{namespace}:live", str(manifest["vector_fingerprint"]))
    )
    if set_id is None:
        raise JobError(
            f"expected a live vector set of {manifest['name']} in namespace {namespace!r} of this "
            "Redis, found none: run `winnow index` first"
        )
    prefix = f"{namespace}:{set_id.decode()}:"
    header = json.loads(cast(bytes, store.get(f"{namespace}:set:{set_id.decode()}")))
    return tuple(f"{prefix}{{{bucket:03d}}}:".encode() for bucket in range(header["bucket_count"]))


def _session(bundle: Path, manifest: dict[str, Any], graph: str) -> ort.InferenceSession:
    files = manifest["graphs"][graph]["files"]
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(
        bundle / files.get("int8", files["float32"]), options, providers=["CPUExecutionProvider"]
    )
