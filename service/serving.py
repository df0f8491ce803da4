"""What one worker serves: of every model the active version, and a canary and a shadow beside it.

`_models` is replaced whole, so readers need no lock. All that replaces it (`load`, `commit`,
`refresh`) runs in the worker's one upkeep thread; `prepare` only makes what is not served yet.
"""

import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from model_store.errors import ModelStoreError
from model_store.registry import bundle_folder, served_names
from model_store.rollout import Rollout, Share
from service import metrics
from service.errors import UnknownModel
from service.model import Beside, Model
from service.plan import Plan, Refusal, Role
from service.row_caches import RowCaches
from service.settings import Settings
from service.version import Slot, Version
from vector_store.protocol import VectorStore

log = logging.getLogger("winnow.serving")


class Refused(Exception):
    """A version that can't be served; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A plan that could be served at once: its models, and the versions loaded for it."""

    plan: Plan
    models: Mapping[str, Model]
    fresh: tuple[Version, ...]


def active_plan(settings: Settings, number: int) -> Plan:
    """The active versions of the registry, and nothing beside them.

    Raises:
        ModelStoreError: nothing can be served, see `served_names`, or the registry can't be read.
    """
    names = served_names(settings.bundles, settings.models)
    versions = {name: bundle_folder(settings.bundles, name).name for name in names}
    return Plan(
        number=number,
        models={name: Rollout(version=version) for name, version in versions.items()},
    )


class Serving:
    """The models of one worker."""

    def __init__(self, settings: Settings, store: VectorStore, fetcher: Executor) -> None:
        """Knows the names at once, loads nothing yet."""
        self.names = served_names(settings.bundles, settings.models)
        self.refusals: Mapping[str, Refusal] = {}
        self.caches = RowCaches(store, settings.row_cache_mb * 2**20)
        self._settings = settings
        self._store = store
        self._fetcher = fetcher
        self._retired: tuple[Version, ...] = ()
        self._models: Mapping[str, Model] = {
            name: Model(
                name, None, Slot(name, None, None, "loading", "the student is being loaded")
            )
            for name in self.names
        }

    @property
    def models(self) -> list[Model]:
        """Every model, the default one first."""
        return [self._models[name] for name in self.names]

    def model(self, name: str | None) -> Model:
        """A served name, or the default one.

        Raises:
            UnknownModel: no such name is served.
        """
        model = self._models.get(self.names[0] if name is None else name)
        if model is None:
            raise UnknownModel(
                f"no model named {name!r} is served here; served: {', '.join(self.names)}",
                {"models": list(self.names)},
            )
        return model

    def load(self, plan: Plan) -> None:
        """Loads the active versions of a plan. Blocks; for the start, when nothing is served yet.

        A version without a vector set is not ready and will be once one is live; one that is
        refused is not served. What the plan has beside them is loaded as well, if it can be.
        """
        models: dict[str, Model] = {}
        for name, rollout in plan.models.items():
            active: Version | None = None
            unloaded = self._models[name].unloaded
            try:
                active = self._loaded(name, rollout.version)
            except ModelStoreError as error:
                log.error("student %s is not served: %s", name, error)  # noqa: TRY400 - its text says all
                unloaded = Slot(name, None, None, "refused", f"refused: {error}")
            canary = self._loaded_beside(name, rollout.canary)
            shadow = self._loaded_beside(name, rollout.shadow, canary)
            models[name] = Model(name, active, unloaded, canary, shadow)
        self._replace(models)
        self.refresh()

    def prepare(self, plan: Plan) -> Staged:
        """Loads and verifies what a plan needs that is not loaded yet, and finds its sets. Blocks.

        Raises:
            Refused: a version of the plan can't be served; nothing of it is kept.
        """
        models: dict[str, Model] = {}
        fresh: list[Version] = []
        try:
            for name, rollout in plan.models.items():
                models[name] = self._prepared(self._models[name], rollout, fresh)
        except Refused:
            for version in fresh:
                version.close()
            raise
        return Staged(plan, models, tuple(fresh))

    def commit(self, staged: Staged) -> None:
        """Serves a staged plan from here on; what nobody needs any more is closed."""
        self._replace(staged.models)
        self._show()

    def discard(self, staged: Staged) -> None:
        """Closes what was loaded for a plan that will not be served."""
        for version in staged.fresh:
            version.close()

    def refresh(self) -> None:
        """Points every loaded version at the live set of its fingerprint. Blocks."""
        self._retired = ()
        for model in self._models.values():
            for version in model.versions():
                version.refresh()
        self._show()

    def close(self) -> None:
        """Stops watching the sets."""
        for model in self._models.values():
            for version in model.versions():
                version.close()

    def _replace(self, models: Mapping[str, Model]) -> None:
        """Swaps the models, and retires the versions that none of the new ones has."""
        before, self._models = self._models, models
        kept = {id(version) for model in models.values() for version in model.versions()}
        retired = tuple(
            version
            for model in before.values()
            for version in model.versions()
            if id(version) not in kept
        )
        for version in retired:
            metrics.hide_version(*version.labels)
            version.close()
        # Held until the next refresh: a request that still runs then frees it, else this thread
        # does, and not the event loop.
        self._retired = retired

    def _show(self) -> None:
        """The state of every model, the gauges of its versions, and whether the store answers."""
        for model in self._models.values():
            metrics.model_state(model.name, model.slot.state)
            has_canary = model.canary is not None
            if model.active is not None:
                metrics.start_answers(*model.active.labels, has_canary=has_canary)
            if model.canary is not None:
                metrics.start_answers(*model.canary.version.labels, has_canary=has_canary)
            if model.shadow is not None:
                metrics.start_comparisons(*model.shadow.version.labels)
            for version in model.versions():
                version.show()
        looked = [v.slot for model in self._models.values() for v in model.versions()]
        if looked:
            metrics.STORE_UP.set(not any(slot.store_down for slot in looked))

    def _loaded(self, name: str, version: str) -> Version:
        return Version.load(self._settings, name, version, self._store, self.caches, self._fetcher)

    def _loaded_beside(
        self, name: str, share: Share | None, other: Beside | None = None
    ) -> Beside | None:
        if share is None:
            return None
        if other is not None and other.share.version == share.version:
            return Beside(other.version, share)
        try:
            return Beside(self._loaded(name, share.version), share)
        except ModelStoreError as error:
            log.error("%s %s is not served: %s", name, share.version, error)  # noqa: TRY400
            return None

    def _prepared(self, before: Model, rollout: Rollout, fresh: list[Version]) -> Model:
        """The model as a plan wants it; adds the versions that were loaded for it to `fresh`."""
        loaded = {version.student.manifest.version: version for version in before.versions()}
        versions: dict[Role, Version] = {}
        roles: tuple[tuple[Role, str | None, str | None], ...] = (
            ("active", rollout.version, _version(before.active)),
            ("canary", _named(rollout.canary), _of(before.canary)),
            ("shadow", _named(rollout.shadow), _of(before.shadow)),
        )
        for role, wanted, had in roles:
            if wanted is None:
                continue
            version = loaded.get(wanted)
            if version is None:
                version = loaded[wanted] = self._verified(before, wanted, fresh)
            elif wanted != had and version.slot.scorer is None:
                raise Refused(f"{before.name} {wanted}: {version.slot.reason}")
            versions[role] = version
        canary, shadow = versions.get("canary"), versions.get("shadow")
        return Model(
            before.name,
            versions["active"],
            before.unloaded,
            None if canary is None or rollout.canary is None else Beside(canary, rollout.canary),
            None if shadow is None or rollout.shadow is None else Beside(shadow, rollout.shadow),
        )

    def _verified(self, before: Model, wanted: str, fresh: list[Version]) -> Version:
        try:
            version = self._loaded(before.name, wanted)
        except ModelStoreError as error:
            raise Refused(str(error)) from error
        version.refresh()
        if not version.slot.ready:
            reason = version.slot.reason
            version.close()
            raise Refused(f"{before.name} {wanted}: {reason}")
        if before.active is not None:
            version.adopt_query_rows(before.active)
        fresh.append(version)
        return version


def _version(version: Version | None) -> str | None:
    return None if version is None else version.student.manifest.version


def _of(beside: Beside | None) -> str | None:
    return None if beside is None else beside.share.version


def _named(share: Share | None) -> str | None:
    return None if share is None else share.version
