"""What is particular to Redis: being down, slow, full, read-only, locked, or not Redis at all."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import redis

from vector_store.errors import SetCorrupt, SetNotFound, StoreError, StoreUnavailable
from vector_store.header import SetHeader
from vector_store.open import open_store
from vector_store.protocol import VectorStore
from vector_store.rows import CORRUPT, FOUND, MISSING, unpack

if TYPE_CHECKING:
    from tests.conftest import RedisServer

HeaderOf = Callable[..., SetHeader]
RecordsOf = Callable[..., list[bytes]]

TIMEOUT_MS = 20_000
SEALED = "2024-05-01T11:00:00Z"


@pytest.fixture
def store(redis_server: "RedisServer", header_of: HeaderOf) -> Iterator[VectorStore]:
    """A store on a server of its own, with one empty set."""
    opened = open_store(redis_server.url, timeout_ms=TIMEOUT_MS)
    opened.put_header(header_of())
    yield opened
    opened.close()


@pytest.fixture
def admin(redis_server: "RedisServer") -> Iterator[redis.Redis]:
    with redis.Redis(port=redis_server.port) as client:
        yield client


def reads(store: VectorStore, header: SetHeader) -> list[Callable[[], object]]:
    return [
        store.ping,
        store.headers,
        lambda: store.header(header.set_id),
        lambda: store.progress(header.set_id),
        lambda: store.get(header, ["a"]),
        lambda: list(store.scan(header)),
        lambda: store.live(header.fingerprint),
    ]


def writes(store: VectorStore, header: SetHeader, record: bytes) -> list[Callable[[], object]]:
    return [
        lambda: store.put_header(header),
        lambda: store.insert(header, ["new"], [record], b"new"),
        lambda: store.set_live(header.fingerprint, header.set_id),
        lambda: store.drop(header),
    ]


def test_every_call_says_that_redis_is_down_and_works_when_it_is_back(
    redis_server: "RedisServer", store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.ping()
    redis_server.stop()
    for call in [*reads(store, header), *writes(store, header, records_of(1)[0])]:
        with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{redis_server.port}"):
            call()
    redis_server.start()
    store.ping()
    store.put_header(header)
    store.insert(header, ["a"], records_of(1), b"1")
    assert store.get(header, ["a"]) == records_of(1)


def test_a_store_is_opened_while_redis_is_down(redis_server: "RedisServer") -> None:
    redis_server.stop()
    store = open_store(redis_server.url, timeout_ms=TIMEOUT_MS)
    with pytest.raises(StoreUnavailable, match=r"cannot be reached \(.*refused"):
        store.ping()
    redis_server.start()
    store.ping()
    store.close()


def test_a_server_that_does_not_answer_is_a_timeout(
    redis_server: "RedisServer", store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    impatient = open_store(redis_server.url, timeout_ms=50)
    redis_server.freeze()
    for call in [*reads(impatient, header), *writes(impatient, header, records_of(1)[0])]:
        with pytest.raises(StoreUnavailable, match="did not answer within 50 ms"):
            call()
    redis_server.thaw()
    impatient.close()
    assert store.header(header.set_id) == header


def test_a_connection_that_breaks_inside_a_write_says_why(
    redis_server: "RedisServer", store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    class BreaksWhenRead(list[str]):
        def __iter__(self) -> Iterator[str]:
            redis_server.stop()
            return super().__iter__()

    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        store.insert(header_of(), BreaksWhenRead(["a"]), records_of(1), b"1")


def test_a_full_redis_stores_nothing_of_a_batch(
    store: VectorStore, admin: redis.Redis, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.insert(header, ["a", "b"], records_of(2), b"2")
    admin.config_set("maxmemory-policy", "noeviction")
    admin.config_set("maxmemory", "1")
    with pytest.raises(
        StoreError, match=r"out of memory .* raise maxmemory.*used memory >"
    ) as raised:
        store.insert(header, ["b", "c", "d"], records_of(3), b"5")
    assert not isinstance(raised.value, StoreUnavailable)
    assert "SET" not in str(raised.value)
    admin.config_set("maxmemory", "0")
    assert store.get(header, ["a", "b", "c", "d"]) == [*records_of(2), None, None]
    assert store.progress(header.set_id) == b"2"
    assert store.insert(header, ["b", "c", "d"], records_of(3), b"5") == [False, True, True]


def test_a_redis_that_fills_up_inside_a_batch_stores_nothing_of_it(
    store: VectorStore, admin: redis.Redis, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of(width=1024, fingerprint="feedbeef" * 8)
    store.put_header(header)
    admin.config_set("maxmemory-policy", "noeviction")
    memory = admin.info("memory")
    assert isinstance(memory, dict)
    admin.config_set("maxmemory", memory["used_memory"] + 3_000_000)
    ids = [f"p{i}" for i in range(5000)]
    with pytest.raises(StoreError, match="out of memory"):
        store.insert(header, ids, records_of(5000, width=1024), b"5000")
    admin.config_set("maxmemory", "0")
    assert list(store.scan(header)) == []
    assert store.progress(header.set_id) is None


def test_sets_are_dropped_from_a_full_redis(
    store: VectorStore, admin: redis.Redis, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    store.insert(header_of(), [f"p{i}" for i in range(2500)], records_of(2500), b"2500")
    admin.config_set("maxmemory-policy", "noeviction")
    admin.config_set("maxmemory", "1")
    store.drop(header_of())
    admin.config_set("maxmemory", "0")
    assert list(admin.scan_iter()) == []


def test_a_drop_that_was_cut_short_can_only_be_repeated(
    store: VectorStore, admin: redis.Redis, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    unsealed, sealed = header_of(), header_of(sealed=SEALED)
    store.insert(unsealed, ["a", "b"], records_of(2), b"2")
    store.put_header(sealed)
    # What a drop has done when its process dies after its first step.
    admin.rename("winnow:set:0123abcd.1", "winnow:dropping:0123abcd.1")
    admin.delete("winnow:progress:0123abcd.1")
    assert store.headers() == [unsealed]
    assert store.header(unsealed.set_id) == unsealed
    with pytest.raises(StoreError, match=r"set 0123abcd\.1 is being dropped.* drop it again"):
        store.put_header(unsealed)
    with pytest.raises(SetNotFound):
        store.insert(unsealed, ["c"], records_of(1), b"3")
    with pytest.raises(SetNotFound):
        store.set_live(sealed.fingerprint, sealed.set_id)
    store.drop(store.header(unsealed.set_id))
    assert list(admin.scan_iter()) == []
    store.put_header(unsealed)
    assert store.insert(unsealed, ["a"], records_of(1), b"1") == [True]


def test_a_replica_is_read_and_refuses_writes(
    store: VectorStore, admin: redis.Redis, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of(sealed=SEALED)
    unsealed = header_of(2)
    store.put_header(unsealed)
    store.insert(unsealed, ["a"], records_of(1), b"1")
    store.put_header(header)
    admin.replicaof("127.0.0.1", "1")
    assert store.get(unsealed, ["a"]) == records_of(1)
    for write in [
        lambda: store.insert(unsealed, ["b"], records_of(1), b"2"),
        *writes(store, header, b"")[2:],
    ]:
        with pytest.raises(StoreUnavailable, match=r"read-only replica .* URL of the primary"):
            write()
    admin.replicaof("NO", "ONE")
    assert store.get(unsealed, ["a", "b"]) == [*records_of(1), None]
    assert store.progress(unsealed.set_id) == b"1"


def test_a_set_that_changes_during_an_insert_gets_nothing_of_it(
    redis_server: "RedisServer", store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    other = open_store(redis_server.url, timeout_ms=TIMEOUT_MS)

    class SealsWhenRead(list[str]):
        def __iter__(self) -> Iterator[str]:
            other.put_header(header_of(sealed=SEALED))
            return super().__iter__()

    with pytest.raises(StoreUnavailable, match="saw another process change this set; run it again"):
        store.insert(header, SealsWhenRead(["a"]), records_of(1), b"1")
    assert store.get(header, ["a"]) == [None]
    assert store.progress(header.set_id) is None
    other.close()


@pytest.mark.parametrize("login", ["", "reader:", "reader:wrong", "nobody:pass%23word"])
def test_a_refused_login_shows_no_password(
    redis_server: "RedisServer", admin: redis.Redis, login: str
) -> None:
    admin.acl_setuser(
        "reader", enabled=True, passwords=["+pass#word"], keys="*", commands=["+@all"]
    )
    admin.acl_setuser("default", enabled=False)
    url = redis_server.url.replace("//", f"//{login}@" if login else "//")
    store = open_store(url, timeout_ms=TIMEOUT_MS)
    with pytest.raises(StoreUnavailable, match="refused the login; correct user or pass") as raised:
        store.ping()
    for shown in (str(raised.value), store.url, repr(store)):
        assert "pass#word" not in shown
        assert "pass%23word" not in shown
        assert ":wrong" not in shown
    store.close()


def test_a_user_with_few_rights_scores_and_cannot_write(
    redis_server: "RedisServer",
    store: VectorStore,
    admin: redis.Redis,
    header_of: HeaderOf,
    records_of: RecordsOf,
) -> None:
    header = header_of()
    store.insert(header, ["a"], records_of(1), b"1")
    admin.acl_setuser(
        "reader",
        enabled=True,
        passwords=["+pass#word"],
        keys=["winnow:*"],
        commands=["+@read", "+@connection"],
    )
    url = redis_server.url.replace("//", "//reader:pass%23word@")
    reader = open_store(url, timeout_ms=TIMEOUT_MS)
    assert reader.url == redis_server.url.replace("//", "//reader:***@")
    assert reader.headers() == [header]
    assert reader.get(header, ["a"]) == records_of(1)
    with pytest.raises(StoreError, match="does not let this user do that; extend its ACL"):
        reader.insert(header, ["b"], records_of(1), b"2")
    reader.close()


@contextmanager
def listener(answer: bytes) -> Iterator[tuple[str, list[object]]]:
    """A server that sends `answer` to everyone who connects, hangs up, and lists who came."""
    callers: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            try:
                while True:
                    connection, address = server.accept()
                    callers.append(address)
                    with connection:
                        connection.recv(1)
                        connection.sendall(answer)
            except OSError:
                return

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"redis://127.0.0.1:{server.getsockname()[1]}", callers
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 100])
def test_a_server_that_is_not_redis_is_unavailable_and_asked_once(answer: bytes) -> None:
    with listener(answer) as (url, callers):
        store = open_store(url, timeout_ms=TIMEOUT_MS)
        with pytest.raises(StoreUnavailable, match=r"Redis at redis://127\.0\.0\.1"):
            store.ping()
        store.close()
    assert len(callers) == 1


def test_bad_values_are_corrupt_and_their_neighbours_are_not(
    store: VectorStore, admin: redis.Redis, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    ids = [f"p{i}" for i in range(5)]
    records = records_of(5)
    store.insert(header, ids, records, b"5")
    keys = {key.rpartition(b":")[2].decode(): key for key in admin.scan_iter("winnow:0*")}
    admin.set(keys["p1"], records[1][:-1])
    admin.set(keys["p2"], b"\xff" * len(records[2]))
    admin.delete(keys["p3"])
    admin.lpush(keys["p3"], "another type")
    rows = unpack(store.get(header, ids), header.width)
    assert rows.status.tolist() == [FOUND, CORRUPT, CORRUPT, MISSING, FOUND]


@pytest.mark.parametrize("stored", [b"{", b'{"format_version": 1}', b"", None])
def test_a_header_that_cannot_be_read_is_named(
    store: VectorStore,
    admin: redis.Redis,
    header_of: HeaderOf,
    records_of: RecordsOf,
    stored: bytes | None,
) -> None:
    calls: list[Callable[[], object]] = [store.headers]
    if stored is None:
        admin.delete("winnow:set:0123abcd.1")
    else:
        admin.set("winnow:set:0123abcd.1", stored)
        calls.append(lambda: store.header("0123abcd.1"))
        calls.append(lambda: store.set_live(header_of().fingerprint, "0123abcd.1"))
        calls.append(lambda: store.insert(header_of(), ["a"], records_of(1), b""))
    for call in calls:
        with pytest.raises(SetCorrupt, match=r"header of vector set 0123abcd\.1 is unreadable"):
            call()
    store.drop(header_of())
    assert store.headers() == []


def test_a_key_of_another_type_is_a_store_error(store: VectorStore, admin: redis.Redis) -> None:
    admin.delete("winnow:sets")
    admin.set("winnow:sets", "a string")
    with pytest.raises(StoreError, match=r"refused the command .*WRONGTYPE"):
        store.headers()


def test_the_keys_in_redis_are_the_documented_ones_and_drop_leaves_none(
    store: VectorStore, admin: redis.Redis, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of(sealed=SEALED)
    store.insert(header_of(), ["B1"], records_of(1), b"1")
    store.put_header(header)
    store.set_live(header.fingerprint, header.set_id)
    assert set(admin.scan_iter()) == {
        b"winnow:0123abcd.1:{066}:B1",
        b"winnow:set:0123abcd.1",
        b"winnow:progress:0123abcd.1",
        b"winnow:sets",
        b"winnow:live",
    }
    other = header_of(2, sealed=SEALED)
    store.put_header(other)
    store.set_live(header.fingerprint, other.set_id)
    store.drop(header)
    assert set(admin.scan_iter()) == {b"winnow:set:0123abcd.2", b"winnow:sets", b"winnow:live"}


def test_scan_and_drop_touch_only_their_own_namespace(
    redis_server: "RedisServer", header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    # Read as patterns, the first would match the keys of the others.
    stores = [
        open_store(f"{redis_server.url}?ns={namespace}", timeout_ms=TIMEOUT_MS)
        for namespace in ("a*", "ab", "a%5B*%5D", "a?")
    ]
    for i, store in enumerate(stores):
        store.put_header(header)
        store.insert(header, [f"p{i}"], records_of(1), b"")
    for i, store in enumerate(stores):
        assert list(store.scan(header)) == [[(f"p{i}", records_of(1)[0])]]
    stores[0].drop(header)
    for i, store in enumerate(stores):
        assert store.get(header, [f"p{i}"]) == ([None] if i == 0 else records_of(1))
        store.close()


def test_databases_of_one_server_are_apart(
    redis_server: "RedisServer", store: VectorStore, header_of: HeaderOf
) -> None:
    other = open_store(f"redis://127.0.0.1:{redis_server.port}/1", timeout_ms=TIMEOUT_MS)
    assert store.headers() == [header_of()]
    assert other.headers() == []
    other.close()


def test_a_unix_socket_reaches_the_same_rows(
    redis_server: "RedisServer", store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.insert(header, ["a"], records_of(1), b"1")
    local = open_store(f"unix://{redis_server.socket}?ns=winnow&db=0", timeout_ms=TIMEOUT_MS)
    assert local.get(header, ["a"]) == records_of(1)
    local.close()
