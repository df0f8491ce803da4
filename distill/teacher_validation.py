"""What the epochs of a teacher's training are measured by, and what its logits mean.

A pointwise logit is a log odds of relevance. A listwise one puts products in order but is none, so
a Platt scale is fitted on the validation pairs of each epoch, and that of the best stays.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.cross_encoder import CrossEncoder
from distill.errors import TrainingRefused
from distill.pair_tokens import PairRows, PairTokenizer
from distill.resume import Epoch
from distill.teach_options import TeachOptions
from distill.teacher import raw_logits, weights_of
from distill.teacher_file import Scale
from evaluation.calibration import fit_platt
from evaluation.errors import UndefinedMetric
from evaluation.metrics import ndcg, roc_auc
from export.checkpoint import Facts
from export.pairs import Pairs


class TeacherValidation:
    """ROC-AUC and nDCG@10 of the validation pairs, and the scale that makes log odds of logits."""

    def __init__(
        self,
        model: CrossEncoder,
        tokenizer: PairTokenizer,
        limit: int,
        pairs: Pairs,
        options: TeachOptions,
        device: torch.device,
    ) -> None:
        self._model, self._pairs, self._options, self._device = model, pairs, options, device
        self._rows = PairRows(tokenizer, pairs.queries, pairs.titles, limit)

    def value(self) -> tuple[float, Facts]:
        logits = raw_logits(self._model, self._rows, self._device)
        labels = self._pairs.targets >= self._options.relevant_from
        grades = self._pairs.targets.astype(np.float64) * self._options.top_grade
        figures: Facts = {
            "roc_auc": roc_auc(labels, logits),
            "ndcg_at_10": ndcg(self._pairs.queries, grades, logits).value,
        }
        if self._options.loss != "pointwise":
            figures |= _platt(labels, logits)
        measured = figures[self._options.keep_best_by]
        assert isinstance(measured, float)  # noqa: S101 (both measures are)
        return measured, figures

    def weights(self) -> dict[str, Tensor]:
        return weights_of(self._model)


def _platt(labels: NDArray[np.bool_], logits: NDArray[np.float32]) -> Facts:
    """Slope and intercept that make log odds of logits; None where no positive slope fits.

    The fit takes probabilities: logits are standardised first, so that none saturates.
    """
    mean, spread = float(logits.mean(dtype=np.float64)), float(logits.std(dtype=np.float64))
    if spread == 0.0:
        return {"slope": None, "intercept": None}
    standard = (logits.astype(np.float64) - mean) / spread
    try:
        slope, intercept = fit_platt(labels, (1.0 / (1.0 + np.exp(-standard))).astype(np.float32))
    except UndefinedMetric:
        return {"slope": None, "intercept": None}
    return {"slope": slope / spread, "intercept": intercept - slope * mean / spread}


def scale_of(best: Epoch, options: TeachOptions) -> Scale:
    """The scale of a teacher with the weights of that epoch.

    Raises:
        TrainingRefused: a listwise teacher whose scores say nothing of relevance.
    """
    if options.loss == "pointwise":
        return Scale()
    if best.figures["slope"] is None:
        raise TrainingRefused(
            f"epoch {best.number}, the best: relevant validation pairs score no higher than others "
            f"(ROC-AUC {best.figures['roc_auc']:.3f}), so no scale makes probabilities of them: "
            "train longer, or with another learning rate"
        )
    return Scale.model_validate({name: best.figures[name] for name in ("slope", "intercept")})
