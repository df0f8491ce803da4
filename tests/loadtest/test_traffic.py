"""The mix: drawn by a seed, as popular as Zipf says, half of its queries new."""

from collections import Counter
from pathlib import Path

import orjson
import pytest

from loadtest.traffic import SIZES, Request, Traffic, read_ids, read_queries

IDS = [f"p{n}" for n in range(20_000)]
QUERIES = [f"{colour} shoes {n}" for colour in ("red", "blue") for n in range(100)]


def _traffic(seed: int = 7) -> Traffic:
    return Traffic(IDS, QUERIES, seed)


def _ids(request: Request) -> list[str]:
    found: list[str] = orjson.loads(request.body)["product_ids"]
    return found


def _query(request: Request) -> str:
    found: str = orjson.loads(request.body)["query"]
    return found


def test_the_seed_decides_everything() -> None:
    assert _traffic().requests(50) == _traffic().requests(50)
    assert _traffic(7).requests(50) != _traffic(8).requests(50)


@pytest.mark.parametrize("kind", ["zipf", "uniform"])
@pytest.mark.parametrize("candidates", [1, 100, 5_000, len(IDS)])
def test_no_product_twice_in_a_request(kind: str, candidates: int) -> None:
    for request in _traffic().requests(3, candidates, "zipf" if kind == "zipf" else "uniform"):
        ids = _ids(request)
        assert len(ids) == len(set(ids)) == candidates == request.candidates
        assert set(ids) <= set(IDS)


def test_popularity_is_zipf_s() -> None:
    """With one candidate a request, draws are independent: shares are the theory's."""
    drawn = Counter(_ids(request)[0] for request in _traffic().requests(20_000, 1))
    weights = [1 / rank for rank in range(1, len(IDS) + 1)]
    for top in (1, 200):
        share = sum(count for _, count in drawn.most_common(top)) / drawn.total()
        assert share == pytest.approx(sum(weights[:top]) / sum(weights), rel=0.1)


def test_popularity_is_independent_of_the_catalogue_s_order() -> None:
    drawn = Counter(_ids(request)[0] for request in _traffic().requests(5_000, 1))
    positions = [IDS.index(product_id) for product_id, _ in drawn.most_common(100)]
    assert sum(positions) / 100 == pytest.approx(len(IDS) / 2, rel=0.2)


def test_uniform_draws_are_spread_evenly() -> None:
    drawn = Counter(
        i for request in _traffic().requests(50, 1_000, "uniform") for i in _ids(request)
    )
    top = sum(count for _, count in drawn.most_common(200)) / drawn.total()
    assert top < 0.04  # zipf gives the same 1 % of the products more than half


def test_half_of_the_queries_were_never_sent() -> None:
    traffic = _traffic()
    sent = {_query(request) for request in traffic.warm_up()}
    assert sent == set(QUERIES)
    requests = traffic.requests(1_000, 1) + traffic.requests(1_000, 1)
    for request in requests:
        assert (_query(request) in sent) == request.query_seen
        sent.add(_query(request))
    assert sum(request.query_seen for request in requests) == pytest.approx(1_000, rel=0.1)


def test_new_queries_grow_where_the_words_are_few() -> None:
    requests = Traffic(IDS, ["shoes"], 7).requests(50, 1)
    new = [_query(request) for request in requests if not request.query_seen]
    assert len(new) == len(set(new)) > 10
    assert {word for query in new for word in query.split()} == {"shoes"}


def test_the_mix() -> None:
    requests = _traffic().requests(1_000)
    assert {request.candidates for request in requests} == set(SIZES)
    paths = Counter(request.path for request in requests)
    assert paths["/score"] == pytest.approx(700, rel=0.1)
    sorts = Counter(orjson.loads(r.body)["sort"] for r in requests if r.path == "/filter")
    assert set(sorts) == {"default", "price", "sale"}
    assert {r.path for r in _traffic().requests(20, 10, endpoint="score")} == {"/score"}
    assert {r.path for r in _traffic().requests(20, 10, endpoint="filter")} == {"/filter"}


def test_a_small_catalogue_cuts_the_mix_and_refuses_more() -> None:
    traffic = Traffic(IDS[:500], QUERIES, 7)
    assert {request.candidates for request in traffic.requests(100)} == {100, 300, 500}
    with pytest.raises(ValueError, match=r"expected 1 to 500 candidates.*got 501"):
        traffic.requests(1, 501)


@pytest.mark.parametrize(("ids", "queries"), [([], ["a"]), (["a"], []), (["a", "a"], ["b"])])
def test_nothing_to_draw_from(ids: list[str], queries: list[str]) -> None:
    with pytest.raises(ValueError, match="without duplicates"):
        Traffic(ids, queries, 7)


def test_files(tmp_path: Path) -> None:
    catalogue = tmp_path / "products.csv"
    catalogue.write_text('title,product_id\n"red, shoe",p1\nboot,p2\n')
    assert read_ids(catalogue) == ["p1", "p2"]
    (tmp_path / "queries.csv").write_text("query_id,query\nq1,red shoe\nq2,boot\nq3,boot\n")
    assert read_queries(tmp_path / "queries.csv") == ["red shoe", "boot"]
    (tmp_path / "queries.txt").write_text("red shoe\n\nboot\n")
    assert read_queries(tmp_path / "queries.txt") == ["red shoe", "boot"]
    with pytest.raises(ValueError, match="expected a column query, got title, product_id"):
        read_queries(catalogue)
