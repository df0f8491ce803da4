"""Compiles the C sources into shared objects beside them.

At install, or by `python -m native.compile`. Standard library only: the build hook runs it before
anything is installed.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from hashlib import sha256
from pathlib import Path
from typing import Final

from native.library import object_path

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = (ROOT / "model_store" / "head.c", ROOT / "vector_store" / "rows.c")

# -ffp-contract=off: a multiply and an add stay two roundings, so that every code path of the head
# gives the same score, bit by bit. No -march: what the CPU can do is asked at run time.
_FLAGS: Final = ("-O3", "-std=gnu11", "-shared", "-fPIC", "-ffp-contract=off", "-fno-math-errno")


class CompileError(Exception):
    """There is no C compiler, or it refused a source; the text has its words."""


def compiler() -> list[str] | None:
    """The C compiler's command: $CC, or cc, gcc or clang on the PATH; None where there is none."""
    named = os.environ.get("CC")
    if named:
        command = shlex.split(named)
        return command if shutil.which(command[0]) else None
    found = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    return None if found is None else [found]


def source_mark(source: Path) -> str:
    """16 hex digits that a shared object carries, to tell which source it was made from."""
    return sha256(source.read_bytes()).hexdigest()[:16]


def compile_source(source: Path) -> Path:
    """Compiles one source; a shared object that is there is replaced whole.

    Raises:
        CompileError: no compiler, or it failed.
    """
    command = compiler()
    if command is None:
        raise CompileError("no C compiler: expected $CC, or cc, gcc or clang on the PATH")
    target = object_path(source)
    fresh = target.with_suffix(f".{os.getpid()}.tmp")
    mark = f'-DWINNOW_SOURCE_MARK="{source_mark(source)}"'
    done = subprocess.run(  # noqa: S603 - the compiler that $CC or the PATH names
        [*command, *_FLAGS, mark, "-o", str(fresh), str(source), "-lm", "-lpthread"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        fresh.unlink(missing_ok=True)
        raise CompileError(f"{' '.join(command)} refused {source.name}: {done.stderr.strip()}")
    fresh.replace(target)
    return target


def platform_tag() -> str:
    """Tag of a wheel that carries shared objects but is not tied to one Python."""
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


def main() -> None:
    """Compiles every source in place."""
    for source in SOURCES:
        target = compile_source(source)
        sys.stdout.write(f"{target.relative_to(ROOT)}: {target.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
