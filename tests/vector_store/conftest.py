"""Vector sets to test with: small headers and records of rows."""

from collections.abc import Callable
from uuid import uuid4

import numpy as np
import pytest

from vector_store.header import SetHeader
from vector_store.rows import pack

FINGERPRINT = "0123abcd" * 8


def _header(
    generation: int = 1,
    *,
    fingerprint: str = FINGERPRINT,
    width: int = 4,
    sealed: str | None = None,
    count: int = 0,
) -> SetHeader:
    return SetHeader(
        format_version=1,
        set_id=f"{fingerprint[:8]}.{generation}",
        fingerprint=fingerprint,
        model="reprbert 3",
        width=width,
        dtype="float16",
        segments={"p": (0, width)},
        count=count,
        created="2024-05-01T10:00:00Z",
        sealed=sealed,
    )


def _records(n: int, *, first: int = 0, width: int = 4) -> list[bytes]:
    """Records of n rows, each filled with its number from `first` on."""
    numbers = np.arange(first, first + n) % 2048  # float16 has every integer up to 2048
    rows = np.repeat(numbers.astype(np.float16)[:, None], width, axis=1)
    return pack(rows, np.ones(n, np.uint64), 1_700_000_000)


@pytest.fixture
def header_of() -> Callable[..., SetHeader]:
    return _header


@pytest.fixture
def records_of() -> Callable[..., list[bytes]]:
    return _records


@pytest.fixture
def shared_redis_url(redis_url: str) -> str:
    """The shared Redis with a namespace of glob characters that no other test uses."""
    return f"{redis_url}?ns=t*[{uuid4().hex}]?"


@pytest.fixture
def shared_cluster_url(redis_cluster_url: str) -> str:
    """The shared cluster, likewise."""
    return f"{redis_cluster_url}?ns=t*[{uuid4().hex}]?"
