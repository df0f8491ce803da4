"""The log line of a request: of a share of all, and of each that failed or was degraded."""

import logging
import random
from dataclasses import dataclass

from service.logs import FIELDS
from service.request_facts import RequestFacts
from service.settings import Settings

log = logging.getLogger("winnow.request")

NOT_ANSWERED = 0
"""In place of a status: the client left before there was an answer."""


@dataclass(frozen=True, slots=True)
class RequestLog:
    """Which requests are logged, and whether with their query.

    share: of the requests that went well, 0 to 1
    queries: whether the text of the query is written down
    """

    share: float
    queries: bool

    @classmethod
    def of(cls, settings: Settings) -> "RequestLog":
        """As the settings say."""
        return cls(settings.log_share, settings.log_queries)

    def write(
        self, method: str, route: str, status: int, seconds: float, facts: RequestFacts
    ) -> None:
        """One line, or none; `status` may be NOT_ANSWERED, `seconds` are to the last byte."""
        if status >= 500:
            level = logging.ERROR
        elif status >= 400 or facts.failed_candidates:
            level = logging.WARNING
        elif random.random() < self.share:  # noqa: S311 - no secret
            level = logging.INFO
        else:
            return
        if not log.isEnabledFor(level):
            return
        log.log(
            level,
            "%s %s: %s",
            method,
            route,
            status if status != NOT_ANSWERED else "the client left",
            extra={FIELDS: self._fields(route, status, seconds, facts)},
        )

    def _fields(
        self, route: str, status: int, seconds: float, facts: RequestFacts
    ) -> dict[str, object]:
        fields: dict[str, object] = {
            "request_id": facts.request_id,
            "route": route,
            "status": status or None,
            "ms": round(seconds * 1e3, 3),
            "candidates": facts.candidates,
            "model": facts.model,
            "version": facts.version,
            "degraded": facts.degraded or None,
            "stages_ms": {name: round(s * 1e3, 3) for name, s in facts.stages_s.items()} or None,
        }
        if facts.trace_id is not None:
            fields["trace_id"] = facts.trace_id
        if self.queries and facts.query is not None:
            fields["query"] = facts.query
        return fields
