"""The service under measurement: started here or running already, asked over HTTP."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import orjson

from bench.errors import BenchError
from bench.subject import Subject
from loadtest.client import Client, ServerGone
from loadtest.commands import CommandFailed, serve
from loadtest.traffic import Request
from service.settings import PREFIX

# What a bench chooses for the services that it starts; every other variable holds for them too.
_CHOSEN = frozenset({"store", "models", "bundles", "host", "port", "workers"})
CACHES_OFF = {"row_cache_mb": "0", "query_cache_entries": "0"}


@dataclass(frozen=True, slots=True)
class Service:
    """A ready service; `info` is what its `GET /info` says."""

    url: str
    info: Mapping[str, Any]


@contextmanager
def services(subject: Subject, url: str | None) -> Iterator[tuple[Service, Service]]:
    """Two services of one worker each: as configured (or the one at `url`), and with caches off.

    Raises:
        BenchError: one does not come up, or serves something else than the subject.
    """
    name, settings = subject.name, subject.settings
    variables = _variables()
    with ExitStack() as stack:

        def start(changes: Mapping[str, str]) -> str:
            chosen = {**variables, **changes}
            serving = serve(settings.store, name, settings.bundles, 1, chosen)
            return stack.enter_context(serving).url

        try:
            warm = _checked(url or start({}), subject)
            cold = _checked(start(CACHES_OFF), subject)
        except CommandFailed as error:
            raise BenchError(f"winnow serve did not come up: {error}") from error
        yield warm, cold


@contextmanager
def connection(service: Service) -> Iterator[Client]:
    """One connection; whatever breaks it ends the bench.

    Raises:
        BenchError: the service went away.
    """
    try:
        with Client(service.url) as client:
            yield client
    except (ServerGone, OSError, ValueError) as error:
        raise BenchError(f"the service at {service.url} failed: {error}") from error


def ask(client: Client, request: Request) -> dict[str, float]:
    """Milliseconds of each stage of one request, of what they leave over, and of all.

    Raises:
        BenchError: the answer is not fully scored; fast answers of that kind don't count.
        ServerGone, OSError: the connection broke.
    """
    started = perf_counter()
    answer = client.post(request.path, request.body)
    whole = (perf_counter() - started) * 1e3
    if answer.outcome != "ok":
        # The end of the body: coverage comes after the scores.
        raise BenchError(
            f"expected only fully scored answers, got one that is {answer.outcome}: "
            f"{answer.status} ...{answer.body[-300:].decode(errors='replace')}"
        )
    stages = answer.timings_ms
    return {**stages, "http": whole - sum(stages.values()), "all": whole}


def _checked(url: str, subject: Subject) -> Service:
    service = Service(url, {})
    with connection(service) as client:
        answer = client.get("/info")
    if answer.status != 200:
        raise BenchError(f"expected a Winnow service at {url}, its /info answers {answer.status}")
    info: dict[str, Any] = orjson.loads(answer.body)
    default = next(model for model in info["models"] if model["default"])
    expected = (subject.name, subject.student.manifest.version, subject.header.set_id)
    got = (default["name"], default["version"], default["vector_set"])
    if got != expected:
        raise BenchError(
            f"expected the service at {url} to serve {' '.join(expected)} by default, got "
            f"{' '.join(map(str, got))}: give the --model and --store that it serves"
        )
    return Service(url, info)


def _variables() -> dict[str, str]:
    """This process's WINNOW_* settings, by their names without the prefix."""
    found = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in os.environ.items()
        if name.startswith(PREFIX)
    }
    return {name: value for name, value in found.items() if name not in _CHOSEN}
