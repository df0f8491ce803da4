"""Labels from a Ray cluster of two workers: byte for byte those of one process."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from distill.labelling import LabelReport, ScoreShards, label, score_here
from distill.labels import PairsFile
from distill.ray_labelling import score_on_ray
from distill.transfer_file import TransferPair, write_pairs
from indexing.errors import RayFailed, RayUnavailable
from indexing.ray_work import ray_cluster
from tests.distill.overlap import OverlapScorer, open_overlap, save_overlap
from tests.on_ray.conftest import kill_a_worker, restarts

pytestmark = [
    pytest.mark.usefixtures("two_workers"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),  # names Ray itself deprecated
]

ROWS = 9 * 4096 + 77


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> PairsFile:
    """Ten shards; a tenth of the pairs come twice, some texts are not ASCII."""
    path = tmp_path_factory.mktemp("pairs") / "transfer.csv.gz"
    rows = (
        TransferPair(f"lampe rouge n°{n % 13}", f"手机 rouge {n % 11} {n // 2}", "", "bm25")
        for n in range(ROWS)
    )
    write_pairs(path, rows, behaviour=False)
    return PairsFile(path)


@pytest.fixture(scope="module")
def here(pairs: PairsFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels of one process."""
    folder = tmp_path_factory.mktemp("here") / "overlap"
    run(pairs, folder, score_here(OverlapScorer()))
    return folder


def run(pairs: PairsFile, out: Path, score: ScoreShards) -> LabelReport:
    return label(pairs, "overlap", OverlapScorer().sha256, score, out, lambda *_: None)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_shards_are_those_of_one_process(pairs: PairsFile, here: Path, tmp_path: Path) -> None:
    save_overlap(tmp_path / "teacher", 6.0)
    with ray_cluster("auto") as cluster:
        assert cluster.workers == 2
        score = score_on_ray(cluster, tmp_path / "teacher", open_overlap, OverlapScorer().sha256)
        report = run(pairs, tmp_path / "labels", score)
    assert report.labelled == ROWS
    assert contents(tmp_path / "labels") == contents(here)


def test_a_worker_killed_in_the_middle_costs_nothing(
    pairs: PairsFile, here: Path, tmp_path: Path
) -> None:
    save_overlap(tmp_path / "teacher", 6.0, seconds_per_call=0.5)
    before = restarts()
    killed: list[int] = []

    def kill_once(_: str, done: int, __: int | None) -> None:
        if done and not killed:
            killed.append(kill_a_worker())

    with ray_cluster("auto") as cluster:
        score = score_on_ray(cluster, tmp_path / "teacher", open_overlap, OverlapScorer().sha256)
        label(pairs, "overlap", OverlapScorer().sha256, score, tmp_path / "labels", kill_once)
    assert killed
    assert restarts() > before
    assert contents(tmp_path / "labels") == contents(here)


def test_a_job_begun_here_is_finished_there(pairs: PairsFile, here: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    run(pairs, out, score_here(OverlapScorer()))
    for name in ("000001.npy", "000004.npy", "000009.npy"):
        (out / name).unlink()
    save_overlap(tmp_path / "teacher", 6.0)
    with ray_cluster("auto", workers=1) as cluster:
        score = score_on_ray(cluster, tmp_path / "teacher", open_overlap, OverlapScorer().sha256)
        assert run(pairs, out, score).labelled == 2 * 4096 + 77
    assert contents(out) == contents(here)


def test_another_teacher_on_the_worker_is_refused(pairs: PairsFile, tmp_path: Path) -> None:
    save_overlap(tmp_path / "teacher", 5.0)
    with ray_cluster("auto") as cluster:
        score = score_on_ray(cluster, tmp_path / "teacher", open_overlap, OverlapScorer().sha256)
        with pytest.raises(RayFailed, match="on Ray failed: LabelsRefused: expected the teacher"):
            run(pairs, tmp_path / "labels", score)
    assert not list((tmp_path / "labels").glob("*.npy"))


class Diverged(OverlapScorer):
    """A teacher that says nan."""

    def logits(self, queries: Sequence[str], titles: Sequence[str]) -> NDArray[np.float32]:
        return super().logits(queries, titles) * np.float32(np.nan)


def open_diverged(_: Path) -> Diverged:
    return Diverged()


def test_an_error_of_the_work_is_told_in_its_own_words(pairs: PairsFile, tmp_path: Path) -> None:
    save_overlap(tmp_path / "teacher", 6.0)
    with ray_cluster("auto") as cluster:
        score = score_on_ray(cluster, tmp_path / "teacher", open_diverged, Diverged().sha256)
        with pytest.raises(
            RayFailed, match=r"on Ray failed: LabelsRefused: .* is not finite"
        ) as it:
            run(pairs, tmp_path / "labels", score)
    assert "Traceback" not in str(it.value)


def test_room_that_there_is_not_is_refused() -> None:
    with (
        pytest.raises(RayUnavailable, match="expected room for a worker of 3 CPUs and 0 GPUs"),
        ray_cluster("auto", cpus=3),
    ):
        pass
    with pytest.raises(RayUnavailable, match="at least one worker"), ray_cluster("auto", workers=0):
        pass
