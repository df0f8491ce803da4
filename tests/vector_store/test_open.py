"""Store URLs: what each form opens, and what a wrong one says."""

from pathlib import Path

import pytest

from vector_store.errors import StoreError
from vector_store.lmdb_store import LmdbStore
from vector_store.memory import MemoryStore
from vector_store.open import open_store
from vector_store.redis_cluster import RedisClusterStore
from vector_store.redis_store import RedisStore
from vector_store.redis_url import parse_redis_url


def test_each_scheme_opens_its_store(tmp_path: Path) -> None:
    stores = [
        (open_store("memory:"), MemoryStore, "memory:"),
        (open_store(f"lmdb:{tmp_path}"), LmdbStore, f"lmdb:{tmp_path}"),
        (open_store("redis://h"), RedisStore, "redis://h"),
        (open_store("redis://h:1/2?ns=x"), RedisStore, "redis://h:1/2?ns=x"),
        (
            open_store("rediss://h?ssl_ca_certs=ca.pem"),
            RedisStore,
            "rediss://h?ssl_ca_certs=ca.pem",
        ),
        (open_store("unix:///run/redis.sock"), RedisStore, "unix:///run/redis.sock"),
        (open_store("redis+cluster://h:1,i"), RedisClusterStore, "redis+cluster://h:1,i"),
        (open_store("redis+sentinel://h:1,i/shop/2"), RedisStore, "redis+sentinel://h:1,i/shop/2"),
        (open_store("rediss+cluster://h/"), RedisClusterStore, "rediss+cluster://h/"),
    ]
    for store, kind, url in stores:
        assert isinstance(store, kind)
        assert store.url == url
        store.close()


def test_two_memory_stores_are_two_stores() -> None:
    assert open_store("memory:") is not open_store("memory:")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "memory",
        "memory:shop",
        "lmdb",
        "lmdb:",
        "lmdb://data/rows",
        "/data/rows",
        "redis",
        "redis:h",
        "postgres://user:secret@h/db",
        "REDIS://h",
    ],
)
def test_an_unknown_url_names_the_three_forms(url: str) -> None:
    with pytest.raises(StoreError, match=r"memory:, lmdb:PATH .* redis://") as raised:
        open_store(url)
    assert "secret" not in str(raised.value)


def test_an_empty_memory_store_cannot_be_read_only() -> None:
    with pytest.raises(StoreError, match="makes no sense read-only"):
        open_store("memory:", read_only=True)


def test_a_timeout_must_be_positive() -> None:
    with pytest.raises(StoreError, match="timeout of 1 ms or more, got 0"):
        open_store("redis://h", timeout_ms=0)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "redis://h?socket_timeout=5",
            "parameters db, ns, password_file in a redis:// URL, got 'socket_timeout'",
        ),
        (
            "redis://h?password=secret",
            "parameters db, ns, password_file in a redis:// URL, got 'password'",
        ),
        (
            "redis://h?ssl_ca_certs=ca",
            "parameters db, ns, password_file in a redis:// URL, got 'ssl_ca_certs'",
        ),
        ("unix:///s?ns=x&x=1", "parameters db, ns, password_file, username, password .* got 'x'"),
        ("redis://h/shop", "expected a database number in the Redis URL, got 'shop'"),
        ("redis://h?db=-1", "expected a database number"),
        ("redis://:se/cret@h", "cannot read the Redis URL.*percent-encoded"),
        ("redis://:secret#x@h", "cannot read the Redis URL"),
        ("redis://:12#secret@h", "cannot read the Redis URL"),
        ("redis://:12/secret@h", "cannot read the Redis URL"),
        ("redis://:12?secret@h", "cannot read the Redis URL"),
        ("redis://h:99999", "cannot read the Redis URL"),
        ("redis://:secret@[::1", "cannot read the Redis URL"),
        ("unix://?db=1", "without a path"),
        ("redis://h?ns=", "expected a Redis namespace"),
        ("redis://h?ns=a%7Bb", "expected a Redis namespace"),
        ("redis+cluster://h/1", "expected no database number .* got 1"),
        (
            "redis+cluster://h?db=0",
            "parameters ns, password_file in a redis.cluster:// URL, got 'db'",
        ),
        ("redis+cluster://h:1,h:99999", "cannot read the Redis URL"),
        ("redis+cluster://:secret@h:1,,i", "cannot read the Redis URL"),
        ("redis+cluster://:se/cret@h", "cannot read the Redis URL"),
        ("redis+cluster://", "cannot read the Redis URL"),
        ("redis+sentinel://h:1,i", "expected the service that the Sentinels watch.*got ''"),
        ("redis+sentinel://h/shop/x", "expected the service .*got '/shop/x'"),
        (
            "redis+sentinel://h/shop?db=1",
            "parameters ns, password_file, sentinel_username, .* got 'db'",
        ),
        ("redis+sentinel://:se/cret@h/shop", "cannot read the Redis URL"),
        ("redis+sentinel:///shop", "cannot read the Redis URL"),
    ],
)
def test_a_redis_url_that_cannot_be_used_says_why(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as raised:
        open_store(url)
    assert "cret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_cluster_url_is_taken_apart() -> None:
    parsed = parse_redis_url("rediss+cluster://u:p%40w@h:1,[::1]:2,i/?ns=x&ssl_ca_certs=ca.pem")
    assert parsed.connect == "rediss://u:p%40w@h:1?ssl_ca_certs=ca.pem"
    assert parsed.shown == "rediss+cluster://u:***@h:1,[::1]:2,i/?ns=x&ssl_ca_certs=ca.pem"
    assert parsed.namespace == "x"
    assert parsed.nodes == (("h", 1), ("::1", 2), ("i", 6379))


def test_a_sentinel_url_is_taken_apart() -> None:
    parsed = parse_redis_url(
        "rediss+sentinel://u:p%40w@h:1,i/shop/2?ns=x&sentinel_username=s&sentinel_password=p%2Fw"
        "&ssl_ca_certs=ca.pem"
    )
    assert parsed.connect == "rediss://u:p%40w@sentinel/2?ssl_ca_certs=ca.pem"
    assert parsed.shown == (
        "rediss+sentinel://u:***@h:1,i/shop/2?ns=x&sentinel_username=s&sentinel_password=***"
        "&ssl_ca_certs=ca.pem"
    )
    assert (parsed.namespace, parsed.service) == ("x", "shop")
    assert parsed.nodes == (("h", 1), ("i", 26379))
    assert parsed.sentinel_login == (("username", "s"), ("password", "p/w"))
    assert "p/w" not in repr(parsed)


@pytest.mark.parametrize(
    ("url", "connect", "shown", "namespace"),
    [
        ("redis://h", "redis://h", "redis://h", "winnow"),
        ("redis://h/3?ns=a%3Ab", "redis://h/3", "redis://h/3?ns=a%3Ab", "a:b"),
        ("redis://u:p%40w@h:1", "redis://u:p%40w@h:1", "redis://u:***@h:1", "winnow"),
        ("rediss://:pw@h", "rediss://:pw@h", "rediss://:***@h", "winnow"),
        ("redis://u@h", "redis://u@h", "redis://u@h", "winnow"),
        (
            "unix:///s?username=u&password=pw&ns=x",
            "unix:///s?username=u&password=pw",
            "unix:///s?username=u&password=***&ns=x",
            "x",
        ),
        ("unix://u:pw@/s?db=2", "unix://u:pw@/s?db=2", "unix://u:***@/s?db=2", "winnow"),
    ],
)
def test_a_redis_url_is_taken_apart(url: str, connect: str, shown: str, namespace: str) -> None:
    parsed = parse_redis_url(url)
    assert (parsed.connect, parsed.shown, parsed.namespace) == (connect, shown, namespace)
    assert repr(parsed) == f"RedisUrl({shown!r})"
