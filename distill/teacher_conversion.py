"""A teacher in PyTorch made a graph, and held against it: ROC-AUC, logits and speed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from distill.errors import TeacherRefused
from distill.pair_tokens import PairRows
from distill.teacher import Teacher
from distill.teacher_file import Facts, OnnxTeacherFile, Precision, write_teacher_file
from distill.teacher_onnx import GRAPH_FILE, INPUTS, OnnxTeacher
from distill.whole_file import scratch_folder
from evaluation.metrics import roc_auc
from export.graphs import quiet_exporter, stripped
from export.pairs import Pairs
from export.quantise import dynamically_quantised
from model_store.wordpiece import TOKENIZER_FILE

TOLERANCE = 0.003  # ROC-AUC that a conversion may cost or seem to gain

_OPSET = 20  # the first with Gelu
_LARGEST_PROTOBUF = 2**31


@dataclass(frozen=True)
class Conversion:
    """What a conversion found on n validation pairs; rates are pairs per second on this machine."""

    folder: Path
    precision: Precision
    pairs: int
    roc_auc_torch: float
    roc_auc_onnx: float
    largest_difference: float  # of two logits of a pair
    torch_pairs_per_s: float
    onnx_pairs_per_s: float


def convert_teacher(
    teacher: Teacher,
    validation: Pairs,
    out: Path,
    *,
    precision: Precision = "int8",
    threads: int | None = None,
    relevant_from: float = 0.5,
) -> Conversion:
    """Writes the teacher as an ONNX graph to `out` and holds it against PyTorch.

    Args:
        teacher: on the CPU, so that the two rates are of one machine.
        validation: pairs to compare on; relevant from target `relevant_from` up.
        out: folder to write; must not exist.
        precision: of the graph's weight matrices.
        threads: of both; None for every CPU.
        relevant_from: target from which a pair counts as relevant.

    Raises:
        DistillError: another command is making `out`.
        TeacherRefused: `out` exists, the teacher is too large for one ONNX file, or the ROC-AUC
            of the graph is not within TOLERANCE.
        UndefinedMetric: validation pairs of one class.
    """
    _check_convertible(teacher, out)
    with scratch_folder(out.with_name(f"{out.name}.unfinished")) as folder:
        graph = trace_teacher(teacher)
        if precision == "int8":
            graph = dynamically_quantised(graph)
        onnx.save(graph, folder / GRAPH_FILE)
        teacher.tokenizer.save(str(folder / TOKENIZER_FILE))
        description = OnnxTeacherFile(
            precision=precision,
            pair_tokens=teacher.description.pair_tokens,
            pad=teacher.tokenizer.pad,
            scale=teacher.description.scale,
            teacher_sha256=teacher.sha256,
            conversion={},
        )
        write_teacher_file(description, folder)
        found = _compare(teacher, folder, validation, precision, threads, relevant_from)
        facts: Facts = {
            "pairs_sha256": validation.sha256,
            "pairs": found.pairs,
            "roc_auc_torch": found.roc_auc_torch,
            "roc_auc_onnx": found.roc_auc_onnx,
            "largest_difference": found.largest_difference,
            "onnxruntime": ort.__version__,
            "torch": torch.__version__,
        }
        write_teacher_file(description.model_copy(update={"conversion": facts}), folder)
        folder.rename(out)
    return Conversion(**vars(found) | {"folder": out})


def _check_convertible(teacher: Teacher, out: Path) -> None:
    if out.exists():
        raise TeacherRefused(f"{out}: exists already; conversion never overwrites: name another")
    size = sum(weight.numel() * 4 for weight in teacher.model.parameters())
    if size >= _LARGEST_PROTOBUF:
        raise TeacherRefused(
            f"expected less than 2 GiB of weights, which one ONNX file can hold, got {size:,} "
            "bytes: label with the teacher itself"
        )


def trace_teacher(teacher: Teacher) -> ModelProto:
    """The teacher's network as a float32 graph, weights inline, without its scale."""
    encoder: Any = teacher.model.encoder
    usual = teacher.model.config._attn_implementation
    pairs = PairRows(teacher.tokenizer, ["a", "a a", "a"], ["a a a", "a", "a a"], None)
    parts = pairs.batch(np.arange(3)).parts
    example = tuple(torch.from_numpy(part).to(teacher.device) for part in parts)
    axes = tuple({0: "n", 1: "length"} for _ in INPUTS)
    encoder.set_attn_implementation("eager")  # plain products, which ONNX Runtime fuses itself
    try:
        with quiet_exporter():
            program = torch.onnx.export(
                teacher.model,
                example,
                dynamo=True,
                opset_version=_OPSET,
                input_names=list(INPUTS),
                output_names=["logit"],
                dynamic_shapes=axes,
                verbose=False,
            )
    finally:
        encoder.set_attn_implementation(usual)
    assert program is not None  # noqa: S101 (None is for the exporter we don't use)
    return stripped(program.model_proto, "teacher")


def _compare(
    teacher: Teacher,
    folder: Path,
    pairs: Pairs,
    precision: Precision,
    threads: int | None,
    relevant_from: float,
) -> Conversion:
    """Both teachers over the same pairs."""
    labels = pairs.targets >= relevant_from
    converted = OnnxTeacher.load(folder, threads)
    usual = torch.get_num_threads()
    torch.set_num_threads(threads or usual)
    try:
        theirs, torch_s = _timed(teacher.logits, pairs)
    finally:
        torch.set_num_threads(usual)
    ours, onnx_s = _timed(converted.logits, pairs)
    found = Conversion(
        folder=folder,
        precision=precision,
        pairs=len(pairs),
        roc_auc_torch=roc_auc(labels, theirs),
        roc_auc_onnx=roc_auc(labels, ours),
        largest_difference=float(np.abs(ours - theirs).max()),
        torch_pairs_per_s=len(pairs) / torch_s,
        onnx_pairs_per_s=len(pairs) / onnx_s,
    )
    if abs(found.roc_auc_onnx - found.roc_auc_torch) > TOLERANCE:
        raise TeacherRefused(
            f"{precision}: expected a ROC-AUC within {TOLERANCE} of PyTorch's "
            f"{found.roc_auc_torch:.4f}, got {found.roc_auc_onnx:.4f} (largest difference of a "
            f"logit {found.largest_difference:.3g}): convert to float32, or label with the teacher "
            "itself"
        )
    return found


def _timed(
    logits: Callable[[Sequence[str], Sequence[str]], NDArray[np.float32]], pairs: Pairs
) -> tuple[NDArray[np.float32], float]:
    """Logits of the pairs, and the seconds they took after a first run of a few."""
    logits(pairs.queries[:64], pairs.titles[:64])
    start = time.perf_counter()
    found = logits(pairs.queries, pairs.titles)
    return found, time.perf_counter() - start
