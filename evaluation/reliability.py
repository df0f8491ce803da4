"""Whether a probability means what it says: reliability, log loss, Brier score."""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from evaluation import weighted
from evaluation.resampling import Interval, Resampling, Sampled
from model_store.calibration import inside

BINS = 10


class Bin(BaseModel):
    """The pairs whose probability lies in [low, high); the last bin holds 1 too."""

    model_config = ConfigDict(frozen=True)

    low: float
    high: float
    pairs: int
    mean_probability: float | None  # None: no pair
    relevant: Interval | None  # share of relevant pairs; None: no pair, or of too few queries


class Reliability(BaseModel):
    """BINS bins of equal width, and their expected calibration error.

    ECE = sum over bins of (pairs / n) * |share of relevant pairs - mean probability|; Guo et al.
    (2017), "On calibration of modern neural networks", equation 3.
    """

    model_config = ConfigDict(frozen=True)

    ece: float
    bins: list[Bin]


def reliability(
    labels: NDArray[np.bool_], probabilities: NDArray[np.float32], resampling: Resampling
) -> Reliability:
    """Reliability of n probabilities.

    Raises:
        ValueError: the probabilities are not all in [0, 1].
    """
    _check(probabilities)
    # Edges in the scores' own precision: the float32 nearest to 0.9 belongs to the bin from 0.9 on.
    edges = np.linspace(0, 1, BINS + 1).astype(np.float32)
    values = probabilities.astype(np.float64)
    inside = np.clip(np.searchsorted(edges, probabilities, side="right") - 1, 0, BINS - 1)
    members = [(inside == place).astype(np.float64) for place in range(BINS)]
    shares = resampling.samples(
        {str(place): weighted.ratio(labels * here, here) for place, here in enumerate(members)}
    )
    bins = [
        Bin(
            low=place / BINS,
            high=(place + 1) / BINS,
            pairs=int(here.sum()),
            mean_probability=float(values @ here / here.sum()) if here.any() else None,
            relevant=shares[str(place)].interval(),
        )
        for place, here in enumerate(members)
    ]
    error = sum(abs(float((labels * here).sum() - values @ here)) for here in members)
    return Reliability(ece=error / len(values), bins=bins)


def log_losses(
    labels: NDArray[np.bool_], probabilities: NDArray[np.float32]
) -> NDArray[np.float64]:
    """-ln of the probability given to what was judged, nats, float64 [n]."""
    _check(probabilities)
    clipped = inside(probabilities)
    losses: NDArray[np.float64] = -np.where(labels, np.log(clipped), np.log1p(-clipped))
    return losses


def brier_scores(
    labels: NDArray[np.bool_], probabilities: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(probability - label)^2, float64 [n]."""
    _check(probabilities)
    scores: NDArray[np.float64] = (probabilities.astype(np.float64) - labels) ** 2
    return scores


def expected_losses(
    labels: NDArray[np.bool_], probabilities: NDArray[np.float32], resampling: Resampling
) -> dict[str, Sampled]:
    """Means of both losses: "log_loss" and "brier"."""
    return resampling.samples(
        {
            "log_loss": weighted.mean(log_losses(labels, probabilities)),
            "brier": weighted.mean(brier_scores(labels, probabilities)),
        }
    )


def _check(probabilities: NDArray[np.float32]) -> None:
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(
            f"expected probabilities from 0 to 1, got {np.min(probabilities)} to "
            f"{np.max(probabilities)}: a raw score is not one"
        )
