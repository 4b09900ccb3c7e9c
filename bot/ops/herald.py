"""Tells the service supervisor how the bot fares from its start to its end (R3).

Ready is told once the gateway is. A start that waits for Discord, and a stop that waits for turns, ask for more time
again and again, so that only one that hangs runs out of it. The mutable state is the phase and the last status.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import anyio

from bot.ops.notify import Notifier

LOOK_INTERVAL = 1.0
"""Seconds between two looks at what the status is."""


class Phase(Enum):
    """Where the bot is between its start and its end."""

    STARTING = "waiting for Discord"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Figures:
    """What the status is made of."""

    connected: bool
    agents: int
    max_agents: int
    turns: int


def status(phase: Phase, figures: Figures) -> str:
    """Return the line that the supervisor shows."""
    agents = f"{figures.agents} of {figures.max_agents} agents"
    turns = f"{figures.turns} turn{'' if figures.turns == 1 else 's'}"
    if phase is Phase.STARTING:
        return "waiting for Discord"
    if phase is Phase.STOPPING:
        return f"draining: {turns} to end, {agents}"
    return f"{'connected' if figures.connected else 'disconnected'}: {turns} running, {agents}"


class Herald:
    """Speaks for the bot.

    Args:
        figures: gives what the status is made of.
        fault: says why the bot does not get on, if so; a start that does not get on is given no more time.
    """

    def __init__(self, notifier: Notifier, figures: Callable[[], Figures], fault: Callable[[], str | None]) -> None:
        self._notifier, self._figures, self._fault = notifier, figures, fault
        self._phase = Phase.STARTING
        self._said = ""
        self._last_extension = 0.0

    @property
    def stops(self) -> bool:
        """Whether the end has begun."""
        return self._phase is Phase.STOPPING

    async def run(self, ready: anyio.Event) -> None:
        """Tell what changes until cancelled; ``ready`` is set when the bot is."""
        if not self._notifier:
            return
        while True:
            self.look(ready=ready.is_set())
            with anyio.move_on_after(LOOK_INTERVAL):
                # Who waits for the service goes on with this, so it is told at once.
                await (anyio.sleep_forever() if ready.is_set() else ready.wait())

    def look(self, *, ready: bool) -> None:
        """Tell what is new."""
        if self._phase is Phase.STARTING and ready:
            self._become_ready()
        if self._may_extend():
            self._notifier.extend()
        now = self._status(self._phase)
        if now != self._said and self._notifier.send(f"STATUS={now}"):
            self._said = now

    def _become_ready(self) -> None:
        said = self._status(Phase.RUNNING)
        if self._notifier.ready(said):  # else it is tried again at the next look
            self._phase, self._said = Phase.RUNNING, said

    def reload(self, reload: Callable[[], None]) -> None:
        """Tell of a reload around it; before the bot is ready that would make it so."""
        if self._phase is not Phase.RUNNING:
            reload()
            return
        self._notifier.reloading()
        try:
            reload()
        finally:
            self._notifier.send("READY=1")

    def stopping(self, within: float) -> None:
        """Tell that the end has begun; time for it is asked for until it should be over, ``within`` seconds."""
        self._phase = Phase.STOPPING
        self._last_extension = anyio.current_time() + within
        self._notifier.send("STOPPING=1")
        self.look(ready=True)

    def _may_extend(self) -> bool:
        if self._phase is Phase.STARTING:
            return self._fault() is None
        return self._phase is Phase.STOPPING and anyio.current_time() < self._last_extension

    def _status(self, phase: Phase) -> str:
        return status(phase, self._figures())
