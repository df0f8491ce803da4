"""Texts -> rows on a Ray cluster. The rows are those that this machine would have encoded.

Only the encoding is spread: reading, storing, verifying and switching stay with the one process
that builds the set.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from indexing.encode import encode_texts
from indexing.ray_work import RayCluster, RayRow, Work
from indexing.student import Encoded, RowEncoder, product_rows, query_rows
from model_store.student import OnnxStudent

_CHUNKS_PER_WORKER = 32  # of a turn: a minute or two of work, hundreds of MB here for 16 workers

OpenEncoder = Callable[[Path], RowEncoder]  # a bundle's folder -> the rows of its student


@dataclass(frozen=True)
class RayChunks:
    """Encodes chunks on the cluster's workers, each with its own copy of the student.

    bundle: the student's folder
    open_encoder: opens it on a worker; goes there by its name
    encoder: the same student, here
    """

    bundle: Path
    open_encoder: OpenEncoder
    encoder: RowEncoder
    cluster: RayCluster
    batch_texts: int

    @property
    def ahead(self) -> int:
        """Chunks that are read before the first of them is stored."""
        return _CHUNKS_PER_WORKER * self.cluster.workers

    def encode(self, chunks: Sequence[Sequence[str]]) -> Iterator[Encoded]:
        """Rows [n, width] of each chunk, in their order.

        Raises:
            RayFailed: a student could not be opened or could not encode.
        """
        open_work = partial(_open_work, open_encoder=self.open_encoder, batch=self.batch_texts)
        rows = ({"texts": list(chunk)} for chunk in chunks if chunk)
        done = self.cluster.map(rows, self.bundle, open_work, _CHUNKS_PER_WORKER)
        for chunk in chunks:
            content = next(done)["rows"] if chunk else b""
            yield np.frombuffer(content, self.encoder.dtype).reshape(len(chunk), self.encoder.width)
        next(done, None)  # lets Ray end the work in its own time


def open_product_rows(bundle: Path, threads: int) -> RowEncoder:
    """Product rows of the student in a bundle's folder."""
    return product_rows(OnnxStudent.load(bundle, threads=threads))


def open_query_rows(bundle: Path, threads: int) -> RowEncoder:
    """Query rows of the student in a bundle's folder."""
    return query_rows(OnnxStudent.load(bundle, threads=threads))


def _open_work(folder: Path, open_encoder: OpenEncoder, batch: int) -> Work:
    encoder = open_encoder(folder)

    def work(row: RayRow) -> RayRow:
        return {
            "rows": encode_texts(encoder, [str(text) for text in row["texts"]], batch).tobytes()
        }

    return work
