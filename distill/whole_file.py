"""Files that are there whole or not at all, however a command ends."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    """An empty folder, gone at the end unless it was renamed; what a kill left of it goes first."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
