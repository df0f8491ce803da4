"""What is served under one name: the active version, a canary and a shadow beside it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from model_store.rollout import Share
from service.errors import UnknownVersion
from service.version import Slot, Version


@dataclass(frozen=True, slots=True)
class Beside:
    """A version that sees a share of the requests: always the same ones."""

    version: Version
    share: Share

    def sees(self, key: str) -> bool:
        """Whether this key is of the share. A greater share has every key of a smaller one.

        Another version has other keys, so that it is not always the same who try what is new.
        """
        digest = blake2b(
            key.encode("utf-8", "surrogatepass"),
            digest_size=8,
            key=self.share.version.encode()[:64],
        ).digest()
        return int.from_bytes(digest, "little") < self.share.share * 2**64


@dataclass(frozen=True, slots=True)
class Model:
    """Everything that is served under one name."""

    name: str
    active: Version | None
    unloaded: Slot
    canary: Beside | None = None
    shadow: Beside | None = None

    @property
    def slot(self) -> Slot:
        """Of the active version; where none could be loaded, the reason."""
        return self.unloaded if self.active is None else self.active.slot

    def slot_for(self, key: str) -> Slot:
        """Of the canary if this key is of its share and it is ready, else of the active version."""
        if self.canary is not None and self.canary.sees(key):
            slot = self.canary.version.slot
            if slot.ready:
                return slot
        return self.slot

    @property
    def answering(self) -> Mapping[str, Slot]:
        """Slots by the versions that answer requests: the active one first, then the canary."""
        beside = None if self.canary is None else self.canary.version
        both = (each for each in (self.active, beside) if each is not None)
        return {each.student.manifest.version: each.slot for each in both}

    def slot_of(self, version: str) -> Slot:
        """Of the active version or the canary, by name.

        Raises:
            UnknownVersion: neither is that version.
        """
        slots = self.answering
        if version not in slots:
            served = list(slots)
            raise UnknownVersion(
                f"no version {version!r} of {self.name} is served here; "
                f"served: {', '.join(served) or 'none'}",
                {"versions": served},
            )
        return slots[version]

    def versions(self) -> Iterator[Version]:
        """All that are loaded, each once: one may be canary and shadow."""
        if self.active is not None:
            yield self.active
        if self.canary is not None:
            yield self.canary.version
        if self.shadow is not None and not self._same_beside:
            yield self.shadow.version

    @property
    def _same_beside(self) -> bool:
        return (
            self.canary is not None
            and self.shadow is not None
            and self.canary.version is self.shadow.version
        )
