"""One line of the doctor's report, for people and for scripts (pure).

What agents, Discord and the machine say goes into lines, too: it is made harmless for a terminal and cut to a length.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_LONGEST = 600
_SHOWN = 8


class Verdict(StrEnum):
    """How a check ended; only FAIL keeps the bot from working."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    verdict: Verdict
    subject: str
    text: str

    def line(self) -> str:
        """Return the line as people read it."""
        return f"{self.verdict:<4}  {self.subject:<10}  {harmless(self.text)}"

    def json(self) -> str:
        """Return the line as scripts read it: ``verdict`` (``ok``, ``warn``, ``fail``), ``subject`` and ``text``."""
        # In one case, unlike the line for people, in which a failure has to stand out.
        fields = {"verdict": self.verdict.lower(), "subject": self.subject, "text": harmless(self.text)}
        return json.dumps(fields, ensure_ascii=False)


def ok(subject: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(Verdict.OK, subject, text)


def warn(subject: str, text: str) -> Finding:
    """Return a finding that somebody should look at."""
    return Finding(Verdict.WARN, subject, text)


def fail(subject: str, text: str) -> Finding:
    """Return a finding that keeps the bot from working."""
    return Finding(Verdict.FAIL, subject, text)


def several(names: Sequence[str], shown: int = _SHOWN) -> str:
    """Return the first names in a row, and how many more there are."""
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")


def harmless(text: str) -> str:
    """Leave out what could move a terminal's cursor, break the line, or flood it."""
    # Halves of characters go with the rest, or the line could not even be printed.
    clean = "".join(letter if letter.isprintable() else " " for letter in text)
    return clean if len(clean) <= _LONGEST else clean[: _LONGEST - 1] + "…"
