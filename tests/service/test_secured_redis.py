"""Redis over TLS with client certificates, and users with the rights that docs/security.md says."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from redis.exceptions import NoPermissionError

from tests.service.conftest import StartService, index_shop
from tests.service.rollouts import until
from vector_store.errors import StoreError, StoreUnavailable
from vector_store.open import open_store

if TYPE_CHECKING:
    from tests.conftest import RedisServer

MODEL = "shop-deepdot"
PASSWORD = "pass#word/of@a:user"
RIGHTS = Path(__file__).parents[2] / "docs" / "security.md"
TIMEOUT_MS = 20_000


@dataclass(frozen=True)
class Secured:
    """A Redis that takes nobody without a certificate, and its users' password file."""

    port: int
    folder: Path
    admin: redis.Redis

    def url(self, user: str, *, ca: str = "ca", client: str | None = "client") -> str:
        """URL of a user, whose password lies in a file."""
        ours = "" if client is None else f"&ssl_certfile={self.path(client, 'pem')}"
        ours += "" if client is None else f"&ssl_keyfile={self.path(client, 'key')}"
        return (
            f"rediss://{user}@127.0.0.1:{self.port}/0?ns=shop"
            f"&password_file={self.folder / 'password'}&ssl_ca_certs={self.path(ca, 'pem')}{ours}"
        )

    def path(self, name: str, kind: str) -> Path:
        """A certificate or a key."""
        return self.folder / f"{name}.{kind}"


def certificates(folder: Path) -> None:
    """A certificate authority with a server's and a client's certificate, and a stranger."""
    subject = ("-days", "1", "-nodes", "-newkey", "rsa:2048")
    for name in ("ca", "stranger"):
        openssl(
            folder, "req", "-x509", *subject, "-subj", f"/CN={name}", "-keyout", f"{name}.key",
            "-out", f"{name}.pem",
        )  # fmt: skip
    for name in ("server", "client"):
        openssl(
            folder, "req", "-x509", *subject, "-subj", f"/CN={name}", "-CA", "ca.pem", "-CAkey",
            "ca.key", "-addext", "subjectAltName=IP:127.0.0.1", "-addext",
            "basicConstraints=critical,CA:FALSE", "-keyout", f"{name}.key", "-out", f"{name}.pem",
        )  # fmt: skip


def openssl(folder: Path, *arguments: str) -> None:
    """Runs openssl."""
    done = subprocess.run(
        ["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def rights_of(user: str) -> list[str]:
    """The arguments of ACL SETUSER, as the documentation has them."""
    lines = RIGHTS.read_text(encoding="utf-8").splitlines()
    (line,) = [each.strip() for each in lines if f"ACL SETUSER {user} " in each]
    return line.replace("PASSWORD", PASSWORD).split()[2:]


@pytest.fixture
def secured(redis_server: "RedisServer", tmp_path: Path) -> Iterator[Secured]:
    """A Redis with TLS, a serving user and an indexing user, and nobody else over TLS."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates of this test")
    certificates(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    admin = redis.Redis(port=redis_server.port)
    try:
        admin.config_set("tls-cert-file", str(tmp_path / "server.pem"), "tls-key-file",
                         str(tmp_path / "server.key"))  # fmt: skip
        admin.config_set("tls-ca-cert-file", str(tmp_path / "ca.pem"), "tls-auth-clients", "yes")
        admin.config_set("tls-port", port)
    except redis.ResponseError as error:
        pytest.skip(f"this redis-server was built without TLS: {error}")
    for user in ("winnow-serving", "winnow-indexing"):
        admin.execute_command("ACL SETUSER", *rights_of(user))  # type: ignore[no-untyped-call]
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    with admin:
        yield Secured(port, tmp_path, admin)


def test_indexed_and_served_over_tls_with_the_rights_that_are_documented(
    secured: Secured, start_service: StartService, tmp_path: Path
) -> None:
    url = secured.url("winnow-indexing")
    index_shop(url, (MODEL,), tmp_path)
    index_shop(url, (MODEL,), tmp_path)  # a second set, whose predecessor can be dropped
    store = open_store(url, timeout_ms=TIMEOUT_MS)
    first, second = sorted(store.headers(), key=lambda header: header.created)
    store.set_live(first.fingerprint, first.set_id)
    store.set_live(first.fingerprint, second.set_id)
    store.drop(first)
    store.close()
    settings = {"models": MODEL, "store_timeout_ms": "20000"}
    service = start_service(secured.url("winnow-serving"), settings)
    service.wait_for("/readyz")
    answer = service.score("red running shoes", ["p0001", "p0002"]).json()
    assert answer["coverage"]["scored"] == 2
    # The set is watched, so rows may be kept.
    until(
        lambda: service.client.get("/v1/models").json()["models"][0]["row_cache"] == "on",
        "the row cache is on",
    )
    assert PASSWORD not in service.log.read_text()
    # redis-py introduces itself by CLIENT SETINFO, and does without.
    log = secured.admin.execute_command("ACL LOG")  # type: ignore[no-untyped-call]
    assert {str(entry["object"]) for entry in log} <= {"client|setinfo", "client"}, log


def test_the_serving_user_can_neither_write_nor_look_elsewhere(secured: Secured) -> None:
    secured.admin.set("other:sets", "x")
    serving = {
        "username": "winnow-serving", "password": PASSWORD, "port": secured.port, "ssl": True,
        "ssl_ca_certs": str(secured.path("ca", "pem")),
        "ssl_certfile": str(secured.path("client", "pem")),
        "ssl_keyfile": str(secured.path("client", "key")),
    }  # fmt: skip
    with redis.Redis(host="127.0.0.1", **serving) as client:  # type: ignore[arg-type]
        assert client.get("shop:progress:x") is None
        for command in (
            ("SET", "shop:live", "x"), ("DEL", "shop:live"), ("GET", "other:sets"), ("KEYS", "*"),
            ("FLUSHALL",), ("CONFIG", "GET", "*"), ("EVAL", "return 1", "0"), ("CLIENT", "LIST"),
        ):  # fmt: skip
            with pytest.raises(NoPermissionError):
                client.execute_command(*command)


@pytest.mark.parametrize(
    ("ca", "client"), [("stranger", "client"), ("ca", None), ("ca", "stranger")]
)
def test_a_wrong_authority_or_certificate_gets_no_connection(
    secured: Secured, ca: str, client: str | None
) -> None:
    store = open_store(secured.url("winnow-serving", ca=ca, client=client), timeout_ms=TIMEOUT_MS)
    with pytest.raises(StoreUnavailable):
        store.ping()
    store.close()


def test_a_new_password_in_the_file_needs_no_new_store(secured: Secured) -> None:
    url = secured.url("winnow-serving")
    store = open_store(url, timeout_ms=TIMEOUT_MS)
    assert PASSWORD not in store.url
    store.ping()
    secured.admin.execute_command("ACL SETUSER winnow-serving resetpass >other")  # type: ignore[no-untyped-call]
    secured.admin.execute_command("CLIENT KILL USER winnow-serving")  # type: ignore[no-untyped-call]
    with pytest.raises(StoreUnavailable):
        store.ping()
    with pytest.raises(StoreUnavailable, match="refused the login"):
        store.ping()
    (secured.folder / "password").write_text("other")
    store.ping()
    (secured.folder / "password").unlink()
    secured.admin.execute_command("CLIENT KILL USER winnow-serving")  # type: ignore[no-untyped-call]
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            store.ping()
    store.close()


def test_a_password_file_that_is_not_there_or_not_alone_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"password_file .*: No such file"):
        open_store(f"redis://user@localhost/0?password_file={tmp_path / 'none'}")
    (tmp_path / "empty").touch()
    with pytest.raises(StoreError, match="expected a password, got none"):
        open_store(f"redis://user@localhost/0?password_file={tmp_path / 'empty'}")
    with pytest.raises(StoreError, match="or password_file, got both") as raised:
        open_store(f"redis://user:secret@localhost/0?password_file={tmp_path / 'empty'}")
    assert "secret" not in str(raised.value)


def test_served_from_redis_six_with_the_least_rights(
    redis_six: "RedisServer", start_service: StartService, tmp_path: Path
) -> None:
    """As documented, with `~` for `%R~`; the row cache is told of changes."""
    with redis.Redis(port=redis_six.port) as admin:
        for user in ("winnow-serving", "winnow-indexing"):
            rights = [each.replace("%R~", "~") for each in rights_of(user)]
            admin.execute_command("ACL SETUSER", *rights)
        with pytest.raises(redis.ResponseError):
            admin.execute_command("ACL SETUSER", "new", "%R~shop:*")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    place = f"127.0.0.1:{redis_six.port}/0?ns=shop&password_file={tmp_path / 'password'}"
    index_shop(f"redis://winnow-indexing@{place}", (MODEL,), tmp_path)
    service = start_service(f"redis://winnow-serving@{place}", {"models": MODEL})
    service.wait_for("/readyz")
    assert service.score("shoes", ["p0001"]).json()["coverage"]["full"]
    assert service.client.get("/v1/models").json()["models"][0]["row_cache"] == "on"
