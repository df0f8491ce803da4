"""What several tests of export share; fixtures are in conftest.py."""

from pathlib import Path
from typing import Protocol

from export.bundle_export import Publication
from export.checkpoint import Checkpoint
from model_store.manifest import Calibration, Thresholds

KINDS = ("bert2dnn", "deepdot", "reprbert")


class TrainKind(Protocol):
    """Trains a student of a kind on small data."""

    def __call__(self, kind: str, out: Path, *, seed: int = 0) -> Checkpoint: ...


def publication(
    name: str, *, version: str | None = None, int8_product: bool = False
) -> Publication:
    """What a test publishes where nothing about it matters."""
    return Publication(
        name=name,
        version=version,
        thresholds=Thresholds(default=0.5, price=0.6, sale=0.4, chosen_on="nothing: a test"),
        calibration=Calibration(),
        metrics=[],
        int8_product=int8_product,
    )
