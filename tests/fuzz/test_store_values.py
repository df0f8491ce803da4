"""Damaged values in a real Redis: candidates without a score, and a service that goes on."""

import random
import time
from collections import Counter
from pathlib import Path

import httpx
import redis

from tests.conftest import RedisServer
from tests.fuzz.conftest import MODEL, SEED, Fuzz, running
from tests.fuzz.mutations import mutated
from tests.service.conftest import index_shop

ROWS_AT_ONCE = 20
LOOKED_AT_S = 0.3  # the service reads headers every 0.1 s


def test_damaged_rows(redis_url: str, tmp_path: Path, product_ids: list[str], fuzz: Fuzz) -> None:
    chance, count = random.Random(SEED + 5), fuzz.share(0.02)
    store = f"{redis_url}?ns=fuzzrows"
    index_shop(store, (MODEL,), tmp_path)
    came: Counter[str] = Counter()
    with (
        running(tmp_path, store, row_cache_mb="0") as service,
        redis.Redis.from_url(redis_url) as client,
    ):
        keys = {key.rpartition(b":")[2].decode(): key for key in client.scan_iter("fuzzrows:*:p*")}
        ids = sorted(keys)
        right = _scores(service.client, ids[:ROWS_AT_ONCE])
        for _ in range(-(-count // ROWS_AT_ONCE)):
            chosen = chance.sample(ids, ROWS_AT_ONCE)
            good = dict(zip(chosen, client.mget([keys[each] for each in chosen]), strict=True))
            bad = {
                each: mutated(value, list(good.values()), chance) for each, value in good.items()
            }
            client.mset({keys[each]: value for each, value in bad.items()})
            answer = service.client.post("/score", json={"query": "lamp", "product_ids": chosen})
            client.mset({keys[each]: value for each, value in good.items()})
            assert answer.status_code == 200
            scores = answer.json()["scores"]
            for each, score in zip(chosen, scores, strict=True):
                assert score is None or 0.0 <= score <= 1.0
                came["scored" if score is not None else "unscored"] += 1
                if len(bad[each]) != len(good[each]):
                    assert score is None, (each, bad[each])
        assert _scores(service.client, ids[:ROWS_AT_ONCE]) == right
    fuzz.tell("rows in Redis", sum(came.values()), dict(came))
    assert came["unscored"] > came["scored"]


def test_damaged_headers(tmp_path: Path, redis_server: RedisServer, fuzz: Fuzz) -> None:
    """What is served goes on or says why not; once the value is mended it is ready again."""
    chance, count = random.Random(SEED + 6), min(60, fuzz.share(0.0005))
    store = f"{redis_server.url}?ns=fuzzsets"
    index_shop(store, (MODEL,), tmp_path)
    came: Counter[str] = Counter()
    page = {"query": "lamp", "product_ids": ["p0001", "p0002"], "sort": "price"}
    with (
        running(tmp_path, store, store_refresh_ms="100") as service,
        redis.Redis.from_url(redis_server.url) as client,
    ):
        keys = client.keys("fuzzsets:set:*")
        for _ in range(count):
            key = chance.choice(sorted(keys))
            good = client.get(key)
            assert isinstance(good, bytes)
            client.set(key, mutated(good, [good], chance))
            time.sleep(LOOKED_AT_S)
            for path in ("/healthz", "/v1/models"):
                assert service.client.get(path).status_code == 200
            answer = service.client.post("/filter", json=page)
            assert answer.status_code == 200
            came["passed through" if answer.json()["passed_through"] else "scored"] += 1
            client.set(key, good)
            service.wait_for("/readyz")
    fuzz.tell("headers in Redis", count, dict(came))


def _scores(client: httpx.Client, ids: list[str]) -> list[float | None]:
    answer = client.post("/score", json={"query": "lamp", "product_ids": ids})
    assert answer.status_code == 200, answer.text
    scores: list[float | None] = answer.json()["scores"]
    return scores
