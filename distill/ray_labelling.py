"""A teacher on a Ray cluster labels shards: the same shards with the same bytes as one machine."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distill.errors import LabelsRefused
from distill.labelling import ScoreShards, Shard, ShardLogits, score_shard
from indexing.ray_work import RayCluster, RayRow, Work

if TYPE_CHECKING:
    from distill.teacher import PairScorer

OpenScorer = Callable[[Path], "PairScorer"]  # a teacher's folder -> what labels

_SHARDS_PER_WORKER = 32  # of a turn: some 130,000 pairs, minutes of work for any teacher


def score_on_ray(
    cluster: RayCluster, teacher: Path, open_scorer: OpenScorer, sha256: str
) -> ScoreShards:
    """Scores shards on the cluster's workers.

    Only this process reads the pairs and writes the shards. RayFailed comes out of the iteration
    where a worker could not open the teacher or could not score.

    Args:
        cluster: see there.
        teacher: its folder; every worker gets a copy.
        open_scorer: opens the copy on a worker; goes there by its name.
        sha256: of the scorer, which every worker's has to have.
    """

    def score(shards: Iterator[Shard]) -> Iterator[ShardLogits]:
        rows = (shard._asdict() for shard in shards)
        open_work = partial(_open_work, open_scorer=open_scorer, sha256=sha256)
        for done in cluster.map(rows, teacher, open_work, _SHARDS_PER_WORKER):
            yield ShardLogits(int(done["number"]), np.frombuffer(done["logits"], np.float32))

    return score


def _open_work(folder: Path, open_scorer: OpenScorer, sha256: str) -> Work:
    scorer = open_scorer(folder)
    if scorer.sha256 != sha256:
        raise LabelsRefused(
            f"expected the teacher {sha256[:12]} on the worker, got {scorer.sha256[:12]}: install "
            "the same version of this project and of its libraries on every machine"
        )

    def work(row: RayRow) -> RayRow:
        texts = ([str(text) for text in row[name]] for name in ("queries", "titles"))
        return {"number": row["number"], "logits": score_shard(scorer, *texts).tobytes()}

    return work
