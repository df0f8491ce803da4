"""Which API keys open this worker, now: its file is read again every second."""

import hmac
import logging
from math import inf, nan
from pathlib import Path
from time import time
from typing import Final

from model_store.registry import replace_text
from service import metrics
from service.key_file import ApiKey, KeyFileDamaged, digest_of, parse_keys, read_content
from service.metrics import Refused

log = logging.getLogger("winnow.keys")

LOOK_EVERY_S: Final = 1.0  # a read of some hundred bytes
_KEPT: Final = "api-keys"
_NONE: Final[tuple[ApiKey, ...]] = ()


class Keyring:
    """The keys of one worker. A file that is damaged or gone changes nothing: the last good do."""

    def __init__(self, path: Path, board: Path | None) -> None:
        """Reads the file; where it is damaged now, what another worker of `board` has read.

        Raises:
            KeyFileDamaged: neither is there.
        """
        self._path = path
        self._kept = None if board is None else board / _KEPT
        self._seen: bytes | None = None
        self._problem = ""
        self._keys = _NONE
        self.look()
        if not self._keys and self._kept is not None and self._kept.exists():
            self._use(parse_keys(self._kept.read_bytes()))
        if not self._keys:
            raise KeyFileDamaged(f"WINNOW_API_KEYS_FILE: {path}: {self._problem}")

    def refused(self, authorization: bytes | None) -> Refused | None:
        """Why the value of an Authorization header does not open; None: it does.

        It is hashed, and the hash compared with every one there is, each in constant time: how
        long this takes tells nothing but how long the value is.
        """
        scheme, _, key = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return "missing"
        digest = digest_of(key.strip())
        found: ApiKey | None = None
        for each in self._keys:
            if hmac.compare_digest(each.digest, digest):
                found = each
        if found is None:
            return "unknown"
        return "expired" if found.expires_s <= time() else None

    def look(self) -> None:
        """Follows the file. Blocks."""
        try:
            content = read_content(self._path)
            if content != self._seen:
                self._use(parse_keys(content))
                self._seen = content
                if self._kept is not None:
                    replace_text(self._kept, content.decode("ascii"))
            problem = ""
        except KeyFileDamaged as error:
            problem = str(error)
            self._seen = None
        if problem and problem != self._problem:
            log.error("API keys: the file is not followed, the last good keys go on: %s", problem)
        elif self._problem and not problem:
            log.warning("API keys: the file is followed again")
        self._problem = problem
        self._show()

    def _use(self, keys: tuple[ApiKey, ...]) -> None:
        before, self._keys = self._keys, keys
        if before:
            log.warning("API keys: %s", ", ".join(key.name for key in keys))

    def _show(self) -> None:
        now = time()
        coming = [key.expires_s for key in self._keys if now < key.expires_s < inf]
        metrics.KEY_FILE_READABLE.set(not self._problem)
        metrics.KEY_EXPIRY.set(min(coming, default=nan))
