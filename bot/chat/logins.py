"""How often the bot may log in at the gateway: Discord resets the token after 1000 IDENTIFYs in 24 hours (pure).

A connection that ends right after each login would come to that within a day, and discord.py's own within an hour and
a half. What is counted here are all clients of this process; a service bounds the starts. The mutable state is the
times of the last logins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

MOST_LOGINS = 10
LOGIN_WINDOW = 1200.0
"""Seconds in which there may be so many: 720 a day, which leaves 280 for 10 starts in each hour."""


class LoginsSpent(Exception):
    """There were too many logins of late; the message says in how many seconds the next one may be."""


class Logins:
    """Counts logins.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float], most: int = MOST_LOGINS, window: float = LOGIN_WINDOW) -> None:
        self._clock, self._window = clock, window
        self._last: deque[float] = deque(maxlen=most)

    def wait(self) -> float:
        """Return in how many seconds the next login may be; 0 if it may be now."""
        if len(self._last) < (self._last.maxlen or 0):
            return 0.0
        return max(0.0, self._last[0] + self._window - self._clock())

    def take(self) -> None:
        """Count a login.

        Raises:
            LoginsSpent: it may not be now.
        """
        if wait := self.wait():
            raise LoginsSpent(f"there were {len(self._last)} logins of late: the next one in {wait:.0f} s")
        self._last.append(self._clock())
