"""Who has a good key gets in, in every worker, and nobody else; keys change without a restart."""

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service.key_file import add_key, digest_of
from tests.service.conftest import Service, free_port, start
from tests.service.rollouts import until
from tests.service.test_bad_requests import problem
from tests.service.test_operation import counter, workers_of

TOKEN = "an-admin-token-of-the-tests"
BODY: dict[str, object] = {"query": "shoes", "product_ids": ["p0001"], "sort": "price"}
LATE = f"late {digest_of(b'an expired key').hex()} 2020-12-31\n"


@dataclass(frozen=True)
class Guarded:
    """A service of two workers with API keys and admin calls."""

    service: Service
    admin_url: str
    file: Path
    key: str

    def ask(self, authorization: str | None, path: str = "/filter") -> httpx.Response:
        """A right request on a connection of its own, which either worker may take."""
        headers = {} if authorization is None else {"Authorization": authorization}
        return httpx.post(f"{self.service.url}{path}", json=BODY, headers=headers, timeout=60)

    def opens(self, key: str) -> bool:
        """Whether both workers let the key in: sixteen connections go to both."""
        answers = {self.ask(f"Bearer {key}").status_code for _ in range(16)}
        assert answers <= {200, 401}
        return answers == {200}

    def closed(self, key: str) -> bool:
        """Whether neither worker lets the key in."""
        return {self.ask(f"Bearer {key}").status_code for _ in range(16)} == {401}

    def metric(self, series: str) -> float:
        """A value on the page of metrics."""
        return counter(httpx.get(f"{self.service.url}/metrics", timeout=60).text, series)


@pytest.fixture(scope="module")
def guarded(lmdb_store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A service whose keys are one that opens and one that has expired."""
    folder = tmp_path_factory.mktemp("guarded")
    file, token, port = folder / "api-keys", folder / "token", free_port()
    key = add_key(file, "ranker")
    file.write_text(file.read_text() + LATE)
    token.write_text(TOKEN)
    settings = {
        "workers": "2",
        "models": "shop-deepdot",
        "api_keys_file": str(file),
        "admin_port": str(port),
        "admin_token_file": str(token),
    }
    with ExitStack() as stack:
        service = start(stack, folder, lmdb_store, settings)
        service.wait_for("/readyz")
        guarded = Guarded(service, f"http://127.0.0.1:{port}", file, key)
        until(lambda: len(workers_of(service)) == 2, "two workers")
        yield guarded


@pytest.fixture
def content(guarded: Guarded) -> Iterator[str]:
    """What the file has, and has again after the test."""
    text = guarded.file.read_text()
    yield text
    guarded.file.write_text(text)
    until(lambda: guarded.opens(guarded.key), "the first key opens")
    until(lambda: guarded.metric("winnow_api_key_file_readable") == 1.0, "the file is followed")


@pytest.mark.parametrize(
    "path", ["/score", "/filter", "/explain", "/v1/models", "/info", "/docs", "/none"]
)
def test_without_a_key_everything_is_401(guarded: Guarded, path: str) -> None:
    for method in ("GET", "POST"):
        answer = httpx.request(method, guarded.service.url + path, timeout=60)
        problem(answer, 401)
        assert answer.headers["www-authenticate"] == 'Bearer realm="winnow"'


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_and_prometheus_need_none(guarded: Guarded, path: str) -> None:
    assert httpx.get(guarded.service.url + path, timeout=60).status_code == 200


@pytest.mark.parametrize("path", ["//score", "/score/", "/metrics/../score", "/%2e/score"])
def test_another_spelling_of_a_path_is_no_way_in(guarded: Guarded, path: str) -> None:
    assert httpx.post(f"{guarded.service.url}{path}", json=BODY, timeout=60).status_code == 401


def test_a_good_key_opens_both_workers(guarded: Guarded) -> None:
    assert guarded.opens(guarded.key)
    assert guarded.ask(f"bearer  {guarded.key}").status_code == 200  # a scheme has no case


def test_200_wrong_keys_and_an_expired_one_stay_outside(guarded: Guarded) -> None:
    key = guarded.key
    near = [key[:-1], key + "x", key.swapcase(), key.removeprefix("winnow_"), "0", "x", key[::-1]]
    hashed = [digest_of(key.encode()).hex(), guarded.file.read_text()[:200].replace("\n", " ")]
    wrong = near + hashed + [f"winnow_{secrets.token_urlsafe(32)}" for _ in range(191)]
    assert len(wrong) == 200
    before = guarded.metric('winnow_unauthorized_requests_total{reason="unknown"}')
    for each in wrong:
        answer = guarded.ask(f"Bearer {each}")
        problem(answer, 401)
    after = guarded.metric('winnow_unauthorized_requests_total{reason="unknown"}')
    assert after - before == 200
    expired = guarded.ask("Bearer an expired key")
    assert "expired" in str(problem(expired, 401)["detail"])
    assert 'error="invalid_token"' in expired.headers["www-authenticate"]
    for scheme in ("Basic", "Digest", "Bearer,"):
        problem(guarded.ask(f"{scheme} {key}"), 401)
    assert guarded.opens(key)


def test_the_admin_port_has_another_key(guarded: Guarded) -> None:
    for secret, status in ((TOKEN, 200), (guarded.key, 401)):
        headers = {"Authorization": f"Bearer {secret}"}
        answer = httpx.get(f"{guarded.admin_url}/v1/models", headers=headers, timeout=60)
        assert answer.status_code == status
    assert guarded.closed(TOKEN)


def test_keys_come_expire_and_go_without_a_restart(guarded: Guarded, content: str) -> None:
    moment = datetime_in(3.0)
    new, brief = add_key(guarded.file, "new"), add_key(guarded.file, "brief", moment)
    until(lambda: guarded.opens(new), "the new key opens")
    until(lambda: guarded.closed(brief), "the brief key has expired")
    assert guarded.opens(guarded.key)  # several at once
    lines = guarded.file.read_text().splitlines(keepends=True)
    guarded.file.write_text("".join(line for line in lines if not line.startswith("ranker ")))
    until(lambda: guarded.closed(guarded.key), "the removed key opens no more")
    assert guarded.opens(new)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_text("ranker half-a-li"),
        lambda file: file.write_bytes(b"\x00\xff" * 100),
        lambda file: file.write_text(""),
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b"x" * 10_000_000),
    ],
    ids=["cut short", "binary", "empty", "gone", "huge"],
)
def test_a_damaged_file_changes_nothing_and_is_said(
    guarded: Guarded, content: str, damage: Callable[[Path], object]
) -> None:
    damage(guarded.file)
    until(lambda: guarded.metric("winnow_api_key_file_readable") == 0.0, "the metric says so")
    assert guarded.opens(guarded.key)
    assert guarded.closed("winnow_wrong")
    assert "the last good keys go on" in guarded.service.log.read_text()


def test_a_worker_that_starts_beside_a_damaged_file_has_the_last_good_keys(
    guarded: Guarded, content: str
) -> None:
    guarded.file.write_text("ranker half-a-li")
    until(lambda: guarded.metric("winnow_api_key_file_readable") == 0.0, "the metric says so")
    before = workers_of(guarded.service)
    os.kill(before[0], signal.SIGKILL)
    until(
        lambda: (
            len(set(workers_of(guarded.service)) | set(before)) == 3
            and len(workers_of(guarded.service)) == 2
        ),
        "another worker",
    )
    until(lambda: guarded.opens(guarded.key), "the key opens in the new worker too")
    assert guarded.closed("winnow_wrong")


def test_no_key_is_in_the_log(guarded: Guarded) -> None:
    text = guarded.service.log.read_text()
    assert "API keys: ranker, late" in text
    assert guarded.key not in text
    assert TOKEN not in text


@pytest.mark.parametrize("content", ["", "ranker nonsense never"])
def test_a_service_does_not_start_without_the_keys_it_should_have(
    lmdb_store: str, tmp_path: Path, content: str
) -> None:
    (tmp_path / "api-keys").write_text(content)
    with ExitStack() as stack:
        settings = {"api_keys_file": str(tmp_path / "api-keys"), "models": "shop-deepdot"}
        service = start(stack, tmp_path, lmdb_store, settings)
        assert service.process.wait(timeout=120) == 1
        assert "error: API keys" in service.log.read_text()


def datetime_in(seconds: float) -> str:
    """A moment so far ahead, as the file has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
