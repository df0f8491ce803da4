"""What a training run may be told; the defaults that are not the papers' are explained here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from distill.errors import TrainingRefused
from distill.objectives import Objective, Pointwise
from distill.ranges import above_0_below_1, at_least

_LEAST = {"seed": 0, "epochs": 1, "patience": 1, "batch_size": 1}
_LEAST |= {"minimum_frequency": 1, "layers": 1, "query_tokens": 1, "product_tokens": 1}
_LEAST |= {"maximum_vocabulary": 1, "codes": 1, "validate_every": 1, "save_minutes": 0}
_CHOICES = {"tokenizer": ("cwub", "wordpiece"), "pooling": ("mean", "cls")}
_CHOICES |= {"schedule": ("linear", "constant")}
_MOST_TOKENS = 4096  # what a manifest allows


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of `train`; token limits left open are chosen from the data.

    Raises:
        TrainingRefused: a value out of range; the text names it.
    """

    seed: int = 0
    objective: Objective = field(default_factory=Pointwise)
    epochs: int = 5  # at most; the best weights are kept
    patience: int = 2  # validations without a better AUC
    validate_every: int | None = None  # steps; else at the end of each epoch
    batch_size: int = 128  # pairs of a step
    learning_rate: float = 1e-3  # at its peak
    # Of layers that come from a checkpoint; the papers' 2e-5 is for weeks of steps, not thousands.
    encoder_learning_rate: float = 5e-5
    warm_up: float = 0.05  # share of all steps over which the rates rise; then they fall, or stay
    schedule: Literal["linear", "constant"] = "linear"  # after the warm-up: to 0, or as it is
    device: str | None = None  # a GPU where there is one, else the CPU
    save_minutes: float = 5.0  # between two states from which a stopped training goes on

    # A student's checkpoint to go on from: its weights, tokenizer and limits. What stands below
    # says how a student is made anew, and can't be combined with it.
    start: Path | None = None
    query_tokens: int | None = None  # limit of a query; None: what 99 % of them need
    product_tokens: int | None = None  # limit of a title; None: what 99 % of them need

    # bert2dnn, deepdot: the words of the bag. wordpiece takes the tokenizer of the checkpoint in
    # `encoder`, and the table begins with the meanings that its words have there.
    tokenizer: Literal["cwub", "wordpiece"] = "cwub"
    # cwub: tokens seen less often are left out of the vocabulary. The papers give no number; a
    # token seen once teaches nothing about any other pair.
    minimum_frequency: int = 2
    maximum_vocabulary: int | None = None  # cwub: of more tokens, the most frequent stay

    # Folder of a BERT-type checkpoint: all others, and bags of its word pieces.
    encoder: Path | None = None
    layers: int = 2  # the encoder's first so many
    from_scratch: bool = False  # takes the encoder's tokenizer and sizes, but no weights
    late: bool = True  # reprbert: late interaction
    intermediate: bool = True  # reprbert: intermediate interaction
    attention: bool = True  # reprbert: context-guided attention
    # siamese, poly, listbert: what makes one vector of a text's states.
    pooling: Literal["mean", "cls"] = "mean"
    codes: int = 16  # poly: vectors of a query

    def __post_init__(self) -> None:
        """Checks the ranges."""
        at_least(self, _LEAST)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise TrainingRefused(
                    f"{name}: expected {' or '.join(choices)}, got {getattr(self, name)!r}"
                )
        above_0_below_1(self, "learning_rate", "encoder_learning_rate")
        if not 0.0 <= self.warm_up < 1.0:
            raise TrainingRefused(
                f"warm_up: expected a share of all steps from 0 and below 1, got {self.warm_up}"
            )
        for name in ("query_tokens", "product_tokens"):
            if (getattr(self, name) or 0) > _MOST_TOKENS:
                raise TrainingRefused(
                    f"{name}: expected at most {_MOST_TOKENS}, got {getattr(self, name)}"
                )
