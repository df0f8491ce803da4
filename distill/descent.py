"""How the weights of a teacher or an encoder move: numbers alone, no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Descent:
    """How fast and how far the weights move.

    Peak rates per step; `warm_up` is a share of all steps; `layer_decay` multiplies the rate once
    per layer from the top of the encoder down (1: all learn alike); `clip` bounds the gradient's
    norm.
    """

    epochs: int
    learning_rate: float
    head_learning_rate: float
    warm_up: float
    weight_decay: float
    layer_decay: float
    clip: float
    save_every: int

    def factor(self, done: float) -> float:
        """Share of the peak rate when `done` of the training, in (0, 1), is behind it."""
        if done < self.warm_up:
            return done / self.warm_up
        return (1.0 - done) / (1.0 - self.warm_up)
