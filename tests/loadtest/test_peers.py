"""The peers' job and the script's own start, check and measure code, on real servers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import httpx
import numpy as np
import orjson
import pytest

from loadtest.peers import report
from loadtest.peers.bodies import BadAnswer, Protocol, encoded, scores
from loadtest.peers.job import Job, JobError, open_job
from loadtest.peers.measure import Cell, NotMeasured, check_scores, cold_start_s, measure
from loadtest.peers.plan import KINDS, Phase, Plan, make_plan
from loadtest.peers.processes import marked, running
from loadtest.peers.report import FLOOR, Run
from loadtest.peers.roster import PEERS, Server, winnow
from loadtest.traffic import read_queries
from model_store.registry import DEFAULT_ROOT

SHOP = Path(__file__).parents[2] / "examples" / "shop"
EXECUTABLES = Path(sys.executable).parent
WINNOW = (sys.executable, "-c", "from cli.main import main; main()")
FASTAPI = next(peer for peer in PEERS if peer.name == "fastapi")
ITEMS = next(peer for peer in PEERS if peer.name == "fastapi-items")


def current(model: str) -> Path:
    folder = DEFAULT_ROOT / model
    return folder / (folder / "current").read_text().strip()


BUNDLE = current("shop-reprbert")


@pytest.fixture(scope="module")
def store(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A namespace with the shop's rows."""
    url = f"{redis_url}?ns=peers"
    rejects = tmp_path_factory.mktemp("peers") / "rejects.jsonl"
    command = [*WINNOW, "index", str(SHOP / "products.csv"), "--model", "shop-reprbert"]
    subprocess.run(
        [*command, "--store", url, "--reject-file", str(rejects)],
        check=True,
        capture_output=True,
        cwd=Path(__file__).parents[2],
    )
    return url


@pytest.fixture(scope="module")
def job(store: str) -> Job:
    return open_job(BUNDLE, store)


@pytest.fixture(scope="module")
def plan(job: Job) -> Plan:
    queries = read_queries(SHOP / "queries.csv")
    return make_plan(job.product_ids(), queries, KINDS, [50], [1, 8], 20, 5, passes=1, seed=3)


@pytest.fixture(scope="module")
def service(
    store: str, plan: Plan, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str]]:
    """Winnow, started by the script's own code."""
    server = winnow((*WINNOW, "serve"), BUNDLE, store, ())
    log = tmp_path_factory.mktemp("winnow") / "log"
    with running(server, EXECUTABLES, BUNDLE, store, 1, log) as one:
        cold_start_s(server, one, plan.checked, perf_counter())
        yield server, one.url


PLAIN = orjson.dumps({"query": "yoga mat", "product_ids": ["p1", "产品2"]})


@pytest.mark.parametrize("protocol", ["plain", "items"])
def test_plain_requests_go_out_as_they_are(protocol: Protocol) -> None:
    assert encoded(protocol, PLAIN) == PLAIN


def test_a_v2_request_carries_the_same_query_and_ids() -> None:
    assert json.loads(encoded("v2", PLAIN)) == {
        "inputs": [
            {"name": "query", "shape": [1], "datatype": "BYTES", "data": ["yoga mat"]},
            {"name": "product_ids", "shape": [2], "datatype": "BYTES", "data": ["p1", "产品2"]},
        ]
    }


ANSWERS: dict[Protocol, object] = {
    "plain": {"scores": [0.25, 0.5], "model": "m"},
    "items": {
        "items": [{"product_id": "p1", "score": 0.25}, {"product_id": "产品2", "score": 0.5}]
    },
    "v2": {
        "outputs": [
            {"name": "other", "shape": [1], "datatype": "FP32", "data": [9.0]},
            {"name": "scores", "shape": [2], "datatype": "FP32", "data": [0.25, 0.5]},
        ]
    },
}


@pytest.mark.parametrize("protocol", ["plain", "items", "v2"])
def test_scores_are_read_from_the_answers_of_each_protocol(protocol: Protocol) -> None:
    body = orjson.dumps(ANSWERS[protocol])

    assert scores(protocol, 200, body, 2).tolist() == [0.25, 0.5]


@pytest.mark.parametrize("protocol", ["plain", "items", "v2"])
@pytest.mark.parametrize(
    ("status", "change", "candidates"),
    [
        (503, None, 2),  # refused
        (200, None, 3),  # one is missing
        (200, (b"0.25", b"null"), 2),  # not scored
        (200, (b"scores", b"result"), 2),  # another answer
        (200, (b"}", b""), 2),  # cut off
    ],
)
def test_an_answer_without_every_score_is_refused(
    protocol: Protocol, status: int, change: tuple[bytes, bytes] | None, candidates: int
) -> None:
    body = orjson.dumps(ANSWERS[protocol])
    if change is not None:
        old, new = change
        body = body.replace(b"score", b"result") if old == b"scores" else body.replace(old, new)

    with pytest.raises(BadAnswer):
        scores(protocol, status, body, candidates)


def test_the_job_scores_what_the_service_scores(
    service: tuple[Server, str], job: Job, plan: Plan
) -> None:
    server, url = service
    expected = job.scores(*plan.checked.decoded())

    assert float(np.ptp(expected)) > 0.1  # scores that are all alike would agree with anything
    assert check_scores(server, url, plan.checked, expected) <= 0.02


def test_other_scores_are_refused(service: tuple[Server, str], job: Job, plan: Plan) -> None:
    server, url = service
    expected = job.scores(*plan.checked.decoded())[::-1].copy()

    with pytest.raises(NotMeasured, match="expected the scores of the job"):
        check_scores(server, url, plan.checked, expected)


def test_the_job_refuses_a_partial_answer(job: Job) -> None:
    with pytest.raises(KeyError, match="no-such-product"):
        job.scores("mat", [job.product_ids()[0], "no-such-product"])


def test_only_wordpiece_bundles_with_rows_are_taken(redis_url: str) -> None:
    with pytest.raises(JobError, match="WordPiece"):
        open_job(current("shop-bert2dnn"), redis_url)
    with pytest.raises(JobError, match="winnow index"):
        open_job(BUNDLE, f"{redis_url}?ns=nothing-here")


@pytest.mark.parametrize("server", [FASTAPI, ITEMS], ids=["fastapi", "fastapi-items"])
def test_a_peer_is_started_checked_measured_and_stopped(
    server: Server, store: str, job: Job, plan: Plan, tmp_path: Path
) -> None:
    started = perf_counter()
    with running(server, EXECUTABLES, BUNDLE, store, 2, tmp_path / "log") as one:
        cold = cold_start_s(server, one, plan.checked, started)
        expected = job.scores(*plan.checked.decoded())
        difference = check_scores(server, one.url, plan.checked, expected)
        cells = [measure(server, one.url, phase) for phase in plan.phases]
        memory = one.memory()
        mark, port = one.mark, one.port

    assert 0 < cold <= perf_counter() - started
    assert difference < 1e-5  # the same graphs on the same ONNX Runtime
    assert [cell.failures for cell in cells] == [0] * len(plan.phases), cells
    assert all(0 < cell.p50_ms <= cell.p99_ms and cell.requests_per_s > 0 for cell in cells)
    assert memory.processes >= 3  # uvicorn and its two workers
    assert memory.pss_mb >= memory.uss_mb > 50
    assert marked(mark) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/")


def test_a_server_that_stops_says_why(store: str, plan: Plan, tmp_path: Path) -> None:
    broken = replace(FASTAPI, command=("python", "-c", "raise SystemExit('no such model')"))
    with (
        running(broken, EXECUTABLES, BUNDLE, store, 1, tmp_path / "log") as one,
        pytest.raises(NotMeasured, match="no such model"),
    ):
        cold_start_s(broken, one, plan.checked, perf_counter())


def test_incomplete_answers_are_counted(service: tuple[Server, str], plan: Plan) -> None:
    server, url = service
    unknown = replace(plan.checked, body=PLAIN, candidates=2)
    phase = Phase("uniform", 2, 8, [], [unknown] * 10)

    cell = measure(server, url, phase)

    assert cell.failures == 10
    assert "expected 2 scores, got 0" in cell.first_failure


def test_the_plan_never_sends_a_new_query_twice(plan: Plan) -> None:
    head = set(read_queries(SHOP / "queries.csv"))
    sent: dict[str, list[str]] = {"uniform": [], "zipf": []}
    for phase in plan.phases:
        decoded = [one.decoded() for one in phase.timed]
        assert all(len(ids) == len(set(ids)) == 50 for _, ids in decoded)
        sent[phase.kind] += [query for query, _ in decoded]

    assert len(set(sent["uniform"])) == len(sent["uniform"]) == 40
    assert not set(sent["uniform"]) & head
    seen = [query for query in sent["zipf"] if query in head]
    assert 5 < len(seen) < 35


def _run(server: str, round_: int, p50: float, failures: int) -> Run:
    cells = [
        Cell("zipf", 50, connections, p50, 2 * p50, 100.0, 0.1, failures, "expected 200, got 503")
        for connections in (1, 8)
    ]
    return Run(server, 0 if server == FLOOR else 1, round_, cells=cells)


def test_the_report_shows_medians_and_leaves_failed_runs_out() -> None:
    runs = [_run(FLOOR, round_, 4.0, 0) for round_ in (1, 2, 3)]
    runs += [_run("winnow", round_, p50, 0) for round_, p50 in ((1, 2.0), (2, 1.0), (3, 3.0))]
    runs += [_run("mosec", 1, 5.0, 0), _run("mosec", 2, 0.5, 7)]
    runs.append(Run("kserve", 1, 1, skipped="no matching distribution"))

    text = report.markdown(runs, ["About."])

    assert "| winnow | 2.00 (1.00-3.00) | 4.00 (2.00-6.00) | 0.50 (0.25-0.75) |" in text
    assert "| mosec | 5.00 | 10.0 | 1.25 |" in text
    assert "mosec, workers 1, round 2: zipf, 50 candidates, connections 1 does not count: 7" in text
    assert "kserve, workers 1, round 1: not measured: no matching distribution" in text
    assert "| kserve" not in text


def test_head_queries_are_sent_over_every_connection_so_that_each_worker_sees_them(
    job: Job,
) -> None:
    queries = [f"query {number}" for number in range(8)]
    sizes, sent = [50, 60], {}
    for passes in (1, 3):
        plan = make_plan(
            job.product_ids(), queries, KINDS, sizes, [1, 8], 20, 5, passes=passes, seed=3
        )
        sent[passes] = [len(phase.warm_up) - 5 for phase in plan.phases if phase.kind == "zipf"]
    head = sent[1][0]
    assert head > 0
    assert sent == {1: [head, 0, 0, 0], 3: [head, 3 * head, 0, 0]}
