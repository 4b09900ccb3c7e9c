"""Threads that Weft opened get the title that their agent has found for the conversation: once each (S5).

An agent may also give it on purpose, by its tool (M2). A name that a person gave stays. The mutable state is the flag
and the name in the thread's settings, and when agents have last given names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import anyio
import structlog

from bot.mcp.tools import ToolRefused
from bot.recent import RecentMap
from bot.reply.port import PortError
from bot.reply.sanitise import one_line
from bot.reply.title import title_of
from bot.work.ending import TurnEnd
from bot.work.outside.headers import RENAME_WINDOW, RENAMES, ThreadHeaders
from bot.work.ports import Channels
from bot.work.running_turn import RunningTurn
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from bot.work.turn_events import TurnListener
from pool.storage.durable import SessionStore

log = structlog.get_logger(__name__)

TITLED = "titled"
"""Kept of a thread whose agent has named it, or who opened it: whatever it is called now, Weft renames it no more."""

GIVEN = "given_title"
"""Kept of a thread whose agent has named it: that name, which it may give up for another one."""

HEADER_LIMIT = 5.0
"""Seconds to look at the name that a thread has now, while an agent waits."""

_REMEMBERED = 1000
BY_A_PERSON = "A person gave this thread its name, so it keeps that."
NO_TITLE = "This title has nothing that could be shown. Give a few words."
THE_SAME = "The thread has this title already."
NOT_SEEN = "Discord can't tell the thread's name right now. Try again later, or leave it."

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
    channels: Channels
    _given_at: RecentMap[int, tuple[float, ...]] = field(init=False, default_factory=lambda: RecentMap(_REMEMBERED))

    async def give(self, thread_id: int, title: str) -> str:
        """Rename a thread as its agent wants it; return what the agent is told.

        Raises:
            ToolRefused: it keeps its name.
        """
        name = title_of(self.redact(title))
        if not name:
            raise ToolRefused(NO_TITLE)
        before = await self._own_name(thread_id)
        if name == before:
            return THE_SAME
        # No await from here on: of two calls, the other one sees what this one gave.
        now = anyio.current_time()
        recent = tuple(at for at in self._given_at.get(thread_id, ()) if at > now - RENAME_WINDOW)
        if len(recent) >= RENAMES:
            wait = int(recent[0] + RENAME_WINDOW - now) + 1
            raise ToolRefused(
                f"A thread gets {RENAMES} titles in 10 minutes at most. Try again in {wait} s, or leave it."
            )
        self._given_at.put(thread_id, (*recent, now))
        self.settings.keep(thread_id, {TITLED: True, GIVEN: name})
        self.headers.rename(thread_id, name, instead_of=self.redact(before))
        return f"The thread will be renamed in a moment: {name}"

    async def _own_name(self, thread_id: int) -> str:
        """Return the name that a thread has from Weft or from its agent.

        Raises:
            ToolRefused: it has one that a person gave.
        """
        record, kept = await self.store.thread(thread_id), self.settings.kept(thread_id, GIVEN)
        given: str | None = kept if isinstance(kept, str) else None
        if given is None and record is not None and self.settings.kept(thread_id, TITLED) is None:
            # Without a name in the store it is a post, or was opened by people; titled, by whoever opened it.
            given = record.title
        if not given:
            raise ToolRefused(BY_A_PERSON)
        if self.headers.renames(thread_id):
            return given  # it may not have that yet
        try:
            with anyio.fail_after(HEADER_LIMIT):
                header = await self.channels.header(thread_id)
        except (PortError, TimeoutError) as exc:
            raise ToolRefused(NOT_SEEN) from exc
        if not header.own or one_line(header.name) != one_line(self.redact(given)):
            raise ToolRefused(BY_A_PERSON)
        return given

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
        self.settings.keep(thread_id, {TITLED: True, GIVEN: name})
        self.headers.rename(thread_id, name, instead_of=self.redact(given))
