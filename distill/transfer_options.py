"""What the making of a transfer set may be told."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from distill.errors import TransferRefused
from distill.ranges import at_least

OnProgress = Callable[[str, int, int | None], None]  # phase, done, total where it is known
Rule = Literal["strict", "wide", "clicks"]
Behaviour = Literal["none", "ordered", "clicked"]

_LEAST = {"seed": 0, "pairs_per_query": 0, "rewrites": 0, "pseudo_queries": 0}
_LEAST |= {"pairs_per_made_query": 1, "bm25_depth": 1, "neighbour_depth": 1}
_LEAST |= {"block_queries": 1, "block_titles": 1}
_LEAST_OF_A_LOG = {"shown_times": 1, "skipped_times": 1, "memory_mb": 1}


@dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """How many pairs of which kind are made from a catalogue and queries.

    seed: the same inputs and seed give the same file, byte for byte
    pairs_per_query: made for each query given, besides its judged pairs
    rewrites: changed forms of each query given, each with pairs of its own
    pseudo_queries: made from titles
    pairs_per_made_query: of each rewrite and pseudo-query, besides its source products
    bm25_share, neighbour_share, random_share: of the pairs made for one query; they sum to 1
    bm25_depth: rank of the last title retrieved that may make a pair
    neighbour_depth: titles that count as near another
    judged: put the judged pairs themselves into the set too
    block_queries: so many like queries are paired with the same titles, drawn from the pairs that
        each would have alone; 1: every query has its own
    block_titles: so many titles, where block_queries is above 1

    Raises:
        TransferRefused: a value out of range; the text names it.
    """

    seed: int = 0
    pairs_per_query: int = 20
    rewrites: int = 0
    pseudo_queries: int = 0
    pairs_per_made_query: int = 10
    bm25_share: float = 0.5
    neighbour_share: float = 0.3
    random_share: float = 0.2
    bm25_depth: int = 200
    neighbour_depth: int = 20
    judged: bool = True
    block_queries: int = 1
    block_titles: int = 16

    def __post_init__(self) -> None:
        """Checks the ranges."""
        at_least(self, _LEAST, TransferRefused)
        shares = (self.bm25_share, self.neighbour_share, self.random_share)
        if min(shares) < 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-9):
            raise TransferRefused(
                "bm25_share, neighbour_share and random_share: expected shares from 0 on that sum "
                f"to 1, got {shares[0]:g} + {shares[1]:g} + {shares[2]:g} = {sum(shares):g}"
            )


@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """Which logged pairs make the transfer set; the first two rules and defaults are BERT2DNN's.

    rule: "strict" takes pairs that were ordered, or shown `shown_times` without a click (its 50
        million pairs); "wide" those clicked, or skipped `skipped_times` (its 170 million);
        "clicks" those shown `shown_times`, with their click ratio as target: what DRFC and DRDD
        learn first
    shown_times: showings without a click after which a pair counts as disliked; of "clicks",
        showings from which a ratio is believed
    skipped_times: showings above a click of the same page (column `skipped`) that do
    behaviour: which pairs are marked as hard positives, "clicked" with those ordered, and taken
        whatever the rule says (the paper's online model mixes in clicked pairs)
    memory_mb: about how much of the log is looked at at once

    Raises:
        TransferRefused: a value out of range; the text names it.
    """

    rule: Rule = "strict"
    shown_times: int = 20
    skipped_times: int = 5
    behaviour: Behaviour = "none"
    memory_mb: int = 256

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name, value, known in (
            ("rule", self.rule, get_args(Rule)),
            ("behaviour", self.behaviour, get_args(Behaviour)),
        ):
            if value not in known:
                raise TransferRefused(f"{name}: expected one of {', '.join(known)}, got {value!r}")
        if self.rule == "clicks" and self.behaviour != "none":
            raise TransferRefused(
                f"behaviour: expected none with the rule clicks, whose targets say what was "
                f"wanted, got {self.behaviour!r}: leave it out"
            )
        at_least(self, _LEAST_OF_A_LOG, TransferRefused)
