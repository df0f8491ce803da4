"""A teacher on disk and in memory: pairs in, log odds of relevance out.

config.json         of the encoder, as transformers writes it
model.safetensors   the encoder under its own names, so that transformers and `winnow train
                    --encoder` read it, and the head under `head.`
tokenizer.json      of the encoder
teacher.json        head, pair length limit, scale, facts of the training; written last
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from distill.cross_encoder import CrossEncoder
from distill.errors import TeacherRefused
from distill.pair_tokens import PairRows, PairTokenizer, batches_by_length
from distill.pretrained import build_encoder, encoder_sha256, load_config, load_tokenizer
from distill.teacher_file import (
    TEACHER_FILE,
    TeacherFile,
    read_teacher_file,
    scaled,
    write_teacher_file,
)
from export.errors import EncoderRefused
from model_store.wordpiece import TOKENIZER_FILE

WEIGHTS_FILE = "model.safetensors"

_BATCH_TOKENS = 4096  # tokens per run, padding included: 64 pairs of 64


class PairScorer(Protocol):
    """What labels pairs: a teacher in PyTorch, as an ONNX graph, or of words alone."""

    @property
    def sha256(self) -> str:
        """Of everything that decides a logit."""
        ...

    def logits(self, queries: Sequence[str], titles: Sequence[str]) -> NDArray[np.float32]:
        """Log odds of relevance of n aligned pairs, float32 [n]."""
        ...


class Teacher:
    """A cross-encoder that scores pairs."""

    def __init__(
        self,
        model: CrossEncoder,
        tokenizer: PairTokenizer,
        description: TeacherFile,
        device: torch.device,
        sha256: str,
    ) -> None:
        """`load_teacher` makes one of a folder."""
        self.model = model.to(device).eval()
        self.tokenizer = tokenizer
        self.description = description
        self.device = device
        self.sha256 = sha256

    def logits(self, queries: Sequence[str], titles: Sequence[str]) -> NDArray[np.float32]:
        """Log odds of relevance of n aligned pairs, float32 [n]."""
        pairs = PairRows(self.tokenizer, queries, titles, self.description.pair_tokens)
        raw = raw_logits(self.model, pairs, self.device)
        return scaled(raw, self.description.scale)


def raw_logits(model: CrossEncoder, pairs: PairRows, device: torch.device) -> NDArray[np.float32]:
    """What the network says of pairs, float32 [n], in batches of like length; in eval mode."""
    model.eval()
    logits = np.empty(len(pairs), dtype=np.float32)
    with torch.inference_mode():
        for rows in batches_by_length(pairs.lengths, _BATCH_TOKENS):
            logits[rows] = model.on(pairs.batch(rows), device).float().cpu().numpy()
    return logits


def choose_device(device: str | None) -> torch.device:
    """The device of that name; None for a GPU where there is one, else the CPU.

    Raises:
        TeacherRefused: no such device here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise TeacherRefused(
            f"device {device!r}: expected one that torch {torch.__version__} has here, such as "
            f"cpu: {str(error).splitlines()[0]}"
        ) from error
    return chosen


def weights_of(model: CrossEncoder) -> dict[str, Tensor]:
    """The tensors of model.safetensors: the encoder's under their own names, and the head's."""
    tensors = {
        name.removeprefix("encoder.") if name.startswith("encoder.") else name: tensor
        for name, tensor in model.state_dict().items()
    }
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def load_weights(model: CrossEncoder, path: Path) -> None:
    """Fills the model from a model.safetensors.

    Raises:
        TeacherRefused: not the tensors of this network, or not finite.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise TeacherRefused(f"{path}: not a whole safetensors file: {error}") from error
    expected = weights_of(model)
    if missing := sorted(expected.keys() - tensors.keys()):
        raise TeacherRefused(f"{path}: lacks {len(missing)} tensors, first {missing[0]}")
    if unexpected := sorted(tensors.keys() - expected.keys()):
        raise TeacherRefused(f"{path}: has {len(unexpected)} too many, first {unexpected[0]}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise TeacherRefused(
                f"{path}: {name}: expected shape {list(expected[name].shape)}, "
                f"got {list(tensor.shape)}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise TeacherRefused(f"{path}: {name}: holds NaN or infinity: train the teacher again")
    own = {
        name if name.startswith("head.") else f"encoder.{name}": t for name, t in tensors.items()
    }
    model.load_state_dict(own)


def save_teacher(
    model: CrossEncoder, tokenizer: PairTokenizer, description: TeacherFile, folder: Path
) -> None:
    """Writes the four files into an existing folder."""
    model.config.save_pretrained(folder)
    save_file(weights_of(model), folder / WEIGHTS_FILE, metadata={"format": "pt"})
    tokenizer.save(str(folder / TOKENIZER_FILE))
    write_teacher_file(description, folder)


def load_teacher(folder: Path, device: str | None = None) -> Teacher:
    """Opens a teacher after checking that every tensor is there, shaped right, and finite.

    Args:
        folder: what `winnow teach` wrote.
        device: as `choose_device`.

    Raises:
        TeacherRefused: a file is missing or damaged, or the device isn't there.
    """
    description = read_description(folder)
    chosen = choose_device(device)
    try:
        config = load_config(folder)
        with torch.random.fork_rng(devices=[]):  # random weights, to be overwritten
            model = CrossEncoder(build_encoder(config), config, description.head)
        tokenizer = PairTokenizer(load_tokenizer(folder), config.pad_token_id)
    except EncoderRefused as error:
        raise TeacherRefused(str(error)) from error
    load_weights(model, folder / WEIGHTS_FILE)
    return Teacher(model, tokenizer, description, chosen, teacher_sha256(folder, description))


def read_description(folder: Path) -> TeacherFile:
    """What the teacher.json of a teacher in PyTorch says.

    Raises:
        TeacherRefused: no such file, or not one of this kind and version.
    """
    return read_teacher_file(folder / TEACHER_FILE, TeacherFile)


def teacher_sha256(folder: Path, description: TeacherFile) -> str:
    """sha256 of everything that decides a logit: files, head, length limit and scale."""
    decides = description.model_dump_json(include={"pair_tokens", "head", "scale"})
    return hashlib.sha256(f"{encoder_sha256(folder)} {decides}".encode()).hexdigest()
