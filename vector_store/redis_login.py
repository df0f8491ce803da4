"""A login whose password lies in a file, read again for every connection: rotation, no restart."""

from dataclasses import dataclass
from pathlib import Path

import redis
from redis.credentials import CredentialProvider

from vector_store.errors import StoreError

MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class PasswordFile(CredentialProvider):
    """What redis-py asks when it connects. Never shows the password."""

    user: str
    path: Path

    def read(self) -> str:
        """The password.

        Raises:
            StoreError: the file can't be read, or has no password in it.
        """
        try:
            with self.path.open(encoding="utf-8") as file:
                password = file.read(MOST_BYTES).strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise StoreError(f"password_file {self.path} of Redis: {reason}") from error
        if not password:
            raise StoreError(f"password_file {self.path} of Redis: expected a password, got none")
        return password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Of one connection; a file that is gone by now is a login that fails."""
        try:
            password = self.read()
        except StoreError as error:
            raise redis.AuthenticationError(str(error)) from error
        return (self.user, password) if self.user else (password,)
