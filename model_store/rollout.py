"""What of a student is served: its active version, and beside it a canary and a shadow.

`<root>/<name>/current` names the active version (model_store.registry), `rollout.json` beside it
the other two, where there are any. Each file is replaced in one step.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_store.errors import BundleDamaged
from model_store.manifest import Version
from model_store.registry import activate, bundle_folder, replace_text

ROLLOUT_FILE = "rollout.json"
BesideRole = Literal["canary", "shadow"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Share(_Frozen):
    """A version, and the share of the requests that it sees."""

    version: Version
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0


class Beside(_Frozen):
    """Versions that are loaded beside the active one: rollout.json."""

    canary: Share | None = None
    shadow: Share | None = None


class Rollout(Beside):
    """All that is served of one student."""

    version: Version


def unless(share: Share | None, version: str) -> Share | None:
    """The share, unless it is of this version: what is active is neither canary nor shadow."""
    return None if share is None or share.version == version else share


def read_rollout(root: Path, name: str) -> Rollout:
    """What the registry says is to be served of `name`.

    A canary or shadow of the active version is none.

    Raises:
        BundleNotFound: no such name, or none of its versions is active.
        BundleDamaged: a pointer or rollout.json can't be read.
    """
    active = bundle_folder(root, name).name
    beside = _read_beside(root, name)
    return Rollout(
        version=active,
        canary=unless(beside.canary, active),
        shadow=unless(beside.shadow, active),
    )


def make_active(root: Path, name: str, version: str) -> None:
    """Makes a version the active one; where it was the canary or the shadow, it ends as that.

    Raises:
        BundleNotFound: no such name or version.
        BundleDamaged: rollout.json can't be read.
    """
    activate(root, name, version)
    beside = _read_beside(root, name)
    left = Beside(canary=unless(beside.canary, version), shadow=unless(beside.shadow, version))
    if left != beside:
        _write_beside(root, name, left)


def set_beside(root: Path, name: str, role: BesideRole, share: Share | None) -> None:
    """Names the canary or the shadow, or says that there is none.

    Raises:
        BundleNotFound: no such name or version.
        BundleDamaged: rollout.json can't be read.
    """
    bundle_folder(root, name, None if share is None else share.version)
    _write_beside(root, name, _read_beside(root, name).model_copy(update={role: share}))


def _read_beside(root: Path, name: str) -> Beside:
    path = root / name / ROLLOUT_FILE
    try:
        return Beside.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Beside()
    except (OSError, ValidationError) as error:
        raise BundleDamaged(
            f"{name}/{ROLLOUT_FILE}: expected a canary and a shadow with version and share: "
            f"{str(error).splitlines()[0]}; remove the file, or name them again"
        ) from error


def _write_beside(root: Path, name: str, beside: Beside) -> None:
    replace_text(root / name / ROLLOUT_FILE, beside.model_dump_json(indent=2) + "\n")
