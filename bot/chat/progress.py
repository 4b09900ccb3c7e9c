"""In which step the connection to Discord is, and whether it still gets on (pure).

A step that depends on Discord may take long: being disconnected is no fault. Each has an end of its own, though, and
what has gone far beyond it hangs. The mutable state is the step and since when it is under way.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from bot.chat.logins import LOGIN_WINDOW


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
"""Seconds that no step takes which still gets on."""

_CONNECTION = (Step.CONNECTING, Step.LISTENING)


class Progress:
    """The connection's step.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self.step = Step.BEGINNING

    def enter(self, step: Step) -> None:
        """Note that a step begins, or that a try of it has ended and another one begins."""
        self.step, self._since = step, self._clock()

    def lost(self) -> None:
        """Note that a connection ended or could not be made, and that another one is tried."""
        if self.step in _CONNECTION:
            self.enter(Step.CONNECTING)

    def socket(self, silence: float | None) -> None:
        """Note how the socket looks: seconds since something came, None while it is not open.

        discord.py connects anew by itself, so this has to be called now and then.
        """
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
