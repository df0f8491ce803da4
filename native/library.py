"""Loads a compiled C source; knows nothing of what it computes."""

import ctypes
import logging
from pathlib import Path
from typing import Final

log = logging.getLogger("winnow.native")


_MARK_BYTES: Final = 16


def object_path(source: Path) -> Path:
    """Where the shared object of a C source lies: beside it, under a name no import looks for.

    `rows.so` would be imported in place of `rows.py`.
    """
    return source.with_name(f"lib{source.stem}.so")


def load(source: Path) -> ctypes.CDLL | None:
    """The shared object compiled from `source`, which lies beside it; None where there is none.

    One that was compiled from another state of the source is not used either: its functions may
    take other arguments. Calls into it release the GIL.
    """
    path = object_path(source)
    try:
        library = ctypes.CDLL(str(path))
        mark = (ctypes.c_char * (_MARK_BYTES + 1)).in_dll(library, "winnow_source_mark").value
    except (OSError, ValueError) as error:
        log.info("%s is not compiled (%s): the slower path is taken", source.name, error)
        return None
    if source.exists() and mark != _mark(source):
        log.warning(
            "%s was compiled from another version of %s: the slower path is taken; "
            "compile again with python -m native.compile",
            path.name,
            source.name,
        )
        return None
    return library


def _mark(source: Path) -> bytes:
    from native.compile import source_mark  # noqa: PLC0415 - a wheel may come without sources

    return source_mark(source).encode()
