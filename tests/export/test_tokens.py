"""Ragged token ids: the same as the tokenizer's, batch by batch; lengths; bucketed batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.tokens import TokenRows, blocks_of, bucketed_batches, random_batches
from model_store.cwub import CwubTokenizer, build_vocabulary

TEXTS = ["red usb cable", "", "lamp", "red usb cable", "!!!", "手机 case 12 mm"]


@pytest.fixture
def tokenizer() -> CwubTokenizer:
    vocabulary, _ = build_vocabulary(TEXTS, minimum_frequency=1)
    return CwubTokenizer(vocabulary, query_tokens=5, product_tokens=64)


def test_batches_are_what_the_tokenizer_gives(tokenizer: CwubTokenizer) -> None:
    rows = TokenRows(tokenizer, TEXTS, "product")
    ids, mask = rows.batch(rows.text_row)
    expected_ids, expected_mask = tokenizer.encode(TEXTS, "product")
    np.testing.assert_array_equal(mask.numpy(), expected_mask)
    np.testing.assert_array_equal(ids.numpy(), expected_ids * expected_mask)


def test_each_distinct_text_is_kept_once(tokenizer: CwubTokenizer) -> None:
    rows = TokenRows(tokenizer, TEXTS, "query")
    assert rows.distinct == ["red usb cable", "", "lamp", "!!!", "手机 case 12 mm"]
    assert rows.text_row.tolist() == [0, 1, 2, 0, 3, 4]
    assert rows.lengths.tolist() == [5, 0, 3, 0, 5]  # 5 is the limit of queries


def test_a_batch_of_empty_texts_has_one_masked_place(tokenizer: CwubTokenizer) -> None:
    rows = TokenRows(tokenizer, ["", "?"], "query")
    ids, mask = rows.batch(np.array([0, 1]))
    assert ids.shape == mask.shape == (2, 1)
    assert not mask.any()


def test_covering_length(tokenizer: CwubTokenizer) -> None:
    rows = TokenRows(tokenizer, [*TEXTS, *(f"word{i}" for i in range(95))], "product")
    assert rows.covering_length(1.0) == rows.lengths.max()
    assert rows.covering_length(0.5) == 0  # words that are not in the vocabulary


def test_bucketed_batches_hold_every_row_once_and_little_padding() -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 50, 10_000)
    batches = bucketed_batches(lengths, 64, random)
    assert sorted(np.concatenate(batches).tolist()) == list(range(10_000))
    assert max(map(len, batches)) == 64
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    assert padded < 1.1 * lengths.sum()
    again = bucketed_batches(lengths, 64, np.random.default_rng(1))
    assert batches[0].tolist() != again[0].tolist()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 5), st.integers(0, 9))
def test_blocks_hold_rows_of_one_group(groups: list[int], size: int, seed: int) -> None:
    numbers = np.array(groups, dtype=np.int64)
    blocks = blocks_of(numbers, size, np.random.default_rng(seed))
    assert sorted(set(blocks.tolist())) == list(range(blocks.max() + 1))
    for block in range(blocks.max() + 1):
        assert len(set(numbers[blocks == block].tolist())) == 1
    for group in set(groups):
        sizes = np.bincount(blocks[numbers == group])
        assert sizes.max() <= size
        assert np.count_nonzero(sizes) == -(-groups.count(group) // size)  # as few as can be


def test_random_batches_hold_every_row_once() -> None:
    batches = random_batches(1_003, 64, np.random.default_rng(0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(1_003))
    assert [len(batch) for batch in batches] == [64] * 15 + [43]
    again = random_batches(1_003, 64, np.random.default_rng(1))
    assert batches[0].tolist() != again[0].tolist()


def test_pairs_of_one_title_stand_together() -> None:
    random = np.random.default_rng(0)
    titles = random.integers(0, 300, 6_000)
    batches = random_batches(6_000, 64, random, blocks_of(titles, 4, random))
    assert sorted(np.concatenate(batches).tolist()) == list(range(6_000))
    assert {len(batch) for batch in batches} == {64, 6_000 % 64}
    distinct = [len(set(titles[batch].tolist())) for batch in batches]
    assert np.mean(distinct) < 64 / 4 + 3  # a block may be cut where a batch ends
    assert len(set(np.concatenate([titles[batch[:4]] for batch in batches]))) > 80  # and random
    apart = random_batches(6_000, 64, random)
    assert np.mean([len(set(titles[batch].tolist())) for batch in apart]) > 50
