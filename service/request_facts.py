"""What is known of one request while it is answered: for its log line and its trace.

The handlers fill it in, `service/observed.py` reads it when the answer is sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.requests import Request

from service.coverage import MISSING_PRODUCT, REASONS

SCOPE_KEY = "winnow.facts"
Period = tuple[float, float]
"""Begin and end, seconds of `time.perf_counter()`."""

_MISSING = REASONS[MISSING_PRODUCT]


@dataclass(slots=True)
class RequestFacts:
    """Of a request that scores nothing, or was refused early, only ids are known.

    query: its text, which neither log nor trace shows unless a setting says so
    degraded: candidates without a score, by reason
    stages_s: seconds of each stage, as the answer has them
    periods_s: when each stage ran; product rows are fetched while the query is encoded
    """

    request_id: str
    trace_id: str | None
    candidates: int | None = None
    query: str | None = None
    model: str | None = None
    version: str | None = None
    degraded: Mapping[str, int] = field(default_factory=dict)
    stages_s: Mapping[str, float] = field(default_factory=dict)
    periods_s: Mapping[str, Period] = field(default_factory=dict)

    @property
    def failed_candidates(self) -> bool:
        """Whether a candidate has no score for another reason than that it was never indexed."""
        return any(reason != _MISSING for reason in self.degraded)


def facts_of(request: Request) -> RequestFacts:
    """Of the request that is being answered."""
    facts: RequestFacts = request.scope[SCOPE_KEY]
    return facts
