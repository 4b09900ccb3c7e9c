"""What happens to the turns of all threads, for the parts that watch them: from the admission to the end.

A listener is called on the loop, in the step in which it happens, so it must be quick; what it raises is logged, and
hurts neither the turn nor the other listeners (O4).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
import structlog

from bot.work.ending import TurnEnd
from bot.work.queue.scheduler import Scheduler
from bot.work.running_turn import Claim, RunningTurn

log = structlog.get_logger(__name__)


class TurnListener:
    """Ignores everything; subclasses override what they want to hear."""

    def started(self, running: RunningTurn) -> None:
        """A turn was admitted; its agent may still have to start."""

    def asking(self, running: RunningTurn) -> None:
        """A turn began to wait for people, or no longer does: `RunningTurn.waiting_for_people` says which."""

    def ended(self, running: RunningTurn, end: TurnEnd) -> None:
        """A turn has ended, and its reply was handed over; it may not be visible yet.

        Not called for one that could not run beside another and is put back: it starts once more.
        """


@dataclass(slots=True)
class TurnEvents:
    """Tells every listener, whatever another one raises."""

    listeners: list[TurnListener] = field(default_factory=list)

    def started(self, running: RunningTurn) -> None:
        for listener in self.listeners:
            try:
                listener.started(running)
            except Exception:
                log.exception("turn.listener_failed", prompt=running.entry.place)

    def asking(self, running: RunningTurn) -> None:
        for listener in self.listeners:
            try:
                listener.asking(running)
            except Exception:
                log.exception("turn.listener_failed", prompt=running.entry.place)

    def ended(self, running: RunningTurn, end: TurnEnd) -> None:
        for listener in self.listeners:
            try:
                listener.ended(running, end)
            except Exception:
                log.exception("turn.listener_failed", prompt=running.entry.place)


@dataclass(frozen=True, slots=True)
class WaitsForPeople:
    """Lends the place in its lane of a turn that waits for people, and takes it back (Q6)."""

    scheduler: Scheduler[Claim]
    events: TurnEvents

    def begun(self, running: RunningTurn) -> None:
        """Note that a request or a question of the turn is open."""
        # It keeps its agent, but not its place in the lane.
        self.scheduler.lend(running.entry, anyio.current_time())
        self.events.asking(running)

    def settled(self, running: RunningTurn) -> None:
        """Note that one of them is over."""
        # A turn may wait for several answers; it needs its place again only after the last one.
        if not running.waiting_for_people:
            self.scheduler.lanes.take_back(running.entry)
            self.events.asking(running)
