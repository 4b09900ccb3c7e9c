"""The one visible end of every accepted message (pure). The names are printed as they are."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How an accepted message ended; exactly one each."""

    ANSWERED = "answered"
    FAILED = "failed"
    STOPPED = "stopped"
    SUPERSEDED = "superseded"
    REMOVED = "removed"
    DROPPED = "dropped"
    STALE = "stale"
    TIMED_OUT = "timed_out"
    AGENT_DIED = "agent_died"
    COULD_NOT_START = "could_not_start"
    INTERRUPTED = "interrupted"
