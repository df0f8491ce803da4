"""Changes what a service serves: in all of its workers or in none.

Runs in the process of `winnow serve`. The registry says what is to be served; it is read again
every `store_refresh_ms`, and what has changed there is tried here. An admin call goes the other
way: the workers first, and the registry only after all of them have the version ready.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread

from model_store.errors import ModelStoreError
from model_store.registry import bundle_folder, rollback_target
from model_store.rollout import (
    BesideRole,
    Rollout,
    Share,
    make_active,
    read_rollout,
    set_beside,
    unless,
)
from service import metrics
from service.plan import Agenda, Board, Plan, Refusal, Report, Role
from service.settings import Settings

log = logging.getLogger("winnow.coordinator")

_POLL_S = 0.02  # while workers prepare; each poll reads a small file per worker
_SWAPPED_WITHIN_S = 10.0
_FIRST_RETRY_S, _LAST_RETRY_S = 5.0, 300.0
_ROLES: tuple[Role, ...] = ("active", "canary", "shadow")


class ChangeRefused(Exception):
    """What was served before goes on; the text says which version is not served and why."""


@dataclass
class _Retry:
    """What the registry wanted and was refused, and when it is tried again."""

    wanted: Share | None
    at: float
    delay_s: float = field(default=_FIRST_RETRY_S)


@dataclass(frozen=True, slots=True)
class State:
    """What is served and what the workers say."""

    agenda: Agenda
    workers: list[Report]


class Coordinator:
    """One per service. Its own thread follows the registry; admin calls come from any thread."""

    def __init__(self, settings: Settings, folder: Path, plan: Plan) -> None:
        """Tells workers that start to serve `plan`."""
        self._settings = settings
        self._root = settings.bundles
        self._board = Board(folder)
        self._agenda = Agenda(serving=plan)
        self._board.publish(self._agenda)
        self._last_number = plan.number
        self._retries: dict[tuple[str, Role], _Retry] = {}
        self._turn = Lock()  # one change at a time
        self._closing = Event()
        self._thread = Thread(target=self._follow_registry, name="winnow-registry", daemon=True)

    def start(self) -> None:
        """Follows the registry from now on."""
        self._thread.start()

    def close(self) -> None:
        """Changes nothing any more."""
        self._closing.set()
        self._thread.join()

    def state(self) -> State:
        """What is served now, and the reports of the workers that live."""
        return State(self._agenda, self._board.reports())

    def activate(self, name: str, version: str) -> Rollout:
        """Serves a version in all workers, then names it in the registry as the active one.

        Raises:
            ChangeRefused: a worker could not load or verify it; nothing has changed.
            BundleNotFound: no such name or version in the registry.
        """
        bundle_folder(self._root, name, version)
        return self._change(
            name, "active", Share(version=version), lambda: make_active(self._root, name, version)
        )

    def rollback(self, name: str) -> Rollout:
        """As `activate`, with the version that was active before.

        Raises:
            ChangeRefused: a worker could not load or verify it; nothing has changed.
            BundleNotFound: there is none to go back to.
        """
        return self.activate(name, rollback_target(self._root, name))

    def beside(self, name: str, role: BesideRole, share: Share | None) -> Rollout:
        """Loads a canary or a shadow in all workers, then names it in the registry; None ends it.

        Raises:
            ChangeRefused: a worker could not load or verify it; nothing has changed.
            BundleNotFound: no such name or version in the registry.
        """
        bundle_folder(self._root, name, None if share is None else share.version)
        return self._change(name, role, share, lambda: set_beside(self._root, name, role, share))

    def _change(
        self, name: str, role: Role, share: Share | None, record: Callable[[], None]
    ) -> Rollout:
        with self._turn:
            served = self._agenda.serving.models.get(name)
            if served is None:
                raise ChangeRefused(f"{name} is published, but this service does not serve it")
            if role != "active" and share is not None and share.version == served.version:
                raise ChangeRefused(f"{name}: {share.version} is the active version already")
            try:
                self._take(name, role, share, record)
            finally:
                # The caller knows how it ended: nothing is left to try again.
                self._retries.pop((name, role), None)
            return self._agenda.serving.models[name]

    def _take(self, name: str, role: Role, share: Share | None, record: Callable[[], None]) -> None:
        """Both steps of one change, and its outcome in metrics, log and agenda."""
        rollout = with_role(self._agenda.serving.models[name], role, share)
        version = "none" if share is None else share.version
        try:
            if rollout != self._agenda.serving.models[name]:
                self._prepare(name, rollout)
            record()
        except (ChangeRefused, ModelStoreError, OSError) as error:
            refusal = Refusal(role=role, version=version, reason=str(error))
            self._publish(None, {**self._agenda.refusals, name: refusal})
            metrics.ACTIVATIONS.labels(name, role, "refused").inc()
            log.error("%s: %s %s is refused: %s", name, role, version, error)  # noqa: TRY400
            if isinstance(error, OSError):
                raise ChangeRefused(f"the registry can't be written: {error}") from error
            raise
        others = {
            model: refusal
            for model, refusal in self._agenda.refusals.items()
            if (model, refusal.role) != (name, role)
        }
        following = self._agenda.next
        if following is not None:
            self._agenda = Agenda(serving=following)
        self._publish(None, others)
        self._wait_until_served()
        metrics.ACTIVATIONS.labels(name, role, "done").inc()
        log.warning("%s: %s is %s", name, role, version)

    def _prepare(self, name: str, rollout: Rollout) -> None:
        """Until every worker has prepared the plan.

        Raises:
            ChangeRefused: one says that it can't, or not all have within the time.
        """
        self._last_number += 1
        number = self._last_number
        models = {**self._agenda.serving.models, name: rollout}
        self._publish(Plan(number=number, models=models), self._agenda.refusals)
        reports: list[Report] = []
        for reports in self._reports_for(self._settings.activation_timeout_s):
            refused = [report for report in reports if report.refused == number]
            if refused:
                raise ChangeRefused(refused[0].reason)
            if reports and all(report.prepared == number for report in reports):
                return
        late = ", ".join(str(report.pid) for report in reports if report.prepared != number)
        raise ChangeRefused(
            f"expected every worker to have it ready within {self._settings.activation_timeout_s} "
            f"s (WINNOW_ACTIVATION_TIMEOUT_S); waited for {late or 'a worker to start'}"
        )

    def _wait_until_served(self) -> None:
        """Until every worker has swapped; one that starts will come up with the new plan."""
        number = self._agenda.serving.number
        for reports in self._reports_for(_SWAPPED_WITHIN_S):
            if all(report.serving == number for report in reports):
                return

    def _reports_for(self, seconds: float) -> Iterator[list[Report]]:
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up and not self._closing.is_set():
            yield self._board.reports()
            time.sleep(_POLL_S)

    def _publish(self, following: Plan | None, refusals: dict[str, Refusal]) -> None:
        self._agenda = Agenda(serving=self._agenda.serving, next=following, refusals=refusals)
        self._board.publish(self._agenda)

    def _follow_registry(self) -> None:
        while not self._closing.wait(self._settings.store_refresh_ms / 1e3):
            try:
                with self._turn:
                    self._look()
            except Exception:  # what is served goes on, whatever the registry holds
                log.exception("the registry could not be followed")

    def _look(self) -> None:
        """Tries what the registry wants and is not served."""
        for name in self._agenda.serving.models:
            try:
                wanted = read_rollout(self._root, name)
            except (ModelStoreError, OSError) as error:
                self._note_unreadable(name, str(error))
                continue
            self._forget_refusal(name, "active", version="unknown")
            for role in _ROLES:
                share = role_of(wanted, role)
                if share != role_of(self._agenda.serving.models[name], role):
                    self._try(name, role, share)
                elif self._retries.pop((name, role), None) is not None:
                    self._forget_refusal(name, role)

    def _try(self, name: str, role: Role, share: Share | None) -> None:
        retry = self._retries.get((name, role))
        if retry is not None and retry.wanted == share and time.monotonic() < retry.at:
            return
        try:
            self._take(name, role, share, lambda: None)
        except (ChangeRefused, ModelStoreError):
            again = retry is not None and retry.wanted == share
            delay_s = min(2 * retry.delay_s, _LAST_RETRY_S) if retry and again else _FIRST_RETRY_S
            self._retries[name, role] = _Retry(share, time.monotonic() + delay_s, delay_s)
        else:
            self._retries.pop((name, role), None)

    def _forget_refusal(self, name: str, role: Role, version: str | None = None) -> None:
        """The registry no longer wants what was refused."""
        refusal = self._agenda.refusals.get(name)
        if refusal is None or refusal.role != role or version not in {None, refusal.version}:
            return
        left = {model: each for model, each in self._agenda.refusals.items() if model != name}
        self._publish(None, left)

    def _note_unreadable(self, name: str, reason: str) -> None:
        refusal = Refusal(role="active", version="unknown", reason=reason)
        if self._agenda.refusals.get(name) != refusal:
            log.error("%s: the registry can't be read: %s", name, reason)
            self._publish(None, {**self._agenda.refusals, name: refusal})


def role_of(rollout: Rollout, role: Role) -> Share | None:
    """The version in a role, and its share."""
    if role == "active":
        return Share(version=rollout.version)
    return rollout.canary if role == "canary" else rollout.shadow


def with_role(rollout: Rollout, role: Role, share: Share | None) -> Rollout:
    """The rollout with another version in a role; one that becomes active is no longer beside.

    Raises:
        ValueError: no version for the active role.
    """
    if role != "active":
        return rollout.model_copy(update={role: share})
    if share is None:
        raise ValueError("expected a version for the active role")
    return Rollout(
        version=share.version,
        canary=unless(rollout.canary, share.version),
        shadow=unless(rollout.shadow, share.version),
    )
