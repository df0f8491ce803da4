"""Nobody gets further without an API key, but for what probes and Prometheus ask."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from service import metrics
from service.errors import Unauthorized
from service.inference_errors import GRPC_SERVICE
from service.keyring import Keyring
from service.metrics import Refused
from service.problems import error_answer

# A kubelet has no key to show, and Prometheus would have to be given one: whoever asks these
# learns that the service lives, and how much it does, but no query, product or customer.
OPEN_PATHS: Final = frozenset(
    (
        *("/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"),
        *(GRPC_SERVICE + "ServerLive", GRPC_SERVICE + "ServerReady"),
    )
)

_DETAILS: Final[dict[Refused, str]] = {
    "missing": "expected the header Authorization: Bearer API_KEY: ask whoever runs this service "
    "for a key (winnow keys new)",
    "unknown": "the API key is none of this service's: it was removed, or is of another one",
    "expired": "the API key has expired: ask whoever runs this service for a new one",
}


class KeyGuard:
    """In front of everything: the body of a request that has no key is not read."""

    def __init__(self, app: ASGIApp, keyring: Keyring, open_paths: frozenset[str]) -> None:
        """Wraps the application; `open_paths` are answered without a key, like OPEN_PATHS."""
        self._app = app
        self._keyring = keyring
        self._open_paths = OPEN_PATHS | open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; 401 without a good key."""
        if scope["type"] != "lifespan" and scope["path"] not in self._open_paths:
            shown = next((v for k, v in scope["headers"] if k == b"authorization"), None)
            refused = self._keyring.refused(shown)
            if refused is not None:
                metrics.UNAUTHORIZED.labels(refused).inc()
                await unauthorized(
                    _DETAILS[refused], given=refused != "missing", path=scope["path"]
                )(scope, receive, send)
                return
        await self._app(scope, receive, send)


def unauthorized(detail: str, *, given: bool, path: str = "") -> ASGIApp:
    """A 401; `given`: there was a key or token, and it is no good (RFC 6750, section 3)."""
    response = error_answer(path, Unauthorized(detail))
    invalid = ', error="invalid_token"' if given else ""
    response.headers["WWW-Authenticate"] = f'Bearer realm="winnow"{invalid}'
    return response
