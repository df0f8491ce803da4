"""What a check has found: its verdict, and for whom it is no good what to do."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["fine", "note", "change"]
"""note: worth knowing, or could not be asked; change: it will fail or lose something as it is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `to_do` is empty where it is fine."""

    check: str
    verdict: Verdict
    found: str
    expected: str
    to_do: str = ""


def judged(verdict: Verdict, check: str, found: str, expected: str, to_do: str) -> Finding:
    """A finding with what to do, unless it is fine."""
    return Finding(check, verdict, found, expected, "" if verdict == "fine" else to_do)


def megabytes(size: float) -> str:
    """A size in bytes, for people."""
    return f"{size / 1e6:,.1f} MB"
