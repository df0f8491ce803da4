"""What may be told to the trainings that need no labels: continued pre-training, shortening."""

from dataclasses import asdict, dataclass
from typing import Literal

from distill.descent import Descent
from distill.errors import TrainingRefused
from distill.ranges import above_0, above_0_below_1, at_least, from_0_below_1
from distill.teacher_file import Facts


@dataclass(frozen=True, kw_only=True)
class UnlabelledOptions:
    """What trainings on texts alone have in common.

    Raises:
        TrainingRefused: a value out of range; the text names it.
    """

    seed: int = 0
    epochs: int  # at most; the best one is kept
    batch_size: int = 32  # texts of a step
    learning_rate: float  # at its peak
    warm_up: float = 0.1  # share of all steps
    weight_decay: float = 0.01  # of AdamW
    clip: float = 1.0  # largest norm of a step's gradient
    held_out: float  # share of the texts to report on
    save_every: int = 200  # steps between two states from which a stopped training goes on

    def __post_init__(self) -> None:
        """Checks the ranges."""
        at_least(self, {"seed": 0, "epochs": 1, "batch_size": 1, "save_every": 1})
        above_0_below_1(self, "learning_rate", "held_out")
        from_0_below_1(self, "warm_up", "weight_decay")
        above_0(self, "clip")

    @property
    def deciding(self) -> Facts:
        """Those that decide the result: all but how often a state is written."""
        return {name: value for name, value in asdict(self).items() if name != "save_every"}

    @property
    def descent(self) -> Descent:
        """How the weights move."""
        return Descent(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            head_learning_rate=self.learning_rate,
            warm_up=self.warm_up,
            weight_decay=self.weight_decay,
            layer_decay=1.0,
            clip=self.clip,
            save_every=self.save_every,
        )


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(UnlabelledOptions):
    """Options of `pretrain`.

    Raises:
        TrainingRefused: a value out of range; the text names it.
    """

    epochs: int = 3
    learning_rate: float = 5e-5
    held_out: float = 0.05  # share of the texts that the loss is reported on
    text_tokens: int | None = None  # limit of a text; None: what 99 % of them need
    mask_share: float = 0.15  # of a text's tokens
    whole_words: bool = False  # a word's tokens are masked together

    def __post_init__(self) -> None:
        """Checks the ranges."""
        super().__post_init__()
        at_least(self, {"text_tokens": 8})
        above_0_below_1(self, "mask_share")


@dataclass(frozen=True, kw_only=True)
class ShortenOptions(UnlabelledOptions):
    """Options of `shorten`.

    Raises:
        TrainingRefused: a value out of range; the text names it.
    """

    epochs: int = 2
    learning_rate: float = 3e-4
    held_out: float = 0.02  # share of the texts that the cosine is reported on
    text_tokens: int = 64  # limit of a text
    layers: int = 2  # the first so many, which stay
    pooling: Literal["mean", "cls"] = "mean"  # what makes a sentence vector of the whole encoder

    def __post_init__(self) -> None:
        """Checks the ranges."""
        super().__post_init__()
        at_least(self, {"text_tokens": 8, "layers": 1})
        if self.pooling not in ("mean", "cls"):
            raise TrainingRefused(f"pooling: expected mean or cls, got {self.pooling!r}")
