"""What a training run may be told; the defaults that are not the papers' are explained here."""

from dataclasses import dataclass
from pathlib import Path

from distill.errors import TrainingRefused

_LEAST = {"seed": 0, "epochs": 1, "patience": 1, "batch_size": 1}
_LEAST |= {"minimum_frequency": 1, "layers": 1, "query_tokens": 1, "product_tokens": 1}
_POSITIVE = ("learning_rate", "encoder_learning_rate")
_MOST_TOKENS = 4096  # what a manifest allows


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of `train`; token limits left open are chosen from the data.

    Raises:
        TrainingRefused: a value out of range; the text names it.
    """

    seed: int = 0
    epochs: int = 5
    patience: int = 2  # epochs without a better validation AUC
    batch_size: int = 128
    learning_rate: float = 1e-3
    query_tokens: int | None = None
    product_tokens: int | None = None

    # bert2dnn, deepdot: tokens seen less often are left out of the vocabulary. The papers give no
    # number; a token seen once teaches nothing about any other pair.
    minimum_frequency: int = 2

    # reprbert: folder of a BERT-type checkpoint; from_scratch reads its sizes but no weights.
    encoder: Path | None = None
    layers: int = 2
    from_scratch: bool = False
    encoder_learning_rate: float = 5e-5  # the papers' 2e-5 is for weeks of steps, not thousands

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise TrainingRefused(f"{name}: expected at least {least}, got {value}")
        for name in _POSITIVE:
            if not 0.0 < getattr(self, name) < 1.0:
                raise TrainingRefused(
                    f"{name}: expected above 0 and below 1, got {getattr(self, name)}"
                )
        for name in ("query_tokens", "product_tokens"):
            if (getattr(self, name) or 0) > _MOST_TOKENS:
                raise TrainingRefused(
                    f"{name}: expected at most {_MOST_TOKENS}, got {getattr(self, name)}"
                )
