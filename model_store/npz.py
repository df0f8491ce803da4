"""Reading a .npz that somebody else may have written: no pickle, and no more memory than it says.

A .npz is a zip of arrays. Both can lie: a few bytes unpack to gigabytes, and a header of a hundred
bytes asks numpy for an array of any size. So both are held against each other before either is
believed.
"""

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from model_store.errors import BundleDamaged

MOST_BYTES: Final = 256 * 2**20  # unpacked; golden rows and head weights have a few of them
_UNREADABLE: Final = (
    *(OSError, EOFError, ValueError, RuntimeError, MemoryError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of the file, by name.

    Raises:
        BundleDamaged: it is no such file, has Python objects in it, or is larger than it says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except _UNREADABLE as error:
        raise BundleDamaged(f"{path.name}: can't be read: {error}") from error


def _check(archive: zipfile.ZipFile) -> None:
    size = sum(member.file_size for member in archive.infolist())
    if size > MOST_BYTES:
        raise ValueError(f"expected at most {MOST_BYTES} bytes of arrays, got {size}")
    for member in archive.infolist():
        with archive.open(member) as file:
            said = _bytes_said(file) + file.tell()
        if said != member.file_size:
            raise ValueError(
                f"{member.filename}: expected {member.file_size} bytes, its header says {said}"
            )


def _bytes_said(file: IO[bytes]) -> int:
    """Bytes of the array that a header announces; the file is read up to its end."""
    version = npy.read_magic(file)
    if version not in {(1, 0), (2, 0)}:
        raise ValueError(f"expected version 1.0 or 2.0 of the format, got {version}")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("expected numbers or text, got Python objects")
    return math.prod(shape) * int(dtype.itemsize)
