"""Transfer sets from a catalogue and queries: what is in them, and what never is."""

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import TransferRefused
from distill.retrieval import TitleIndex, terms
from distill.transfer import estimate_transfer_set, make_transfer_set
from distill.transfer_file import TransferPair, write_pairs
from distill.transfer_inputs import (
    JudgedFile,
    Products,
    Queries,
    QueryFile,
    loose_key,
    read_products,
    read_queries,
)
from distill.transfer_options import TransferOptions
from evaluation.errors import InputFileError
from evaluation.judgments import ProductFile, query_key, split_of
from evaluation.tables import rows
from indexing.errors import CatalogueError
from loadtest.catalogue import products as shop_products
from loadtest.catalogue import queries as shop_queries

Rows = list[dict[str, object]]
EVERYTHING = TransferOptions(rewrites=2, pseudo_queries=150, pairs_per_made_query=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue of 1,500 products, 200 queries of all splits, and judgements of 60 of them."""
    folder = tmp_path_factory.mktemp("inputs")
    titles = []
    with (folder / "products.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("product_id", "title", "price", "sales"))
        for product in shop_products(1500, 7):
            writer.writerow(product)
            titles.append(product[1])
    asked = shop_queries(200, 7)
    (folder / "queries.txt").write_text("\n".join(asked) + "\n", encoding="utf-8")
    index = TitleIndex(titles)
    with (folder / "judged.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("query", "product_id", "relevance"))
        for query in asked[:60]:
            for at in index.best(query, 5).tolist():
                writer.writerow((query, f"p{at + 1:07}", 3))
    return folder


def inputs(folder: Path, *, judged: bool = True) -> tuple[Products, Queries]:
    products = read_products(ProductFile(folder / "products.csv"))
    file = JudgedFile(folder / "judged.csv") if judged else None
    return products, read_queries(products, QueryFile(folder / "queries.txt"), file)


def made(read: tuple[Products, Queries], out: Path, options: TransferOptions = EVERYTHING) -> Rows:
    make_transfer_set(*read, options, out, lambda *_: None)
    return [row.fields for row in rows(out)]


@pytest.fixture(scope="module")
def everything(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    return made(inputs(folder), tmp_path_factory.mktemp("set") / "transfer.csv.gz")


def test_no_query_of_valid_or_test_is_in_the_set(folder: Path, everything: Rows) -> None:
    given_queries = (folder / "queries.txt").read_text(encoding="utf-8").splitlines()
    assert {split_of(query) for query in given_queries} == {"train", "valid", "test"}
    assert {split_of(str(row["query"])) for row in everything} == {"train"}


def test_every_query_of_train_is_there_with_its_pairs_in_one_place(
    folder: Path, everything: Rows
) -> None:
    given_queries = (folder / "queries.txt").read_text(encoding="utf-8").splitlines()
    train = {query for query in given_queries if split_of(query) == "train"}
    in_file = [row["query"] for row in everything]
    runs = [query for at, query in enumerate(in_file) if at == 0 or in_file[at - 1] != query]
    assert len(runs) == len(set(runs))
    assert train <= set(runs)


def test_the_first_rows_are_a_sample_of_all_sources(everything: Rows) -> None:
    start = [row["source"] for row in everything[: len(everything) // 5]]
    whole = [row["source"] for row in everything]
    assert set(whole) == {"judged", "bm25", "neighbour", "random", "pseudo"}
    for source in set(whole):
        share = whole.count(source) / len(whole)
        assert abs(start.count(source) / len(start) - share) < 0.5 * share


def test_no_pair_comes_twice_and_ids_fit_titles(folder: Path, everything: Rows) -> None:
    pairs = [(query_key(str(row["query"])), row["title"]) for row in everything]
    assert len(pairs) == len(set(pairs))
    titles = {row.text("product_id"): row.text("title") for row in rows(folder / "products.csv")}
    assert all(titles[str(row["product_id"])] == row["title"] for row in everything)


def test_judged_pairs_are_those_of_the_file_or_none(
    folder: Path, everything: Rows, tmp_path: Path
) -> None:
    judged = {
        (row.text("query"), row.text("product_id"))
        for row in rows(folder / "judged.csv")
        if split_of(row.text("query")) == "train"
    }
    found = {(row["query"], row["product_id"]) for row in everything if row["source"] == "judged"}
    assert found == judged
    without = made(inputs(folder), tmp_path / "set.csv", TransferOptions(judged=False))
    assert not {(row["query"], row["product_id"]) for row in without} & judged


def test_shares_decide_how_many_pairs_of_each_way_a_query_gets(
    folder: Path, tmp_path: Path
) -> None:
    options = TransferOptions(
        pairs_per_query=20, bm25_share=0.6, neighbour_share=0.25, random_share=0.15, judged=False
    )
    read = inputs(folder)
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in made(read, tmp_path / "set.csv", options):
        counts[str(row["query"])][str(row["source"])] += 1
    judged = {query for query in counts if query in read[1].judged}
    assert 0 < len(judged) < len(counts)
    for query, found in counts.items():
        assert 1 <= found["random"] <= 3  # the same may be drawn twice, or be there already
        if query in judged:
            assert (found["bm25"], found["neighbour"]) == (12, 5)
        else:
            assert (found["bm25"], found["neighbour"]) == (17, 0)  # nothing to be near to


def test_bm25_pairs_come_from_all_ranks_down_to_the_depth(folder: Path, tmp_path: Path) -> None:
    products, queries = inputs(folder, judged=False)
    options = TransferOptions(bm25_depth=100, bm25_share=1.0, neighbour_share=0, random_share=0)
    index = TitleIndex(products.titles)
    ranks = []
    for row in made((products, queries), tmp_path / "set.csv", options):
        best = [products.titles[at] for at in index.best(str(row["query"]), 200).tolist()]
        ranks.append(best.index(str(row["title"])))
        assert set(terms(str(row["query"]))) & set(terms(str(row["title"])))
    assert max(ranks) < 100
    assert 0.3 < np.mean(np.array(ranks) < 10) < 0.7
    assert np.mean(np.array(ranks) >= 50) > 0.1


def test_neighbours_are_near_a_judged_product_one_way_or_the_other(
    folder: Path, tmp_path: Path
) -> None:
    products, queries = inputs(folder)
    options = TransferOptions(
        neighbour_depth=6, bm25_share=0, neighbour_share=1.0, random_share=0, judged=False
    )
    index = TitleIndex(products.titles)
    near = [
        [at for at in index.best(title, 7).tolist() if at != own][:6]
        for own, title in enumerate(products.titles)
    ]
    place = {title: at for at, title in enumerate(products.titles)}
    forward = backward = 0
    for row in made((products, queries), tmp_path / "set.csv", options):
        judged = queries.judged.get(query_key(str(row["query"])), [])
        at = place[str(row["title"])]
        if any(at in near[position] for position in judged):
            forward += 1
        else:
            # A judged product that has one of this query's judged products near it.
            assert judged == [] or any(position in near[at] for position in judged)
            backward += bool(judged)
    assert forward > 100
    assert backward > 10


def test_made_queries_belong_to_their_source_product(folder: Path, tmp_path: Path) -> None:
    products, queries = inputs(folder)
    options = TransferOptions(pairs_per_query=0, pseudo_queries=100, judged=False)
    found = defaultdict(list)
    for row in made((products, queries), tmp_path / "set.csv", options):
        assert row["source"] == "pseudo"
        found[str(row["query"])].append(str(row["title"]))
    assert len(found) == 100
    # The source product comes first: all words of most queries stand in its title.
    whole = [set(terms(query)) <= set(terms(titles[0])) for query, titles in found.items()]
    assert np.mean(whole) > 0.8
    assert not any(query_key(query) in queries.known for query in found)


def test_rewrites_keep_the_products_of_their_query(folder: Path, tmp_path: Path) -> None:
    products, queries = inputs(folder)
    options = TransferOptions(pairs_per_query=0, rewrites=3, pairs_per_made_query=1, judged=False)
    of_query = defaultdict(list)
    for row in made((products, queries), tmp_path / "set.csv", options):
        of_query[str(row["query"])].append(str(row["title"]))
    judged = [set(map(products.titles.__getitem__, each)) for each in queries.judged.values()]
    # Rewrites of queries that nothing is judged for have the one pair alone.
    with_judged = [titles for titles in of_query.values() if len(titles) > 1]
    assert len(with_judged) > 50
    # Three of its five judged products, and perhaps another one as their neighbour.
    assert all(any(len(set(titles) & each) >= 3 for each in judged) for titles in with_judged)


def test_queries_that_resemble_held_out_ones_are_not_made(folder: Path, tmp_path: Path) -> None:
    products, queries = inputs(folder)
    options = TransferOptions(pairs_per_query=0, pseudo_queries=200, judged=False)
    before = {str(row["query"]) for row in made((products, queries), tmp_path / "1.csv", options)}
    # The same words in another order or number, where that falls into valid or test.
    twins = [twin for query in before for twin in _twins(query) if split_of(twin) != "train"]
    assert len(twins) > 50
    for twin in twins:
        queries.add(twin)
    after = {str(row["query"]) for row in made((products, queries), tmp_path / "2.csv", options)}
    held_out = {loose_key(twin) for twin in twins}
    assert {query for query in before if loose_key(query) in held_out}
    assert not {query for query in after if loose_key(query) in held_out}


def _twins(query: str) -> Iterator[str]:
    yield " ".join(reversed(query.split()))
    yield f"{query}s" if query[-1].isalpha() and query[-1] != "s" else query


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("a.csv.gz", "b.csv.gz"):
        made(inputs(folder), tmp_path / name)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    options = TransferOptions(seed=1, rewrites=2, pseudo_queries=150, pairs_per_made_query=12)
    assert made(inputs(folder), tmp_path / "c.csv", options) != made(
        inputs(folder), tmp_path / "d.csv"
    )


def test_another_query_leaves_the_pairs_of_the_others_as_they_were(
    folder: Path, tmp_path: Path
) -> None:
    read = inputs(folder)
    before = _by_query(made(read, tmp_path / "before.csv", TransferOptions()))
    query = next(f"lamp {number}" for number in range(99) if split_of(f"lamp {number}") == "train")
    read[1].add(query)
    after = _by_query(made(read, tmp_path / "after.csv", TransferOptions()))
    assert set(after) - set(before) == {query}
    assert all(after[each] == before[each] for each in before)


def _by_query(found: Rows) -> dict[str, list[object]]:
    lists: dict[str, list[object]] = defaultdict(list)
    for row in found:
        lists[str(row["query"])].append((row["title"], row["source"]))
    return lists


def test_an_estimate_is_near_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    options = TransferOptions(pseudo_queries=3000, rewrites=1)
    read = inputs(folder)
    estimate = estimate_transfer_set(*read, options, lambda *_: None)
    report = make_transfer_set(*read, options, tmp_path / "set.csv", lambda *_: None)
    assert set(estimate.pairs) == set(report.counts.pairs)
    assert abs(estimate.pairs["pseudo"] / report.counts.pairs["pseudo"] - 1) < 0.1
    assert abs(sum(estimate.queries.values()) / sum(report.counts.queries.values()) - 1) < 0.05
    assert sum(report.counts.pairs.values()) == len(list(rows(tmp_path / "set.csv")))


def test_a_small_catalogue_makes_as_many_queries_as_it_can(tmp_path: Path) -> None:
    products = Products()
    products.add("1", "red lamp")
    products.add("2", "steel hose")
    queries = read_queries(products, None, None)
    found = made((products, queries), tmp_path / "set.csv", TransferOptions(pseudo_queries=1000))
    assert 0 < len({row["query"] for row in found}) < 1000
    assert {row["title"] for row in found} == {"red lamp", "steel hose"}


def test_products_are_told_apart_by_title_and_judged_ones_join(tmp_path: Path) -> None:
    catalogue = tmp_path / "products.csv"
    catalogue.write_text("product_id,title\n1,red lamp\n2,red lamp\n1,other\n,x\n3,hose\n")
    judged = tmp_path / "judged.csv"
    judged.write_text("query,product_id,title\nlamp,2,red lamp\nLAMP ,9,blue lamp\nlamp,3,hose\n")
    products = read_products(ProductFile(catalogue))
    assert (products.titles, products.ids, products.bad_lines) == (
        ["red lamp", "hose"],
        ["1", "3"],
        1,
    )
    assert split_of("lamp") == "train"
    queries = read_queries(products, None, JudgedFile(judged))
    assert products.titles == ["red lamp", "hose", "blue lamp"]
    assert (queries.texts, queries.judged) == (["lamp"], {"lamp": [0, 2, 1]})


def test_judgements_without_titles_take_those_of_the_catalogue(tmp_path: Path) -> None:
    products = Products()
    products.add("1", "red lamp")
    judged = tmp_path / "judged.jsonl"
    judged.write_text('{"query": "lamp", "product_id": 1}\n{"query": "lamp", "product_id": 2}\n')
    queries = read_queries(products, None, JudgedFile(judged))
    assert (queries.judged, queries.unknown_products) == ({"lamp": [0]}, 1)


def test_what_can_not_be_used_is_refused(tmp_path: Path) -> None:
    held_out = [f"lamp {number}" for number in range(99) if split_of(f"lamp {number}") == "test"]
    (tmp_path / "queries.txt").write_text("\n".join(held_out))
    (tmp_path / "products.csv").write_text("product_id,title\n,x\n")
    with pytest.raises(TransferRefused, match=r"of valid and test alone"):
        read_queries(Products(), QueryFile(tmp_path / "queries.txt"), None)
    with pytest.raises(TransferRefused, match=r"expected products, found none \(1 bad lines\)"):
        read_products(ProductFile(tmp_path / "products.csv"))
    with pytest.raises(CatalogueError, match="expected one column 'name'"):
        read_products(ProductFile(tmp_path / "products.csv", title="name"))
    (tmp_path / "judged.csv").write_text("query,relevance\nlamp,1\n")
    with pytest.raises(InputFileError, match="no column 'product_id'"):
        read_queries(Products(), None, JudgedFile(tmp_path / "judged.csv"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"pairs_per_query": -1}, "pairs_per_query: expected at least 0, got -1"),
        ({"bm25_depth": 0}, "bm25_depth: expected at least 1, got 0"),
        ({"random_share": 0.3}, r"sum to 1, got 0.5 \+ 0.3 \+ 0.3 = 1.1"),
        ({"random_share": -0.2, "bm25_share": 0.9}, "shares from 0 on"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], text: str) -> None:
    with pytest.raises(TransferRefused, match=text):
        TransferOptions(**options)  # type: ignore[arg-type]


_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)


@given(
    st.lists(st.tuples(_TEXT, st.one_of(_TEXT, st.just('a "b", c\n\td')), st.booleans())),
    st.sampled_from([".csv", ".tsv", ".jsonl", ".csv.gz", ".jsonl.gz"]),
    st.booleans(),
)
def test_pairs_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[tuple[str, str, bool]],
    ending: str,
    behaviour: bool,
) -> None:
    out = tmp_path_factory.mktemp("file") / f"pairs{ending}"
    pairs = [TransferPair(query, title, "", "shown", mark) for query, title, mark in texts]
    write_pairs(out, iter(pairs), behaviour=behaviour)
    found = [row.fields for row in rows(out)]
    assert [(row["query"], row["title"]) for row in found] == [pair[:2] for pair in pairs]
    if behaviour:
        assert [row["behaviour"] for row in found] == ["1" if each[2] else "" for each in texts]
    else:
        assert all(set(row) == {"query", "title", "product_id", "source"} for row in found)


def test_a_file_appears_when_it_is_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> Iterator[TransferPair]:
        yield TransferPair("q", "t", "", "bm25")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pairs(tmp_path / "set.csv.gz", broken(), behaviour=False)
    assert list(tmp_path.iterdir()) == []


def test_gzip_says_nothing_of_name_or_time(tmp_path: Path) -> None:
    pairs = [TransferPair("q", "t", "", "bm25")]
    hashes = {
        write_pairs(tmp_path / name, pairs, behaviour=False) for name in ("a.csv.gz", "b.csv.gz")
    }
    assert len(hashes) == 1
    with gzip.open(tmp_path / "a.csv.gz", "rt", newline="") as file:
        assert file.read() == "query,title,product_id,source\r\nq,t,,bm25\r\n"


def test_a_path_that_would_not_do_is_refused_before_the_work(tmp_path: Path) -> None:
    products = Products()
    products.add("1", "red lamp")
    (tmp_path / "there.csv").touch()
    for path, text in (
        (tmp_path / "there.csv", "exists already"),
        (tmp_path / "set.parquet", "expected a name ending in .csv"),
        (tmp_path / "none" / "set.csv", "to write into, found none"),
    ):
        with pytest.raises(TransferRefused, match=text):
            make_transfer_set(products, Queries(), TransferOptions(), path, lambda *_: None)


def test_without_any_query_there_is_nothing_to_do(tmp_path: Path) -> None:
    products = Products()
    products.add("1", "red lamp")
    with pytest.raises(TransferRefused, match="there is nothing to make pairs of"):
        made((products, Queries()), tmp_path / "set.csv", TransferOptions())
    assert list(tmp_path.iterdir()) == []
