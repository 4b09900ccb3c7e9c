"""Threads that Weft opened get the title that their agent has found for the conversation: once each (S5).

The mutable state is the flag in the thread's settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from bot.reply.title import title_of
from bot.work.ending import TurnEnd
from bot.work.outside.headers import ThreadHeaders
from bot.work.running_turn import RunningTurn
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from bot.work.turn_events import TurnListener
from pool.storage.durable import SessionStore

log = structlog.get_logger(__name__)

TITLED = "titled"
"""Kept of a thread whose agent has named it, or who opened it: whatever it is called now, Weft renames it no more."""

_LOOKED_AT = 16 * 1024
"""Characters of a title that are looked at: it comes from the agent, and may be as long as a line of its output."""


@dataclass(eq=False)
class Titles(TurnListener):
    """Has threads renamed.

    Args:
        redact: takes secrets out of what agents say.
    """

    tracker: TaskTracker
    store: SessionStore
    settings: ThreadSettings
    headers: ThreadHeaders
    redact: Callable[[str], str]

    def ended(self, running: RunningTurn, end: TurnEnd) -> None:
        thread_id = running.thread_id
        if self.settings.kept(thread_id, TITLED) is not None:
            return
        if end.snapshot is not None and end.snapshot.title:
            self._take(thread_id, end.snapshot.title)
        elif running.session is not None:
            # An agent may think it up after its answer, and even after the drain. One turn is enough to ask for it.
            running.session.on_title = partial(self._take, thread_id)

    def _take(self, thread_id: int, title: str) -> None:
        # Called by the reader of the agent's output as well, which may be heard until the very end of the bot.
        if not self.tracker.over and self.settings.kept(thread_id, TITLED) is None:
            head = title[:_LOOKED_AT]
            # Whole lines only: of a secret at the cut, the rest would not be recognised.
            whole = head if len(head) == len(title) else head.rpartition("\n")[0]
            self.tracker.begin(self._rename, thread_id, whole, name=f"title of {thread_id}")

    async def _rename(self, thread_id: int, title: str) -> None:
        record = await self.store.thread(thread_id)
        # The name under which Weft opened it. A post and a thread of people's have none here, and keep theirs.
        given = record.title if record is not None else None
        # Redacted before it is cut, as above.
        name = title_of(self.redact(title))
        if not given or not name or name == given or self.settings.kept(thread_id, TITLED) is not None:
            return
        # Before it is done, and with no await since the last look: one more title must not be a second name.
        self.settings.keep(thread_id, {TITLED: True})
        self.headers.rename(thread_id, name, instead_of=self.redact(given))
