"""The same small pairs, encoder and students as the tests of export."""

from tests.export.conftest import (
    encoder_folder,
    one_thread,
    pairs,
    parts,
    train_kind,
    trained,
)

__all__ = ["encoder_folder", "one_thread", "pairs", "parts", "train_kind", "trained"]
