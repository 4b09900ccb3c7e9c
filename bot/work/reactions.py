"""Reactions that tell how a message fares: seen, waiting, running, and how it ended (D3).

They follow at Discord's pace: what was overtaken meanwhile is never set. The mutable state is what each message should
show and what it shows, also of those that ended before they were marked as accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import anyio
import structlog
from anyio.abc import TaskGroup

from bot.outcome import Outcome
from bot.reply.port import PortError
from bot.work.model import Inbound
from bot.work.ports import Chat

log = structlog.get_logger(__name__)

PATIENCE = 1.0
"""Seconds that a message shows nothing new for a state that may be over in a moment: most turns begin at once."""

MOST_WAITING = 1000
"""Messages whose reaction is out of date; beyond that, the oldest stay as they are."""


class Mark(StrEnum):
    """What a message shows."""

    SEEN = "👀"
    WAITING = "⏳"
    RUNNING = "⚙️"
    DONE = "✅"
    STOPPED = "⏹️"
    FAILED = "❌"


_OF_OUTCOME = {
    Outcome.ANSWERED: Mark.DONE,
    Outcome.STOPPED: Mark.STOPPED,
    Outcome.SUPERSEDED: Mark.STOPPED,
    Outcome.REMOVED: Mark.STOPPED,
    Outcome.STALE: Mark.STOPPED,
}


def mark_of(outcome: Outcome) -> Mark:
    """Return what a message shows that ended so."""
    return _OF_OUTCOME.get(outcome, Mark.FAILED)


_FINAL = (Mark.DONE, Mark.STOPPED, Mark.FAILED)


@dataclass(slots=True)
class _Cell:
    channel_id: int
    wanted: Mark
    shown: tuple[Mark, ...] = ()
    due: float = 0.0
    seen: bool = False


class Reactions:
    """Sets reactions, one request after the other.

    Args:
        tasks: owns the task that sets them while there are some to set.
        enabled: False sets none at all.
    """

    def __init__(self, tasks: TaskGroup, chat: Chat, *, enabled: bool) -> None:
        self._tasks = tasks
        self._chat = chat
        self._enabled = enabled
        self._cells: dict[int, _Cell] = {}
        self._due: dict[int, None] = {}
        self._ended: dict[int, Mark] = {}
        self._working = False
        self._changed = anyio.Event()

    def seen(self, inbound: Inbound) -> None:
        """Take note that the message shows the mark of the accept; where another one was quicker, it has to go."""
        if not self._enabled:
            return
        last = self._ended.pop(inbound.message_id, None)
        cell = self._cell(inbound, last or Mark.SEEN)
        late = last is not None or bool(cell.shown)
        cell.seen = True
        cell.shown = (*cell.shown, *((last,) if last else ()), Mark.SEEN)
        if late:
            self.show(inbound, cell.wanted)

    def show(self, inbound: Inbound, mark: Mark) -> None:
        """Let a message show ``mark``; the latest one counts."""
        if not self._enabled or self._tasks.cancel_scope.cancel_called:
            return
        cell = self._cell(inbound, mark)
        cell.wanted = mark
        cell.due = anyio.current_time() + (0.0 if mark in _FINAL else PATIENCE)
        self._due[inbound.message_id] = None
        if len(self._due) > MOST_WAITING:
            self.forget(next(iter(self._due)))
        self._changed.set()
        if not self._working:
            self._working = True
            self._tasks.start_soon(self._work, name="reactions")

    def _cell(self, inbound: Inbound, mark: Mark) -> _Cell:
        return self._cells.setdefault(inbound.message_id, _Cell(inbound.channel_id, mark))

    def forget(self, message_id: int) -> None:
        """Leave a message as it is: it was deleted, or too many wait."""
        self._due.pop(message_id, None)
        self._cells.pop(message_id, None)

    async def _work(self) -> None:
        try:
            while self._due:
                message_id = min(self._due, key=lambda one: self._cells[one].due)
                wait = self._cells[message_id].due - anyio.current_time()
                if wait <= 0:
                    del self._due[message_id]
                    await self._set(message_id, self._cells[message_id])
                    continue
                self._changed = anyio.Event()
                with anyio.move_on_after(wait):
                    await self._changed.wait()
        finally:
            self._working = False

    async def _set(self, message_id: int, cell: _Cell) -> None:
        mark, before = cell.wanted, cell.shown
        try:
            for old in before or (None,):
                if old is not mark:
                    await self._chat.react(cell.channel_id, message_id, mark, instead_of=old)
        except PortError as exc:
            log.debug("reaction.failed", message=message_id, error=str(exc))
        except Exception:
            # A reaction that can't be set must not keep the others from being set.
            log.exception("reaction.failed", message=message_id)
        cell.shown = (mark, *cell.shown[len(before) :])  # the mark of the accept may have come meanwhile
        if self._cells.get(message_id) is not cell:
            return  # it was deleted meanwhile
        if len(cell.shown) > 1:
            self._due[message_id] = None
        elif mark in _FINAL and message_id not in self._due:
            self._cells.pop(message_id, None)
            if not cell.seen:
                self._end(message_id, mark)

    def _end(self, message_id: int, mark: Mark) -> None:
        """Remember what a message shows on which the mark of the accept may still come."""
        self._ended[message_id] = mark
        if len(self._ended) > MOST_WAITING:
            del self._ended[next(iter(self._ended))]
