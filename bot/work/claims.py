"""Claims on agents for turns: the thread's own session, or a copy of it for a turn beside another one (P4, Q9).

The mutable state is the threads in which turns can't run side by side.
"""

from __future__ import annotations

from bot.reply.port import Body
from bot.work.editors import Editors
from bot.work.queue.entry import Entry
from bot.work.runs import Runs
from bot.work.turns import Claim
from pool.pool import ConnectionPool

ONE_BY_ONE = Body("-# This agent can't work on two requests of a thread at once: they run one after the other.")
_REMEMBERED = 1000


class Claims:
    """Claims, and tells a thread whose turns can't run side by side."""

    def __init__(self, pool: ConnectionPool, runs: Runs, editors: Editors) -> None:
        self._pool = pool
        self._runs = runs
        self._editors = editors
        self._serial: dict[int, None] = {}

    def reserve(self, thread_id: int, behind: bool) -> Claim | None:
        """Claim the thread's session, or a copy of it where another turn has it; never waits.

        Args:
            behind: an older prompt waits for an agent.
        """
        if all(turn.extra for turn in self._runs.in_thread(thread_id)):
            return self._pool.try_reserve(thread_id, behind=behind)
        return None if thread_id in self._serial else self._pool.try_reserve_extra(thread_id, behind=behind)

    def held_up(self, entry: Entry) -> None:
        """Tell that an entry waits for the turn before it, where that is since its agent can't do two at once."""
        if self._runs.in_thread(entry.thread_id) and self._pool.can_fork(entry.thread_id) is False:
            self.serialise(entry.thread_id)

    def serialise(self, thread_id: int) -> None:
        """Run the turns of a thread one after the other from now on, and say so once."""
        if thread_id in self._serial:
            return
        self._serial[thread_id] = None
        if len(self._serial) > _REMEMBERED:
            del self._serial[next(iter(self._serial))]
        self._editors.of(thread_id).say(ONE_BY_ONE)

    def forget(self, thread_id: int) -> None:
        """Try it anew with the next session."""
        self._serial.pop(thread_id, None)
