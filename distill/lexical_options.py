"""What the training of a lexical teacher may be told. No LightGBM here."""

from dataclasses import asdict, dataclass

from distill.ranges import above_0_below_1, at_least
from distill.teacher_file import Facts

_LEAST = {"seed": 0, "models": 1, "rounds": 1, "patience": 1, "leaves": 2, "leaf_pairs": 1}


@dataclass(frozen=True, kw_only=True)
class LexicalOptions:
    """Options of `teach_lexical`.

    Raises:
        TrainingRefused: a value out of range; the text names it.
    """

    seed: int = 0
    models: int = 3  # of seeds from `seed` on; the teacher's logit is their mean
    rounds: int = 600  # trees of a model at most
    patience: int = 100  # rounds without a better ROC-AUC on the validation pairs
    learning_rate: float = 0.04  # share of a tree's answer that is added
    leaves: int = 24  # of a tree
    leaf_pairs: int = 40  # of a leaf, at least
    # Validation counts a pair as relevant from this target on; so does `binary`.
    relevant_from: float = 0.5
    binary: bool = False  # learn labels 0 and 1 in place of graded targets
    look_up: bool = False  # also see the catalogue's other titles and other queries' judged pairs

    def __post_init__(self) -> None:
        """Checks the ranges."""
        at_least(self, _LEAST)
        above_0_below_1(self, "learning_rate", "relevant_from")

    @property
    def deciding(self) -> Facts:
        """Those that decide the result: all, `look_up` only where it is asked for."""
        return {name: value for name, value in asdict(self).items() if name != "look_up" or value}
