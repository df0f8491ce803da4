"""The graph of queries and products against brute force, and what a pair may see of it."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.context import TrainingContext, pairs_in_context
from distill.context_files import ContextInputs, write_context
from distill.errors import ContextRefused
from distill.graph import SEPARATOR, Graph, GraphOptions
from evaluation.judgments import split_of
from evaluation.metrics import roc_auc
from export.checkpoint import Facts
from export.pairs import PairColumns, Pairs
from indexing.catalogue import open_catalogue, open_queries

_MARK = SEPARATOR.strip()


def _pairs(*rows: tuple[str, str, float]) -> Pairs:
    queries, titles, targets = zip(*rows, strict=True)
    return Pairs("p.csv", "0" * 64, list(queries), list(titles), np.array(targets, np.float32))


def _train(count: int, word: str = "query") -> list[str]:
    """Queries of the train split."""
    texts = (f"{word} {number}" for number in range(10 * count + 10))
    return [text for text in texts if split_of(text) == "train"][:count]


A, B, C = _train(3)


def _query_text(graph: Graph, query: str) -> str:
    return graph.query_text(query, int(graph.queries.find([query])[0]))


def _product_text(graph: Graph, title: str) -> str:
    return graph.product_text(title, int(graph.products.find([title])[0]))


def test_texts_have_their_neighbours_from_the_best_down() -> None:
    graph = Graph(
        _pairs((A, "Lamp", 0.6), (A, "chair", 0.9), (A, "rug", 0.4), (B, "lamp", 0.7)),
        GraphOptions(keep_from=0.5),
    )
    assert (len(graph), len(graph.queries), len(graph.products)) == (3, 2, 2)
    assert _query_text(graph, A) == f"{A} [SEP] chair [SEP] lamp"
    assert _product_text(graph, "LAMP") == f"LAMP [SEP] {B} [SEP] {A}"  # case tells nothing
    assert _product_text(graph, "rug") == "rug"  # no edge
    assert _query_text(graph, C) == C
    options = GraphOptions(keep_from=0.5, neighbours=1)
    fewer = Graph(_pairs((A, "Lamp", 0.6), (A, "chair", 0.9)), options)
    assert _query_text(fewer, A) == f"{A} [SEP] chair"


def test_repeated_pairs_are_one_edge_with_the_best_target() -> None:
    graph = Graph(_pairs((A, "lamp", 0.2), (A, "rug", 0.7), (A, "lamp", 0.9)), GraphOptions())
    assert len(graph) == 2
    assert _query_text(graph, A) == f"{A} [SEP] lamp [SEP] rug"


def test_so_many_words_of_each() -> None:
    title = "Steel Hammer, 16 oz. (2-Pack)"
    graph = Graph(_pairs((A, title, 0.9), (A, "红色手机壳 XL", 0.8)), GraphOptions(words=3))
    assert _query_text(graph, A) == f"{A} [SEP] steel hammer 16 [SEP] 红 色 手"


def test_spellings_are_one_node() -> None:
    plural = f"lamps {A}"
    graph = Graph(_pairs((f"lamp {A}", "x", 0.9), (plural, "y", 0.8)), GraphOptions())
    assert len(graph.queries) == 1
    assert graph.query_spellings == [f"lamp {A}", plural]
    asked = f"{A}, LAMPS"
    assert _query_text(graph, asked) == f"{asked} [SEP] x [SEP] y"


def test_queries_of_punctuation_are_not_all_the_same() -> None:
    odd = _pairs(("!!", "x", 0.9), ("??", "y", 0.9))
    graph = Graph(odd, GraphOptions(train_split_only=False))
    assert _query_text(graph, "!!") == "!! [SEP] x"
    assert _query_text(graph, "??") == "?? [SEP] y"


def test_no_edge_has_a_query_of_valid_or_test() -> None:
    held = [text for text in (f"held {n}" for n in range(40)) if split_of(text) != "train"][:3]
    rows = [(query, f"lamp {n}", 0.9) for n, query in enumerate([*held, A])]
    graph = Graph(_pairs(*rows), GraphOptions())
    assert graph.query_spellings == [A]
    assert len(Graph(_pairs(*rows), GraphOptions(train_split_only=False))) == 4
    with pytest.raises(ContextRefused, match=r"p\.csv: expected pairs of train queries .* 0\.5"):
        Graph(_pairs(*rows[:3]), GraphOptions())


WORLD = st.lists(
    st.tuples(
        st.sampled_from(_train(6)),
        st.sampled_from([f"product {number}" for number in range(6)]),
        st.sampled_from([0.1, 0.4, 0.6, 0.8, 0.9]),
    ),
    min_size=1,
    max_size=30,
)


def _context(text: str) -> list[str]:
    return text.split(SEPARATOR)[1:]


def _edges(rows: list[tuple[str, str, float]]) -> dict[tuple[str, str], float]:
    edges: dict[tuple[str, str], float] = {}
    for query, title, target in rows:
        if target >= 0.5:
            edges[query, title] = max(target, edges.get((query, title), 0.0))
    return edges


@given(WORLD, st.integers(1, 4))
def test_an_evaluated_pair_sees_all_but_itself(
    rows: list[tuple[str, str, float]], neighbours: int
) -> None:
    pairs, edges = _pairs(*rows), _edges(rows)
    options = GraphOptions(neighbours=neighbours)
    if not edges:
        with pytest.raises(ContextRefused):
            Graph(pairs, options)
        return
    graph = Graph(pairs, options)
    assert len(graph) == len(edges)
    found = pairs_in_context(graph, pairs, None)
    for row, (query, title, _) in enumerate(rows):
        of_query = {t: score for (q, t), score in edges.items() if q == query}
        of_title = {q: score for (q, t), score in edges.items() if t == title}
        assert found.query_known[row] == bool(of_query)
        assert found.product_known[row] == bool(of_title)
        for text, scores, other in (
            (found.pairs.queries[row], of_query, title),
            (found.pairs.titles[row], of_title, query),
        ):
            left = sorted((s for each, s in scores.items() if each != other), reverse=True)
            shown = _context(text)
            assert other not in shown
            assert [scores[each] for each in shown] == left[:neighbours]  # from the best down


@given(WORLD, st.sampled_from([0.2, 0.5, 0.8]), st.integers(0, 3))
def test_a_pair_is_an_edge_or_trained_on(
    rows: list[tuple[str, str, float]], share: float, seed: int
) -> None:
    pairs, edges = _pairs(*rows), _edges(rows)
    if not edges:
        return
    graph = Graph(pairs, GraphOptions(neighbours=99))
    training = TrainingContext(graph_share=share, dropout=0.0, seed=seed)
    try:
        found = pairs_in_context(graph, pairs, training)
    except ContextRefused:  # so small a world that one part is empty
        return
    trained = {
        (q.split(SEPARATOR)[0], t.split(SEPARATOR)[0])
        for q, t in zip(found.pairs.queries, found.pairs.titles, strict=True)
    }
    left = {edge: score for edge, score in edges.items() if edge not in trained}
    texts = zip(found.pairs.queries, found.pairs.titles, strict=True)
    for row, (query_text, title_text) in enumerate(texts):
        query, title = query_text.split(SEPARATOR)[0], title_text.split(SEPARATOR)[0]
        assert set(_context(query_text)) == {t for q, t in left if q == query}
        assert set(_context(title_text)) == {q for q, t in left if t == title}
        assert found.query_known[row] == bool(_context(query_text))
        assert found.product_known[row] == bool(_context(title_text))
    # Which are left out says nothing of their targets: spellings and repeats go together.
    kept = [row for row in rows if row[:2] in trained]
    assert len(kept) == len(found.pairs)
    np.testing.assert_allclose(found.pairs.targets, [target for *_, target in kept])


def _random_world(count: int) -> Pairs:
    """Labels that nothing explains: no text, no query and no product tells relevant from not."""
    random = np.random.default_rng(1)
    queries = _train(60)
    rows = {
        (queries[random.integers(60)], f"product {random.integers(150)}"): float(y)
        for y in random.choice([0.1, 0.9], size=count)
    }
    return _pairs(*((query, title, y) for (query, title), y in rows.items()))


def _auc_of_counts(pairs: Pairs, *, within_queries: bool) -> float:
    """How well the number of neighbours that are shown tells relevant pairs from others."""
    texts = list(zip(pairs.queries, pairs.titles, strict=True))
    shown = np.array([len(_context(query)) + len(_context(title)) for query, title in texts])
    if within_queries:
        own = np.array([query.split(SEPARATOR)[0] for query in pairs.queries])
        shown = shown - np.array([shown[own == query].mean() for query in own])
    return roc_auc(pairs.labels, shown.astype(np.float32))


def test_context_tells_nothing_where_there_is_nothing_to_tell() -> None:
    """To leave the own edge out alone would: such a student looks good and is blind when served."""
    world = _random_world(3_000)
    graph = Graph(world, GraphOptions(neighbours=99))
    fair = pairs_in_context(graph, world, TrainingContext(graph_share=0.5, dropout=0.0)).pairs
    assert 0.45 < _auc_of_counts(fair, within_queries=True) < 0.55
    assert 0.45 < _auc_of_counts(fair, within_queries=False) < 0.55
    own_edge_out = pairs_in_context(graph, world, None).pairs
    assert _auc_of_counts(own_edge_out, within_queries=True) < 0.4


def test_nor_through_queries_made_from_those_of_the_graph() -> None:
    """A pair of "red query 7" may not see the edge that "query 7" has to its product."""
    world = _random_world(3_000)
    made = replace(
        world,
        queries=[*world.queries, *(f"red {query}" for query in world.queries)],
        titles=[*world.titles, *world.titles],
        targets=np.tile(world.targets, 2),
    )
    graph = Graph(world, GraphOptions(neighbours=99))

    def auc_of_own_words(*, real_queries: bool) -> float:
        training = TrainingContext(graph_share=0.5, dropout=0.0, real_queries=real_queries)
        found = pairs_in_context(graph, made, training).pairs
        texts = zip(found.queries, found.titles, strict=True)
        seen = [
            query.split(SEPARATOR)[0].removeprefix("red ") in _context(title)
            for query, title in texts
        ]
        return roc_auc(found.labels, np.array(seen, np.float32))

    assert auc_of_own_words(real_queries=False) == 0.5
    assert auc_of_own_words(real_queries=True) > 0.6  # what it would come to


def test_dropout_leaves_texts_bare() -> None:
    world = _random_world(900)
    graph = Graph(world, GraphOptions())

    def texts(dropout: float, seed: int = 0) -> Pairs:
        training = TrainingContext(graph_share=0.5, dropout=dropout, seed=seed)
        return pairs_in_context(graph, world, training).pairs

    bare, some, every = texts(1.0), texts(0.3), texts(0.0)
    assert not any(SEPARATOR in text for text in [*bare.queries, *bare.titles])
    for all_bare, with_all, with_some in (
        (bare.queries, every.queries, some.queries),
        (bare.titles, every.titles, some.titles),
    ):
        has_context = [a != b for a, b in zip(all_bare, with_all, strict=True)]
        stayed = [a == b for a, b, c in zip(with_some, all_bare, has_context, strict=True) if c]
        assert 0.2 < np.mean(stayed) < 0.4
    again = texts(0.3)
    assert (again.queries, again.titles) == (some.queries, some.titles)
    assert texts(0.3, seed=1).queries != some.queries
    sides = zip(some.queries, some.titles, every.queries, every.titles, strict=True)
    assert len({(q == a, t == b) for q, t, a, b in sides}) == 4  # each side for itself


def test_other_pairs_than_the_graphs() -> None:
    graph = Graph(_pairs((A, "lamp", 0.9), (B, "lamp", 0.8), (B, "rug", 0.7)), GraphOptions())
    new = _pairs((C, "lamp", 0.2), (A, "sofa", 0.2), (A, "rug", 0.9))
    expected = (
        [C, f"{A} [SEP] lamp", f"{A} [SEP] lamp"],
        [f"lamp [SEP] {A} [SEP] {B}", "sofa", f"rug [SEP] {B}"],
    )
    real = TrainingContext(dropout=0.0, graph_share=0.9, real_queries=True)
    for training in (None, real):
        found = pairs_in_context(graph, new, training)  # the graph keeps none of these
        assert (found.pairs.queries, found.pairs.titles) == expected
        assert found.query_known.tolist() == [False, True, True]
        assert found.product_known.tolist() == [True, False, True]
        np.testing.assert_array_equal(found.pairs.targets, new.targets)
    perhaps_made = pairs_in_context(graph, new, replace(real, real_queries=False)).pairs
    assert perhaps_made.queries == expected[0]
    assert perhaps_made.titles == ["lamp", *expected[1][1:]]  # C may be another form of A or B


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_leaves_nothing_is_refused(share: float) -> None:
    world = _random_world(50)
    graph = Graph(world, GraphOptions())
    with pytest.raises(ContextRefused, match="expected some of both; choose another share"):
        pairs_in_context(graph, world, TrainingContext(graph_share=share))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"keep_from": 0.0}, "keep_from: expected above 0 and at most 1"),
        ({"neighbours": 0}, "neighbours: expected at least 1, got 0"),
        ({"words": -1}, "words: expected at least 1, got -1"),
    ],
)
def test_options_out_of_range_are_named(wrong: dict[str, int], expected: str) -> None:
    with pytest.raises(ContextRefused, match=expected):
        GraphOptions(**wrong)  # type: ignore[arg-type]


def test_shares_out_of_range_are_named() -> None:
    for name in ("dropout", "graph_share"):
        with pytest.raises(ContextRefused, match=f"{name}: expected a share from 0 to 1, got 2"):
            TrainingContext(**{name: 2})  # type: ignore[arg-type]


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_files(tmp_path: Path) -> None:
    edges = _pairs((A, "lamp", 0.9), (A, "rug", 0.8), (B, "lamp", 0.7))
    graph = Graph(edges, GraphOptions())
    training = Pairs(
        **vars(_pairs((A, "sofa", 0.25), (C, "lamp", 0.9), (A, "rug!", 0.5)))
        | {"hard": np.array([1, np.nan, 0.5], np.float32)}
    )
    judged = tmp_path / "judged.tsv"
    judged.write_text(f"title\tquery\trelevance\nlamp\t{A}\t3\nsofa, big\t{C}\t1\n")
    catalogue = tmp_path / "products.csv"
    catalogue.write_text('sku,name\np1,lamp\np2,"sofa, big"\np3,\n')
    asked = tmp_path / "asked.txt"
    asked.write_text(f"{B}\nnever seen\n{B}\n")
    inputs = ContextInputs(
        training=training,
        evaluation=(judged,),
        columns=PairColumns(),
        catalogue=open_catalogue(catalogue, id_column="sku", title_column="name"),
        queries=open_queries(asked),
    )
    written = write_context(
        graph,
        inputs,
        TrainingContext(dropout=0.0, real_queries=True),
        tmp_path / "out",
        lambda *_: None,
    )
    counts = [(w.file, w.rows, w.query_known, w.product_known, w.both_known) for w in written]
    assert counts == [
        ("pairs.csv", 3, 2, 1, 0),
        ("evaluate/judged.csv", 2, 1, 1, 1),
        ("catalogue.csv", 2, 0, 1, 0),
        ("queries.csv", 2, 1, 0, 0),
    ]
    assert [w.left_out for w in written] == [0, 0, 1, 0]
    out = tmp_path / "out"
    pairs = _read(out / "pairs.csv")
    assert pairs[0] == {
        "query": f"{A} [SEP] lamp [SEP] rug",
        "title": "sofa",
        "target": "0.25",
        "hard": "1",
        "query_known": "1",
        "product_known": "0",
    }
    assert pairs[1]["title"] == f"lamp [SEP] {A} [SEP] {B}"
    assert [row["hard"] for row in pairs] == ["1", "", "0.5"]
    assert _read(out / "evaluate" / "judged.csv") == [
        {
            "title": f"lamp [SEP] {B}",
            "query": f"{A} [SEP] rug",
            "relevance": "3",
            "query_known": "1",
            "product_known": "1",
        },
        {
            "title": "sofa, big",
            "query": C,
            "relevance": "1",
            "query_known": "0",
            "product_known": "0",
        },
    ]
    assert _read(out / "catalogue.csv") == [
        {"product_id": "p1", "title": f"lamp [SEP] {A} [SEP] {B}"},
        {"product_id": "p2", "title": "sofa, big"},
    ]
    assert _read(out / "queries.csv") == [
        {"query": B, "text": f"{B} [SEP] lamp"},
        {"query": "never seen", "text": "never seen"},
    ]
    facts = json.loads((out / "context.json").read_text())
    assert (facts["edges"], facts["queries"], facts["products"]) == (3, 2, 2)
    assert facts["pairs_sha256"] == training.sha256
    # What is written can be indexed as it is.
    assert len(list(open_catalogue(out / "catalogue.csv").rows())) == 2
    assert len(list(open_queries(out / "queries.csv", text_column="text").rows())) == 2


def test_pairs_keep_their_labels_where_some_stay_with_the_graph(tmp_path: Path) -> None:
    queries = [query for query in _train(20) for _ in range(4)]
    titles = [f"title {number}" for number in range(len(queries))]
    random = np.random.default_rng(0)
    soft, hard = random.random((2, len(queries)), dtype=np.float32).round(3)
    hard[::3] = np.nan
    facts: Facts = {"teachers": "cross", "temperature": 2.0}
    pairs = Pairs("p.csv", "0" * 64, queries, titles, soft, hard, facts)
    written = write_context(
        Graph(pairs, GraphOptions()),
        ContextInputs(training=pairs, columns=PairColumns()),
        TrainingContext(graph_share=0.4),
        tmp_path / "out",
        lambda *_: None,
    )
    rows = _read(tmp_path / "out" / "pairs.csv")
    assert 0 < len(rows) == written[0].rows < len(pairs)
    for row in rows:
        place = titles.index(row["title"].split(SEPARATOR)[0])
        expected = "" if np.isnan(hard[place]) else f"{hard[place]:.7g}"
        assert (row["target"], row["hard"]) == (f"{soft[place]:.7g}", expected)
    assert json.loads((tmp_path / "out" / "context.json").read_text())["labels"] == facts


def test_it_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    graph = Graph(_pairs((A, "lamp", 0.9), (B, "lamp", 0.7)), GraphOptions())
    given = _pairs((C, "lamp", 0.9), (A, "rug", 0.1))
    bad = tmp_path / "bad.csv"
    bad.write_text("query,title\na,\n")
    training = TrainingContext()
    for tables, expected in (
        ((bad,), "expected text in 'title'"),
        ((bad, bad), r"distinct names, got bad\.csv, bad\.csv"),
    ):
        inputs = ContextInputs(training=given, evaluation=tables, columns=PairColumns())
        with pytest.raises(Exception, match=expected):
            write_context(graph, inputs, training, tmp_path / "out", lambda *_: None)
    assert list(tmp_path.iterdir()) == [bad]
    inputs = ContextInputs(training=given, columns=PairColumns())
    written = write_context(graph, inputs, training, tmp_path / "out", lambda *_: None)
    assert [each.file for each in written] == ["pairs.csv", "queries.csv"]
    assert [row["query"] for row in _read(tmp_path / "out" / "queries.csv")] == [A, B]
    with pytest.raises(ContextRefused, match="exists already: name another folder"):
        write_context(graph, inputs, training, tmp_path / "out", lambda *_: None)


def test_the_separator_is_one_token_for_an_encoder(encoder_folder: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(encoder_folder / "tokenizer.json"))
    tokens = tokenizer.encode(f"red{SEPARATOR}blue").tokens
    assert tokens.count(_MARK) == 2  # the one in between, and the one at the end
