"""Files that are there whole or not at all, however a command ends."""

import os
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
