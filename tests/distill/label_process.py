"""Labels pairs in a process to be killed: python -m tests.distill.label_process PAIRS OUT."""

import sys
from pathlib import Path

from distill.labelling import label, score_here
from distill.labels import PairsFile
from tests.distill.overlap import OverlapScorer


def main() -> None:
    pairs, out = map(Path, sys.argv[1:])
    scorer = OverlapScorer(seconds_per_call=0.2)
    label(PairsFile(pairs), "overlap", scorer.sha256, score_here(scorer), out, lambda *_: None)


if __name__ == "__main__":
    main()
