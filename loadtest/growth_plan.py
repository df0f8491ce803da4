"""What a run of loadtest.growth varies, and its command line."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from loadtest import catalogue
from loadtest.traffic import Traffic, read_ids

CANDIDATES = (10, 30, 100, 300, 1_000, 3_000, 10_000)
CATALOGUES = (10_000, 100_000, 1_000_000, 2_000_000)
CACHES = (1, 2, 4, 8, 16)
WORKERS = (1, 2, 3, 4)
# Request threads (0: in the event loop) and ONNX Runtime threads of one worker.
THREADS = ((0, 1), (1, 1), (2, 1), (4, 1), (0, 2), (2, 2))
N = 1_000  # candidates, where they are not what grows
CONNECTIONS = 8
HEAD_QUERIES = 500
BUNDLES = Path(__file__).parents[1] / "model_store" / "bundles"


class Plan:
    """Options of a run, and the folder of what it needs only meanwhile."""

    def __init__(self, work: Path, options: argparse.Namespace) -> None:
        self.work = work
        self.bundles: Path = options.bundles
        self.model: str = options.model
        self.catalogue_model: str = options.catalogue_model
        self.products: int = options.products
        self.sizes: list[int] = options.sizes
        self.megabytes: list[int] = options.megabytes
        self.workers: list[int] = options.workers
        self.requests: int = options.requests
        self.rounds: int = options.rounds
        self.seed: int = options.seed

    def traffic(self, products: int) -> tuple[Path, Traffic]:
        """A catalogue of so many products, and requests for it."""
        path = self.work / f"products-{products}.csv"
        if not path.exists():
            catalogue.write_catalogue(path, products, self.seed)
        return path, Traffic(read_ids(path), catalogue.queries(HEAD_QUERIES, self.seed), self.seed)


def read_options(about: str | None, sections: Iterable[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument(
        "--only", choices=tuple(sections), action="append", help="may be given again"
    )
    parser.add_argument("--bundles", type=Path, default=BUNDLES)
    parser.add_argument("--model", default="shop-reprbert", help="of candidates and workers")
    parser.add_argument("--catalogue-model", default="shop-bert2dnn", help="it encodes titles fast")
    parser.add_argument("--products", type=int, default=20_000, help="of candidates and workers")
    parser.add_argument("--sizes", type=int, nargs="+", default=CATALOGUES, help="of the catalogue")
    parser.add_argument("--megabytes", type=int, nargs="+", default=CACHES, help="of the row cache")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--requests", type=int, default=300, help="per cell and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()
