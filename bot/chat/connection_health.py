"""Whether the connection to Discord is healthy: which step it is in, and how often it may log in (pure)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

MOST_LOGINS = 10
LOGIN_WINDOW = 1200.0
"""Seconds in which there may be so many: 720 a day, which leaves 280 for 10 starts in each hour."""


class LoginsSpent(Exception):
    """There were too many logins recently; the message says in how many seconds the next one is allowed."""


@dataclass(slots=True)
class Logins:
    """Counts the logins of all clients of this process; a service limits how often the process starts.

    Discord resets the token after 1000 IDENTIFYs in 24 hours. A connection that ends right after each login would
    reach that within a day, and discord.py's own reconnects within an hour and a half.

    Args:
        clock: seconds, monotonic.
    """

    clock: Callable[[], float]
    most: int = MOST_LOGINS
    window: float = LOGIN_WINDOW
    _last: deque[float] = field(default_factory=deque)

    def wait(self) -> float:
        """Return in how many seconds the next login is allowed; 0 if it is allowed now."""
        if len(self._last) < self.most:
            return 0.0
        return max(0.0, self._last[-self.most] + self.window - self.clock())

    def take(self) -> None:
        """Count a login.

        Raises:
            LoginsSpent: it is not allowed now.
        """
        if wait := self.wait():
            raise LoginsSpent(f"there were {len(self._last)} logins of late: the next one in {wait:.0f} s")
        self._last.append(self.clock())
        # Older ones no longer matter.
        if len(self._last) > self.most:
            self._last.popleft()


class Step(Enum):
    """What the connection's task does."""

    BEGINNING = "beginning"
    FINDING = "looking for the gateway"
    LOGGING_IN = "logging in"
    CONNECTING = "connecting"
    LISTENING = "listening"
    PAUSING = "pausing"
    ENDED = "ended"


STUCK_AFTER = {
    Step.BEGINNING: 120.0,  # reads which places are known, from a disk
    Step.FINDING: 60.0,  # one request, of 10 s at most
    Step.LOGGING_IN: 3600.0,  # two requests; discord.py tries each five times, for 300 s at most
    Step.CONNECTING: 1800.0,  # discord.py pauses for up to 1024 s between two tries; each of them is noted
    Step.LISTENING: 300.0,  # something comes with each heartbeat, about 41 s; after 60 s more discord.py hangs up
    Step.PAUSING: LOGIN_WINDOW + 120.0,  # 60 s at most, unless there were too many logins
    Step.ENDED: 0.0,
}
"""Seconds that a healthy connection never spends in a step."""

_CONNECTION = (Step.CONNECTING, Step.LISTENING)


class Progress:
    """The connection's step, and since when it has been in it.

    Being disconnected is no fault: a step that depends on Discord may take long. Each step has a limit, though, far
    beyond what is usual; past it, the connection hangs.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self.step = Step.BEGINNING

    def enter(self, step: Step) -> None:
        """Note that a step begins, or that one try of it has ended and another begins."""
        self.step, self._since = step, self._clock()

    def lost(self) -> None:
        """Note that a connection ended or could not be made, and that another one is tried."""
        # A client that is being closed says so too; the gateway is in another step by then.
        if self.step in _CONNECTION:
            self.enter(Step.CONNECTING)

    def socket(self, silence: float | None) -> None:
        """Note the state of the socket: seconds since something came, None while it is not open."""
        # discord.py reconnects by itself and has no event for it, so the gateway calls this before it asks `stuck`.
        if silence is not None and self.step in _CONNECTION:
            self.step, self._since = Step.LISTENING, self._clock() - silence
        elif self.step is Step.LISTENING:
            self.enter(Step.CONNECTING)

    def stuck(self) -> str | None:
        """Say what hangs, or nothing."""
        lasted = self._clock() - self._since
        if self.step is Step.ENDED:
            return "the connection's task has ended"
        if lasted > STUCK_AFTER[self.step]:
            return f"the connection's task hangs: {self.step.value} for {lasted:.0f} s"
        return None
