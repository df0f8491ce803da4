"""Clients that trickle, flood and send bombs: none gets in, none keeps others out, none costs much.

One service with small limits, over real sockets. Each test ends with a right request.
"""

import gzip
import io
import json
import select
import socket
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import psutil
import pytest

from service.key_file import add_key
from tests.service.conftest import Service, start
from tests.service.test_operation import counter

CLIENT_TIMEOUT_S, IDLE_TIMEOUT_S, MOST_CONNECTIONS = 4, 2, 24
PATIENCE_S = 120  # for a machine that does other things; what is asserted is who ends it
MORE_MEMORY = 40 * 2**20  # bytes; each flood sends more, or unpacks to more
BODY = json.dumps({"query": "shoes", "product_ids": ["p0001"], "sort": "price"}).encode()


@dataclass(frozen=True)
class Besieged:
    """The service, its key, and how much memory it had at rest."""

    service: Service
    key: str
    memory: int

    @property
    def head(self) -> bytes:
        """The beginning of a right request, up to the headers that say how long it is."""
        return (
            f"POST /filter HTTP/1.1\r\nHost: winnow\r\nAuthorization: Bearer {self.key}\r\n"
        ).encode()

    @property
    def request(self) -> bytes:
        """A right request, whole."""
        return self.head + f"Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY

    def connect(self) -> socket.socket:
        """A connection of its own."""
        return socket.create_connection(("127.0.0.1", self.service.port), timeout=PATIENCE_S)

    def post(self, content: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        """POST /filter with the key."""
        return httpx.post(
            f"{self.service.url}/filter",
            content=content,
            headers={"Authorization": f"Bearer {self.key}", **(headers or {})},
            timeout=PATIENCE_S,
        )

    def cut(self, reason: str) -> float:
        """Connections that the service ended for a reason."""
        page = httpx.get(f"{self.service.url}/metrics", timeout=PATIENCE_S).text
        return counter(page, f'winnow_cut_connections_total{{reason="{reason}"}}')


@pytest.fixture(scope="module")
def running(lmdb_store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    """A service with API keys and small limits."""
    folder = tmp_path_factory.mktemp("besieged")
    key = add_key(folder / "api-keys", "ranker")
    settings = {
        "models": "shop-deepdot",
        "api_keys_file": str(folder / "api-keys"),
        "client_timeout_s": str(CLIENT_TIMEOUT_S),
        "idle_timeout_s": str(IDLE_TIMEOUT_S),
        "max_connections": str(MOST_CONNECTIONS),
    }
    with ExitStack() as stack:
        service = start(stack, folder, lmdb_store, settings)
        service.wait_for("/readyz")
        service.client.close()
        besieged = Besieged(service, key, 0)
        assert besieged.post(BODY).status_code == 200
        yield Besieged(service, key, memory_of(service))


@pytest.fixture
def besieged(running: Besieged) -> Iterator[Besieged]:
    """The service, which answers a right request after the test and has not grown."""
    yield running
    assert running.service.process.poll() is None
    assert running.post(BODY).status_code == 200
    assert memory_of(running.service) - running.memory < MORE_MEMORY


def memory_of(service: Service) -> int:
    """Resident bytes of the service's one process."""
    size: int = psutil.Process(service.process.pid).memory_info().rss
    return size


def flood(connection: socket.socket, piece: bytes, most_bytes: int) -> int:
    """Sends a piece again and again until the service ends it; how many bytes it took."""
    sent = 0
    try:
        while sent < most_bytes:
            connection.sendall(piece)
            sent += len(piece)
    except OSError:
        pass
    return sent


def all_of(connection: socket.socket) -> bytes:
    """Everything that comes until the service closes."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionError:
        pass
    return received


def what_has_come(connection: socket.socket) -> bytes:
    """What there is to read by now; ConnectionResetError where it is nothing but the end."""
    received = b""
    while select.select([connection], [], [], 0)[0]:
        data = connection.recv(65536)
        if not data and not received:
            raise ConnectionResetError
        if not data:
            break
        received += data
    return received


def test_whoever_trickles_is_cut_off_however_steadily(besieged: Besieged) -> None:
    """A byte every fifth of a second: of a head, bodies, chunks, line ends, and of nothing."""
    chunked = besieged.head + b"Transfer-Encoding: chunked\r\n\r\n"
    ways: dict[str, tuple[bytes, bytes]] = {
        "silence": (b"", b""),
        "line ends": (b"", b"\r\n"),
        "head": (besieged.head, b"X"),
        "headers": (besieged.head, b"X: x\r\n"),
        "body": (besieged.head + b"Content-Length: 1000000\r\n\r\n", b" "),
        "chunks": (chunked, b"1\r\n \r\n"),
        "chunk extension": (chunked + b"1;", b"x"),
        "after a request": (besieged.request + b"GET /?", b"q"),
        "no key": (b"POST /score HTTP/1.1\r\nHost: w\r\nContent-Length: 1000000\r\n\r\n", b" "),
    }
    opened = time.monotonic()
    connections = {way: besieged.connect() for way in ways}
    ended: dict[str, float] = {}
    received = dict.fromkeys(ways, b"")
    for way, (beginning, _) in ways.items():
        connections[way].sendall(beginning)
    while len(ended) < len(ways):
        assert time.monotonic() - opened < PATIENCE_S, f"still open: {set(ways) - set(ended)}"
        time.sleep(0.2)
        for way in set(ways) - set(ended):
            try:
                received[way] += what_has_come(connections[way])
                connections[way].sendall(ways[way][1])
            except OSError:
                ended[way] = time.monotonic() - opened
    for connection in connections.values():
        connection.close()
    assert min(ended.values()) > IDLE_TIMEOUT_S - 0.5, ended
    for way in ("head", "headers", "body", "chunks", "chunk extension"):
        assert received[way].startswith(b"HTTP/1.1 408 Request timeout\r\n"), way
        assert b"application/problem+json" in received[way]
    assert received["after a request"].startswith(b"HTTP/1.1 200")
    assert received["no key"].startswith(b"HTTP/1.1 401")
    assert besieged.cut("slow_request") >= len(ways) - 1


def test_an_idle_connection_is_closed(besieged: Besieged) -> None:
    with besieged.connect() as connection:
        connection.sendall(besieged.request)
        assert all_of(connection).startswith(b"HTTP/1.1 200")  # and then it was closed


def test_whoever_takes_no_answer_is_cut_off(besieged: Besieged) -> None:
    ids = [f"{i:0200d}" for i in range(9_000)]
    body = json.dumps({"query": "q", "product_ids": ids, "sort": "sale"}).encode()
    request = besieged.head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    before = besieged.cut("answer_not_taken")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", besieged.service.port))
        connection.settimeout(1)
        flood(connection, request, 12 * len(request))  # answers of 20 MB that nobody reads
        give_up = time.monotonic() + PATIENCE_S
        while besieged.cut("answer_not_taken") == before:
            assert time.monotonic() < give_up, "the connection is still there"
            time.sleep(0.2)


def test_silent_connections_keep_nobody_out(besieged: Besieged) -> None:
    """Three times as many as are allowed: those that have waited longest give way."""
    with ExitStack() as stack:
        silent = [stack.enter_context(besieged.connect()) for _ in range(3 * MOST_CONNECTIONS)]
        assert besieged.post(BODY).status_code == 200
        open_now = len(psutil.Process(besieged.service.process.pid).net_connections("tcp"))
        assert open_now <= MOST_CONNECTIONS + 4  # and what listens
        assert all_of(silent[0]) == b""  # the first was closed
    assert besieged.cut("crowded") >= 2 * MOST_CONNECTIONS - 1


@pytest.mark.parametrize(
    "piece",
    [b"X: " + b"x" * 4000 + b"\r\n", b"x" * 65536, b"X:\r\n" * 10_000],
    ids=["headers", "one header", "empty headers"],
)
def test_headers_without_end_are_431(besieged: Besieged, piece: bytes) -> None:
    with besieged.connect() as connection:
        connection.sendall(besieged.head + b"Y: ")
        sent = flood(connection, piece, 256 * 2**20)
        assert sent < 64 * 2**20
    with besieged.connect() as connection:
        connection.sendall(besieged.head + b"Y: " + b"y" * 20_000 + b"\r\n\r\n")
        assert all_of(connection).startswith(b"HTTP/1.1 431 ")
    answer = httpx.get(f"{besieged.service.url}/healthz?{'q' * 20_000}", timeout=PATIENCE_S)
    assert answer.status_code == 431


def test_trailers_and_chunk_sizes_without_end_are_cut_off(besieged: Besieged) -> None:
    chunked = besieged.head + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
    for beginning, piece in ((b"0\r\n", b"X: " + b"x" * 5000 + b"\r\n"), (b"1;", b"x" * 65536)):
        with besieged.connect() as connection:
            connection.sendall(chunked + beginning)
            assert flood(connection, piece, 256 * 2**20) < 64 * 2**20


def test_requests_without_waiting_for_answers_are_cut_off(besieged: Besieged) -> None:
    with besieged.connect() as connection:
        piece = b"GET /healthz HTTP/1.1\r\nHost: w\r\n\r\n" * 2_000
        assert flood(connection, piece, 256 * 2**20) < 64 * 2**20
    with besieged.connect() as connection:
        connection.sendall(besieged.request * 8)  # a few are a client's right
        assert all_of(connection).count(b"HTTP/1.1 200 OK") == 8


def zipped() -> bytes:
    """A zip of a few kilobytes that unpacks to 50 MB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(50 * 2**20))
    return file.getvalue()


@pytest.mark.parametrize(
    ("encoding", "status"),
    [("gzip", 415), ("deflate", 415), ("br", 415), ("gzip, gzip", 415), ("identity", 400)],
)
def test_compressed_bombs_are_never_unpacked(
    besieged: Besieged, encoding: str, status: int
) -> None:
    plain = b" " * (50 * 2**20)
    packed = {
        "gzip": lambda: gzip.compress(plain, 1),
        "deflate": lambda: zlib.compress(plain, 1),
        "identity": zipped,
    }.get(encoding, lambda: gzip.compress(gzip.compress(plain, 1)))()
    answer = besieged.post(packed, {"Content-Encoding": encoding})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_that_never_ends_is_refused_and_then_cut_off(besieged: Besieged) -> None:
    before = besieged.cut("slow_request")
    with besieged.connect() as connection:
        connection.sendall(besieged.head + b"Transfer-Encoding: chunked\r\n\r\n")
        flood(connection, b"10000\r\n" + b" " * 65536 + b"\r\n", 1 << 50)
    assert besieged.cut("slow_request") == before + 1
    answer = besieged.post(b" " * (5 * 2**20))
    assert answer.status_code == 413
    assert answer.json()["limit"] == 4 * 2**20


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /score HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /score HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST /score HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x00" * 1000,
    ],
)
def test_what_is_no_http_is_refused_and_not_logged(besieged: Besieged, nonsense: bytes) -> None:
    with besieged.connect() as connection:
        connection.sendall(nonsense)
        answer = all_of(connection)
    assert answer.startswith((b"HTTP/1.1 400 Bad request", b"HTTP/1.1 401 "))
    assert "Invalid HTTP" not in besieged.service.log.read_text()


def test_an_upgrade_is_answered_as_any_request(besieged: Besieged) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    url = f"{besieged.service.url}/healthz"
    assert httpx.get(url, headers=headers, timeout=PATIENCE_S).status_code == 200
    assert "upgrade" not in besieged.service.log.read_text().lower()
