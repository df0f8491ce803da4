"""Rows out of Redis by the quick way: over every kind of connection, and when one fails."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from vector_store.errors import StoreError, StoreUnavailable
from vector_store.header import SetHeader
from vector_store.ids import ProductIds
from vector_store.native_rows import AVAILABLE
from vector_store.open import open_store
from vector_store.protocol import VectorStore
from vector_store.redis_store import FETCH_CHUNK
from vector_store.rows import CORRUPT, FOUND, MISSING

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the quick way is compiled code")

if TYPE_CHECKING:
    from tests.conftest import RedisServer

HeaderOf = Callable[..., SetHeader]
RecordsOf = Callable[..., list[bytes]]

TIMEOUT_MS = 20_000
N = 4 * FETCH_CHUNK + 1
IDS = [f"p{i}" for i in range(N)]


@pytest.fixture
def store(
    redis_server: "RedisServer", header_of: HeaderOf, records_of: RecordsOf
) -> Iterator[VectorStore]:
    """A store on a server of its own, with rows 0, 1, 2, ... of p0, p1, p2, ..."""
    opened = open_store(redis_server.url, timeout_ms=TIMEOUT_MS)
    opened.put_header(header_of())
    opened.insert(header_of(), IDS, records_of(N), b"")
    yield opened
    opened.close()


@pytest.fixture
def admin(redis_server: "RedisServer") -> Iterator[redis.Redis]:
    with redis.Redis(port=redis_server.port) as client:
        yield client


def numbers(store: VectorStore, header: SetHeader, ids: list[str]) -> list[float]:
    """The number that each row is filled with."""
    rows = store.fetch(header, ProductIds.from_strings(ids))
    assert rows.status.tolist() == [FOUND] * len(ids)
    return [float(row[0]) for row in rows.values]


def test_a_timeout_leaves_no_reply_for_the_next_fetch(
    redis_server: "RedisServer", store: VectorStore, header_of: HeaderOf
) -> None:
    impatient = open_store(redis_server.url, timeout_ms=50)
    assert numbers(impatient, header_of(), IDS[:3]) == [0, 1, 2]
    redis_server.freeze()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="did not answer within 50 ms"):
            numbers(impatient, header_of(), IDS)
    redis_server.thaw()
    assert numbers(store, header_of(), IDS[5:8]) == [5, 6, 7]
    patient = open_store(redis_server.url, timeout_ms=TIMEOUT_MS)
    assert numbers(patient, header_of(), IDS[::-1]) == list(range(N))[::-1]
    patient.close()
    impatient.close()


def test_redis_going_down_and_coming_back(
    redis_server: "RedisServer", store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    assert numbers(store, header_of(), ["p7"]) == [7]
    redis_server.stop()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        numbers(store, header_of(), IDS)
    redis_server.start()
    store.put_header(header_of())
    store.insert(header_of(), ["p7"], records_of(1, first=9), b"")
    assert numbers(store, header_of(), ["p7"]) == [9]


def test_bad_values_are_corrupt_and_their_neighbours_are_not(
    store: VectorStore, admin: redis.Redis, header_of: HeaderOf
) -> None:
    keys = {key.rpartition(b":")[2].decode(): key for key in admin.scan_iter("winnow:0*")}
    admin.append(keys["p1"], "x")
    admin.setrange(keys["p2"], 0, b"\xff" * 8)
    admin.delete(keys["p3"], keys["p4"])
    admin.lpush(keys["p4"], "another type")
    rows = store.fetch(header_of(), ProductIds.from_strings(IDS[:6]))
    assert rows.status.tolist() == [FOUND, CORRUPT, CORRUPT, MISSING, MISSING, FOUND]
    assert rows.values[:, 0].tolist() == [0, 0, 0, 0, 0, 5]


def test_a_user_without_the_right_is_told_so(
    redis_server: "RedisServer", store: VectorStore, admin: redis.Redis, header_of: HeaderOf
) -> None:
    admin.acl_setuser(
        "reader", enabled=True, nopass=True, keys=["other:*"], commands=["+@read", "+@connection"]
    )
    reader = open_store(redis_server.url.replace("//", "//reader:x@"), timeout_ms=TIMEOUT_MS)
    with pytest.raises(StoreError, match="does not let this user do that; extend its ACL"):
        numbers(reader, header_of(), IDS)
    reader.close()


def test_threads_fetch_over_connections_of_their_own(
    store: VectorStore, header_of: HeaderOf
) -> None:
    wrong: list[int] = []

    def fetch(first: int) -> None:
        for start in range(first, first + 20):
            expected = [i % N for i in range(start, start + 300)]
            if numbers(store, header_of(), [IDS[i] for i in expected]) != expected:
                wrong.append(start)

    threads = [threading.Thread(target=fetch, args=(31 * i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """URL of a server that greets redis-py, answers the first MGET with `answer` and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            try:
                while True:
                    connection, _ = server.accept()
                    with connection:
                        while received := connection.recv(1 << 16):
                            connection.sendall(b"+OK\r\n" * received.count(b"SETINFO"))
                            if b"MGET" in received:
                                connection.sendall(answer)
                                break
            except OSError:
                return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (b"", StoreUnavailable, "cannot be reached"),
        (b"*2\r\n$-1\r\n", StoreUnavailable, "cannot be reached"),
        (b"*1\r\n$-1\r\n", StoreUnavailable, "does not speak the Redis protocol"),
        (b"HTTP/1.1 400 \r\n", StoreUnavailable, "does not speak the Redis protocol"),
        (b"*2\r\n$-1\r\n$-1\r\n*", StoreUnavailable, "does not speak the Redis protocol"),
        (b"-LOADING Redis is loading\r\n", StoreUnavailable, r"still loading .*Redis is loading"),
        (b"-MOVED 1 127.0.0.1:1\r\n", StoreError, "part of a Redis Cluster"),
        (b"-ERR max number of clients reached\r\n", StoreUnavailable, "max number of clients"),
    ],
)
def test_every_failure_is_a_store_error(
    header_of: HeaderOf, answer: bytes, error: type[StoreError], message: str
) -> None:
    with answering(answer) as url:
        store = open_store(url, timeout_ms=TIMEOUT_MS)
        for _ in range(2):
            with pytest.raises(error, match=message) as raised:
                store.fetch(header_of(), ProductIds.from_strings(["a", "b"]))
            assert isinstance(raised.value, StoreUnavailable) == (error is StoreUnavailable)
        store.close()


def test_over_a_unix_socket(
    redis_server: "RedisServer", store: VectorStore, header_of: HeaderOf
) -> None:
    local = open_store(f"unix://{redis_server.socket}?ns=winnow&db=0", timeout_ms=TIMEOUT_MS)
    assert numbers(local, header_of(), IDS) == list(range(N))
    local.close()


def test_over_tls(
    redis_server: "RedisServer",
    store: VectorStore,
    admin: redis.Redis,
    header_of: HeaderOf,
    tmp_path: Path,
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate of this test")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    try:
        admin.config_set("tls-cert-file", str(certificate), "tls-key-file", str(key))
        admin.config_set("tls-auth-clients", "no", "tls-ca-cert-file", str(certificate))
        admin.config_set("tls-port", port)
    except redis.ResponseError as error:
        pytest.skip(f"this redis-server was built without TLS: {error}")
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}"
    secret = open_store(url, timeout_ms=TIMEOUT_MS)
    assert numbers(secret, header_of(), IDS) == list(range(N))
    secret.close()
