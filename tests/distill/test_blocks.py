"""Blocks of a transfer set: like queries with the same titles; batches that keep them together."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.blocks import in_turns, near_groups
from distill.errors import TrainingRefused, TransferRefused
from distill.objectives import Pointwise
from distill.pointwise import PointwiseMaterial
from distill.student_pairs import StudentPairs
from distill.transfer import make_transfer_set
from distill.transfer_inputs import Products, Queries
from distill.transfer_options import TransferOptions
from evaluation.judgments import split_of
from evaluation.tables import rows
from export.checkpoint import Checkpoint
from export.pairs import Pairs
from export.tokens import consecutive_batches
from loadtest.catalogue import products as shop_products
from loadtest.catalogue import queries as shop_queries

Row = dict[str, object]
ALONE = TransferOptions(pairs_per_query=12, pseudo_queries=60, rewrites=1)
BLOCKS = TransferOptions(
    pairs_per_query=12, pseudo_queries=60, rewrites=1, block_queries=8, block_titles=6
)


def made(out: Path, options: TransferOptions) -> list[Row]:
    products, queries = Products(), Queries()
    for product_id, title, *_ in shop_products(800, 7):
        products.add(product_id, title)
    for query in shop_queries(150, 7):
        queries.add(query)
    make_transfer_set(products, queries, options, out, lambda *_: None)
    return [row.fields for row in rows(out)]


@pytest.fixture(scope="module")
def in_blocks(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return made(tmp_path_factory.mktemp("blocks") / "set.csv", BLOCKS)


def blocks_of_rows(found: list[Row]) -> list[list[Row]]:
    """Rows by block: queries that follow each other with the same titles in the same order."""
    by_query: dict[str, list[Row]] = defaultdict(list)
    for row in found:
        by_query[str(row["query"])].append(row)
    blocks: list[list[Row]] = []
    before: list[object] = []
    for of_query in by_query.values():
        titles = [row["title"] for row in of_query]
        if titles == before:
            blocks[-1] += of_query
        else:
            blocks.append(list(of_query))
        before = titles
    return blocks


def test_like_queries_share_their_titles(in_blocks: list[Row]) -> None:
    blocks = blocks_of_rows(in_blocks)
    sizes = [len({row["query"] for row in block}) for block in blocks]
    assert sizes[:-1] == [8] * (len(blocks) - 1)
    assert {len({row["title"] for row in block}) for block in blocks} == {6}
    assert sum(sizes) == len({row["query"] for row in in_blocks}) > 200
    shared = [
        len(set(str(a).lower().split()) & set(str(b).lower().split())) > 0
        for block in blocks
        for a, b in zip(
            dict.fromkeys(row["query"] for row in block),
            list(dict.fromkeys(row["query"] for row in block))[1:],
            strict=False,
        )
    ]
    assert np.mean(shared) > 0.5  # of queries in random order next to none do


def test_titles_of_a_block_are_those_of_its_queries(in_blocks: list[Row], tmp_path: Path) -> None:
    alone = {(row["query"], row["title"]) for row in made(tmp_path / "alone.csv", ALONE)}
    for block in blocks_of_rows(in_blocks):
        queries = {row["query"] for row in block}
        for title in {row["title"] for row in block}:
            assert any((query, title) in alone for query in queries)
    own = {(row["query"], row["title"]) for row in in_blocks if row["source"] != "block"}
    assert own == {(row["query"], row["title"]) for row in in_blocks} & alone


def test_no_query_of_valid_or_test_is_in_a_block(in_blocks: list[Row]) -> None:
    assert {split_of(str(row["query"])) for row in in_blocks} == {"train"}


def test_the_same_inputs_give_the_same_file(in_blocks: list[Row], tmp_path: Path) -> None:
    assert made(tmp_path / "again.csv", BLOCKS) == in_blocks


@given(
    st.lists(st.sampled_from(["red lamp", "red chair", "lamp", "saw", ""]), max_size=40),
    st.integers(1, 7),
)
def test_every_text_is_in_one_group(texts: list[str], size: int) -> None:
    groups = list(near_groups(texts, size))
    assert sorted(at for group in groups for at in group) == list(range(len(texts)))
    assert all(len(group) == size for group in groups[:-1])


def test_turns_are_taken() -> None:
    assert in_turns([[1, 2, 3], [], [1, 4], [5]], 4) == [1, 5, 2, 4]
    assert in_turns([[1], [1]], 4) == [1]
    assert in_turns([], 4) == []


@given(st.integers(1, 300), st.integers(1, 50), st.integers(0, 9))
def test_consecutive_batches_hold_every_row_once(count: int, size: int, seed: int) -> None:
    batches = consecutive_batches(count, size, np.random.default_rng(seed))
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    assert len(batches) == -(-count // size)
    for batch in batches:
        assert set(np.diff(batch).tolist()) <= {1, 1 - count}  # the end, then the beginning


def test_batches_in_blocks_hold_few_texts(
    parts: tuple[Pairs, Pairs], trained: dict[str, Checkpoint]
) -> None:
    checkpoint, pairs = trained["reprbert"], parts[0]
    order = np.argsort(np.array(pairs.queries), kind="stable")  # pairs of a query side by side
    material = StudentPairs(
        checkpoint.student, checkpoint.tokenizer, pairs.take(order), torch.device("cpu")
    )
    texts = {}
    for together in (False, True):
        learned = PointwiseMaterial(material, Pointwise(in_blocks=together), batch_size=32, seed=1)
        batches = learned.batches(1)
        assert len(batches) == learned.steps
        assert all((learned.batches(1)[at] == batch).all() for at, batch in enumerate(batches))
        assert any((learned.batches(2)[at] != batch).any() for at, batch in enumerate(batches))
        texts[together] = np.mean([len(set(material.queries.text_row[each])) for each in batches])
    assert texts[True] < 0.5 * texts[False]


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(TransferRefused, match="block_queries: expected at least 1, got 0"):
        TransferOptions(block_queries=0)
    with pytest.raises(TransferRefused, match="block_titles: expected at least 1, got 0"):
        TransferOptions(block_titles=0)
    with pytest.raises(TrainingRefused, match="leave one of the two out"):
        Pointwise(in_blocks=True, pairs_per_title=4)
