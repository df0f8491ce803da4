"""Pairs as tokens: what the encoder's own tokenizer would make of them, and how they are cut."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from distill.pair_tokens import PairRows, PairTokenizer, batches_by_length, covering_limit
from distill.pretrained import load_tokenizer
from export.errors import EncoderRefused
from export.pairs import Pairs
from tests.distill.families import FAMILIES, write_encoder

TEXTS = ["red usb cable", "red", "steel 手机 unseen-word", "lamp lamp lamp", "usb  charger, blue!"]


@pytest.fixture(scope="module", params=FAMILIES)
def tokenizer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pairs: Pairs
) -> Tokenizer:
    folder = tmp_path_factory.mktemp("encoders") / request.param
    return load_tokenizer(write_encoder(request.param, folder, [*pairs.queries, *pairs.titles]))


def test_a_pair_is_what_the_tokenizer_makes_of_two_texts(tokenizer: Tokenizer) -> None:
    rows = PairRows(PairTokenizer(tokenizer, pad=1), TEXTS, TEXTS[::-1], limit=None)
    order = np.array([3, 0, 4, 1])
    batch = rows.batch(order)
    for place, row in enumerate(order):
        whole = tokenizer.encode(TEXTS[row], TEXTS[::-1][row])
        length = len(whole.ids)
        assert rows.lengths[row] == length
        assert batch.token_ids[place].tolist()[:length] == whole.ids
        assert batch.segments[place].tolist()[:length] == whole.type_ids
        assert batch.token_mask[place].sum() == length
        assert set(batch.token_ids[place].tolist()[length:]) <= {1}
    assert batch.token_ids.shape[1] == rows.lengths[order].max()


def test_a_template_for_one_text_only_is_completed(encoder_folder: Path) -> None:
    tokenizer = load_tokenizer(encoder_folder)
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    batch = PairRows(PairTokenizer(tokenizer, None), ["red"], ["usb cable"], None).batch(
        np.array([0])
    )
    ids = batch.token_ids[0].tolist()
    assert (ids[0], ids[2], ids[-1]) == (cls, sep, sep)
    assert batch.segments[0].tolist() == [0, 0, 0] + [1] * (len(ids) - 3)


def test_a_tokenizer_without_special_tokens_is_refused() -> None:
    bare = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(EncoderRefused, match=r"expected a tokenizer that makes \[CLS\] a \[SEP\]"):
        PairTokenizer(bare, None)


@given(query=st.integers(1, 30), title=st.integers(1, 30), limit=st.integers(8, 50))
def test_the_title_gives_way_but_a_query_keeps_half_at_most(
    query: int, title: int, limit: int
) -> None:
    tokenizer = Tokenizer(models.WordLevel({"q": 5, "t": 6, "[CLS]": 2, "[SEP]": 3, "a": 4}, "q"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    rows = PairRows(
        PairTokenizer(tokenizer, 0), [" ".join("q" * query)], [" ".join("t" * title)], limit
    )
    ids = rows.batch(np.array([0])).token_ids[0].tolist()
    kept_query, kept_title = ids.count(5), ids.count(6)
    assert len(ids) == min(limit, query + title + 3)
    assert ids == [2, *[5] * kept_query, 3, *[6] * kept_title, 3]
    room = limit - 3
    if kept_query < query:
        assert kept_query >= room // 2
        assert kept_title <= room - room // 2
    if kept_title < title:
        assert kept_query == query or kept_query == room // 2


def test_a_limit_covers_its_share() -> None:
    lengths = np.arange(1, 101)
    assert covering_limit(lengths, 0.99, most=None) == 104
    assert covering_limit(lengths, 0.5, most=None) == 56
    assert covering_limit(lengths, 0.99, most=60) == 60
    assert covering_limit(np.array([3]), 0.99, most=None) == 8


@given(st.lists(st.integers(1, 200), min_size=1, max_size=50), st.integers(1, 400))
def test_batches_by_length_hold_every_row_once_and_no_more_than_their_tokens(
    lengths: list[int], tokens: int
) -> None:
    batches = batches_by_length(np.array(lengths), tokens)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= tokens
