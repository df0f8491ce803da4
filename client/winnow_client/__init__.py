"""Client of Winnow: ids in, scores out, within one deadline, and never a page lost over it."""

from winnow_client.answers import Coverage, Filtered, Ranked, Reranked, Scores
from winnow_client.async_client import AsyncClient
from winnow_client.bounded import BoundedTransport
from winnow_client.client import Client
from winnow_client.errors import (
    BadAnswer,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    NotReady,
    Overloaded,
    Refused,
    ServiceFailed,
    TooLarge,
    Unauthorized,
    Unavailable,
    WinnowError,
)

__all__ = [
    "AsyncClient",
    "BadAnswer",
    "BoundedTransport",
    "Client",
    "ConnectionFailed",
    "Coverage",
    "DeadlineExceeded",
    "Filtered",
    "InvalidRequest",
    "NotFound",
    "NotReady",
    "Overloaded",
    "Ranked",
    "Refused",
    "Reranked",
    "Scores",
    "ServiceFailed",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "WinnowError",
]
