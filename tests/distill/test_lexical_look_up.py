"""Lexical teachers that look up: spelling, titles of the catalogue, judged pairs nearby."""

import hashlib
import json
from dataclasses import replace
from math import log1p
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from distill.errors import TeacherRefused
from distill.lexical_features import FEATURES
from distill.lexical_judged import NEIGHBOURS, JudgedPairs, read_judged, write_judged
from distill.lexical_match import Match
from distill.lexical_options import LexicalOptions
from distill.lexical_retrieval import RETRIEVAL, Retrieval
from distill.lexical_spelling import Spelling
from distill.lexical_teach import TaughtLexical, teach_lexical
from distill.lexical_teacher import LexicalTeacher
from distill.lexical_text import prepared
from distill.lexical_vectors import learn_spaces
from evaluation.metrics import roc_auc
from export.pairs import Pairs

Parts = tuple[Pairs, Pairs]

QUICK = LexicalOptions(
    seed=1, models=2, rounds=60, patience=20, leaf_pairs=10, learning_rate=0.1, look_up=True
)
CATALOGUE = [
    "red desk lamp",
    "blue desk lamp with steel shade",
    "floor lamp",
    "garden hose kit",
    "green garden hose",
    "garden gloves",
    "steel bucket",
]


def _silent(phase: str, done: int, total: int | None) -> None: ...


def _retrieval(titles: list[str] = CATALOGUE) -> Retrieval:
    return Retrieval(titles, learn_spaces([prepared(title) for title in titles])["words"])


def _numbers(query: str, title: str, retrieval: Retrieval | None = None) -> dict[str, float]:
    row = (retrieval or _retrieval()).matrix([prepared(query)], [prepared(title)])[0]
    return dict(zip(RETRIEVAL, row.tolist(), strict=True))


# Spelling


@pytest.fixture(scope="module")
def spelling() -> Spelling:
    return Spelling(
        {"faucet": 900, "facet": 3, "hose": 40, "house": 400, "shower": 300, "head": 500}
        | {"rare": 1, "door": 60, "knob": 60, "18": 900, "door-knob": 1}
        | {"faucit": 1, "proof": 9, "waterproof": 30, "flash": 9, "light": 9, "flashlights": 30}
        | {"doorknop": 4}
    )


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (("fuacet",), ("faucet",)),  # swapped neighbours are one edit
        (("faucett", "hose"), ("faucet", "hose")),
        (("showerhead",), ("shower", "head")),
        (("sho", "wer"), ("shower",)),
        (("doorknob",), ("door", "knob")),  # though a rare word is near
        (("water", "proof", "hose"), ("waterproof", "hose")),  # one of the two is none by itself
        (("flashlight",), ("flashlights",)),  # too few titles have both parts to go first
    ],
)
def test_unknown_words_become_the_catalogues(
    spelling: Spelling, typed: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert spelling.corrected(typed) == expected


@pytest.mark.parametrize(
    "typed",
    [
        ("facet",),  # some title has it, however rare it is beside "faucet"
        ("faucit",),  # one title is enough
        ("hos",),  # too short
        ("rarer",),  # "rare" stands in one title only
        ("1888",),  # a number is no misspelt word
        ("1", "8"),  # nor are two of them a longer one
        ("faucet2",),
        ("faucet" * 7,),  # no word is so long, whatever it is made of
        ("椅子",),
        ("xylophone",),  # nothing is near
        (),
    ],
)
def test_other_words_stay(spelling: Spelling, typed: tuple[str, ...]) -> None:
    assert spelling.corrected(typed) == typed


# The catalogue


def test_numbers_of_a_query_are_those_of_its_titles() -> None:
    both = _numbers("desk lamp", "red desk lamp")
    assert both["best_covered"] == both["title_covers"] == pytest.approx(1.0)
    assert both["best_titles"] == pytest.approx(log1p(2))
    assert both["behind"] == pytest.approx(0.0)
    assert both["covered_rank"] == both["bm25_rank"] == 0.0
    assert both["bm25_share"] == pytest.approx(1.0)
    assert both["known_words"] == 1.0
    assert both["noun_share"] == 1.0  # three titles have one of the words, and all are lamps
    assert both["head_share"] == pytest.approx((1 / 3 + 2 / 3 + 1) / 3)
    one = _numbers("desk lamp", "floor lamp")
    assert 0 < one["title_covers"] < 0.5
    assert one["behind"] == pytest.approx(1 - one["title_covers"])
    assert one["covered_rank"] == pytest.approx(log1p(2))
    assert 0 < one["feedback"] < both["feedback"]
    none = _numbers("desk lamp", "garden gloves")
    assert none["title_covers"] == none["title_bm25"] == none["feedback"] == 0.0
    assert none["bm25_rank"] == pytest.approx(log1p(3))
    # The same query in a catalogue that has no desk lamp: "floor lamp" is the best there is.
    poorer = _numbers("desk lamp", "floor lamp", _retrieval(CATALOGUE[2:]))
    assert poorer["behind"] == 0.0
    assert poorer["covered_rank"] == 0.0
    assert poorer["known_words"] == 0.5


def test_bm25_of_a_new_title_is_that_of_the_catalogues() -> None:
    retrieval = _retrieval()
    found = [_numbers("garden hose", title, retrieval)["title_bm25"] for title in CATALOGUE]
    assert found[3] == found[4] > found[5] > found[0] == 0
    new = _numbers("garden hose", "hose garden kit", retrieval)
    assert new["title_bm25"] == pytest.approx(found[3])


def test_the_query_is_matched_as_the_catalogue_spells_it() -> None:
    titles = [*CATALOGUE, "garden rake", "garden fork"]
    found = _numbers("gardn hose", "garden hose kit", _retrieval(titles))
    assert found["corrected"] == 1.0
    assert found["corrected_covered"] == found["title_covers"] == pytest.approx(1.0)
    assert _numbers("garden hose", "garden hose kit", _retrieval(titles))["corrected"] == 0.0


def test_what_does_not_exist_is_nan() -> None:
    assert np.isnan(_retrieval().matrix([prepared("")], [prepared("red desk lamp")])).all()
    unknown = _numbers("qqq", "red desk lamp")
    assert unknown["best_covered"] == unknown["known_words"] == 0.0
    assert np.isnan(unknown["bm25_share"])
    empty = _numbers("desk lamp", "")
    assert np.isnan(empty["noun_share"])
    assert empty["title_covers"] == 0.0
    assert _retrieval().matrix([], []).shape == (0, len(RETRIEVAL))


# The judged pairs


def _turned(degrees: float) -> NDArray[np.float32]:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], dtype=np.float32)


@pytest.fixture
def judged() -> JudgedPairs:
    """Three queries, 0, 10 and 60 degrees, each with a good title at 0 and a bad one at 90."""
    vectors = {"a": _turned(0), "b": _turned(10), "c": _turned(60)}
    vectors |= {"good": _turned(0), "bad": _turned(90)}
    targets = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 0.0], dtype=np.float32)
    titles = ["good", "good", "bad", "good", "bad", "bad"]
    return JudgedPairs.learn(list("cabbca"), titles, targets, vectors)


def test_a_pair_is_told_what_was_said_of_its_like(judged: JudgedPairs) -> None:
    good, bad = judged.matrix([_turned(5)] * 2, [_turned(1), _turned(89)])
    smooth, sharp, near = (NEIGHBOURS.index(name) for name in NEIGHBOURS)
    assert good[smooth] > 0.9
    assert bad[smooth] < 0.1
    assert good[sharp] > good[smooth]
    assert good[near] == pytest.approx(bad[near], abs=0.01)
    assert judged.matrix([_turned(80)], [_turned(0)])[0, near] < good[near]


def test_a_querys_own_judgements_are_not_seen(judged: JudgedPairs) -> None:
    """Those of the query at 0 degrees are turned round: its own row says nothing of them."""
    before = judged.matrix([_turned(0)], [_turned(0)])
    own, others = judged.targets[:2], judged.targets[2:]
    turned = replace(judged, targets=np.concatenate([1 - own, others]))
    assert turned.matrix([_turned(0)], [_turned(0)]).tobytes() == before.tobytes()
    assert turned.matrix([_turned(5)], [_turned(0)])[0, 0] < 0.9


def test_judgements_stay_with_their_queries() -> None:
    """Whatever order they come in: those of the nearest query weigh most."""
    vectors = {"a": _turned(0), "b": _turned(40), "c": _turned(80), "title": _turned(0)}
    targets = np.array([1.0, 0.2, 1.0, 0.6], dtype=np.float32)
    judged = JudgedPairs.learn(list("cacb"), ["title"] * 4, targets, vectors)
    sharp = NEIGHBOURS.index("neighbours_sharp")
    rows = judged.matrix([_turned(5), _turned(40 - 3), _turned(75)], [_turned(0)] * 3)
    assert rows[:, sharp] == pytest.approx([0.2, 0.6, 1.0], abs=0.1)


def test_only_the_nearest_queries_are_looked_at() -> None:
    names = [f"query {number}" for number in range(40)]
    vectors = {name: _turned(5 + 2 * number) for number, name in enumerate(names)}
    vectors["title"] = _turned(0)
    targets = np.array([1.0] * 20 + [0.0] * 20, dtype=np.float32)
    judged = JudgedPairs.learn(names, ["title"] * 40, targets, vectors)
    row = judged.matrix([_turned(0)], [_turned(0)])[0]
    assert row[NEIGHBOURS.index("neighbours_smooth")] == 1.0  # what lies farther says nothing


def test_without_neighbours_there_are_no_numbers(judged: JudgedPairs) -> None:
    assert np.isnan(judged.matrix([_turned(180)], [_turned(0)])).all()
    assert judged.matrix([], []).shape == (0, len(NEIGHBOURS))


def test_judged_pairs_come_back_or_are_refused(judged: JudgedPairs, tmp_path: Path) -> None:
    write_judged(judged, tmp_path)
    again = read_judged(tmp_path)
    pair = [_turned(5)], [_turned(1)]
    assert again.matrix(*pair).tobytes() == judged.matrix(*pair).tobytes()
    for change in (
        {"ends": judged.ends[:-1]},
        {"titles": judged.titles + 1},
        {"targets": judged.targets * np.nan},
        {"query_vectors": judged.query_vectors[:, :1]},
        {"targets": judged.targets.astype(str)},
        {"targets": judged.targets[0]},
        {"titles": judged.titles.astype(np.float32)},
        {"ends": judged.ends[:0], "query_vectors": judged.query_vectors[:0]},
    ):
        write_judged(replace(judged, **change), tmp_path)
        with pytest.raises(TeacherRefused, match="its arrays don't fit each other"):
            read_judged(tmp_path)


# The teacher


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, parts: Parts) -> TaughtLexical:
    return _teach(parts, tmp_path_factory.mktemp("taught") / "words")


def _teach(parts: Parts, out: Path) -> TaughtLexical:
    return teach_lexical(*parts, ["a title that no pair has"], out, QUICK, _silent, 1)


def test_it_learns_and_comes_back(taught: TaughtLexical, parts: Parts) -> None:
    teacher = LexicalTeacher.load(taught.folder, 1)
    described = teacher.description
    assert described.features == (*FEATURES, *RETRIEVAL, *NEIGHBOURS)
    assert {"catalogue.json", "judged.npz"} <= {*described.files}
    assert described.training["look_up"] is True
    valid = parts[1]
    logits = teacher.logits(valid.queries, valid.titles)
    assert roc_auc(valid.labels, logits) == taught.roc_auc > 0.9


def test_company_does_not_change_a_logit(taught: TaughtLexical, parts: Parts) -> None:
    some = parts[1].take(np.arange(30))
    queries, titles = [*some.queries, "", "gardn hosse", "椅子"], [*some.titles, "lamp", "", "lamp"]
    whole = LexicalTeacher.load(taught.folder, 1).logits(queries, titles)
    assert np.isfinite(whole).all()
    teacher = LexicalTeacher.load(taught.folder, 1)
    alone = [
        teacher.logits([query], [title])[0] for query, title in zip(queries, titles, strict=True)
    ]
    assert np.array(alone).tobytes() == whole.tobytes()


def test_same_seed_same_files(taught: TaughtLexical, parts: Parts, tmp_path: Path) -> None:
    assert _teach(parts, tmp_path / "again").description == taught.description


def test_without_the_option_nothing_is_said_of_it() -> None:
    assert "look_up" not in replace(QUICK, look_up=False).deciding
    assert replace(QUICK, look_up=False).deciding.keys() < QUICK.deciding.keys()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("catalogue.json", b"[1]", "catalogue.json: expected a list of titles"),
        ("catalogue.json", b"[", "catalogue.json: can't be read as JSON"),
        ("judged.npz", b"half", "judged.npz: not a whole .npz"),
    ],
)
def test_damaged_files_are_refused(
    taught: TaughtLexical, tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    for path in taught.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TeacherRefused, match=f"{name}: damaged: expected sha256"):
        LexicalTeacher.load(tmp_path)
    described = json.loads((tmp_path / "teacher.json").read_bytes())
    described["files"][name] = hashlib.sha256(content).hexdigest()
    (tmp_path / "teacher.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(TeacherRefused, match=expected):
        LexicalTeacher.load(tmp_path)


def test_names_of_features_are_distinct() -> None:
    assert len({*RETRIEVAL, *NEIGHBOURS, *FEATURES}) == len(RETRIEVAL) + len(NEIGHBOURS) + len(
        FEATURES
    )
    assert len(RETRIEVAL) == 17 + len(Match._fields)
