"""What several tests of export share; fixtures are in conftest.py."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from export.bundle_export import Publication
from export.checkpoint import Checkpoint
from export.students.encoder import EncoderConfig
from model_store.manifest import Calibration, Thresholds

KINDS = ("bert2dnn", "deepdot", "reprbert")
BASELINES = ("siamese", "poly", "listbert")


class TrainKind(Protocol):
    """Trains a student of a kind on small data."""

    def __call__(self, kind: str, out: Path, *, seed: int = 0) -> Checkpoint: ...


def encoder_config(layers: int) -> EncoderConfig:
    """Sizes of an encoder that is as small as one can be."""
    return EncoderConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )


def random_texts(*lengths: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask of random texts of those lengths, padded with id 0."""
    ids = torch.from_numpy(np.random.default_rng(5).integers(4, 50, (len(lengths), max(lengths))))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return ids * mask, mask


def publication(
    name: str, *, version: str | None = None, int8_product: bool = False
) -> Publication:
    """What a test publishes where nothing about it matters."""
    return Publication(
        name=name,
        version=version,
        thresholds=Thresholds(default=0.5, price=0.6, sale=0.4, chosen_on="nothing: a test"),
        calibration=Calibration(),
        metrics=[],
        int8_product=int8_product,
    )
