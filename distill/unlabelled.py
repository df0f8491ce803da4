"""What trainings on texts alone share: the texts held out, and what a run is told by."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from distill.errors import TrainingRefused
from distill.pretrain_options import UnlabelledOptions
from distill.pretrained import encoder_sha256
from distill.texts import texts_sha256
from export.checkpoint import Facts


def split_held_out(
    rows: NDArray[np.int64], options: UnlabelledOptions
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of texts to learn from, and rows held out, both ascending.

    Raises:
        TrainingRefused: either would be empty.
    """
    held_out = round(options.held_out * len(rows))
    if held_out < 1 or held_out >= len(rows):
        raise TrainingRefused(
            f"expected texts to learn from and at least one held out, got {len(rows)} distinct "
            f"ones of which {options.held_out:g} are {held_out}: give more texts"
        )
    order = np.random.default_rng(options.seed).permutation(rows)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def identity(encoder: Path, texts: Sequence[str], options: UnlabelledOptions) -> Facts:
    """What decides a training's outcome: a stopped one goes on with the same only."""
    return options.deciding | {
        "encoder": encoder_sha256(encoder),
        "texts": texts_sha256(texts),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def facts(encoder: Path, texts: Sequence[str], options: UnlabelledOptions, figures: Facts) -> Facts:
    """What a trained folder tells of its making, `figures` among it."""
    return options.deciding | {
        "encoder_sha256": encoder_sha256(encoder),
        "texts": len(texts),
        "texts_sha256": texts_sha256(texts),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        **figures,
    }
