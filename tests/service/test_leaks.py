"""Every error is tripped with things that must stay secret, and then all that was said is read."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import redis
from starlette.requests import Request

from model_store.registry import DEFAULT_ROOT
from service.key_file import add_key
from service.problems import internal_problem
from tests.service.conftest import Service, free_port, index_shop, start

if TYPE_CHECKING:
    from tests.conftest import RedisServer

MODEL = "shop-deepdot"
QUERY, PRODUCT = "unspeakablequery", "unspeakableproduct"
TOKEN, WRONG, PASSWORD = "unspeakable-admin-token", "winnow_unspeakablewrong", "unspeakablepass"
GOOD: dict[str, object] = {"query": QUERY, "product_ids": [PRODUCT, "p0001"]}


@dataclass
class Watched:
    """A service, and the text of every problem document that it has answered with."""

    service: Service
    admin_url: str
    key: str
    folder: Path
    said: dict[str, str] = field(default_factory=dict)

    def trip(self, status: int, content: bytes | dict[str, object], path: str = "/score") -> None:
        """A request that ends in a problem document."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"Authorization": f"Bearer {self.key}"}
        self.note(status, httpx.post(self.service.url + path, content=body, headers=headers))

    def note(self, status: int, answer: httpx.Response) -> None:
        """Keeps what was said."""
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        self.said[f"{len(self.said)}: {status} {answer.request.url.path}"] = answer.text + str(
            answer.headers
        )

    def admin(self, method: str, path: str, body: object, token: str = TOKEN) -> httpx.Response:
        """An admin call."""
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.request(
            method, f"{self.admin_url}/v1/models{path}", json=body, headers=headers, timeout=180
        )


@pytest.fixture
def watched(redis_server: "RedisServer", tmp_path: Path) -> Iterator[Watched]:
    """A service with everything that can be secret: keys, a token, a login, paths of its own."""
    folder = tmp_path / "unspeakablepath"
    bundles = folder / "bundles"
    shutil.copytree(DEFAULT_ROOT / MODEL, bundles / MODEL)
    shutil.copytree(bundles / MODEL / "1", bundles / MODEL / "9")
    (bundles / MODEL / "9" / "head.onnx").write_bytes(b"truncated")
    index_shop(redis_server.url, (MODEL,), tmp_path)
    with redis.Redis(port=redis_server.port) as client:
        client.acl_setuser("reader", enabled=True, passwords=[f"+{PASSWORD}"], keys="*",
                           commands=["+@all"])  # fmt: skip
    (folder / "token").write_text(TOKEN)
    port = free_port()
    settings = {
        "models": MODEL,
        "bundles": str(bundles),
        "api_keys_file": str(folder / "api-keys"),
        "admin_port": str(port),
        "admin_token_file": str(folder / "token"),
        "store_refresh_ms": "100",
    }
    key = add_key(folder / "api-keys", "ranker")
    with ExitStack() as stack:
        url = redis_server.url.replace("//", f"//reader:{PASSWORD}@")
        service = start(stack, tmp_path, url, settings)
        service.wait_for("/readyz")
        yield Watched(service, f"http://127.0.0.1:{port}", key, folder)


def test_nothing_secret_is_said_whatever_goes_wrong(
    watched: Watched, redis_server: "RedisServer"
) -> None:
    _trip_requests(watched)
    _trip_admin_calls(watched)
    bare = {name: httpx.get(watched.service.url + name).text for name in ("/metrics", "/readyz")}
    headers = {"Authorization": f"Bearer {watched.key}"}
    for path in ("/info", "/v1/models"):
        bare[path] = httpx.get(watched.service.url + path, headers=headers).text
    redis_server.stop()
    watched.service.wait_for("/readyz", 503)
    watched.note(503, watched.service.client.get("/readyz"))
    watched.trip(503, GOOD)
    redis_server.start()  # empty, and without the user
    watched.service.wait_for("/readyz", 503)
    watched.trip(503, GOOD)
    said = {**watched.said, **bare}
    for where, text in said.items():
        for secret in (
            *(QUERY, PRODUCT, TOKEN, WRONG, PASSWORD, watched.key, watched.key[8:]),
            *("unspeakablepath", f":{redis_server.port}", "Traceback", ".py"),
        ):
            assert secret not in text, (where, secret)
    log = watched.service.log.read_text()
    for secret in (QUERY, PRODUCT, TOKEN, WRONG, PASSWORD, watched.key):
        assert secret not in log
    assert "vector store" in log  # what went wrong is there, for the operator


def _trip_requests(watched: Watched) -> None:
    watched.trip(400, f'{{"query": "{QUERY}", "product_ids": ["{PRODUCT}"'.encode())
    watched.trip(404, {**GOOD, "model": "nobody"})
    watched.trip(413, {**GOOD, "product_ids": [PRODUCT] * 10_001})
    watched.trip(413, b'{"query": "' + QUERY.encode() * 300_000 + b'"}')
    changes: list[dict[str, object]] = [
        {"query": [QUERY]}, {"query": QUERY * 100}, {"product_ids": [PRODUCT * 20]},
        {"product_ids": {PRODUCT: 1}}, {"product_ids": [PRODUCT, 7]}, {"deadline_ms": QUERY},
        {"raw": QUERY}, {"surprise": QUERY}, {"model": [QUERY]},
    ]  # fmt: skip
    for change in changes:
        watched.trip(422, {**GOOD, **change})
    changes = [
        {"sort": QUERY}, {"sort": "price", "sort_values": [PRODUCT, 1]},
        {"sort": "price", "missing": QUERY}, {"sort": "price", "order": QUERY},
    ]  # fmt: skip
    for change in changes:
        watched.trip(422, {**GOOD, **change}, "/filter")
    watched.trip(504, {**GOOD, "strict": True, "deadline_ms": 0.001})
    headers = {"Authorization": f"Bearer {WRONG}", "Content-Encoding": "gzip"}
    url = f"{watched.service.url}/score"
    watched.note(401, httpx.post(url, json=GOOD, headers=headers))
    watched.note(401, httpx.post(url, json=GOOD))
    headers["Authorization"] = f"Bearer {watched.key}"
    watched.note(415, httpx.post(url, json=GOOD, headers=headers))
    watched.note(405, httpx.get(f"{url}?q={QUERY}", headers=headers))
    watched.note(404, httpx.get(f"{watched.service.url}/{QUERY}", headers=headers))


def _trip_admin_calls(watched: Watched) -> None:
    activate = f"/{MODEL}/activate"
    watched.note(401, watched.admin("POST", activate, {"version": "9"}, watched.key))
    watched.note(401, watched.admin("POST", activate, {"version": "9"}, WRONG))
    watched.note(404, watched.admin("POST", activate, {"version": "7"}))
    watched.note(404, watched.admin("POST", "/nobody/activate", {"version": "7"}))
    watched.note(404, watched.admin("GET", "/../../etc", None))
    watched.note(409, watched.admin("POST", activate, {"version": "9"}))
    watched.note(422, watched.admin("POST", activate, {"version": "../../etc/passwd"}))
    watched.note(422, watched.admin("PUT", f"/{MODEL}/canary", {"share": 2, "version": "1"}))


async def _internal(error: Exception) -> bytes:
    request = Request({"type": "http", "path": "/score", "headers": []})
    response = await internal_problem(request, error)
    return bytes(response.body)


def test_an_unexpected_error_is_one_sentence_to_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    import asyncio

    with caplog.at_level(logging.ERROR):
        body = asyncio.run(_internal(KeyError(QUERY)))
    assert QUERY.encode() not in body
    assert json.loads(body)["detail"] == "an unexpected error; the log has it"
    assert "unexpected error" in caplog.text
