"""Files that are there whole or not at all, however a command ends."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill.errors import DistillError
from distill.lock import locked


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Where to write what will be `path`: it is renamed once it lies on the disk.

    Killed before that, `<name>.unfinished` stays behind, and the next writer begins it anew.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    yield unfinished
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """An empty folder, gone at the end unless it was renamed; what a kill left of it goes first.

    Raises:
        DistillError: another command is at work in it.
    """
    path.mkdir(parents=True, exist_ok=True)
    busy = DistillError(f"{path}: another command is at work there: let it finish")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with locked(descriptor, busy):
            for left in path.iterdir():
                left.unlink()
            try:
                yield path
            finally:
                shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(descriptor)
