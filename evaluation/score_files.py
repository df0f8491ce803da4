"""Scores that were made elsewhere: a teacher's, another student's. Reading, joining, writing."""

from contextlib import closing
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError, InputFileError
from evaluation.judgments import Judgments
from evaluation.tables import rows

SCORE_COLUMN = "score"


def read_scores(path: Path, judgments: Judgments) -> NDArray[np.float32]:
    """Scores float32 [n] of the n judged pairs, NaN where the file has none.

    A `.npy` holds one number per pair, in the pairs' order (as `write_scores` writes them). A table
    (CSV, TSV, JSONL, also .gz) has columns query, title and score and is joined by both texts, so
    its order doesn't matter and it may hold more pairs.

    Raises:
        InputFileError: an unreadable file, another number of scores, a pair with two scores, or
            no judged pair in it.
    """
    if path.suffix == ".npy":
        return _read_array(path, len(judgments))
    given: dict[tuple[str, str], float] = {}
    with closing(rows(path)) as lines:
        for row in lines:
            pair, score = (row.text("query"), row.text("title")), row.number(SCORE_COLUMN)
            if given.setdefault(pair, score) != score:
                raise InputFileError(
                    f"{row.place}: query {pair[0]!r} and title {pair[1]!r} have a second score "
                    f"{score:g}, before it was {given[pair]:g}: keep one"
                )
    pairs = zip(judgments.queries, judgments.titles, strict=True)
    scores = np.array([given.get(pair, np.nan) for pair in pairs], dtype=np.float32)
    if np.isnan(scores).all():
        raise InputFileError(
            f"{path.name}: none of the {len(judgments)} judged pairs is in it: its query and title "
            "must be the judgements' own, letter by letter"
        )
    return scores


def check_scores_path(path: Path) -> None:
    """Refuses a name for `write_scores` before there are scores to write.

    Raises:
        EvaluationError: it does not end in .npy.
    """
    if path.suffix != ".npy":
        raise EvaluationError(f"{path}: scores are written as .npy: name the file so")


def write_scores(path: Path, scores: NDArray[np.float32]) -> None:
    """Writes scores [n] as .npy, little-endian float32.

    Raises:
        EvaluationError: the name does not end in .npy, or the file can't be written.
    """
    check_scores_path(path)
    try:
        with path.open("wb") as file:
            np.save(file, scores.astype("<f4"), allow_pickle=False)
    except OSError as error:
        raise EvaluationError(f"{path}: can't be written: {error.strerror}") from error


def read_probabilities(path: Path, judgments: Judgments) -> NDArray[np.float32]:
    """`read_scores`, all of them probabilities.

    Raises:
        InputFileError: as read_scores, or a score outside [0, 1].
    """
    scores = read_scores(path, judgments)
    outside = int(((scores < 0) | (scores > 1)).sum())
    if outside:
        raise InputFileError(
            f"{path.name}: expected probabilities from 0 to 1, got {outside} scores outside: "
            "give the sigmoid of a teacher's logits"
        )
    return scores


def _read_array(path: Path, pairs: int) -> NDArray[np.float32]:
    try:
        with path.open("rb") as file:
            scores = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputFileError(f"{path.name}: can't be read as .npy: {reason}") from error
    if not isinstance(scores, np.ndarray) or scores.dtype.kind != "f" or scores.shape != (pairs,):
        got = f"{scores.dtype} {list(scores.shape)}" if isinstance(scores, np.ndarray) else "arrays"
        raise InputFileError(
            f"{path.name}: expected float [{pairs}], one score per evaluated pair in their order, "
            f"got {got}: make it from the same judgements and split"
        )
    if np.isinf(scores).any():
        raise InputFileError(f"{path.name}: expected finite scores, got an infinity")
    return scores.astype(np.float32)
