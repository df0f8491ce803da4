"""What may be told to the trainings that need no labels: continued pre-training, shortening."""

from dataclasses import asdict, dataclass
from typing import Literal

from distill.errors import TrainingRefused
from distill.fine_tune import Descent
from distill.ranges import above_0, above_0_below_1, at_least, from_0_below_1
from distill.teacher_file import Facts

_LEAST = {"seed": 0, "epochs": 1, "batch_size": 1, "save_every": 1, "text_tokens": 8}


@dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """Options of `pretrain`.

    Raises:
        TrainingRefused: a value out of range; the text names it.
    """

    seed: int = 0
    epochs: int = 3
    batch_size: int = 32  # texts of a step
    learning_rate: float = 5e-5
    warm_up: float = 0.1  # share of all steps
    weight_decay: float = 0.01
    clip: float = 1.0  # largest norm of a step's gradient
    text_tokens: int | None = None  # limit of a text; None: what 99 % of them need
    mask_share: float = 0.15
    whole_words: bool = False  # a word's tokens are masked together
    held_out: float = 0.05  # share of the texts that the loss is reported on
    save_every: int = 200  # steps between two states from which a stopped training goes on

    def __post_init__(self) -> None:
        """Checks the ranges."""
        at_least(self, _LEAST)
        above_0_below_1(self, "learning_rate", "mask_share", "held_out")
        from_0_below_1(self, "warm_up", "weight_decay")
        above_0(self, "clip")

    @property
    def deciding(self) -> Facts:
        """Those that decide the result: all but how often a state is written."""
        return {name: value for name, value in asdict(self).items() if name != "save_every"}

    @property
    def descent(self) -> Descent:
        """How the weights move."""
        return _descent(self)


@dataclass(frozen=True, kw_only=True)
class ShortenOptions:
    """Options of `shorten`.

    Raises:
        TrainingRefused: a value out of range; the text names it.
    """

    seed: int = 0
    layers: int = 2  # the first so many, which stay
    pooling: Literal["mean", "cls"] = "mean"  # what makes a sentence vector of the whole encoder
    epochs: int = 2
    batch_size: int = 32  # texts of a step
    learning_rate: float = 3e-4
    warm_up: float = 0.1  # share of all steps
    weight_decay: float = 0.01
    clip: float = 1.0  # largest norm of a step's gradient
    text_tokens: int = 64  # limit of a text
    held_out: float = 0.02  # share of the texts that the cosine is reported on
    save_every: int = 200  # steps between two states from which a stopped training goes on

    def __post_init__(self) -> None:
        """Checks the ranges."""
        at_least(self, _LEAST | {"layers": 1})
        above_0_below_1(self, "learning_rate", "held_out")
        from_0_below_1(self, "warm_up", "weight_decay")
        above_0(self, "clip")
        if self.pooling not in ("mean", "cls"):
            raise TrainingRefused(f"pooling: expected mean or cls, got {self.pooling!r}")

    @property
    def deciding(self) -> Facts:
        """Those that decide the result: all but how often a state is written."""
        return {name: value for name, value in asdict(self).items() if name != "save_every"}

    @property
    def descent(self) -> Descent:
        """How the weights move."""
        return _descent(self)


def _descent(options: PretrainOptions | ShortenOptions) -> Descent:
    return Descent(
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        head_learning_rate=options.learning_rate,
        warm_up=options.warm_up,
        weight_decay=options.weight_decay,
        layer_decay=1.0,
        clip=options.clip,
        save_every=options.save_every,
    )
