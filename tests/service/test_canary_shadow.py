"""A canary answers its share, always the same one; a shadow never shows in an answer."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from model_store.rollout import Share, set_beside
from service.coverage import MISSING_PRODUCT, SCORED
from service.scoring import Scored
from service.shadow import compare
from tests.service.conftest import WINNOW, environment
from tests.service.rollouts import (
    MODEL,
    Operated,
    indexed_versions,
    operate,
    problem_of,
    three_versions,
    until,
)
from tests.service.test_operation import counter, workers_of

URL = f"/v1/models/{MODEL}"
KEYS = 400


@pytest.fixture(scope="module", params=["lmdb", "redis"])
def versions_store(
    request: pytest.FixtureRequest, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """Rows of versions 1 and 2, and other rows of version 3, once in each store."""
    url = None if request.param == "lmdb" else f"{redis_url}?ns=beside"
    return indexed_versions(tmp_path_factory.mktemp("rows"), url)


@pytest.fixture(scope="module")
def running(versions_store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """One service for all tests of this file that don't need their own."""
    folder = tmp_path_factory.mktemp("running")
    with ExitStack() as stack:
        settings = {"shadow_queue": "8", "max_inflight_candidates": "80000"}
        yield operate(stack, versions_store, three_versions(folder), folder, settings)


@pytest.fixture
def operated(running: Operated) -> Operated:
    """Version 1 active, nothing beside it."""
    running.reset()
    return running


def _versions(operated: Operated, ids: list[str], keys: int = KEYS) -> dict[str, str]:
    """Version that answers each key."""
    answered = {}
    for place in range(keys):
        response = operated.service.client.post(
            "/score",
            json={"query": "lamp", "product_ids": ids[:2]},
            headers={"X-Winnow-Key": f"shopper-{place}"},
        )
        answered[f"shopper-{place}"] = response.json()["version"]
    return answered


def test_a_canary_answers_its_share_and_always_the_same_keys(
    operated: Operated, ids: list[str]
) -> None:
    active = operated.answer("lamp", ids[:50])
    assert operated.activate("3").status_code == 200
    third = operated.answer("lamp", ids[:50])
    assert operated.activate("1").status_code == 200
    set_ = operated.admin.put(f"{URL}/canary", json={"version": "3", "share": 0.2})
    assert set_.json()["canary"] == {"version": "3", "share": 0.2}
    first = _versions(operated, ids)
    share = sum(version == "3" for version in first.values()) / KEYS
    assert 0.1 < share < 0.3  # 5 standard deviations of 400 draws
    assert _versions(operated, ids) == first
    for key, version in list(first.items())[:20]:
        expected = third if version == "3" else active
        assert operated.answer("lamp", ids[:50], key) == expected  # model, version and scores
    more = {"version": "3", "share": 0.5}
    assert operated.admin.put(f"{URL}/canary", json=more).status_code == 200
    second = _versions(operated, ids)
    assert all(second[key] == "3" for key, version in first.items() if version == "3")
    status = operated.status()
    assert (status["version"], status["canary"]["version"]) == ("1", "3")
    metrics = operated.service.client.get("/metrics").text
    for version, answers in (("1", first), ("3", first)):
        series = (
            f'winnow_canary_scoring_duration_seconds_count{{model="{MODEL}",version="{version}"}}'
        )
        assert counter(metrics, series) >= sum(each == version for each in answers.values())
    assert operated.activate("3").json() == {
        "model": MODEL, "version": "3", "canary": None, "shadow": None,
    }  # fmt: skip
    assert set(_versions(operated, ids, 20).values()) == {"3"}


def test_without_a_key_the_query_decides(operated: Operated, ids: list[str]) -> None:
    half = {"version": "2", "share": 0.5}
    assert operated.admin.put(f"{URL}/canary", json=half).status_code == 200
    for place in range(8):
        answered = {operated.answer(f"lamp {place}", ids[:2])["version"] for _ in range(3)}
        assert len(answered) == 1
    page = operated.service.filter("lamp 1", ids[:20]).json()
    assert page["version"] == operated.answer("lamp 1", ids[:20])["version"]
    expected = 0.11 if page["version"] == "2" else operated.status()["thresholds"]["default"]
    assert page["threshold"] == expected


def test_rerank_follows_the_canary_and_is_not_seen_by_a_shadow(
    operated: Operated, ids: list[str]
) -> None:
    half = {"version": "2", "share": 0.5}
    assert operated.admin.put(f"{URL}/canary", json=half).status_code == 200
    assert operated.admin.put(f"{URL}/shadow", json={"version": "3"}).status_code == 200
    answered = set()
    for place in range(12):
        body = {"query": f"lamp {place}", "documents": ["desk lamp"], "deadline_ms": 60_000}
        meta = operated.service.client.post("/rerank", json=body).json()["meta"]
        assert meta["version"] == operated.answer(f"lamp {place}", ids[:2])["version"]
        answered.add(meta["version"])
    assert answered == {"1", "2"}
    until(lambda: _seen(operated) > 0, "answers of /score, which the shadow sees")
    assert _seen(operated) <= 12


def test_a_shadow_changes_no_answer_and_shows_in_the_metrics(
    operated: Operated, ids: list[str]
) -> None:
    service = operated.service
    requests = [
        ("/score", {"query": "lamp", "product_ids": [*ids[:60], "nobody"], "raw": True}),
        ("/filter", {"query": "garden hose", "product_ids": ids[:60], "sort": "price"}),
    ]

    def answers() -> list[bytes]:
        contents = (service.client.post(path, json=body).content for path, body in requests)
        return [content.partition(b',"timings_ms"')[0] for content in contents]

    before = answers()
    assert operated.admin.put(f"{URL}/shadow", json={"version": "3"}).status_code == 200
    labels = f'model="{MODEL}"'
    kinds = ("same", "only_shadow_keeps", "only_shadow_removes", "nan")
    series = [
        f'winnow_shadow_requests_total{{{labels},result="compared",version="3"}}',
        f'winnow_shadow_score_difference_count{{{labels},version="3"}}',
        *(
            f'winnow_shadow_candidates_total{{{labels},result="{kind}",version="3"}}'
            for kind in kinds
        ),
    ]

    def counts() -> list[float]:
        metrics = service.client.get("/metrics").text
        return [counter(metrics, each) for each in series]

    seen, rounds = counts(), 5  # other tests have their share of it
    for done in range(1, rounds + 1):
        assert answers() == before
        until(lambda: counts()[0] - seen[0] == 2 * done, "compared")  # noqa: B023
    compared, differences, *candidates = np.subtract(counts(), seen).tolist()
    results = dict(zip(kinds, candidates, strict=True))
    assert (compared, differences) == (2 * rounds, 2 * rounds)
    assert sum(results.values()) == 120 * rounds
    assert results["nan"] == 0
    assert results["same"] < 120 * rounds  # other rows, other decisions
    assert operated.admin.delete(f"{URL}/shadow").json()["shadow"] is None
    assert answers() == before


def test_one_version_as_canary_and_shadow_is_loaded_once_and_closed_once(
    versions_store: str, tmp_path: Path
) -> None:
    """In workers that were told to load it, and in one that starts when it is served already."""
    bundles = three_versions(tmp_path)
    set_beside(bundles, MODEL, "canary", Share(version="3", share=0.5))
    set_beside(bundles, MODEL, "shadow", Share(version="3"))
    with ExitStack() as stack:
        operated = operate(stack, versions_store, bundles, tmp_path, {})
        until(lambda: operated.status()["shadow"] is not None, "a shadow")
        until(lambda: operated.status()["canary"] is not None, "a canary")
        victim = workers_of(operated.service)[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in workers_of(operated.service), "its end")
        until(lambda: operated.serving() == 2, "two workers that serve")
        log = operated.service.log
    assert "Traceback" not in log.read_text()


def test_a_shadow_is_shed_first_under_load(operated: Operated, ids: list[str]) -> None:
    """Eight connections and a queue of eight: all are answered, and shadows are shed.

    Of thousands of candidates, most of them unknown, so that the workers and not this client are
    what is busy; asked again until it shows, for who is busy is up to the machine.
    """
    assert operated.admin.put(f"{URL}/shadow", json={"version": "2"}).status_code == 200
    many = [*ids, *(f"unknown-{place}" for place in range(4_000))]
    body = {"query": "lamp", "product_ids": many, "deadline_ms": 60_000}
    content = json.dumps(body).encode()
    series = f'winnow_shadow_requests_total{{model="{MODEL}",result="shed",version="2"}}'
    before = _metric(operated, series)
    with ThreadPoolExecutor(8) as pool:

        def rushed() -> bool:
            answers = pool.map(
                lambda _: operated.service.client.post("/score", content=content).status_code,
                range(120),
            )
            assert set(answers) == {200}
            return _metric(operated, series) > before

        until(rushed, "a shadow that is shed")


def _seen(operated: Operated) -> float:
    series = f'winnow_shadow_requests_total{{model="{MODEL}",result="%s",version="3"}}'
    return sum(_metric(operated, series % result) for result in ("compared", "shed", "failed"))


def _metric(operated: Operated, series: str) -> float:
    return counter(operated.service.client.get("/metrics").text, series)


def test_the_commands_ask_the_admin_port_or_write_the_registry(
    operated: Operated, versions_store: str, ids: list[str]
) -> None:
    admin = {
        "admin_port": str(operated.admin.base_url.port),
        "admin_token_file": str(operated.token_file),
    }
    files = {"store": versions_store, "bundles": str(operated.bundles)}

    def models(settings: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*WINNOW, "models", *arguments],
            env=environment(settings),
            capture_output=True,
            text=True,
            check=False,
        )

    done = models(admin, "canary", MODEL, "3", "--share", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    assert '"share": 0.5' in done.stdout
    assert operated.status()["canary"]["share"] == 0.5
    refused = models(admin, "activate", MODEL, "7")
    assert refused.returncode == 1
    assert "published: 1, 2, 3" in refused.stderr
    done = models(files, "shadow", MODEL, "2", "--share", "0.25", "--json")
    assert done.returncode == 0, done.stderr
    until(lambda: (operated.status()["shadow"] or {}).get("share") == 0.25, "the shadow")
    assert operated.status()["canary"]["version"] == "3"
    done = models(files, "canary", MODEL, "--off")
    assert done.returncode == 0, done.stderr
    until(lambda: operated.status()["canary"] is None, "no canary")
    same = operated.admin.put(f"{URL}/shadow", json={"version": "1"})
    assert "active version already" in problem_of(same, 409)
    assert models(files, "shadow", MODEL).returncode == 2


def test_a_comparison_counts_what_each_side_decides() -> None:
    nan = np.nan
    answer = _scored([0.9, 0.2, 0.6, nan, 0.5], [SCORED] * 3 + [MISSING_PRODUCT, SCORED])
    shadow = _scored([0.8, 0.7, 0.1, 0.5, nan], [SCORED] * 4 + [MISSING_PRODUCT])
    compared = compare(answer, shadow, 0.5, 0.4)
    assert compared.results == {
        "same": 1,
        "only_shadow_keeps": 1,
        "only_shadow_removes": 1,
        "only_shadow_scored": 1,
        "only_answer_scored": 1,
        "nan": 0,
    }
    np.testing.assert_allclose(compared.differences, [0.1, 0.5, 0.5], atol=1e-6)
    broken = _scored([nan, 0.2], [SCORED, SCORED])
    assert compare(_scored([0.1, 0.2], [SCORED] * 2), broken, 0.5, 0.5).results["nan"] == 1


def _scored(scores: list[float], codes: list[int]) -> Scored:
    values = np.array(scores, np.float32)
    return Scored(values, values, np.array(codes, np.uint8), {}, {}, None)
