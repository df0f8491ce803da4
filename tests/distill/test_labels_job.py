"""Labelling that is killed, continued, doubled and damaged: the shards are always the same."""

import fcntl
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from distill.errors import LabelsRefused
from distill.labelling import LabelReport, Shard, ShardLogits, label, score_here
from distill.labels import PairsFile, read_labels
from distill.transfer_file import TransferPair, write_pairs
from tests.distill.overlap import OverlapScorer

ROOT = Path(__file__).parents[2]
ROWS = 5 * 4096 + 100
KILL_WITHIN_S = 60


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> PairsFile:
    """Six shards, the last one short; each pair of a shard differs from the others."""
    path = tmp_path_factory.mktemp("pairs") / "transfer.csv.gz"
    rows = (
        TransferPair(f"lamp {n % 13} x{n}", f"red lamp {n % 11} {n % 5}", f"p{n}", "bm25")
        for n in range(ROWS)
    )
    write_pairs(path, rows, behaviour=False)
    return PairsFile(path)


@pytest.fixture(scope="module")
def uninterrupted(pairs: PairsFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels") / "overlap"
    report, scorer = run(pairs, folder)
    assert (report.rows, report.labelled, scorer.scored) == (ROWS, ROWS, ROWS)
    return folder


def run(pairs: PairsFile, out: Path) -> tuple[LabelReport, OverlapScorer]:
    scorer = OverlapScorer()
    score = score_here(scorer)
    return label(pairs, "overlap", scorer.sha256, score, out, lambda *_: None), scorer


def same(folder: Path, other: Path) -> bool:
    """Whether two folders hold the same files with the same bytes."""
    names = [sorted(path.name for path in each.iterdir()) for each in (folder, other)]
    return names[0] == names[1] and all(
        (folder / name).read_bytes() == (other / name).read_bytes() for name in names[0]
    )


def test_a_job_killed_in_the_middle_is_continued_to_the_same_labels(
    pairs: PairsFile, uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "overlap"
    command = [sys.executable, "-m", "tests.distill.label_process", str(pairs.path), str(out)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        give_up = time.monotonic() + KILL_WITHIN_S
        while not (out / "000001.npy").exists() and time.monotonic() < give_up:
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    there = len(list(out.glob("*.npy")))
    assert 2 <= there < 6
    with pytest.raises(LabelsRefused, match="run it again, and it goes on there"):
        read_labels(out)
    report, scorer = run(pairs, out)
    assert scorer.calls == 6 - there
    assert report.labelled == ROWS - there * 4096
    assert same(out, uninterrupted)


def test_what_a_kill_left_half_written_is_written_anew(
    pairs: PairsFile, uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "overlap"
    run(pairs, out)
    (out / "000003.npy").unlink()
    (out / "000003.npy.unfinished").write_bytes(b"\x93NUMPY half a shard")
    run(pairs, out)
    assert same(out, uninterrupted)


def test_a_finished_job_scores_nothing(pairs: PairsFile, uninterrupted: Path) -> None:
    report, scorer = run(pairs, uninterrupted)
    assert (report.labelled, scorer.calls) == (0, 0)


def test_shards_may_come_in_any_order(
    pairs: PairsFile, uninterrupted: Path, tmp_path: Path
) -> None:
    def backwards(shards: Iterator[Shard]) -> Iterator[ShardLogits]:
        return iter(list(score_here(OverlapScorer())(shards))[::-1])

    out = tmp_path / "overlap"
    label(pairs, "overlap", OverlapScorer().sha256, backwards, out, lambda *_: None)
    assert same(out, uninterrupted)


def test_progress_counts_the_pairs_of_this_run(pairs: PairsFile, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int | None]] = []
    scorer = OverlapScorer()
    out = tmp_path / "a"
    label(pairs, "a", scorer.sha256, score_here(scorer), out, lambda *each: heard.append(each))
    assert heard[0] == ("label", 0, ROWS)
    assert [done for _, done, _ in heard[1:]] == [*(4096 * n for n in range(1, 6)), ROWS]
    (out / "000005.npy").unlink()
    heard.clear()
    label(pairs, "a", scorer.sha256, score_here(scorer), out, lambda *each: heard.append(each))
    assert heard == [("label", 0, 100), ("label", 100, 100)]


def test_a_pair_that_comes_twice_is_scored_once(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    rows = [TransferPair(f"lamp {n % 30}", "red lamp", "", "bm25") for n in range(3000)]
    write_pairs(path, rows, behaviour=False)
    _, scorer = run(PairsFile(path), tmp_path / "a")
    assert scorer.scored == 30
    texts = list(PairsFile(path).texts())
    expected = OverlapScorer().logits([query for query, _ in texts], [title for _, title in texts])
    np.testing.assert_array_equal(read_labels(tmp_path / "a"), expected)


def test_a_folder_of_another_teacher_or_other_pairs_is_refused(
    pairs: PairsFile, uninterrupted: Path, tmp_path: Path
) -> None:
    scorer = OverlapScorer(slope=1.0)
    with pytest.raises(LabelsRefused, match=r"teacher_sha256: expected .*: name a new folder"):
        label(pairs, "overlap", scorer.sha256, score_here(scorer), uninterrupted, lambda *_: None)
    other = tmp_path / "other.csv"
    write_pairs(other, [TransferPair("q", "t", "", "bm25")], behaviour=False)
    with pytest.raises(LabelsRefused, match=r"pairs_sha256: .*rows: expected 1, got 20580"):
        run(PairsFile(other), uninterrupted)
    with pytest.raises(LabelsRefused, match="query_column: expected title, got query"):
        run(PairsFile(pairs.path, query="title"), uninterrupted)


def test_a_folder_of_other_files_is_refused(pairs: PairsFile, tmp_path: Path) -> None:
    np.save(tmp_path / "000000.npy", np.zeros(4096, np.float32))
    with pytest.raises(LabelsRefused, match=r"has shards but no labels.json"):
        run(pairs, tmp_path)


def test_two_jobs_do_not_share_a_folder(pairs: PairsFile, uninterrupted: Path) -> None:
    with (uninterrupted / "labels.json").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(LabelsRefused, match="another job is labelling into this folder"):
            run(pairs, uninterrupted)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (np.zeros(7, np.float32), r"expected float32 \[4096\], got float32 \[7\]"),
        (np.zeros(4096, np.float64), r"got float64 \[4096\]"),
        (None, "damaged"),
    ],
)
def test_a_damaged_shard_is_refused_not_believed(
    pairs: PairsFile, tmp_path: Path, content: NDArray[np.float32] | None, text: str
) -> None:
    out = tmp_path / "a"
    run(pairs, out)
    if content is None:
        shard = (out / "000002.npy").read_bytes()
        (out / "000002.npy").write_bytes(shard[: len(shard) // 2])
    else:
        np.save(out / "000002.npy", content)
    for again in (lambda: run(pairs, out), lambda: read_labels(out)):
        with pytest.raises(LabelsRefused, match=text):
            again()


class _Diverged(OverlapScorer):
    def logits(self, queries: Sequence[str], titles: Sequence[str]) -> NDArray[np.float32]:
        found = super().logits(queries, titles)
        found[3] = np.nan
        return found


class _Short(OverlapScorer):
    def logits(self, queries: Sequence[str], titles: Sequence[str]) -> NDArray[np.float32]:
        return super().logits(queries, titles)[1:]


@pytest.mark.parametrize(
    ("scorer", "text"),
    [
        (_Diverged(), "logit for 'lamp 3 x3' and 'red lamp 3 3' is not finite"),
        (_Short(), r"expected 4096 logits of the teacher, got \[4095\]"),
    ],
)
def test_logits_that_are_none_are_refused(
    pairs: PairsFile, tmp_path: Path, scorer: OverlapScorer, text: str
) -> None:
    with pytest.raises(LabelsRefused, match=text):
        label(pairs, "x", scorer.sha256, score_here(scorer), tmp_path / "x", lambda *_: None)
    assert not list((tmp_path / "x").glob("*.npy"))


def test_no_pairs_are_nothing_to_label(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("query,title\n")
    with pytest.raises(LabelsRefused, match="expected pairs to label, found none"):
        run(PairsFile(tmp_path / "pairs.csv"), tmp_path / "a")


@pytest.mark.parametrize("after", [slice(20), slice(None, None, -1)])
def test_pairs_that_change_under_way_are_noticed(tmp_path: Path, after: slice) -> None:
    """Fewer rows, or as many others: no label stays with a pair that it is not of unsaid."""
    path = tmp_path / "pairs.csv"
    rows = [TransferPair(f"lamp {n}", "red lamp", "", "bm25") for n in range(50)]
    write_pairs(path, rows, behaviour=False)

    def score(shards: Iterator[Shard]) -> Iterator[ShardLogits]:
        header, *lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([header, *lines[after]]))
        return score_here(OverlapScorer())(shards)

    with pytest.raises(LabelsRefused, match=r"pairs\.csv was written to while it was labelled"):
        label(PairsFile(path), "a", OverlapScorer().sha256, score, tmp_path / "a", lambda *_: None)
    assert not list((tmp_path / "a").glob("*.npy"))
