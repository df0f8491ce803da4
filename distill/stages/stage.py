"""One step of a recipe, and whether it has to be taken: a make for folders, by contents.

A stage is done when its file lies in the work folder and says what is true now: the same options,
inputs of the same contents, and outputs as they were left. Times don't count, so a stage whose
input was made again with the same bytes stays done.

<work>/stages/<stage>.json         of a stage that is done
<work>/stages/<stage>.begun.json   of one that was stopped: what it leaves goes on from there
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from distill.errors import RecipeRefused
from distill.lock import locked
from distill.transfer_options import OnProgress
from distill.whole_file import written_whole
from model_store.digest import file_sha256

Kind = Literal[
    "data",
    "encoder",
    "pretrain",
    "shorten",
    "teacher",
    "convert",
    "transfer",
    "wide",
    "labels",
    "labels-wide",
    "labels-judged",
    "student",
    "fine-tune",
    "labels-alone",
    "export",
    "calibrate",
    "publish",
    "context",
    "judge",
    "report",
]
Result = dict[str, str | int | float | None]
"""What the table at the end says of a stage: figures by name."""

_NOT_THERE = "not there"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A step that is taken when what decides its outcome has changed.

    kind, name: "teacher", "minilm"; the name is "" where a recipe has one stage of the kind
    options: JSON-able; what decides the outcome beside the inputs
    inputs: files and folders by what they are called to people
    outputs: what comes of it, known at the latest once it is done
    run: makes the outputs; goes on where a stopped run of the same options and inputs was
    result: read from the outputs; what `run` has left out of them, too, where they don't say it
    leaves: what `run` makes or leaves in the work folder, which is removed before it runs anew
    grows_with: options that say how much is made; `run` adds to what another value has left
    """

    kind: Kind
    name: str = ""
    options: Mapping[str, object]
    inputs: Mapping[str, Path]
    outputs: Callable[[], Sequence[Path]]
    run: Callable[[OnProgress], None]
    result: Callable[[], Result]
    leaves: Sequence[Path]
    grows_with: frozenset[str] = frozenset()

    @property
    def title(self) -> str:
        """As people see it, and `--until` takes it."""
        return f"{self.kind}:{self.name}" if self.name else self.kind


class _StageFile(BaseModel):
    """What decided a stage's outcome and, of one that is done, what came of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    options: dict[str, object]
    inputs: dict[str, str]  # sha256
    outputs: dict[str, str] = {}
    result: dict[str, str | int | float | None] = {}
    seconds: float = 0.0


@dataclass(frozen=True)
class Taken:
    """A stage that is done: now (`why` says the reason) or before (None), in so many seconds."""

    stage: Stage
    why: str | None
    seconds: float
    result: Result


class Work:
    """The folder in which a recipe's stages lie."""

    def __init__(self, folder: Path) -> None:
        """The folder need not be there yet."""
        self.folder = folder
        self._hashes: dict[Path, str] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time.

        Raises:
            RecipeRefused: another command is at work there.
        """
        stages = self.folder / "stages"
        try:
            stages.mkdir(parents=True, exist_ok=True)
            file = (stages / ".lock").open("w", encoding="utf-8")
        except OSError as error:
            raise RecipeRefused(
                f"{self.folder}: can't be written: {error.strerror or error}"
            ) from error
        busy = RecipeRefused(f"{self.folder}: another recipe is being made there: let it finish")
        with file, locked(file, busy):
            yield

    def why(self, stage: Stage) -> str | None:
        """Why a stage has to be taken; None: it is done."""
        done = self._read(self._path(stage))
        if done is None:
            return "it was stopped" if self._goes_on(stage) else "new"
        if why := _difference(done, self._identity(stage)):
            return why
        outputs = self._outputs(stage)
        gone = [name for name, sha256 in outputs.items() if sha256 == _NOT_THERE]
        if gone:
            return f"{Path(gone[0]).name} is gone"
        if outputs != done.outputs:
            changed = [name for name in outputs if outputs[name] != done.outputs.get(name)]
            return f"{Path(changed[0]).name} is not what it left" if changed else "it left less"
        return None

    def take(self, stage: Stage, on_progress: OnProgress) -> Taken:
        """Runs a stage unless it is done.

        Raises:
            RecipeRefused: an input is not there, such as a folder that was moved: what was made of
                it stays as it is.
        """
        why = self.why(stage)
        if why is None:
            done = self._read(self._path(stage))
            assert done is not None  # noqa: S101 - `why` has just read it
            return Taken(stage, None, done.seconds, done.result)
        for name, path in stage.inputs.items():
            if not path.exists():
                raise RecipeRefused(
                    f"{stage.title}: {name}: expected {path}, which is not there: put it back, or "
                    "correct the recipe; nothing was removed"
                )
        identity = self._identity(stage)
        if not self._goes_on(stage):
            self._path(stage).unlink(missing_ok=True)
            for path in stage.leaves:
                _remove(path)
        _write(self._begun(stage), identity)
        self._path(stage).unlink(missing_ok=True)
        started = time.monotonic()
        stage.run(on_progress)
        for path in (*stage.leaves, *stage.outputs()):
            self._hashes.pop(path.resolve(), None)
        file = identity.model_copy(
            update={
                "outputs": self._outputs(stage),
                "result": stage.result(),
                "seconds": round(time.monotonic() - started, 1),
            }
        )
        _write(self._path(stage), file)
        self._begun(stage).unlink()
        return Taken(stage, why, file.seconds, file.result)

    def sha256(self, path: Path) -> str:
        """sha256 of a file, or over the names and contents of a folder's files; read once."""
        whole = path.resolve()
        if whole in self._hashes:
            return self._hashes[whole]
        found = path_sha256(whole)
        if found != _NOT_THERE:  # yet
            self._hashes[whole] = found
        return found

    def _identity(self, stage: Stage) -> _StageFile:
        options = json.loads(json.dumps(dict(stage.options), default=str))
        inputs = {name: self.sha256(path) for name, path in stage.inputs.items()}
        return _StageFile(options=options, inputs=inputs)

    def _outputs(self, stage: Stage) -> dict[str, str]:
        folder = self.folder.resolve()
        found = {}
        for path in (each.resolve() for each in stage.outputs()):
            inside = path.is_relative_to(folder)  # a work folder may be moved
            name = path.relative_to(folder) if inside else Path(path.parent.name, path.name)
            found[str(name)] = self.sha256(path)
        return found

    def _goes_on(self, stage: Stage) -> bool:
        """Whether what a run has left, stopped or whole, is of these options and inputs, or is a
        part of what is asked for.
        """
        now, grown = self._identity(stage), stage.grows_with
        begun, done = self._read(self._begun(stage)), self._read(self._path(stage))
        if done is not None and done.outputs != self._outputs(stage):
            done = None  # spoilt since
        left = (each for each in (begun, done) if each is not None)
        return any(_difference(each, now, grown) is None for each in left)

    def _path(self, stage: Stage) -> Path:
        return self.folder / "stages" / f"{stage.title.replace(':', '.')}.json"

    def _begun(self, stage: Stage) -> Path:
        return self._path(stage).with_suffix(".begun.json")

    def _read(self, path: Path) -> _StageFile | None:
        """None where there is none, or one that was damaged: the stage is taken again."""
        try:
            return _StageFile.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None


def path_sha256(path: Path) -> str:
    """sha256 of a file's bytes; of a folder, over the names and hashes of all its files."""
    if path.is_dir():
        digest = hashlib.sha256()
        for each in sorted(found for found in path.rglob("*") if found.is_file()):
            digest.update(f"{each.relative_to(path)} {path_sha256(each)}\n".encode())
        return digest.hexdigest()
    try:
        return file_sha256(path)
    except OSError:
        return _NOT_THERE


def _difference(
    before: _StageFile, now: _StageFile, but: Collection[str] = frozenset()
) -> str | None:
    """What has changed of what decides a stage's outcome, in words; no option in `but` counts."""
    for name in sorted(now.inputs.keys() | before.inputs.keys()):
        if before.inputs.get(name) != now.inputs.get(name):
            return f"{name} changed" if name in before.inputs else f"{name} is new to it"
    was, is_now = _flat(before.options), _flat(now.options)
    for name in sorted((was.keys() | is_now.keys()).difference(but)):
        if was.get(name) != is_now.get(name):
            return f"{name} was {was.get(name)!r}, is {is_now.get(name)!r}"
    return None


def _flat(options: Mapping[str, object]) -> dict[str, object]:
    """Options of options beside the others, named table.key."""
    flat: dict[str, object] = {}
    for name, value in options.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": each for key, each in _flat(value).items()}
        else:
            flat[name] = value
    return flat


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write(path: Path, file: _StageFile) -> None:
    with written_whole(path) as unfinished:
        unfinished.write_text(file.model_dump_json(indent=2) + "\n", encoding="utf-8")
