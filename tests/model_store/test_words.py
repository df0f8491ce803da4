"""The words of a text are those of its tokenizer, and without one it is the text it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.cwub import CwubTokenizer, build_vocabulary, tokens, units
from model_store.registry import DEFAULT_ROOT, bundle_folder
from model_store.tokenizer import Side, Tokenizer
from model_store.wordpiece import TOKENIZER_FILE, WordPieceTokenizer

SIDES: tuple[Side, Side] = ("query", "product")


@pytest.fixture(scope="module")
def cwub() -> CwubTokenizer:
    """Knows the tokens of three texts; reads 5 tokens of a query."""
    vocabulary, _ = build_vocabulary(["red running shoes", "red shoes", "红色 跑鞋 2.5"], 1)
    return CwubTokenizer(vocabulary, 5, 50)


@pytest.fixture(scope="module")
def wordpiece() -> WordPieceTokenizer:
    """That of the shop's ReprBERT; reads [CLS], 6 pieces and [SEP] of a query."""
    return WordPieceTokenizer(bundle_folder(DEFAULT_ROOT, "shop-reprbert") / TOKENIZER_FILE, 8, 50)


def ids(tokenizer: Tokenizer, text: str, side: Side) -> list[int]:
    """Token ids of one text."""
    found: list[int] = tokenizer.encode([text], side)[0][0].tolist()
    return found


def test_a_cwub_word_takes_its_bigrams_along(cwub: CwubTokenizer) -> None:
    red, running, shoes = cwub.words("Red RUNNING shoes", "product")
    assert (red.text, red.pieces) == ("red", ("^ red", "red", "red running"))
    assert (running.text, running.pieces) == (
        "running",
        ("red running", "running", "running shoes"),
    )
    assert shoes.without == "red running"
    assert running.without == "red shoes"  # its neighbours close up, to a bigram of their own


def test_a_word_that_the_vocabulary_does_not_have_is_unknown(cwub: CwubTokenizer) -> None:
    found = cwub.words("red fast shoes", "product")
    assert [(word.text, word.status) for word in found] == [
        ("red", "known"),
        ("fast", "unknown"),
        ("shoes", "known"),
    ]
    assert found[1].pieces == ()


def test_cwub_words_beyond_the_limit_are_cut(cwub: CwubTokenizer) -> None:
    found = cwub.words("red running shoes red shoes", "query")
    assert [word.status for word in found] == ["known", "known", "known", "cut", "cut"]
    assert found[2].pieces == ("running shoes",)  # half of it is read
    assert [word.status for word in cwub.words("red running", "query")] == ["known"] * 2


def test_a_wordpiece_word_is_all_of_its_pieces(wordpiece: WordPieceTokenizer) -> None:
    found = wordpiece.words("Waterproofing T-shirt 跑鞋", "product")
    assert [word.text for word in found] == ["Waterproofing", "T", "-", "shirt", "跑", "鞋"]
    assert len(found[0].pieces) > 1
    assert found[0].pieces[1].startswith("##")
    assert found[2].without == "Waterproofing T shirt 跑鞋"
    assert found[0].without == "  T-shirt 跑鞋"


def test_wordpiece_words_beyond_the_limit_are_cut(wordpiece: WordPieceTokenizer) -> None:
    found = wordpiece.words("a b c d e f g h", "query")
    assert [word.status for word in found] == ["known"] * 6 + ["cut"] * 2
    assert [word.text for word in found[6:]] == ["g", "h"]


def test_a_word_without_pieces_of_its_own_is_unknown(wordpiece: WordPieceTokenizer) -> None:
    (word,) = wordpiece.words("\u0e01", "query")  # a script that the checkpoint never saw
    assert (word.status, word.pieces) == ("unknown", ("[UNK]",))


@pytest.mark.parametrize("text", ["", "  ", "\x00"])
def test_a_text_without_words(
    cwub: CwubTokenizer, wordpiece: WordPieceTokenizer, text: str
) -> None:
    for side in SIDES:
        assert cwub.words(text, side) == wordpiece.words(text, side) == []


@given(text=st.text(max_size=40))
def test_a_cwub_text_without_a_word_has_all_other_units(text: str) -> None:
    vocabulary, _ = build_vocabulary(["a"], 1)
    split = units(text)
    for i, word in enumerate(CwubTokenizer(vocabulary, 5, 5).words(text, "query")):
        assert word.text == split[i]
        assert units(word.without) == split[:i] + split[i + 1 :]


@given(words=st.lists(st.sampled_from(["red", "shoes", "鞋", "t-shirt", "2.5", "?"]), max_size=12))
@pytest.mark.parametrize("kind", ["cwub", "wordpiece"])
def test_what_is_cut_off_has_no_say(
    cwub: CwubTokenizer, wordpiece: WordPieceTokenizer, kind: str, words: list[str]
) -> None:
    tokenizer: Tokenizer = cwub if kind == "cwub" else wordpiece
    text = " ".join(words)
    found = tokenizer.words(text, "query")
    for word in found:
        if word.status == "cut":
            assert ids(tokenizer, word.without, "query") == ids(tokenizer, text, "query")
    if kind == "cwub":
        assert [word.text for word in found] == units(text)
        assert {piece for word in found for piece in word.pieces} <= set(tokens(text))
