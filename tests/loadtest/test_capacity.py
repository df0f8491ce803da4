"""The capacity model: what it says of popularity and memory, held against what can be counted."""

import json
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest

from loadtest.capacity import Load, capacity, main
from loadtest.costs import BUCKETS, Costs, affected_share, commands, masters_asked, row_bytes_redis
from loadtest.popularity import hit_ratio, rows_needed
from loadtest.traffic import Traffic

CONSTANT = Load(products=1e7, qps=1_000, candidates=1_000, hit_ratio=0.8, zones=1)


def test_hit_ratio_of_a_cache_that_forgets_the_least_recent() -> None:
    """The same lists as the drivers send, through such a cache."""
    ids = [f"p{i}" for i in range(20_000)]
    requests = Traffic(ids, ["shoes"], 7).requests(1_200, 100, endpoint="score")
    cache: OrderedDict[str, None] = OrderedDict()
    hits = 0
    for place, request in enumerate(requests):
        for product in json.loads(request.body)["product_ids"]:
            hits += place >= 600 and product in cache
            cache[product] = None
            cache.move_to_end(product)
        while len(cache) > 2_000:
            cache.popitem(last=False)
    expected = hit_ratio(20_000, 100, 2_000)
    assert hits / (600 * 100) == pytest.approx(expected, abs=0.03)


def test_hit_ratio_at_its_ends() -> None:
    assert hit_ratio(1e6, 1_000, 0) == 0
    assert hit_ratio(1e6, 1_000, 1e6) == 1
    ratios = [hit_ratio(1e9, 1_000, rows) for rows in (1e4, 1e6, 1e8)]
    assert ratios == sorted(ratios)
    assert rows_needed(1e9, 1_000, ratios[1]) == pytest.approx(1e6, rel=1e-3)


def test_bytes_of_a_row() -> None:
    """48 + 16 for entry and object, 48 and 160 for key and record, 12 for the table."""
    assert row_bytes_redis(64, 8) == 48 + 16 + 48 + 160 + 12
    assert row_bytes_redis(256, 8) == 48 + 16 + 48 + 640 + 12


def test_share_of_requests_that_a_lost_master_affects() -> None:
    draw = np.random.default_rng(7).integers(3, size=(20_000, 3))
    assert affected_share(3, 3) == pytest.approx((draw == 0).any(axis=1).mean(), abs=0.02)


def test_masters_and_commands_of_a_request() -> None:
    draw = np.random.default_rng(7).integers(BUCKETS, size=(2_000, 100))
    buckets = np.mean([len(np.unique(row)) for row in draw])
    masters = np.mean([len(np.unique(row % 16)) for row in draw[:, :20]])
    assert commands(100) == pytest.approx(buckets, rel=0.02)
    assert masters_asked(20, 16) == pytest.approx(masters, rel=0.02)


def test_where_every_master_is_asked_a_second_cluster_helps_and_more_masters_do_not() -> None:
    """Each master gets every request: 1,000 a second at 1 ms each are too many for any number."""
    costs = Costs(asked=1_000, command=0, served=0)
    few = capacity(replace(CONSTANT, qps=500), costs)
    many = capacity(replace(CONSTANT, qps=1_000), costs)
    assert (few.clusters, many.clusters) == (1, 2)
    assert many.redis_memory_gb == 2 * few.redis_memory_gb
    assert many.affected_share == few.affected_share / 2
    with pytest.raises(ValueError, match="expected rows for at most 256 masters"):
        capacity(replace(CONSTANT, products=1e12), costs)


def test_what_more_of_something_takes() -> None:
    found = capacity(CONSTANT, Costs())
    twice = capacity(replace(CONSTANT, qps=2_000), Costs())
    assert twice.workers == pytest.approx(2 * found.workers, abs=1)
    assert twice.store_gbit == pytest.approx(2 * found.store_gbit)
    assert twice.redis_memory_gb == found.redis_memory_gb
    zones = capacity(replace(CONSTANT, zones=3), Costs())
    assert zones.workers_with_a_zone_out * 2 / 3 >= zones.workers
    assert capacity(replace(CONSTANT, sets=1), Costs()).redis_memory_gb == found.redis_memory_gb / 2
    assert found.rows_per_s == pytest.approx(200_000)
    assert found.rows_per_s_in_a_rollout == pytest.approx(280_000)
    by_cache = replace(CONSTANT, hit_ratio=None, row_cache_mb=found.row_cache_mb)
    assert capacity(by_cache, Costs()).hit_ratio == pytest.approx(0.8, abs=1e-3)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--products", "1e9", "--qps", "100000", "--hit-ratio", "0.8"]
    main(arguments)
    assert "| workers |" in capsys.readouterr().out
    main([*arguments, "--cost", "served=1.2", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["load"]["hit_ratio"], found["costs"]["served"]) == (0.8, 1.2)
    with pytest.raises(SystemExit):
        main(["--cost", "surprise=1"])
    assert "expected --cost NAME=US" in capsys.readouterr().err
    for name, value in (("--hit-ratio", "1.5"), ("--qps", "0"), ("--busy", "nan")):
        with pytest.raises(SystemExit):
            main([name, value])
        assert f"expected {name[2:].replace('-', '_')} to be" in capsys.readouterr().err
