"""Log lines on standard output: one JSON object per event, or a line of text for a terminal.

Every process of `winnow serve` writes them, uvicorn's own lines too; where they go is for whoever
runs the process to say. A line of JSON is written whole, in one call, up to 8 KB.
"""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

LogFormat = Literal["json", "text"]

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the request that this code runs for: every line written meanwhile carries it."""

FIELDS = "fields"
"""`extra={FIELDS: {...}}` of a log call: what the line has beside its message."""


class JsonLines(logging.Formatter):
    """A record as one JSON object: time (UTC), level, logger, message, then its fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            **_fields(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(entry, default=str, option=orjson.OPT_UTC_Z).decode()
        except orjson.JSONEncodeError:  # half a surrogate pair: the line matters more than it
            return json.dumps(entry, default=str)


class TextLines(logging.Formatter):
    """A record as a line for people, its fields behind the message as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        shown = [f"{name}={value}" for name, value in _fields(record).items() if value is not None]
        return " ".join([super().formatMessage(record), *shown])


def log_config(log_format: LogFormat | None, level: str) -> dict[str, Any]:
    """For `logging.config.dictConfig`, in each process; uvicorn hands it to its workers.

    Args:
        log_format: None for JSON, unless standard output is a terminal.
        level: least level of a line: debug, info, warning or error.
    """
    chosen = log_format or ("text" if sys.stdout.isatty() else "json")
    formatter = JsonLines if chosen == "json" else TextLines
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": f"{formatter.__module__}.{formatter.__qualname__}"}},
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "formatter": "lines",
            }
        },
        "root": {"handlers": ["stdout"], "level": level.upper()},
    }


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """The record's own, and the id of the request it was written for."""
    fields: dict[str, object] = getattr(record, FIELDS, {})
    request_id = REQUEST_ID.get()
    return fields if request_id is None else {"request_id": request_id, **fields}
