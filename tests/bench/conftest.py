"""The shop's rows in Redis and in LMDB, and the command as a user runs it."""

import subprocess

import pytest

from tests.service.conftest import SHOP, WINNOW, environment, index_shop

WORDPIECE, CWUB = "shop-reprbert", "shop-bert2dnn"
QUERIES = str(SHOP / "queries.csv")
# A test machine may be slow: what counts here is which answers come, not how soon.
PATIENT = {"deadline_ms": "20000"}
FEW = ("--candidates", "100", "--requests", "6", "--warmup", "2", "--rounds", "2")


def run_bench(
    *arguments: str, settings: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Runs `winnow bench`; standard output is for machines, standard error for people."""
    return subprocess.run(
        [*WINNOW, "bench", *arguments],
        env={**environment(PATIENT if settings is None else settings), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


@pytest.fixture(scope="session")
def redis_rows(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a Redis namespace with the rows of the WordPiece student."""
    url = f"{redis_url}?ns=bench"
    index_shop(url, (WORDPIECE,), tmp_path_factory.mktemp("redis"))
    return url


@pytest.fixture(scope="session")
def lmdb_rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of an LMDB store with the rows of the CWUB student."""
    folder = tmp_path_factory.mktemp("lmdb")
    url = f"lmdb:{folder / 'rows'}"
    index_shop(url, (CWUB,), folder)
    return url
