"""The file of API keys: names, hashes and expiry dates, never a key.

    # name       sha256 of the key    last day, or moment, on which it opens (UTC); or never
    ranker       60303ae2...          never
    ranker-2027  fd61a03a...          2027-12-31

One plain SHA-256 is enough, and needs no salt: a key is 256 random bits, so there is nothing to
guess. A slow hash is for passwords, which can be guessed, and would cost every request its time.
"""

import fcntl
import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Final

from service.settings import SettingsError

KEY_PREFIX: Final = "winnow_"  # by which a scanner for leaked secrets can know one
_KEY_BYTES: Final = 32
MOST_KEYS: Final = 256  # a request is compared with each of them
_MOST_BYTES: Final = 1 << 17
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_HEADING: Final = "# name, sha256 of the key, last day on which it opens (UTC) or never\n"


class KeyFileDamaged(SettingsError):
    """The file can't be read as one of API keys; the text has the line and never what is in it."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, as far as it is known here.

    digest: sha256 of the key, 32 bytes
    expires_s: first moment at which it no longer opens, in seconds since 1970; inf = never
    """

    name: str
    digest: bytes
    expires_s: float


def digest_of(key: bytes) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key).digest()


def parse_expiry(text: str) -> float:
    """First moment at which a key no longer opens: the day after a date, or the moment given.

    In seconds since 1970; inf for `never`.

    Raises:
        ValueError: neither `never`, a date (2027-12-31) nor a moment with its zone.
    """
    if text == "never":
        return inf
    try:
        day = date.fromisoformat(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("a moment needs its zone: 2027-12-31T12:00:00Z") from None
        return moment.timestamp()
    return (datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)).timestamp()


def parse_keys(content: bytes) -> tuple[ApiKey, ...]:
    """Every key of a file's content.

    Raises:
        KeyFileDamaged: a line is no key, a name or hash comes twice, there is none, or too many.
    """
    if len(content) > _MOST_BYTES:
        raise KeyFileDamaged(f"expected at most {_MOST_BYTES} bytes of API keys")
    try:
        lines = content.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise KeyFileDamaged("expected ASCII text, one API key per line") from error
    keys: list[ApiKey] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            keys.append(_parsed(line, f"line {number}"))
    if not keys:
        raise KeyFileDamaged("expected an API key at least, got none: winnow keys new NAME")
    if len(keys) > MOST_KEYS:
        raise KeyFileDamaged(f"expected at most {MOST_KEYS} API keys, got {len(keys)}")
    for what, seen in (("name", {key.name for key in keys}), ("key", {k.digest for k in keys})):
        if len(seen) < len(keys):
            raise KeyFileDamaged(f"expected each {what} once, got one twice: delete one line")
    return tuple(keys)


def read_content(path: Path) -> bytes:
    """The content of the file, or a little more than is allowed of it.

    Raises:
        KeyFileDamaged: it can't be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise KeyFileDamaged(f"can't be read: {error.strerror}") from error


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Every key of a file.

    Raises:
        KeyFileDamaged: it can't be read, or is not one of API keys; the text names it.
    """
    try:
        return parse_keys(read_content(path))
    except KeyFileDamaged as error:
        raise KeyFileDamaged(f"API keys, {path}: {error}") from error


def add_key(path: Path, name: str, expires: str = "never") -> str:
    """Makes a key, appends its hash to the file, and returns the key: it is kept nowhere.

    Appended in place, not renamed: a container that has the file mounted follows it so.

    Raises:
        KeyFileDamaged: the file, or name or expiry, is no good; nothing was added.
    """
    key = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    line = f"{name} {digest_of(key.encode()).hex()} {expires}\n"
    _parsed(line, "the new key")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise KeyFileDamaged(f"API keys, {path}: can't be written: {error.strerror}") from error
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two people at the same time
        before = file.read() or b""
        added = line if before else _HEADING + line
        if before and not before.endswith(b"\n"):
            added = "\n" + added
        try:
            parse_keys(before + added.encode())
        except KeyFileDamaged as error:
            raise KeyFileDamaged(f"API keys, {path}: {error}") from error
        file.write(added.encode())
        os.fsync(file.fileno())
    return key


def _parsed(line: str, where: str) -> ApiKey:
    fields = line.split()
    if len(fields) != 3:
        raise KeyFileDamaged(f"{where}: expected NAME SHA256 EXPIRY, got {len(fields)} fields")
    name, digest, expires = fields
    if not _NAME.fullmatch(name):
        raise KeyFileDamaged(f"{where}: expected a name of at most 64 letters, digits and _.-")
    if not _SHA256.fullmatch(digest):
        raise KeyFileDamaged(f"{where}: expected a SHA-256 of 64 lower-case hexadecimal digits")
    try:
        return ApiKey(name, bytes.fromhex(digest), parse_expiry(expires))
    except (ValueError, OverflowError) as error:
        raise KeyFileDamaged(
            f"{where}: expected never, a date (2027-12-31) or a moment (2027-12-31T12:00:00Z)"
        ) from error
