"""Runs a Dockerfile's steps in folders, where there is no Docker engine: each stage is a folder.

Read from the Dockerfile itself: COPY (also from an earlier stage, and through .dockerignore), RUN,
ENV, ARG, WORKDIR, USER, HEALTHCHECK, ENTRYPOINT and CMD. Every stage is made at the same path and
then moved away, so what a stage has not copied is not there.

Not covered: the base image (steps run with this machine's Python, libraries and compiler), steps
of apt-get (what they install has to be on this machine), and a root file system that is really
read-only. Anything else that a Dockerfile may say is refused rather than skipped.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from dockerfile_parse import DockerfileParser
from pathspec import PathSpec

LEFT_TO_THE_MACHINE: Final = ("apt-get",)


Ignored = PathSpec[Any]


@dataclass
class Stage:
    """What a stage has come to: its folder, and what its image would say."""

    root: Path
    name: str = ""
    workdir: str = "/"
    env: dict[str, str] = field(default_factory=dict)
    user: str = ""
    healthcheck: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    cmd: list[str] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    def rooted(self, text: str) -> str:
        """A command or value whose absolute paths lie in the stage's folder.

        Those are the paths that this Dockerfile itself makes; any other is the base image's.
        """
        for path in sorted(self.paths, key=len, reverse=True):
            text = re.sub(rf"(?<![\w./-]){re.escape(path)}(?![\w.-])", str(self.root) + path, text)
        return text

    def environment(self) -> dict[str, str]:
        """This machine's PATH behind the stage's, and nothing else of this machine's."""
        python = str(Path(sys.executable).parent)
        machine = f"{python}:{os.environ['PATH']}"
        kept = {"HOME": os.environ.get("HOME", "/"), "PATH": machine}
        said = {name: self.rooted(value) for name, value in self.env.items()}
        if "PATH" in said:
            said["PATH"] = said["PATH"].replace("$PATH", machine)
        return {**kept, **said}

    def run(self, command: str | list[str]) -> "subprocess.CompletedProcess[str]":
        """Runs a shell command, or one given by its words, as RUN and HEALTHCHECK do."""
        words = [command] if isinstance(command, str) else command
        return subprocess.run(
            self.rooted(words[0]) if isinstance(command, str) else [self.rooted(w) for w in words],
            shell=isinstance(command, str),
            cwd=f"{self.root}{self.workdir}" if self.workdir in self.paths else self.root,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )


def build(dockerfile: Path, folder: Path) -> Stage:
    """The last stage of a Dockerfile whose context is the folder it lies in."""
    context = dockerfile.parent
    ignored = PathSpec.from_lines("gitignore", (context / ".dockerignore").read_text().splitlines())
    root = folder / "root"
    stages: list[Stage] = []
    with dockerfile.open("rb") as file:
        parsed = DockerfileParser(fileobj=file).structure
    for step in parsed:
        verb, value = step["instruction"], step["value"]
        if verb == "FROM":
            if stages:
                _put_away(stages[-1], folder / f"stage-{len(stages)}")
            name = value.split()[-1] if " as " in value.lower() else ""
            root.mkdir(parents=True)
            stages.append(Stage(root, name))
        elif verb != "COMMENT":
            _step(stages, verb, value, context, ignored)
    return stages[-1]


def _put_away(stage: Stage, where: Path) -> None:
    stage.root.rename(where)
    stage.root = where


def _step(stages: list[Stage], verb: str, value: str, context: Path, ignored: Ignored) -> None:
    stage = stages[-1]
    if verb == "WORKDIR":
        stage.workdir = value
        if not Path(value).is_dir():  # /tmp is the machine's too
            _make(stage, value)
    elif verb in ("ENV", "ARG"):
        stage.env |= dict(word.split("=", 1) for word in shlex.split(value))
    elif verb == "COPY":
        _copy(stages, value, context, ignored)
    elif verb == "RUN":
        _run(stage, value)
    elif verb == "USER":
        stage.user = value
    elif verb == "HEALTHCHECK":
        stage.healthcheck = json.loads(value[value.index("CMD") + 3 :])
    elif verb in ("ENTRYPOINT", "CMD"):
        setattr(stage, verb.lower(), json.loads(value))
    elif verb not in ("LABEL", "EXPOSE"):
        raise ValueError(f"no such step here yet: {verb} {value}")


def _run(stage: Stage, value: str) -> None:
    # A cache mount is an empty folder at worst; here it is the machine's own.
    command = re.sub(r"--mount=type=cache,\S+\s+", "", value)
    if command.split()[0] in LEFT_TO_THE_MACHINE:
        return
    # The prefix of a path that a command makes: `python -m venv /opt/winnow`.
    stage.paths |= set(re.findall(r"(?<!\S)/opt/[\w-]+", command))
    done = stage.run(command)
    if done.returncode != 0:
        raise AssertionError(f"RUN {value}\n{done.stdout}\n{done.stderr}")


def _copy(stages: list[Stage], value: str, context: Path, ignored: Ignored) -> None:
    stage = stages[-1]
    words = shlex.split(value)
    source, known = context, ignored
    if words[0].startswith("--from="):
        name = words.pop(0).partition("=")[2]
        (earlier,) = [other for other in stages[:-1] if other.name == name]
        source, known = earlier.root, PathSpec.from_lines("gitignore", [])
    *froms, to = [re.sub(r"\$\{(\w+)\}", lambda m: stage.env[m[1]], word) for word in words]
    place = PurePosixPath(stage.workdir) / to
    target = _make(stage, str(place))
    for word in froms:
        path = source / word.lstrip("/")
        files = [p for p in path.rglob("*") if p.is_file() or p.is_symlink()] or [path]
        taken = [p for p in files if not known.match_file(p.relative_to(source))]
        assert taken, f"COPY {value}: nothing there but what .dockerignore names"
        for entry in taken:
            inside = entry.relative_to(path) if path.is_dir() else Path(entry.name)
            copied = target / inside
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(entry, copied, follow_symlinks=False)


def _make(stage: Stage, path: str) -> Path:
    stage.paths.add(str(PurePosixPath(path)))
    target = stage.root / path.lstrip("/")
    target.mkdir(parents=True, exist_ok=True)
    return target
