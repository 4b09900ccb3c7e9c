"""How long a turn waited for people, and how much later that makes its deadline (pure).

The mutable state is the open requests, since when there are any, and the time waited before.
"""

from __future__ import annotations


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
        """No request waits any more."""
        for key in list(self._open):
            self.closed(key, now)

    def postpone(self, deadline: float) -> float:
        """Return the deadline as it is now. While a request is open it runs ahead of the time, up to its limit."""
        return deadline + (self._most if self._open else min(self._waited, self._most))
