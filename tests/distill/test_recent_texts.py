"""Texts kept between calls: each is made once while it is kept; those met longest ago go first."""

from collections.abc import Sequence

from distill.recent_texts import RecentTexts


class _Lengths:
    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> list[int]:
        self.asked.append(list(texts))
        return [len(text) for text in texts]


def test_a_text_that_is_kept_is_not_made_again() -> None:
    lengths = _Lengths()
    recent = RecentTexts(lengths, most=10)
    assert recent.of(["lamp", "red", "lamp"]) == {"lamp": 4, "red": 3}
    assert recent.of(["red", "blue lamp"]) == {"red": 3, "blue lamp": 9}
    assert list(recent.of(["blue lamp", "lamp"])) == ["blue lamp", "lamp"]
    assert recent.of([]) == {}
    assert lengths.asked == [["lamp", "red"], ["blue lamp"]]


def test_those_met_longest_ago_go_first() -> None:
    lengths = _Lengths()
    recent = RecentTexts(lengths, most=2)
    recent.of(["a", "b"])
    recent.of(["a", "c"])  # b is out
    recent.of(["a", "c"])
    recent.of(["b"])  # a is out
    recent.of(["c", "b"])
    assert lengths.asked == [["a", "b"], ["c"], ["b"]]


def test_a_call_with_more_texts_than_are_kept_answers_them_all() -> None:
    lengths = _Lengths()
    recent = RecentTexts(lengths, most=1)
    assert recent.of(["a", "bb", "ccc"]) == {"a": 1, "bb": 2, "ccc": 3}
    assert recent.of(["ccc"]) == {"ccc": 3}
    assert recent.of(["a"]) == {"a": 1}
    assert lengths.asked == [["a", "bb", "ccc"], ["a"]]
