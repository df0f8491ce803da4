"""CWUB tokens as the paper gives them, and what Winnow defines where the paper is silent."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.cwub import (
    VOCABULARY_FILE,
    CwubTokenizer,
    Vocabulary,
    build_vocabulary,
    token_hash,
    tokens,
    units,
)
from model_store.errors import TokenizerError


def test_the_papers_example_gives_its_seven_tokens() -> None:
    assert tokens("mac电脑") == ["^ mac", "mac", "mac 电", "电", "电 脑", "脑", "脑 $"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("   ", []),
        ("!?-_/", []),
        ("😀👍🏽", []),
        ("\x00\x01", []),
        ("a\x00b", ["a", "b"]),
        ("Nike Air-Max", ["nike", "air", "max"]),
        ("ＭＡＣ１３", ["mac", "13"]),
        ("13mm 2.5L", ["13", "mm", "2.5", "l"]),
        ("1.2.3", ["1.2.3"]),
        ("5.", ["5"]),
        ("10%", ["10"]),
        ("红色😀裙", ["红", "色", "裙"]),
        ("ソニー", ["ソ", "ニ", "ー"]),
        ("𠮷野家", ["𠮷", "野", "家"]),
        ("Crème BRÛLÉE", ["crème", "brûlée"]),
        ("삼성 폰", ["삼성", "폰"]),
        ("snake_case", ["snake", "case"]),
    ],
)
def test_units_are_defined_for_every_kind_of_text(text: str, expected: list[str]) -> None:
    assert units(text) == expected


@given(st.text(max_size=60))
def test_n_units_give_2n_plus_1_tokens_and_none_is_a_bare_end_mark(text: str) -> None:
    n = len(units(text))
    found = tokens(text)
    assert len(found) == (2 * n + 1 if n else 0)
    assert not {"^", "$"} & set(found)


@given(st.text(max_size=60))
def test_no_bigram_can_be_read_as_a_unigram(text: str) -> None:
    assert all((" " in token) == (index % 2 == 0) for index, token in enumerate(tokens(text)))


def test_a_token_hash_is_the_same_on_every_machine() -> None:
    # printf 'mac 电' | b2sum -l 64
    assert token_hash("mac 电").to_bytes(8, "little").hex() == "35c6bdd51493a653"


def test_the_vocabulary_keeps_tokens_by_minimum_frequency() -> None:
    vocabulary, kept = build_vocabulary(["red shoe", "red hat", "hat"], minimum_frequency=2)
    assert sorted(kept) == ["^ red", "hat", "hat $", "red"]
    assert len(vocabulary) == 4
    assert [kept[token_id] for token_id in vocabulary.ids("red shoe")] == ["^ red", "red"]


def test_unknown_tokens_are_dropped_and_multiplicity_is_kept() -> None:
    vocabulary, kept = build_vocabulary(["a b"], minimum_frequency=1)
    found = [kept[token_id] for token_id in vocabulary.ids("b zzz b 未知")]
    assert found == ["b", "b"]
    assert vocabulary.ids("zzz").size == 0


def test_a_vocabulary_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(TokenizerError, match="no token occurs 3 times"):
        build_vocabulary(["a b c"], minimum_frequency=3)


def test_the_mapped_vocabulary_answers_as_the_one_in_memory(tmp_path: Path) -> None:
    texts = [f"token{i} 词{i}" for i in range(500)]
    vocabulary, _ = build_vocabulary(texts, minimum_frequency=1)
    vocabulary.save(tmp_path / VOCABULARY_FILE)
    mapped = Vocabulary.open(tmp_path / VOCABULARY_FILE)
    assert len(mapped) == len(vocabulary)
    for text in texts[:50]:
        np.testing.assert_array_equal(mapped.ids(text), vocabulary.ids(text))


@pytest.mark.parametrize("content", [b"", b"1234567"])
def test_a_truncated_vocabulary_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / VOCABULARY_FILE
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match="multiple of 8 bytes"):
        Vocabulary.open(path)


def test_a_missing_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=VOCABULARY_FILE):
        Vocabulary.open(tmp_path / VOCABULARY_FILE)


def test_batches_are_padded_masked_and_limited() -> None:
    vocabulary, _ = build_vocabulary(["a b c d"], minimum_frequency=1)
    tokenizer = CwubTokenizer(vocabulary, query_tokens=3, product_tokens=100)
    token_ids, token_mask = tokenizer.encode(["a b c d", "", "b"], "query")
    assert token_ids.shape == token_mask.shape == (3, 3)
    assert token_mask.sum(axis=1).tolist() == [3, 0, 1]
    assert tokenizer.encode(["a b c d"], "product")[0].shape == (1, 9)
    assert tokenizer.encode([""], "product")[0].shape == (1, 1)
    assert tokenizer.encode([], "product")[0].shape == (0, 1)
