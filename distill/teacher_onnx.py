"""A teacher as one ONNX graph, for labelling millions of pairs on CPUs; no torch here.

graph.onnx        token ids, mask and segments int64 [n, length] -> raw logit float32 [n]
tokenizer.json    of the encoder
teacher.json      precision, limits, scale, and what the conversion found; written last

In int8, weights have a scale per output channel and activations one per batch, taken as the graph
runs: a logit moves a little with the pairs beside it. The same call gives the same logits.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distill.errors import TeacherRefused
from distill.pair_tokens import PairRows, PairTokenizer, batches_by_length
from distill.teacher_file import (
    TEACHER_FILE,
    OnnxTeacherFile,
    read_teacher_file,
    scaled,
    teacher_kind,
)
from model_store.wordpiece import TOKENIZER_FILE

if TYPE_CHECKING:
    from distill.teacher import PairScorer

GRAPH_FILE = "graph.onnx"
INPUTS = ("token_ids", "token_mask", "segments")

_KIND = "cross-encoder-onnx"
_BATCH_TOKENS = 512  # tokens per run, padding included: larger ones leave the caches


class OnnxTeacher:
    """A converted cross-encoder that scores pairs with ONNX Runtime."""

    def __init__(
        self,
        graph: ort.InferenceSession,
        tokenizer: PairTokenizer,
        description: OnnxTeacherFile,
        sha256: str,
    ) -> None:
        """`OnnxTeacher.load` makes one of a folder."""
        self._graph = graph
        self._inputs = [each.name for each in graph.get_inputs()]
        self._tokenizer = tokenizer
        self.description = description
        self.sha256 = sha256

    @classmethod
    def load(cls, folder: Path, threads: int | None = None) -> Self:
        """Opens what `convert_teacher` wrote; it runs on `threads` threads, else on every CPU.

        Raises:
            TeacherRefused: a file is missing or damaged.
        """
        description = read_teacher_file(folder / TEACHER_FILE, OnnxTeacherFile)
        tokenizer = PairTokenizer(_tokenizer(folder / TOKENIZER_FILE), description.pad)
        graph = _open(folder / GRAPH_FILE, threads)
        return cls(graph, tokenizer, description, _sha256(folder, description))

    def logits(self, queries: Sequence[str], titles: Sequence[str]) -> NDArray[np.float32]:
        """Log odds of relevance of n aligned pairs, float32 [n]."""
        pairs = PairRows(self._tokenizer, queries, titles, self.description.pair_tokens)
        logits = np.empty(len(pairs), dtype=np.float32)
        for rows in batches_by_length(pairs.lengths, _BATCH_TOKENS):
            parts = zip(INPUTS, pairs.batch(rows).parts, strict=True)
            feeds = {name: part for name, part in parts if name in self._inputs}
            logits[rows] = self._graph.run(["logit"], feeds)[0]
        return scaled(logits, self.description.scale)


def open_teacher(
    folder: Path, device: str | None = None, threads: int | None = None
) -> "PairScorer":
    """What labels, of any kind: a teacher or a student in PyTorch on `device`; a teacher that is
    converted or lexical on `threads` threads.

    Raises:
        TeacherRefused: no whole teacher there.
    """
    kind = teacher_kind(folder)
    if kind == _KIND:
        return OnnxTeacher.load(folder, threads)
    # Each kind needs libraries that the others have no use for.
    if kind == "lexical":
        from distill.lexical_teacher import LexicalTeacher  # noqa: PLC0415

        return LexicalTeacher.load(folder, threads)
    if kind == "student":
        from distill.assistant import load_assistant  # noqa: PLC0415

        return load_assistant(folder, device)
    from distill.teacher import load_teacher  # noqa: PLC0415

    return load_teacher(folder, device)


def _tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception for every malformed file
        raise TeacherRefused(f"{path}: not a tokenizer: {error}") from error


def _open(path: Path, threads: int | None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0: every CPU
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own for every bad file
        raise TeacherRefused(f"{path}: not a whole ONNX graph: {error}") from error


def _sha256(folder: Path, description: OnnxTeacherFile) -> str:
    """sha256 of everything that decides a logit."""
    digest = hashlib.sha256()
    for name in (GRAPH_FILE, TOKENIZER_FILE):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    digest.update(description.model_dump_json(include={"pair_tokens", "pad", "scale"}).encode())
    return digest.hexdigest()
