"""`winnow label` with real teachers, as a person and a script meet it."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from distill.labels import SHARD_SIZE, PairsFile, read_labels
from distill.teach import teach
from distill.teach_options import TeachOptions
from distill.teacher import load_teacher
from distill.teacher_conversion import convert_teacher
from distill.teacher_onnx import open_teacher
from distill.transfer_file import TransferPair, write_pairs
from export.pairs import Pairs, split_by_query
from tests.command import winnow
from tests.distill.learnable import learnable_pairs, write_learner

ROOT = Path(__file__).parents[2]
ROWS = 3 * 4096 + 50
KILL_WITHIN_S = 100


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Pairs that the teacher has learned something from."""
    return learnable_pairs()


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, pairs: Pairs) -> Path:
    """A small teacher in PyTorch, and in `int8` beside it."""
    folder = tmp_path_factory.mktemp("teachers")
    encoder = write_learner(pairs, folder / "encoder")
    learn, check = split_by_query(pairs)
    options = TeachOptions(epochs=4, batch_size=32, learning_rate=3e-3, head_learning_rate=3e-3)
    teach(encoder, learn, check, folder / "torch", options, lambda *_: None, "cpu")
    teacher = load_teacher(folder / "torch", "cpu")
    found = convert_teacher(teacher, check, folder / "int8", threads=1)
    assert found.roc_auc_torch > 0.95  # it isn't by chance that int8 keeps the order
    return folder


@pytest.fixture(scope="module")
def transfer(tmp_path_factory: pytest.TempPathFactory, pairs: Pairs) -> Path:
    """Four shards: all queries with all titles, in turn."""
    path = tmp_path_factory.mktemp("transfer") / "transfer.csv.gz"
    rows = (
        TransferPair(pairs.queries[n % 1200], pairs.titles[(n * 7 + n // 1200) % 1200], "", "bm25")
        for n in range(ROWS)
    )
    write_pairs(path, rows, behaviour=False)
    return path


def command(*arguments: str | Path) -> list[str]:
    code = "from cli.main import main; main()"
    return [sys.executable, "-c", code, "label", *map(str, arguments)]


@pytest.mark.parametrize("kind", ["torch", "int8"])
def test_labels_are_the_teachers_logits(
    taught: Path, transfer: Path, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "labels" / kind
    ran = winnow(
        "label",
        *("--teacher", taught / kind, "--pairs", transfer, "--out", out, "--threads", "1"),
        *(("--int8",) if kind == "int8" else ("--device", "cpu")),
        "--json",
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert (report["rows"], report["labelled"]) == (ROWS, ROWS)
    assert f"{ROWS:,} labels" in ran.stderr
    teacher = open_teacher(taught / kind, "cpu", threads=1)
    assert report["teacher_sha256"] == teacher.sha256
    texts = list(PairsFile(transfer).texts())[:SHARD_SIZE]
    expected = teacher.logits([query for query, _ in texts], [title for _, title in texts])
    assert len(set(texts)) == SHARD_SIZE  # so nothing is left out of the call
    # To the last bit, int8 too: one call with the shard's pairs makes the same batches.
    np.testing.assert_array_equal(read_labels(out)[:SHARD_SIZE], expected)


@pytest.mark.parametrize("kind", ["torch", "int8"])
def test_the_command_killed_in_the_middle_goes_on_to_the_same_labels(
    taught: Path, transfer: Path, tmp_path: Path, kind: str
) -> None:
    given = ("--teacher", taught / kind, "--pairs", transfer, "--threads", "1")
    assert winnow("label", *given, "--out", tmp_path / "whole").returncode == 0
    out = tmp_path / "killed"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command(*given, "--out", out), env=environment, stderr=subprocess.DEVNULL
    ) as process:
        give_up = time.monotonic() + KILL_WITHIN_S
        while not (out / "000000.npy").exists() and time.monotonic() < give_up:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    there = len(list(out.glob("*.npy")))
    assert 1 <= there < 4
    again = winnow("label", *given, "--out", out)
    assert again.returncode == 0, again.stderr
    assert f"{there * 4096:,} were there" in again.stderr
    names = sorted(path.name for path in out.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert all((out / n).read_bytes() == (tmp_path / "whole" / n).read_bytes() for n in names)


def test_errors_are_one_line(taught: Path, transfer: Path, tmp_path: Path) -> None:
    pairs = ("--pairs", transfer, "--out", tmp_path / "labels")
    for arguments, text in (
        (("--teacher", taught / "torch", *pairs, "--int8"), "not the teacher.json of a"),
        (("--teacher", tmp_path, *pairs), "teacher.json: can't be read"),
        (("--teacher", taught / "int8", *pairs, "--title-column", "name"), "no column 'name'"),
    ):
        ran = winnow("label", *arguments)
        assert ran.returncode == 1
        assert ran.stderr.splitlines()[-1].startswith("error: ") or text in ran.stderr
        assert text in ran.stderr
    ran = winnow("label", "--teacher", taught / "int8", *pairs, "--ray-workers", "2")
    assert ran.returncode == 2
    assert "--ray-workers is for --ray" in ran.stderr


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_it_says_how_to_get_it(taught: Path, transfer: Path, tmp_path: Path) -> None:
    ran = winnow(
        "label",
        *("--teacher", taught / "int8", "--pairs", transfer, "--out", tmp_path / "labels"),
        *("--ray", "auto"),
    )
    assert ran.returncode == 1
    assert "pip install 'winnow-relevance[ray]'" in ran.stderr
