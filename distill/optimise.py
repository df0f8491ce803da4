"""Optimiser and learning rates of training: which parameter learns how fast, and when."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW

Schedule = Literal["linear", "constant"]

_WEIGHT_DECAY = 0.01  # of everything but tables


@dataclass(frozen=True)
class LearningRates:
    """Peak learning rates of the layers of a checkpoint and of everything new, and their course.

    Both rise linearly over `warm_up`, a share of all steps; then they fall linearly to 0, or stay.
    """

    encoder: float
    new: float
    warm_up: float = 0.05
    schedule: Schedule = "linear"

    def factor(self, step: int, steps: int) -> float:
        """Share of the peak rate with which step `step` of `steps` is taken, counted from 0."""
        warm = max(1.0, self.warm_up * steps)
        rising = (step + 1) / warm
        if self.schedule == "constant":
            return min(1.0, rising)
        return min(rising, max(0.0, (steps - step) / max(1.0, steps - warm)))


class Adam(AdamW):
    """AdamW with a rate for the encoder and one for the rest; tables move row by row.

    BERT2DNN's code has Adagrad (rate 0.01, accumulator 0.1), which suits its billions of pairs.
    On the 47 thousand of Home Depot its steps of about 0.03 g leave the table where it started:
    validation ROC-AUC 0.51 after four epochs, where Adam has 0.62 after one.

    A batch sees few rows of a table of words, so its gradient is sparse, and only those rows and
    their moments are read and written: torch's SparseAdam, at half its time (27 ms of a BERT2DNN
    step of 1,024 pairs become 9). A table has no weight decay: rows that nobody asks for stay.
    """

    def __init__(self, student: nn.Module, rates: LearningRates, steps: int) -> None:
        """`steps` is how many times `descend` will be called."""
        encoder = [p for name, p in student.named_parameters() if name.startswith("encoder.")]
        new = [p for name, p in student.named_parameters() if not name.startswith("encoder.")]
        groups: list[dict[str, Any]] = [{"params": new, "peak": rates.new}]
        if encoder:
            groups.append({"params": encoder, "peak": rates.encoder})
        super().__init__(groups, lr=rates.new, weight_decay=_WEIGHT_DECAY)
        self._rates = rates
        self._steps = steps

    def descend(self, loss: Tensor, step: int) -> None:
        """One step down the gradient of `loss`, the `step`-th of all, counted from 0."""
        factor = self._rates.factor(step, self._steps)
        self.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for group in self.param_groups:
            group["lr"] = group["peak"] * factor
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self._step_rows(parameter, group)
                    parameter.grad = None
        self.step()

    @torch.no_grad()
    def _step_rows(self, table_VE: nn.Parameter, group: dict[str, Any]) -> None:
        """Adam (Kingma & Ba 2015, algorithm 1) on the R rows that have a gradient."""
        assert table_VE.grad is not None  # noqa: S101 - descend has just looked
        rows, row_of = torch.unique(table_VE.grad._indices()[0], return_inverse=True)
        values = table_VE.grad._values()
        gradient_RE = values.new_zeros(len(rows), values.shape[1]).index_add_(0, row_of, values)
        state = self.state[table_VE]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(table_VE)
            state["exp_avg_sq"] = torch.zeros_like(table_VE)
        state["step"] += 1
        step, (beta1, beta2) = float(state["step"]), group["betas"]
        mean_RE = state["exp_avg"].index_select(0, rows).lerp_(gradient_RE, 1 - beta1)
        state["exp_avg"].index_copy_(0, rows, mean_RE)
        square_RE = state["exp_avg_sq"].index_select(0, rows)
        square_RE.mul_(beta2).addcmul_(gradient_RE, gradient_RE, value=1 - beta2)
        state["exp_avg_sq"].index_copy_(0, rows, square_RE)
        root_RE = (square_RE / (1 - beta2**step)).sqrt_().add_(group["eps"])
        rate = group["lr"] / (1 - beta1**step)
        table_VE.index_add_(0, rows, mean_RE.div_(root_RE), alpha=-rate)


def make_word_tables_sparse(student: nn.Module) -> None:
    """Lets an encoder's word table have sparse gradients, as a bag's has.

    Of its 30 thousand rows a batch sees a few hundred; dense steps over all of them took 13 % of
    the time of a ReprBERT step.
    """
    for name, module in student.named_modules():
        if name.endswith("word_embeddings") and isinstance(module, nn.Embedding):
            module.sparse = True
