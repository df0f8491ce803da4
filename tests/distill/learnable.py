"""Pairs that a small teacher learns in seconds, so well that no rounding changes their order."""

from pathlib import Path

import numpy as np

from distill.new_encoder import EncoderSizes, write_new_encoder
from export.pairs import Pairs

_WORDS = (
    *("red", "blue", "green", "steel", "wooden", "cable", "lamp", "chair", "table", "phone"),
    *("case", "cover", "usb", "charger", "garden", "hose", "drill", "hammer", "screw", "手机"),
    *("电脑", "红色", "2.5", "12", "mm", "angle", "bracket", "shower", "head", "trim", "kit"),
    *("paint", "brush"),
)
_WORTH = dict(zip(_WORDS, np.linspace(-2.0, 2.0, len(_WORDS)), strict=True))


def learnable_pairs() -> Pairs:
    """1,200 pairs of 300 queries; a title's log odds are the sum of what its words are worth.

    Whether a title has the words of its query, which `pairs` is about, takes a network of two
    layers longer to find out than a test should take. Until it has, its logits lie so close
    together that an int8 graph, which rounds them, orders them otherwise.
    """
    random = np.random.default_rng(7)
    queries, titles, log_odds = [], [], []
    for number in range(300):
        asked = random.choice(_WORDS, size=2, replace=False)
        for _ in range(4):
            words = random.choice(_WORDS, size=5)
            queries.append(f"{asked[0]} {asked[1]} {number}")
            titles.append(" ".join(words))
            log_odds.append(sum(_WORTH[word] for word in words))
    targets = 1.0 / (1.0 + np.exp(-np.array(log_odds)))
    return Pairs("pairs.csv", "0" * 64, queries, titles, targets.astype(np.float32))


def write_learner(pairs: Pairs, folder: Path) -> Path:
    """An encoder for them, two layers, 32 wide, the same in every run.

    Its first weights are small, BERT's own 0.02. Those of `families` are ten times as large, so
    that texts differ before anything is learned, and learn these pairs by heart instead.
    """
    sizes = EncoderSizes(layers=2, width=32, heads=2, feed_forward=64, positions=40, vocabulary=300)
    write_new_encoder([*pairs.queries, *pairs.titles], sizes, 5, folder)
    return folder
