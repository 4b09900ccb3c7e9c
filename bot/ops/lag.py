"""How late the loop comes round: a task that asks to be woken a few times a second, and looks at the clock.

The mutable state is the last lateness, the worst of the half minute under way and of the one before, and their times.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

TICK = 0.25
"""Seconds between two looks: four wake-ups a second cost less than 0.1 % of a CPU."""

WINDOW = 30.0
"""Seconds for which the worst lateness is kept at least; it is forgotten after twice as long."""


class LoopLag:
    """Measures the loop it runs on.

    Args:
        observe: told each lateness, in seconds.
    """

    def __init__(
        self,
        observe: Callable[[float], None],
        *,
        tick: float = TICK,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._observe, self._tick, self._clock = observe, tick, clock
        self.last = 0.0
        self._worst = self._worst_before = 0.0
        self._window = self._ticked = clock()

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = self._clock() + self._tick
            await anyio.sleep_until(due)
            self.note(max(0.0, self._clock() - due))

    def note(self, late: float) -> None:
        """Take a lateness in."""
        now = self._clock()
        self._turn(now)
        self.last, self._worst, self._ticked = late, max(self._worst, late), now
        self._observe(late)

    @property
    def worst(self) -> float:
        """The worst lateness of the last half minute or minute, in seconds."""
        self._turn(self._clock())
        return max(self._worst, self._worst_before)

    @property
    def silent(self) -> float:
        """Seconds since the last look at the clock."""
        return self._clock() - self._ticked

    def _turn(self, now: float) -> None:
        """Begin a new window when the one under way is over; what lies two windows back is forgotten."""
        passed = now - self._window
        if passed >= WINDOW:
            self._worst_before = self._worst if passed < 2 * WINDOW else 0.0
            self._worst, self._window = 0.0, now
