"""What a lexical teacher sees of query and title: words, their likeness, terms of a catalogue."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from distill.errors import TeacherRefused, TrainingRefused
from distill.lexical_features import FEATURES, LexicalFeatures
from distill.lexical_match import NOTHING, Match, match
from distill.lexical_text import prepared, stem, words_of
from distill.lexical_vectors import VECTORS_FILE, VOCABULARY_FILE, read_spaces, write_spaces

TITLES = (
    "Husky 20 in. Work Bench with Drawer",
    "Everbilt 3-1/2 in. Satin Nickel Door Hinges",
    "Glacier Bay Toilet Seat in White",
    "红色木椅子",
    "白色台灯 12 V",
)


@pytest.fixture(scope="module")
def features() -> LexicalFeatures:
    return LexicalFeatures.learn(TITLES)


def of(features: LexicalFeatures, query: str, title: str) -> dict[str, float]:
    """The features of a pair by name."""
    return dict(zip(FEATURES, features.matrix([query], [title])[0].tolist(), strict=True))


def matched(query: str, title: str) -> Match:
    text = prepared(query)
    return match(text, prepared(title), [1.0] * len(text.words))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('Hinges, 3-1/2"', ("hing", "3", "1", "2", "inch")),
        ("12 in. x 3 ft. Kit in White", ("12", "inch", "x", "3", "foot", "kit", "in", "whit")),
        ("6' ladder 10'' bit", ("6", "foot", "ladder", "10", "inch", "bit")),
        ("5 cu. ft. 60 W lamp W", ("5", "cubic", "foot", "60", "watt", "lamp", "w")),
        ("红色 LED灯", ("红", "色", "led", "灯")),
        ("café Grüße", ("café", "grüße")),
        ("!? \x00", ()),
        ("", ()),
    ],
)
def test_words(text: str, words: tuple[str, ...]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    "forms",
    [
        ("hinge", "hinges"),
        ("glass", "glasses"),
        ("light", "lights", "lighting", "lighted"),
        ("battery", "batteries"),
        ("box", "boxes"),
    ],
)
def test_forms_of_an_english_word_have_one_stem(forms: tuple[str, ...]) -> None:
    assert len({stem(form) for form in forms}) == 1


def test_chinese_is_spelt_in_runs() -> None:
    assert prepared("红色 chair 木椅").spelt == "红色 chair 木椅"
    assert prepared("红lamp12").spelt == "红 lamp 12"


def test_a_title_is_about_what_stands_before_with() -> None:
    assert prepared("Cordless Drill with Case for Men").head == ("cordless", "drill")
    assert prepared("with care").head == ("with", "car")
    assert prepared("椅子").head == ("椅", "子")


def test_match_counts_what_it_says() -> None:
    found = matched("toilet seet white 12", TITLES[2])
    assert (found.query_words, found.title_words) == (4, 6)
    assert (found.found, found.missing, found.covered) == (2, 2, 0.5)
    assert found.first_found
    assert not found.last_found
    assert 0.5 < matched("toilet seet", TITLES[2]).last_alike < 1.0  # seet, seat
    assert (found.numbers, found.numbers_found) == (1, 0)
    assert np.isnan(matched("toilet", TITLES[2]).numbers_found)
    assert matched("toilet seat", TITLES[2]).bigrams == 1.0
    assert matched("seat toilet", TITLES[2]).bigrams == 0.0
    assert matched("seat toilet", TITLES[2]).in_order == 0.0
    assert matched("toiletseat", TITLES[2]).fused
    assert matched("toilet", TITLES[2]).furthest_place == pytest.approx(2 / 6)
    assert matched("work bench", TITLES[0]).head_found
    assert not matched("drawer", TITLES[0]).head_found
    assert matched("", TITLES[0]) is NOTHING


def test_rare_words_weigh_more(features: LexicalFeatures) -> None:
    """Two titles have inches, one has a toilet, and none a zebra."""
    weights = features.spaces["words"].weight_of
    assert weights["toilet"] > weights["inch"]
    one = of(features, "toilet zebra", TITLES[2])
    assert one["covered_weight"] == pytest.approx(0.5)  # unknown words weigh as the rarest known
    assert of(features, "inch toilet", TITLES[2])["covered_weight"] > 0.5
    assert of(features, "inch toilet", TITLES[0])["covered_weight"] < 0.5


def test_misspelt_and_chinese_words_share_characters(features: LexicalFeatures) -> None:
    misspelt = of(features, "toliet seets", TITLES[2])
    assert misspelt["word_cosine"] == 0.0
    assert (
        misspelt["character_cosine"] > of(features, "toliet seets", TITLES[1])["character_cosine"]
    )
    assert of(features, "木椅子", TITLES[3])["covered"] == 1.0
    assert of(features, "椅子", TITLES[3])["character_cosine"] >= 0.0
    assert (
        of(features, "红椅子", TITLES[3])["word_cosine"]
        > of(features, "红椅子", TITLES[4])["word_cosine"]
    )


def _texts() -> tuple[list[str], list[str]]:
    queries = ["toilet seat", "door hinge 3", "木椅子", "", "!", "toliet", "zzz", "12 v"]
    return [query for query in queries for _ in TITLES], list(TITLES) * len(queries)


def test_a_row_does_not_depend_on_the_others(features: LexicalFeatures) -> None:
    queries, titles = _texts()
    whole = features.matrix(queries, titles)
    assert whole.shape == (len(queries), len(FEATURES))
    assert whole.dtype == np.float32
    assert not np.isinf(whole).any()
    order = np.random.default_rng(0).permutation(len(queries))
    shuffled = features.matrix([queries[at] for at in order], [titles[at] for at in order])
    _same(shuffled, whole[order])
    for at in range(len(queries)):
        _same(features.matrix(queries[at : at + 1], titles[at : at + 1])[0], whole[at])
    assert features.matrix([], []).shape == (0, len(FEATURES))


def test_order_of_the_catalogue_decides_nothing(features: LexicalFeatures) -> None:
    again = LexicalFeatures.learn([*reversed(TITLES), TITLES[0]])
    _same(again.matrix(*_texts()), features.matrix(*_texts()))


def test_spaces_come_back_bit_by_bit(features: LexicalFeatures, tmp_path: Path) -> None:
    write_spaces(features.spaces, tmp_path)
    _same(LexicalFeatures(read_spaces(tmp_path)).matrix(*_texts()), features.matrix(*_texts()))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_spaces(read_spaces(tmp_path), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        (VOCABULARY_FILE, b"{", "can't be read as JSON"),
        (VOCABULARY_FILE, b"[]", "expected an object of words and characters"),
        (VOCABULARY_FILE, b'{"words": ["a", "a"], "characters": ["b"]}', "distinct strings"),
        (VOCABULARY_FILE, b'{"words": ["a"], "characters": ["b"]}', r"expected float32 \[1\], got"),
        (VECTORS_FILE, b"PK", "not a whole .npz of arrays"),
    ],
)
def test_damaged_spaces_are_refused(
    features: LexicalFeatures, tmp_path: Path, file: str, content: bytes, expected: str
) -> None:
    write_spaces(features.spaces, tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(TeacherRefused, match=expected):
        read_spaces(tmp_path)


def test_pickled_arrays_and_infinity_are_refused(features: LexicalFeatures, tmp_path: Path) -> None:
    write_spaces(features.spaces, tmp_path)
    with np.load(tmp_path / VECTORS_FILE) as file:
        arrays = dict(file)
    for bad, expected in (
        (np.array([{}], dtype=object), "not a whole .npz"),
        (np.full_like(arrays["words_weights"], np.inf), "words_weights: holds NaN or infinity"),
    ):
        np.savez(tmp_path / VECTORS_FILE, **arrays | {"words_weights": bad})
        with pytest.raises(TeacherRefused, match=expected):
            read_spaces(tmp_path)


def test_the_smallest_catalogues() -> None:
    assert np.isfinite(LexicalFeatures.learn(["red lamp"]).matrix(["lamp"], ["red lamp"])[0, 0])
    assert LexicalFeatures.learn(["灯"]).matrix(["灯"], ["灯"])[0, 0] == pytest.approx(1.0)
    for titles in ([], ["!", ""]):
        with pytest.raises(TrainingRefused, match="catalogue: expected titles with words"):
            LexicalFeatures.learn(titles)


def _same(one: NDArray[np.float32], other: NDArray[np.float32]) -> None:
    assert one.tobytes() == other.tobytes()
