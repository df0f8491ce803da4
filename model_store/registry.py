"""Published versions of every student under one folder, and which of them is active.

`<root>/<name>/<version>/` are bundles; `<root>/<name>/current` names the active version and
`<root>/<name>/previous` the one before it. Whether the vector set of a version exists is for
the caller to check: this module knows no store.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from model_store.bundle import MANIFEST_FILE
from model_store.errors import BundleDamaged, BundleNotFound

DEFAULT_ROOT = Path(__file__).parent / "bundles"
_CURRENT = "current"
_PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class Published:
    """One name of the registry: its versions, oldest first, and the active and previous one."""

    name: str
    versions: list[str]
    current: str | None
    previous: str | None


def published(root: Path) -> list[Published]:
    """Every student under `root`, by name; an absent folder is an empty registry."""
    if not root.is_dir():
        return []
    return [
        _read(folder) for folder in sorted(root.iterdir()) if folder.is_dir() and _versions(folder)
    ]


def find(root: Path, name: str) -> Published:
    """One student of the registry.

    Raises:
        BundleNotFound: no such name; the text lists the names there are.
    """
    students = published(root)
    for student in students:
        if student.name == name:
            return student
    names = ", ".join(student.name for student in students) or "none"
    raise BundleNotFound(f"no student named {name!r}; published here: {names}")


def bundle_folder(root: Path, name: str, version: str | None = None) -> Path:
    """Folder of a version; without one, of the active version.

    Raises:
        BundleNotFound: no such name or version, or none is active.
    """
    student = find(root, name)
    wanted = version or student.current
    if wanted is None:
        raise BundleNotFound(
            f"{name} has no active version: name one of {', '.join(student.versions)}, "
            f"or activate it: winnow models activate {name} VERSION"
        )
    if wanted not in student.versions:
        raise BundleNotFound(
            f"{name} has no version {wanted!r}; published: {', '.join(student.versions)}"
        )
    return root / name / wanted


def served_names(root: Path, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Names to serve, the default one first: those asked for, or the only one that is active.

    Raises:
        BundleNotFound: nothing is published, or several are and none was asked for.
    """
    if asked:
        for name in asked:
            bundle_folder(root, name)
        return asked
    active = tuple(student.name for student in published(root) if student.current)
    if len(active) != 1:
        raise BundleNotFound(
            f"several students are active ({', '.join(active)}): name those to serve, the "
            "default one first, with --models A,B or WINNOW_MODELS"
            if active
            else f"no active student in {root.name}/: export one first (winnow export)"
        )
    return active


def next_version(root: Path, name: str) -> str:
    """The smallest whole number above every numbered version of `name`."""
    folder = root / name
    versions = _versions(folder) if folder.is_dir() else []
    return str(1 + max((int(version) for version in versions if version.isdigit()), default=0))


def activate(root: Path, name: str, version: str) -> None:
    """Makes a published version the active one; the one before it becomes `previous`.

    Raises:
        BundleNotFound: no such name or version.
    """
    student = find(root, name)
    bundle_folder(root, name, version)
    if student.current == version:
        return
    if student.current is not None:
        replace_text(root / name / _PREVIOUS, student.current + "\n")
    replace_text(root / name / _CURRENT, version + "\n")


def rollback_target(root: Path, name: str) -> str:
    """The version that was active before the current one.

    Raises:
        BundleNotFound: no such name, or nothing to go back to.
    """
    student = find(root, name)
    if student.previous is None or student.previous not in student.versions:
        raise BundleNotFound(f"{name} has no earlier active version to go back to")
    return student.previous


def replace_text(path: Path, text: str) -> None:
    """Replaces a small file in one step, so that a reader sees the old or the new text."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)


def _read(folder: Path) -> Published:
    return Published(
        folder.name,
        _versions(folder),
        _read_pointer(folder / _CURRENT),
        _read_pointer(folder / _PREVIOUS),
    )


def _versions(folder: Path) -> list[str]:
    names = [path.name for path in folder.iterdir() if (path / MANIFEST_FILE).is_file()]
    visible = [name for name in names if not name.startswith(".")]
    return sorted(
        visible, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)
    )


def _read_pointer(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleDamaged(f"{path.parent.name}/{path.name}: can't be read: {error}") from error
