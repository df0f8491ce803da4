"""The service as its callers know it: where it is, how it is asked, and what its answers mean."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from winnow_client.deadline import Deadline
from winnow_client.errors import BadAnswer, ConnectionFailed, DeadlineExceeded, error_of
from winnow_client.questions import JSON, Reply


class Service:
    """What all calls of a client have in common."""

    def __init__(self, url: str, api_key: str | None, deadline_ms: float, retries: int) -> None:
        """As `Client` takes them.

        Raises:
            ValueError: one of them is no good.
        """
        asked = httpx.URL(url)
        if asked.scheme not in ("http", "https") or not asked.host or asked.query:
            raise ValueError(f"url: expected one such as http://127.0.0.1:8000, got {url!r}")
        if retries < 0:
            raise ValueError(f"retries: expected 0 or more, got {retries!r}")
        self.deadline(deadline_ms)
        self.url = url.rstrip("/")
        self.retries = retries
        self._deadline_ms = deadline_ms
        self._headers = {"content-type": JSON}
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {_printable('api_key', api_key)}"

    def deadline(self, ms: float | None) -> Deadline:
        """Of a call that begins now.

        Raises:
            ValueError: it is none that the service takes.
        """
        return Deadline(self._deadline_ms if ms is None else ms)

    def headers(self, accept: str, key: str | None) -> dict[str, str]:
        """Of a call.

        Raises:
            ValueError: the key is nothing that a header can hold.
        """
        headers = {**self._headers, "accept": accept}
        if key is not None:
            headers["x-winnow-key"] = _printable("key", key)
        return headers


@contextmanager
def translated(url: str, too_late: DeadlineExceeded) -> Iterator[None]:
    """Errors of httpx become this client's; `too_late` is what a struck deadline becomes."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise too_late from error
    except httpx.DecodingError as error:
        raise BadAnswer(f"{url}: expected an answer of Winnow: {error}") from error
    except httpx.TransportError as error:
        raise ConnectionFailed(
            f"{url}: no answer ({str(error) or type(error).__name__}): does the service run there?"
        ) from error


def reply_of(answer: httpx.Response) -> Reply:
    """An answer 200.

    Raises:
        WinnowError: any other one.
    """
    if answer.status_code != 200:
        raise error_of(answer.status_code, answer.headers, answer.content)
    return Reply(answer.headers, answer.content)


def _printable(name: str, text: str) -> str:
    """Never shown in the error: it may be a secret."""
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError(f"{name}: expected printable ASCII, one character or more")
    return text
