"""Scores from files: joined by text or by place, refused where they can't be."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.errors import EvaluationError, InputFileError
from evaluation.judgments import Judgments
from evaluation.score_files import read_probabilities, read_scores, write_scores

PAIRS = Judgments(
    queries=["tent", "tent", "鞋"],
    product_ids=["", "", ""],
    titles=["Tent, red", "Lamp", "跑步鞋"],
    relevance=np.array([1.0, 0.0, 1.0]),
    relevant_from=1,
    unknown_products={},
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    scores = np.array([0.25, np.nan, 1.0], dtype=np.float32)
    path = tmp_path / "student.npy"
    write_scores(path, scores)
    assert np.array_equal(read_scores(path, PAIRS), scores, equal_nan=True)
    assert read_probabilities(path, PAIRS).dtype == np.float32


def test_scores_go_to_npy_files_in_folders_that_are_there(tmp_path: Path) -> None:
    scores = np.zeros(3, dtype=np.float32)
    with pytest.raises(EvaluationError, match=r"scores\.csv: scores are written as \.npy"):
        write_scores(tmp_path / "scores.csv", scores)
    with pytest.raises(EvaluationError, match="can't be written: No such file"):
        write_scores(tmp_path / "absent" / "scores.npy", scores)


def test_a_table_is_joined_by_both_texts(tmp_path: Path) -> None:
    path = tmp_path / "teacher.csv"
    rows = ["query,title,score", "鞋,跑步鞋,0.5", 'tent,"Tent, red",0.75', "lamp,Lamp,0.1"]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert read_scores(path, PAIRS).tolist() == pytest.approx([0.75, np.nan, 0.5], nan_ok=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("query,title,score\na,b,1\n", "none of the 3 judged pairs"),
        ("query,title\ntent,Lamp\n", "no column 'score'"),
        ("query,title,score\ntent,Lamp,high\n", "expected a number"),
        ("query,title,score\ntent,Lamp,1\ntent,Lamp,2\n", "line 3: .*second score 2, before .* 1"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputFileError, match=message):
        read_scores(path, PAIRS)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros(4, dtype=np.float32), r"expected float \[3\].*float32 \[4\]"),
        (np.zeros((3, 1)), r"float64 \[3, 1\]"),
        (np.zeros(3, dtype=np.int64), r"int64 \[3\]"),
        (np.array([0, np.inf, 1.0]), "got an infinity"),
    ],
)
def test_arrays_that_are_refused(
    tmp_path: Path, scores: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", message: str
) -> None:
    path = tmp_path / "scores.npy"
    np.save(path, scores)
    with pytest.raises(InputFileError, match=message):
        read_scores(path, PAIRS)


def test_files_that_hold_no_array(tmp_path: Path) -> None:
    path = tmp_path / "scores.npy"
    with pytest.raises(InputFileError, match="No such file"):
        read_scores(path, PAIRS)
    for content in (b"no array", b"PK\x03\x04 no archive"):
        path.write_bytes(content)
        with pytest.raises(InputFileError, match=r"can't be read as \.npy"):
            read_scores(path, PAIRS)
    np.save(path, np.array([{"code": "runs"}] * 3, dtype=object), allow_pickle=True)
    with pytest.raises(InputFileError, match=r"can't be read as \.npy"):
        read_scores(path, PAIRS)


def test_logits_are_no_probabilities(tmp_path: Path) -> None:
    path = tmp_path / "logits.npy"
    write_scores(path, np.array([-2.0, 0.5, 3.0], dtype=np.float32))
    with pytest.raises(InputFileError, match="got 2 scores outside: give the sigmoid"):
        read_probabilities(path, PAIRS)
