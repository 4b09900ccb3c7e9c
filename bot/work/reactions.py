"""Reactions that show the progress of a message: seen, waiting, running, and how it ended (D3).

Discord takes about four reactions a second in a channel, and refuses what comes at once: in each channel there is one
request after the other, and no channel waits for another. What was overtaken meanwhile is never set. The mutable
state is what each message should show and what it shows, and which are due in each channel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

import anyio
import structlog
from anyio.abc import TaskGroup

from bot.model import Inbound, Outcome
from bot.reply.port import PortError
from bot.work.ports import Chat

log = structlog.get_logger(__name__)

PATIENCE = 1.0
"""Seconds that a message shows nothing new for a state that may be over in a moment: most turns begin at once."""

MOST_WAITING = 1000
"""Messages of a channel whose reaction is out of date; beyond that, the oldest stay as they are."""


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
_PASSING = (Mark.SEEN, Mark.WAITING, Mark.RUNNING)


@dataclass(slots=True)
class _Cell:
    """A message.

    Attributes:
        fresh: it was accepted, and shows nothing of ours yet.
        inherited: an earlier run marked it, and nobody knows how.
    """

    inbound: Inbound
    wanted: Mark
    due: float
    shown: Mark | None = None
    fresh: bool = False
    inherited: bool = False

    def look_at(self) -> float:
        """Return when it is due; those that show nothing yet come first."""
        return -inf if self.fresh else self.due


@dataclass(slots=True)
class _Channel:
    """The messages of a channel that are due, the oldest first."""

    due: dict[int, None] = field(default_factory=dict)
    changed: anyio.Event = field(default_factory=anyio.Event)
    done: anyio.Event = field(default_factory=anyio.Event)


class Reactions:
    """Sets reactions, in each channel one request after the other.

    Args:
        tasks: owns a task for each channel while there are some to set.
        enabled: False sets the mark of the accept and no more.
    """

    def __init__(self, tasks: TaskGroup, chat: Chat, *, enabled: bool) -> None:
        self._tasks = tasks
        self._chat = chat
        self._enabled = enabled
        self._cells: dict[int, _Cell] = {}
        self._channels: dict[int, _Channel] = {}

    def accepted(self, inbound: Inbound) -> None:
        """Let a message show that it was accepted (O2), at once as far as Discord takes it."""
        cell = self._cell(inbound, Mark.SEEN)
        cell.fresh = cell.shown is None
        self._schedule(cell)

    def inherit(self, inbound: Inbound) -> None:
        """Take over a message that an earlier run marked: whatever it bears goes with its next mark (R2)."""
        if self._enabled:
            self._cell(inbound, Mark.SEEN).inherited = True

    def show(self, inbound: Inbound, mark: Mark) -> None:
        """Let a message show ``mark``; the latest one counts."""
        if self._enabled:
            cell = self._cell(inbound, mark)
            cell.wanted = mark
            # An end is shown at once: nothing overtakes it.
            cell.due = anyio.current_time() + (0.0 if mark in _FINAL else PATIENCE)
            self._schedule(cell)

    def _cell(self, inbound: Inbound, mark: Mark) -> _Cell:
        return self._cells.setdefault(inbound.message_id, _Cell(inbound, mark, anyio.current_time()))

    def forget(self, message_id: int) -> None:
        """Leave a message as it is that was deleted."""
        cell = self._cells.pop(message_id, None)
        channel = self._channels.get(cell.inbound.channel_id) if cell is not None else None
        if channel is not None:
            channel.due.pop(message_id, None)

    async def flush(self, seconds: float) -> None:
        """Wait until all marks are set, at most so long: those of messages that are over are set by no later run."""
        with anyio.move_on_after(seconds):
            while self._channels:
                await next(iter(self._channels.values())).done.wait()

    def _schedule(self, cell: _Cell) -> None:
        if self._tasks.cancel_scope.cancel_called:
            return  # the bot ends: what begins now would be cancelled in its first request
        channel_id = cell.inbound.channel_id
        channel = self._channels.get(channel_id)
        if channel is None:
            channel = self._channels[channel_id] = _Channel()
            self._tasks.start_soon(self._work, channel_id, channel, name=f"reactions {channel_id}")
        channel.due[cell.inbound.message_id] = None
        if len(channel.due) > MOST_WAITING:
            # Marks are worth less than memory: in a flood the oldest stay as they are.
            self.forget(next(iter(channel.due)))
        channel.changed.set()

    async def _work(self, channel_id: int, channel: _Channel) -> None:
        try:
            while channel.due:
                message_id = min(channel.due, key=lambda one: self._cells[one].look_at())
                cell = self._cells[message_id]
                wait = cell.look_at() - anyio.current_time()
                if wait <= 0:
                    del channel.due[message_id]
                    await self._set(message_id, cell, channel)
                    continue
                channel.changed = anyio.Event()
                with anyio.move_on_after(wait):
                    await channel.changed.wait()
        finally:
            # No await since the last look at `due`: a mark that comes later finds no channel, and begins a new task.
            del self._channels[channel_id]
            channel.done.set()

    async def _set(self, message_id: int, cell: _Cell, channel: _Channel) -> None:
        # Chosen now and not when it was asked for: what was overtaken costs no request.
        overtaken = cell.wanted in _FINAL or cell.due <= anyio.current_time()
        mark = Mark.SEEN if cell.fresh and not overtaken else cell.wanted
        cell.fresh = False
        inbound = cell.inbound
        try:
            if mark is Mark.SEEN:
                await self._chat.acknowledge(inbound, mark)
            else:
                # Of an earlier run's marks nobody knows which is there: taking away one that isn't costs a request.
                others = _PASSING if cell.inherited else (cell.shown,) if cell.shown else ()
                await self._chat.react(inbound.channel_id, inbound.message_id, mark, instead_of=others)
        except PortError as exc:
            # Marks are an extra: the reply says the same, and there is nobody to tell.
            log.debug("reaction.failed", message=message_id, error=str(exc))
        except Exception:
            # A reaction that can't be set must not keep the others from being set, whatever the cause.
            log.exception("reaction.failed", message=message_id)
        cell.shown, cell.inherited = mark, cell.inherited and mark is Mark.SEEN
        if self._cells.get(message_id) is not cell:
            return  # it was deleted meanwhile
        if cell.wanted is not mark:
            channel.due[message_id] = None
            return
        channel.due.pop(message_id, None)  # it was wanted once more
        if mark in _FINAL or not self._enabled:
            del self._cells[message_id]
