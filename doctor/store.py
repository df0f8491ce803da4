"""The vector store: whether it answers, safely, and holds what the served students need."""

import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import redis
from redis.exceptions import RedisClusterException

from doctor.finding import Finding, judged, megabytes
from doctor.redis_server import Expected, server_findings
from indexing.room import redis_key_prefix_bytes, set_bytes, store_kind
from model_store.manifest import Manifest
from service.settings import Settings
from vector_store.errors import StoreError
from vector_store.header import SetHeader
from vector_store.live import live_header
from vector_store.open import open_store
from vector_store.protocol import VectorStore
from vector_store.redis_client import server_client
from vector_store.redis_errors import translate, translate_cluster
from vector_store.redis_nodes import ClusterNodes
from vector_store.redis_url import RedisUrl, parse_redis_url

ID_BYTES: Final = 16  # of a typical product id
ROOM_FOR_LMDB: Final = "free disk for one more vector set"
THIS_MACHINE: Final = ("", "localhost", "127.0.0.1", "::1")


def reached(settings: Settings) -> tuple[VectorStore | None, Finding]:
    """The store, if it answers within the timeout that requests have."""
    wanted = f"an answer within WINNOW_STORE_TIMEOUT_MS ({settings.store_timeout_ms})"
    try:
        store = open_store(settings.store, read_only=True, timeout_ms=settings.store_timeout_ms)
        store.ping()  # connects
        started = time.perf_counter()
        store.ping()
    except StoreError as error:
        to_do = "start it, or correct WINNOW_STORE, its login or the network between"
        return None, Finding("store", "change", str(error), wanted, to_do)
    took_ms = (time.perf_counter() - started) * 1e3
    return store, Finding("store", "fine", f"{store.url} answers in {took_ms:.1f} ms", wanted)


def live_sets(
    store: VectorStore, manifests: Sequence[Manifest]
) -> tuple[dict[str, SetHeader], list[Finding]]:
    """The live vector set of each student by its name, and what there is to say of it."""
    headers: dict[str, SetHeader] = {}
    findings = []
    for manifest in manifests:
        check = f"vector set of {manifest.name}"
        wanted = f"a live, sealed set with fingerprint {manifest.vector_fingerprint[:8]}"
        try:
            header = live_header(store, manifest.vector_fingerprint, manifest.d_p)
        except StoreError as error:
            to_do = f"winnow index CATALOGUE --model {manifest.name}@{manifest.version}"
            findings.append(Finding(check, "change", str(error), wanted, to_do))
            continue
        headers[manifest.name] = header
        findings.append(
            judged(
                "fine" if header.count else "change",
                check,
                f"{header.set_id}: {header.count:,} products, sealed {header.sealed}",
                wanted,
                "it is empty: index the catalogue",
            )
        )
    return headers, findings


def safety(settings: Settings, headers: Mapping[str, SetHeader]) -> list[Finding]:
    """What the store itself would do to the rows: lose, evict or have no room for them."""
    kind = store_kind(settings.store)
    prefix = 0
    needed = 0
    for header in headers.values():
        if kind == "redis":
            prefix = redis_key_prefix_bytes(settings.store, header.set_id)
        size = set_bytes(kind, header.count, prefix + ID_BYTES, header.record_bytes)
        needed = max(needed, size)
    if kind == "lmdb":
        return [_disk(Path(settings.store.partition(":")[2]), needed)]
    return _servers(settings, needed) if kind == "redis" else []


def _disk(folder: Path, needed: int) -> Finding:
    free = shutil.disk_usage(folder).free
    return judged(
        "fine" if free >= needed else "change",
        "disk",
        f"{megabytes(free)} free",
        f"{megabytes(needed)}: {ROOM_FOR_LMDB}",
        "make room, or drop old sets (winnow sets gc): the next winnow index won't fit",
    )


def _servers(settings: Settings, needed: int) -> list[Finding]:
    url = parse_redis_url(settings.store)
    findings = [transport(url.connect, password_file=url.login is not None)]
    try:
        with _masters(url, settings.store_timeout_ms) as masters:
            for client in masters:
                expected = Expected(
                    _place(client), math.ceil(needed / len(masters)), settings.row_cache_mb > 0
                )
                findings += server_findings(client, expected)
    except (redis.RedisError, RedisClusterException) as error:
        told = translate_cluster if url.is_cluster else translate
        reason = str(told(error, url.shown, settings.store_timeout_ms))  # type: ignore[arg-type]
        findings.append(
            Finding("Redis", "change", reason, "answers to all checks", "see to that, ask again")
        )
    return findings


def transport(url: str, *, password_file: bool = False) -> Finding:
    """Login and encryption, as the URL of a Redis server has them."""
    parts = urlsplit(url)
    near = parts.scheme == "unix" or (parts.hostname or "") in THIS_MACHINE
    encrypted, login = parts.scheme == "rediss", password_file or bool(parts.password)
    lacking = [name for name, there in (("TLS", encrypted), ("a login", login)) if not there]
    where = "this machine" if near else "another machine"
    return judged(
        "fine" if near or not lacking else "note",
        "transport",
        f"{where}, {'TLS' if encrypted else 'no TLS'}, {'login' if login else 'no login'}",
        "TLS and a login where Redis is on another machine",
        f"without {' and '.join(lacking)}, whoever is in that network can read or change rows: "
        "rediss://user:password@...",
    )


@contextmanager
def _masters(url: RedisUrl, timeout_ms: int) -> Iterator[list[redis.Redis]]:
    """A client of the server, or of each master of the cluster."""
    if url.is_cluster:
        nodes = ClusterNodes(url, timeout_ms=timeout_ms)
        try:
            yield nodes.masters()
        finally:
            nodes.close()
        return
    seconds = timeout_ms / 1000
    options = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    client = server_client(url, {**options, "decode_responses": True})
    try:
        yield [client]
    finally:
        client.close()


def _place(client: redis.Redis) -> str:
    known = client.connection_pool.connection_kwargs
    return str(known.get("path") or f"{known.get('host', 'Redis')}:{known.get('port', '')}")
