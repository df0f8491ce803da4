"""What the fine-tuning of a teacher may be told."""

from dataclasses import asdict, dataclass
from typing import Literal, get_args

from distill.descent import Descent
from distill.errors import TrainingRefused
from distill.ranges import above_0, above_0_below_1, at_least, from_0_below_1
from distill.teacher_file import Facts, HeadConfig

Loss = Literal["pointwise", "ranknet", "listnet", "listmle", "approxndcg"]
Measure = Literal["roc_auc", "ndcg_at_10"]

_LEAST = {"seed": 0, "epochs": 1, "batch_size": 1, "list_size": 2, "save_every": 1}
_LEAST |= {"pair_tokens": 8}


@dataclass(frozen=True, kw_only=True)
class TeachOptions:
    """Options of `teach`.

    Raises:
        TrainingRefused: a value out of range; the text names it.
    """

    loss: Loss = "pointwise"  # or a listwise one, over the products of a query
    seed: int = 0
    epochs: int = 3  # the best one is kept
    batch_size: int = 32  # pairs of a step, also where they come as lists
    learning_rate: float = 3e-5  # ReprBERT's; BERT2DNN has 2e-5
    head_learning_rate: float = 1e-4  # of the new layers, which start random
    warm_up: float = 0.1  # share of all steps
    weight_decay: float = 0.01  # of AdamW
    layer_decay: float = 1.0  # factor on the rate per layer from the top down
    clip: float = 1.0  # largest norm of a step's gradient
    pair_tokens: int | None = None  # limit of a pair; None: what 99 % of the pairs need
    pooling: Literal["cls", "mean"] = "cls"  # of the last states: what the head sees
    head_layers: Literal[1, 2] = 2  # 2: tanh between them
    dropout: float = 0.1  # in the head
    # Validation counts a pair as relevant from this target on; so does `binary`.
    relevant_from: float = 0.5
    binary: bool = False  # learn labels 0 and 1 in place of graded targets
    keep_best_by: Measure = "roc_auc"  # of the validation pairs, after each epoch
    list_size: int = 16  # listwise losses: products of a list at most
    top_grade: float = 1.0  # listwise losses: the grade of target 1 (gain 2^grade - 1)
    rank_temperature: float = 0.1  # approxndcg: of the sigmoids that stand for a rank
    save_every: int = 200  # steps between two states from which a stopped training goes on

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.loss not in get_args(Loss):
            raise TrainingRefused(
                f"loss: expected one of {', '.join(get_args(Loss))}, got {self.loss!r}"
            )
        at_least(self, _LEAST)
        above_0_below_1(self, "learning_rate", "head_learning_rate", "relevant_from")
        from_0_below_1(self, "warm_up", "weight_decay", "dropout")
        if not 0.0 < self.layer_decay <= 1.0:
            raise TrainingRefused(f"layer_decay: expected above 0 to 1, got {self.layer_decay}")
        above_0(self, "clip")
        if not 0.0 < self.top_grade <= 10.0:
            raise TrainingRefused(f"top_grade: expected above 0 to 10, got {self.top_grade}")
        above_0(self, "rank_temperature")

    @property
    def head(self) -> HeadConfig:
        """What stands on the encoder."""
        return HeadConfig(pooling=self.pooling, layers=self.head_layers, dropout=self.dropout)

    @property
    def deciding(self) -> Facts:
        """Those that decide the result: all but how often a state is written, and what only
        another loss, or a teacher of before it was an option, would have.
        """
        silent = {"save_every"}
        if self.loss != "approxndcg" or self.rank_temperature == TeachOptions.rank_temperature:
            silent.add("rank_temperature")
        return {name: value for name, value in asdict(self).items() if name not in silent}

    @property
    def descent(self) -> Descent:
        """How the weights move."""
        return Descent(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            head_learning_rate=self.head_learning_rate,
            warm_up=self.warm_up,
            weight_decay=self.weight_decay,
            layer_decay=self.layer_decay,
            clip=self.clip,
            save_every=self.save_every,
        )
