"""A teacher labels a transfer set, shard by shard, in a job that may be killed at any moment.

Every shard is scored by one call with its own pairs, so its bytes don't depend on where a job was
stopped, on which machine of several scored it, or on the shards beside it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.errors import LabelsRefused
from distill.labels import (
    LABELS_FILE,
    SHARD_SIZE,
    LabelsFile,
    PairsFile,
    pairs_sha256,
    read_labels_file,
    read_shard,
    shard_path,
)
from distill.lock import locked
from distill.teacher_file import teacher_kind
from distill.transfer_options import OnProgress
from distill.whole_file import written_whole

if TYPE_CHECKING:
    from distill.teacher import PairScorer  # torch comes with it, which labelling by ONNX has not


class Shard(NamedTuple):
    """Pairs that are scored together; `number` counts from 0."""

    number: int
    queries: list[str]
    titles: list[str]


class ShardLogits(NamedTuple):
    """What the teacher says of a shard: float32 [its pairs]."""

    number: int
    logits: NDArray[np.float32]


# Where shards are scored: in this process, or on other machines. Order doesn't matter.
ScoreShards = Callable[[Iterator[Shard]], Iterator[ShardLogits]]


@dataclass(frozen=True)
class LabelReport:
    """What a job did: `rows` pairs have labels now, `labelled` of them new ones."""

    folder: Path
    rows: int
    labelled: int
    seconds: float


def label(
    pairs: PairsFile,
    teacher: str,
    teacher_sha256: str,
    score: ScoreShards,
    out: Path,
    on_progress: OnProgress,
    most: int | None = None,
) -> LabelReport:
    """Writes the teacher's logits of pairs to the folder `out`; goes on where it was stopped.

    Args:
        pairs: what is labelled, streamed.
        teacher: its name, for people.
        teacher_sha256: of everything that decides a logit.
        score: `score_here(scorer)`, or the like on other machines.
        out: a new folder, or one of an earlier run with the same pairs and teacher.
        on_progress: told of every shard.
        most: so many pairs from the start of the file, to the end of the last one's shard; None:
            all. Asked for more later, the job goes on behind them.

    Raises:
        LabelsRefused: the folder belongs to other pairs or another teacher, another job is at work
            in it, or the teacher's logits are not finite.
        InputFileError: the pairs can't be read; the text names the line.
    """
    started = time.monotonic()
    file = _described(pairs, teacher, teacher_sha256)
    _open_folder(out, file)
    with _locked(out):
        wanted = file.shards_of(most)
        missing = _missing(out, file, wanted)
        total = sum(file.shard_rows(shard) for shard in missing)
        labelled = 0
        on_progress("label", 0, total)
        for scored in score(_shards(pairs, file, missing)):
            _write(out, scored, file.shard_rows(scored.number))
            labelled += len(scored.logits)
            on_progress("label", labelled, total)
        for left_over in out.glob("*.unfinished"):
            left_over.unlink()
        if labelled != total or pairs_sha256(pairs) != file.pairs_sha256:
            for shard in missing:
                shard_path(out, shard).unlink(missing_ok=True)
            raise LabelsRefused(
                f"{pairs.path.name} was written to while it was labelled: label it into a new "
                "folder once it is complete"
            )
    rows = sum(file.shard_rows(shard) for shard in wanted)
    return LabelReport(out, rows, labelled, time.monotonic() - started)


def open_scorer(
    folder: Path, device: str | None = None, threads: int | None = None
) -> "PairScorer":
    """A teacher of any kind, on `threads` threads of the CPU; None for all.

    Raises:
        TeacherRefused: no whole teacher there, or no such device.
    """
    from distill.teacher_onnx import open_teacher  # noqa: PLC0415 (as torch, below)

    scorer = open_teacher(folder, device, threads)
    if threads is not None and teacher_kind(folder) in ("cross-encoder", "student"):
        import torch  # noqa: PLC0415 (which the other kinds never need)

        torch.set_num_threads(threads)
    return scorer


def score_here(scorer: "PairScorer") -> ScoreShards:
    """Scores shards in this process, one after the other."""

    def score(shards: Iterator[Shard]) -> Iterator[ShardLogits]:
        for shard in shards:
            yield ShardLogits(shard.number, score_shard(scorer, shard.queries, shard.titles))

    return score


def score_shard(scorer: "PairScorer", queries: list[str], titles: list[str]) -> NDArray[np.float32]:
    """Logits of the pairs of one shard, float32 [n]; a pair that comes twice is scored once.

    Raises:
        LabelsRefused: the scorer gave something else than n finite numbers.
    """
    distinct = list(dict.fromkeys(zip(queries, titles, strict=True)))
    place = {pair: at for at, pair in enumerate(distinct)}
    logits = np.asarray(
        scorer.logits([query for query, _ in distinct], [title for _, title in distinct]),
        dtype=np.float32,
    )
    if logits.shape != (len(distinct),):
        raise LabelsRefused(
            f"expected {len(distinct)} logits of the teacher, got {list(logits.shape)}"
        )
    if not np.isfinite(logits).all():
        query, title = distinct[int(np.flatnonzero(~np.isfinite(logits))[0])]
        raise LabelsRefused(
            f"the teacher's logit for {query!r} and {title!r} is not finite: its training diverged"
        )
    every: NDArray[np.float32] = logits[[place[pair] for pair in zip(queries, titles, strict=True)]]
    return every


def _described(pairs: PairsFile, teacher: str, teacher_sha256: str) -> LabelsFile:
    sha256 = pairs_sha256(pairs)
    count = sum(1 for _ in pairs.texts())
    if not count:
        raise LabelsRefused(f"{pairs.path.name}: expected pairs to label, found none")
    return LabelsFile(
        pairs=pairs.path.name,
        pairs_sha256=sha256,
        rows=count,
        query_column=pairs.query,
        title_column=pairs.title,
        encoding=pairs.encoding,
        teacher=teacher,
        teacher_sha256=teacher_sha256,
        shard_size=SHARD_SIZE,
    )


def _open_folder(out: Path, file: LabelsFile) -> None:
    """Makes the folder with its labels.json, or checks that it is this job's."""
    path = out / LABELS_FILE
    if not path.exists():
        try:
            out.mkdir(parents=True, exist_ok=True)
            if any(each.suffix == ".npy" for each in out.iterdir()):
                raise LabelsRefused(f"{out}: has shards but no {LABELS_FILE}: name a new folder")
            with written_whole(path) as unfinished:
                unfinished.write_text(f"{file.model_dump_json(indent=2)}\n", encoding="utf-8")
        except OSError as error:
            raise LabelsRefused(f"{out}: can't be written: {error.strerror or error}") from error
        return
    names = {"pairs", "teacher"}  # for people: a file or folder may be renamed
    before = read_labels_file(out).model_dump(exclude=names)
    now = file.model_dump(exclude=names)
    if before != now:
        differences = [
            f"{name}: expected {now[name]}, got {before[name]}"
            for name in now
            if before[name] != now[name]
        ]
        raise LabelsRefused(
            f"{out}: holds labels of other pairs or another teacher ({'; '.join(differences)}): "
            "name a new folder"
        )


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """One job per folder."""
    busy = LabelsRefused(f"{out}: another job is labelling into this folder: let it finish")
    with (out / LABELS_FILE).open("rb") as file, locked(file, busy):
        yield


def _missing(out: Path, file: LabelsFile, wanted: range) -> list[int]:
    """Shards to score of those wanted; those that are there are looked at, not taken on trust."""
    missing = []
    for shard in wanted:
        if shard_path(out, shard).exists():
            read_shard(out, shard, file.shard_rows(shard))
        else:
            missing.append(shard)
    return missing


def _shards(pairs: PairsFile, file: LabelsFile, missing: list[int]) -> Iterator[Shard]:
    """The missing shards with their pairs; the others are read past."""
    texts = pairs.texts()
    wanted = set(missing)
    for number in range(file.shards):
        chunk = list(islice(texts, file.shard_size))
        if number in wanted:
            yield Shard(number, [query for query, _ in chunk], [title for _, title in chunk])


def _write(out: Path, scored: ShardLogits, expected_rows: int) -> None:
    if scored.logits.shape != (expected_rows,):
        return  # counted by `label`: the file has grown or shrunk
    path = shard_path(out, scored.number)
    with written_whole(path) as unfinished, unfinished.open("wb") as file:
        np.save(file, scored.logits.astype(np.float32, copy=False))
