"""A real service that asks for a key, and peers that misbehave on real sockets."""

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from winnow_client import AsyncClient, Client, Filtered, Reranked, Scores

from service.key_file import add_key
from tests.service.conftest import Service, index_shop, start

MODEL = "shop-deepdot"  # encoded in a moment

Say = Callable[[socket.socket, threading.Event], None]


@dataclass(frozen=True)
class Shop:
    """A ready service, and the key it asks for."""

    service: Service
    store: str
    key: str


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Shared by all tests here: none stops it."""
    folder = tmp_path_factory.mktemp("client")
    store = f"lmdb:{folder / 'rows'}"
    index_shop(store, (MODEL,), folder)
    key = add_key(folder / "api-keys", "ranker")
    settings = {"models": MODEL, "api_keys_file": str(folder / "api-keys")}
    with ExitStack() as stack:
        service = start(stack, folder, store, settings)
        service.client.headers["Authorization"] = f"Bearer {key}"
        service.wait_for("/readyz")
        yield Shop(service, store, key)


class Awaited:
    """An AsyncClient asked as a Client is, so that one test holds for both."""

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(url, **options)

    def score(self, *asked: Any, **options: Any) -> Scores:
        return self._runner.run(self._client.score(*asked, **options))

    def filter(self, *asked: Any, **options: Any) -> Filtered:
        return self._runner.run(self._client.filter(*asked, **options))

    def rerank(self, *asked: Any, **options: Any) -> Reranked:
        return self._runner.run(self._client.rerank(*asked, **options))

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


Opened = Client | Awaited
Open = Callable[..., Opened]


@pytest.fixture(params=["threads", "asyncio"])
def client(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens clients, of either kind, and closes them after the test."""
    with ExitStack() as stack:

        def opened(url: str, **options: Any) -> Opened:
            made = (Client if request.param == "threads" else Awaited)(url, **options)
            stack.callback(made.close)
            return made

        yield opened


class Peer:
    """A server that reads each request whole and answers it as the test says, the last way ever on.

    sent: the bodies that came; heads: their first lines and headers; connections: that were made
    """

    def __init__(self, *says: Say) -> None:
        self._says = says
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.sent: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self.connections = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def stop(self) -> None:
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(0.05)
            while self._read(connection):
                say = self._says[min(len(self.sent), len(self._says)) - 1]
                say(connection, self._stopped)

    def _read(self, connection: socket.socket) -> bool:
        """Whether a request came, and not the end of the connection or of the test."""
        got, length = b"", 0
        while b"\r\n\r\n" not in got or len(got.partition(b"\r\n\r\n")[2]) < length:
            if self._stopped.is_set():
                return False
            try:
                part = connection.recv(65536)
            except TimeoutError:
                continue
            if not part:
                return False
            got += part
            head = got.partition(b"\r\n\r\n")[0].decode().lower()
            if "content-length: " in head:
                length = int(head.partition("content-length: ")[2].split("\r\n")[0])
        self.heads.append(head)
        self.sent.append(json.loads(got.partition(b"\r\n\r\n")[2]))
        return True


StartPeer = Callable[..., Peer]


@pytest.fixture
def peer() -> Iterator[StartPeer]:
    """Starts peers and stops them after the test."""
    with ExitStack() as stack:

        def started(*says: Say) -> Peer:
            made = Peer(*says)
            stack.callback(made.stop)
            return made

        yield started


def raw(status: int, headers: dict[str, str], body: bytes) -> bytes:
    """An answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


def answers(status: int, document: object, **headers: str) -> Say:
    """A whole JSON answer; `retry_after="1"` is the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    whole = raw(status, named, json.dumps(document).encode())
    return lambda connection, stopped: connection.sendall(whole)


def scores(*values: float) -> Say:
    """An answer of /score in its binary form."""
    coverage = {"requested": len(values), "scored": len(values), "degraded": {}}
    headers = {
        "x-winnow-model": "m",
        "x-winnow-version": "7",
        "x-winnow-coverage": json.dumps(coverage),
    }
    whole = raw(200, headers, struct.pack(f"<{len(values)}f", *values))
    return lambda connection, stopped: connection.sendall(whole)


def resets(connection: socket.socket, stopped: threading.Event) -> None:
    """The connection breaks before a byte of the answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def is_silent(connection: socket.socket, stopped: threading.Event) -> None:
    """No answer ever comes."""
    stopped.wait()


def trickles(whole: bytes, at_once: int, every_s: float) -> Say:
    """The first bytes of an answer at once, the others one by one."""

    def say(connection: socket.socket, stopped: threading.Event) -> None:
        connection.sendall(whole[:at_once])
        for i in range(at_once, len(whole)):
            if stopped.wait(every_s):
                return
            connection.sendall(whole[i : i + 1])

    return say
