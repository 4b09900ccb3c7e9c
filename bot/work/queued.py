"""Notices below messages that wait: their place when they came, and buttons to run or remove them (Q5).

A message that starts within a moment gets none. The mutable state is the notices by the message that each is for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from bot.reply.cards import remove_button, send_now_button
from bot.reply.delivery import Delivery
from bot.reply.port import Body
from bot.work.editors import Editors
from bot.work.model import Inbound

PATIENCE = 1.5
"""Seconds that a message waits before it is told that it does."""

OVER = Body("-# ⏳ It waited for its turn.")


@dataclass(slots=True, eq=False)
class _Notice:
    thread_id: int
    over: anyio.Event = field(default_factory=anyio.Event)
    delivery: Delivery | None = None


class QueuedNotices:
    """Shows and clears the notices.

    Args:
        tasks: owns the waits.
        let_go: told of a thread in which a notice was cleared: its editor may have nothing left to do.
    """

    def __init__(
        self, tasks: TaskGroup, editors: Editors, let_go: Callable[[int], None], patience: float = PATIENCE
    ) -> None:
        self._tasks = tasks
        self._editors = editors
        self._let_go = let_go
        self._patience = patience
        self._notices: dict[int, _Notice] = {}

    def show(self, message: Inbound, place: int) -> None:
        """Tell a message that it waits, unless that is over in a moment."""
        if message.message_id in self._notices or self._tasks.cancel_scope.cancel_called:
            return
        notice = self._notices[message.message_id] = _Notice(message.thread_id)
        self._tasks.start_soon(self._tell, message, place, notice, name=f"queued {message.message_id}")

    def clear(self, message_id: int) -> None:
        """Take the buttons away: the message waits no longer."""
        notice = self._notices.pop(message_id, None)
        if notice is None:
            return
        notice.over.set()
        if notice.delivery is not None:
            notice.delivery = self._editors.of(notice.thread_id).change(notice.delivery, OVER)

    def clear_all(self) -> None:
        """Take all buttons away: the next run does not know the notices."""
        for message_id in list(self._notices):
            self.clear(message_id)

    async def _tell(self, message: Inbound, place: int, notice: _Notice) -> None:
        with anyio.move_on_after(self._patience):
            await notice.over.wait()
        if notice.over.is_set():
            return
        buttons = (
            send_now_button(message.thread_id, message.message_id),
            remove_button(message.thread_id, message.message_id),
        )
        body = Body(f"-# ⏳ Queued, number {place} in line.", buttons)
        notice.delivery = self._editors.of(message.thread_id).say(body, reply_to=message.message_id)
        await notice.over.wait()
        await notice.delivery.delivered()
        self._let_go(message.thread_id)
