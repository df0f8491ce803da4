"""One command at a time in a folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from distill.errors import DistillError


@contextmanager
def locked(file: IO[Any] | int, busy: DistillError) -> Iterator[None]:
    """Holds the lock of an open file, or of a folder's descriptor.

    It goes with the process, however that ends.

    Raises:
        DistillError: `busy`, where another process holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise busy from error
    yield
