"""When something is due in a turn: liveness probe, hard timeout, end of the grace, end of the drain (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """Limits of one turn: times in seconds, sizes in bytes.

    Attributes:
        liveness: without an event for so long, the process is probed.
        hard_timeout: from the prompt to the cancel, apart from the time that people take to answer.
        cancel_grace: from the cancel to the kill.
        drain_quiet: after the response, silence that ends the turn; ``drain_max`` bounds it.
        card_extension_max: how much later open permission requests make the hard timeout, in all.
        text_bytes, tool_calls, tool_head, tool_tail: what is kept of the answer, and of each tool's output.
    """

    liveness: float = 30.0
    hard_timeout: float = 1800.0
    cancel_grace: float = 10.0
    drain_quiet: float = 0.2
    drain_max: float = 2.0
    card_extension_max: float = 3600.0
    text_bytes: int = 8 * 1024 * 1024
    tool_calls: int = 1000
    tool_head: int = 64 * 1024
    tool_tail: int = 192 * 1024


class Action(Enum):
    """What the loop around the turn has to do."""

    PROBE = auto()
    """See whether the process lives; if not, tell the turn with `Turn.died`."""
    CANCEL = auto()
    """Answer the open permission requests and send the cancel."""
    KILL = auto()
    """End the process: it did not react in time. The turn is over."""


class WaitingTime:
    """Counts the time in which at least one request was open.

    Args:
        most: seconds that count, in all.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._open: dict[str, str] = {}
        self._since = 0.0
        self._waited = 0.0

    @property
    def open(self) -> bool:
        """Whether a request waits for an answer."""
        return bool(self._open)

    def tool_calls(self) -> tuple[str, ...]:
        """Return the tool call ids of the open requests."""
        return tuple(self._open.values())

    def opened(self, key: str, tool_call_id: str, now: float) -> None:
        """A request begins to wait."""
        if not self._open:
            self._since = now
        self._open[key] = tool_call_id

    def closed(self, key: str, now: float) -> bool:
        """A request has its answer; False if it did not wait."""
        if self._open.pop(key, None) is None:
            return False
        if not self._open:
            self._waited += max(0.0, now - self._since)
        return True

    def close_all(self, now: float) -> None:
        for key in list(self._open):
            self.closed(key, now)

    def postpone(self, deadline: float) -> float:
        """Return the deadline as it is now. While a request is open it runs ahead of the time, up to its limit."""
        return deadline + (self._most if self._open else min(self._waited, self._most))
