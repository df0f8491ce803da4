"""Transfer sets from logs: the papers' rules against a plain computation, and logs of any size."""

import csv
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from distill.errors import DistillError, TransferRefused
from distill.logs import LogFile, LogReport, filter_log, source_of
from distill.transfer_inputs import Products
from distill.transfer_options import LogOptions
from distill.whole_file import scratch_folder
from evaluation.errors import InputFileError
from evaluation.judgments import split_of
from evaluation.tables import rows
from export.pairs import PairColumns, read_pairs

QUERIES = [f"{word} {number}" for word in ("red lamp", "garden hose") for number in range(60)]


@pytest.fixture(scope="module")
def products() -> Products:
    """Forty products; p38 and p39 have the title of p0."""
    products = Products()
    for number in range(40):
        products.add(f"p{number}", f"title {0 if number >= 38 else number}")
    return products


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12,000 rows: days of a shop, so pairs come several times, and three unknown products."""
    path = tmp_path_factory.mktemp("log") / "log.csv"
    draw = np.random.default_rng(4)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("day", "query", "product_id", "shown", "clicked", "ordered", "skipped"))
        for number in range(12_000):
            query = QUERIES[draw.integers(len(QUERIES))]
            if number % 3 == 0:
                query = f" {query.upper()}  "
            shown = int(draw.integers(1, 16))
            clicked = int(draw.random() < 0.08) * int(draw.integers(1, 3))
            ordered = int(clicked > 0 and draw.random() < 0.3)
            skipped = int(draw.random() < 0.4) * int(draw.integers(1, 4))
            product = f"p{draw.integers(43)}"
            writer.writerow((number % 7, query, product, shown, clicked, ordered, skipped))
    return path


def expected(log: Path, options: LogOptions) -> dict[tuple[str, str], tuple[str, bool]]:
    """(query, title) -> (source, behaviour), summed and ruled in the plainest way."""
    events: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in rows(log):
        query = " ".join(row.text("query").lower().split())
        number = int(row.text("product_id")[1:])
        if split_of(query) == "train" and number < 40:
            for name in ("shown", "clicked", "ordered", "skipped"):
                title = f"title {0 if number >= 38 else number}"
                events[query, title][name] += int(row.text(name))
    kept = {}
    for pair, happened in events.items():
        liked = (
            happened["ordered"]
            if options.behaviour == "ordered"
            else (
                happened["ordered"] + happened["clicked"] if options.behaviour == "clicked" else 0
            )
        )
        if options.rule == "strict":
            taken = happened["ordered"] or (
                happened["shown"] >= options.shown_times and not happened["clicked"]
            )
        else:
            taken = happened["clicked"] or happened["skipped"] >= options.skipped_times
        if not (taken or liked):
            continue
        if happened["ordered"] and (options.rule == "strict" or liked):
            source = "ordered"
        elif happened["clicked"] and (options.rule == "wide" or liked):
            source = "clicked"
        else:
            source = "shown" if options.rule == "strict" else "skipped"
        kept[pair] = (source, bool(liked))
    return kept


def filtered(log: Path, products: Products, out: Path, options: LogOptions) -> LogReport:
    return filter_log(LogFile(log), products, options, out, lambda *_: None)


@pytest.mark.parametrize("rule", ["strict", "wide"])
@pytest.mark.parametrize("behaviour", ["none", "ordered", "clicked"])
def test_the_pairs_are_those_of_the_rule(
    log: Path, products: Products, tmp_path: Path, rule: str, behaviour: str
) -> None:
    options = LogOptions(rule=rule, behaviour=behaviour)  # type: ignore[arg-type]
    report = filtered(log, products, tmp_path / "set.csv", options)
    found = {}
    for row in rows(tmp_path / "set.csv"):
        key = " ".join(row.text("query").lower().split()), row.text("title")
        assert key not in found
        found[key] = (row.text("source"), row.fields.get("behaviour") == "1")
        assert row.has("behaviour") == (behaviour != "none")
    wanted = expected(log, options)
    assert found == wanted
    assert len(set(found.values())) >= 2
    assert report.counts.pairs == Counter(source for source, _ in wanted.values())
    assert report.counts.behaviour == sum(liked for _, liked in wanted.values())
    assert report.counts.rows == 12_000
    assert report.counts.held_out > 0
    assert report.counts.unknown_products > 0
    assert report.counts.queries == len({query for query, _ in wanted})


@pytest.mark.parametrize(
    ("events", "rule", "behaviour", "source", "wanted"),
    [
        ((1, 0, 1, 0), "strict", "none", "ordered", False),
        ((20, 0, 0, 0), "strict", "none", "shown", False),
        ((19, 0, 0, 9), "strict", "none", None, False),
        ((99, 1, 0, 0), "strict", "none", None, False),
        ((99, 1, 0, 0), "strict", "clicked", "clicked", True),
        ((99, 1, 0, 0), "strict", "ordered", None, False),
        ((99, 1, 1, 0), "strict", "ordered", "ordered", True),
        ((1, 1, 0, 9), "wide", "none", "clicked", False),
        ((1, 0, 1, 0), "wide", "none", "clicked", False),
        ((9, 0, 0, 5), "wide", "none", "skipped", False),
        ((99, 0, 0, 4), "wide", "none", None, False),
        ((1, 0, 1, 0), "wide", "ordered", "ordered", True),
        ((1, 1, 0, 0), "wide", "clicked", "clicked", True),
        ((20, 3, 0, 0), "clicks", "none", "clicked", False),
        ((20, 3, 1, 0), "clicks", "none", "ordered", False),
        ((20, 0, 0, 0), "clicks", "none", "shown", False),
        ((19, 9, 9, 9), "clicks", "none", None, False),
    ],
)
def test_the_rules_one_by_one(
    events: tuple[int, int, int, int], rule: str, behaviour: str, source: str, wanted: bool
) -> None:
    options = LogOptions(rule=rule, behaviour=behaviour)  # type: ignore[arg-type]
    assert source_of(events, options) == (source, wanted)


def test_click_ratios_are_of_all_rows_of_a_pair(products: Products, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    query = next(query for query in QUERIES if split_of(query) == "train")
    days = ("p1,15,2,0", "p1,25,8,1", "p2,40,0,0", "p3,19,19,0", "p4,20,25,0")
    lines = "".join(f"{query},{day}\n" for day in days)
    path.write_text(f"query,product_id,shown,clicked,ordered\n{lines}")
    report = filtered(path, products, tmp_path / "set.csv", LogOptions(rule="clicks"))
    found = {row.text("product_id"): row.text("target") for row in rows(tmp_path / "set.csv")}
    assert found == {"p1": "0.25", "p2": "0", "p4": "1"}
    assert report.counts.pairs == {"ordered": 1, "shown": 1, "clicked": 1}
    pairs = read_pairs(tmp_path / "set.csv", PairColumns())
    assert sorted(pairs.targets.tolist()) == [0.0, 0.25, 1.0]


def test_memory_changes_nothing_and_a_querys_pairs_lie_together(
    log: Path, products: Products, tmp_path: Path
) -> None:
    phases = []
    for name, memory_mb in (("little", 1), ("much", 1024)):
        filter_log(
            LogFile(log),
            products,
            LogOptions(memory_mb=memory_mb),
            tmp_path / f"{name}.csv.gz",
            lambda phase, _, total: phases.append((phase, total)),
        )
    assert ("filter", 1) in phases
    assert any(phase == "filter" and (total or 0) > 1 for phase, total in phases)
    assert (tmp_path / "little.csv.gz").read_bytes() == (tmp_path / "much.csv.gz").read_bytes()
    queries = [row.text("query").lower().strip() for row in rows(tmp_path / "much.csv.gz")]
    runs = [query for at, query in enumerate(queries) if at == 0 or queries[at - 1] != query]
    assert len(runs) == len(set(runs)) > 50
    assert runs != sorted(runs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["little.csv.gz", "much.csv.gz"]


def test_a_dry_run_counts_the_same_and_leaves_nothing(
    log: Path, products: Products, tmp_path: Path
) -> None:
    dry = filter_log(
        LogFile(log), products, LogOptions(), tmp_path / "a.csv", lambda *_: None, dry_run=True
    )
    assert list(tmp_path.iterdir()) == []
    assert (dry.path, dry.sha256) == (None, None)
    assert dry.counts == filtered(log, products, tmp_path / "a.csv", LogOptions()).counts


def test_what_a_killed_command_left_goes(log: Path, products: Products, tmp_path: Path) -> None:
    """It holds the log's text: shoppers' queries, in gigabytes."""
    (tmp_path / "a.csv.parts").mkdir()
    (tmp_path / "a.csv.parts" / "900.csv").write_text("lamp,0,1,1,1,0\n")
    again = filtered(log, products, tmp_path / "a.csv", LogOptions())
    assert again.sha256 == filtered(log, products, tmp_path / "b.csv", LogOptions()).sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]


def test_one_command_at_a_time_makes_a_set(log: Path, products: Products, tmp_path: Path) -> None:
    """Not even a dry run takes the other's text from under it."""
    with scratch_folder(tmp_path / "a.csv.parts") as folder:
        (folder / "000.csv").touch()
        with pytest.raises(DistillError, match=r"a\.csv\.parts: another command is at work"):
            filter_log(
                *(LogFile(log), products, LogOptions(), tmp_path / "a.csv", lambda *_: None),
                dry_run=True,
            )
        assert (folder / "000.csv").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_log_without_skipped_is_enough_for_the_strict_rule_alone(
    products: Products, tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"
    query = next(query for query in QUERIES if split_of(query) == "train")
    path.write_text(
        f'{{"query": "{query}", "product_id": "p1", "shown": 30, "clicked": 0, "ordered": 0}}\n'
    )
    report = filtered(path, products, tmp_path / "set.csv", LogOptions())
    assert report.counts.pairs == {"shown": 1}
    with pytest.raises(TransferRefused, match=r"line 1: no column 'skipped'"):
        filtered(path, products, tmp_path / "wide.csv", LogOptions(rule="wide"))


@pytest.mark.parametrize("count", ["-1", "1.5"])
def test_counts_that_are_none_are_refused_with_their_line(
    products: Products, tmp_path: Path, count: str
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"query,product_id,shown,clicked,ordered\nlamp,p1,1,0,0\nlamp,p1,1,{count},0\n")
    with pytest.raises(TransferRefused, match=r"line 3: expected a whole number .* 'clicked'"):
        filtered(path, products, tmp_path / "set.csv", LogOptions())
    assert [each.name for each in tmp_path.iterdir()] == ["log.csv"]


def test_a_log_that_is_not_there_is_an_error_of_its_own(products: Products, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="can't be read"):
        filtered(tmp_path / "log.csv", products, tmp_path / "set.csv", LogOptions())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rule": "lax"}, "rule: expected one of strict, wide, clicks, got 'lax'"),
        ({"rule": "clicks", "behaviour": "ordered"}, "expected none with the rule clicks"),
        ({"behaviour": "seen"}, "behaviour: expected one of none, ordered, clicked"),
        ({"shown_times": 0}, "shown_times: expected at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(TransferRefused, match=text):
        LogOptions(**options)  # type: ignore[arg-type]
