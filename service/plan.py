"""What the workers of one service agree on, and how they are told: small files in one folder.

    agenda.json     written by `winnow serve` alone: the plan that is served, the next one
    <pid>.json      written by that worker alone: which plan it serves, which it has prepared
    <pid>.lock      locked by that worker for as long as it lives; the kernel unlocks it

A plan is served in two steps. The agenda names it as `next`, every worker prepares it and reports;
only when all have does it become `serving`, and each worker swaps to it. A worker that starts
registers before it reads the agenda: no plan becomes `serving` without it.
"""

import fcntl
import logging
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from model_store.rollout import Rollout

log = logging.getLogger("winnow.plan")

Role = Literal["active", "canary", "shadow"]
_AGENDA = "agenda.json"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Plan(_Frozen):
    """What is served of every model; the number grows with each plan of a service."""

    number: int
    models: dict[str, Rollout]


class Refusal(_Frozen):
    """A version that was to be served and is not, until something in that role is."""

    role: Role
    version: str
    reason: str


class Agenda(_Frozen):
    """What the workers are to do; `refusals` by model are for people who ask them."""

    serving: Plan
    next: Plan | None = None
    refusals: dict[str, Refusal] = {}


class Report(_Frozen):
    """What one worker has done: the numbers of the plans, 0 for none."""

    pid: int
    serving: int = 0
    prepared: int = 0
    refused: int = 0
    reason: str = ""


class Board:
    """The folder, as both sides see it."""

    def __init__(self, folder: Path) -> None:
        """`folder` exists and belongs to one service."""
        self._folder = folder

    def changed(self, seen: bytes | None) -> bytes | None:
        """The agenda's text, where there is one and it is not what was seen."""
        try:
            text = (self._folder / _AGENDA).read_bytes()
        except FileNotFoundError:
            return None
        return None if text == seen else text

    def publish(self, agenda: Agenda) -> None:
        """Replaces the agenda in one step."""
        self._replace(_AGENDA, agenda)

    def report(self, report: Report) -> None:
        """Replaces a worker's report in one step."""
        self._replace(f"{report.pid}.json", report)

    def reports(self) -> list[Report]:
        """Of the workers that live; what dead ones left is removed."""
        reports = []
        for lock in sorted(self._folder.glob("*.lock")):
            if not _unlocked(lock):
                try:
                    text = lock.with_suffix(".json").read_bytes()
                    reports.append(Report.model_validate_json(text))
                except (FileNotFoundError, ValidationError):
                    reports.append(Report(pid=int(lock.stem)))
        return reports

    def _replace(self, name: str, content: BaseModel) -> None:
        temporary = self._folder / f".{name}.{os.getpid()}"
        temporary.write_text(content.model_dump_json(), encoding="utf-8")
        temporary.replace(self._folder / name)


class Membership:
    """One worker's place in the folder, from now until it is closed or the process ends."""

    def __init__(self, folder: Path) -> None:
        """Registers this process."""
        self._lock = folder / f"{os.getpid()}.lock"
        while True:
            self._descriptor = os.open(self._lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            if self._is_mine():
                return
            os.close(self._descriptor)  # it was removed as that of a dead worker: once more

    def close(self) -> None:
        """Leaves."""
        self._lock.with_suffix(".json").unlink(missing_ok=True)
        self._lock.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _is_mine(self) -> bool:
        try:
            return self._lock.stat().st_ino == os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            return False


def _unlocked(lock: Path) -> bool:
    """Whether the worker is gone; then its files are removed."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        lock.with_suffix(".json").unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)
