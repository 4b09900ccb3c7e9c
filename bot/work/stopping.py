"""The end of the bot: threads are told, turns finish or are cut off, what is left is delivered; bounded (R1).

The mutable state is how much patience is left.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import structlog

from bot.work.editors import Editors
from bot.work.ending import interrupted
from bot.work.limits import WorkLimits
from bot.work.queue.entry import Entry, Why
from bot.work.queue.scheduler import Scheduler
from bot.work.queue_notices import QueueNotices
from bot.work.reactions import Reactions
from bot.work.runs import Runs
from bot.work.task_tracker import TaskTracker
from bot.work.turns import Claim, cancel_cards
from pool.store import SessionStore

log = structlog.get_logger(__name__)

HURRIED = 1.0
"""Seconds that the end of the bot still waits once it was told to hurry."""

STOPPING = "Weft is about to restart."
GRACE = "This turn has {grace:.0f} s to finish; the session is kept."
KEPT = "What waits here goes on afterwards."

LAST_MARKS = 2.0
"""Seconds that the last reactions get, within the bound of the last messages."""


class Shutdown:
    """Brings the work to its end, once nothing new is taken any more."""

    def __init__(
        self,
        scheduler: Scheduler[Claim],
        runs: Runs,
        steps: TaskTracker,
        editors: Editors,
        store: SessionStore,
        notices: QueueNotices,
        reactions: Reactions,
    ) -> None:
        self._scheduler = scheduler
        self._runs = runs
        self._steps = steps
        self._editors = editors
        self._store = store
        self._notices = notices
        self._reactions = reactions
        self._hurried = False
        self._patience = anyio.CancelScope()

    async def run(self, limits: WorkLimits) -> None:
        """Let turns finish for a while, cut the others off, and wait until all is delivered, within the limits."""
        for running in self._runs.all():
            cancel_cards(running)
        self._tell_threads(limits.stop_grace)
        self._notices.close()
        self._end_waiting()
        await self._patiently(limits.stop_grace, lambda: not self._runs)
        for running in self._runs.all():
            running.interrupt("a restart")
        bound = limits.stop_bound + limits.flush_bound
        latest = anyio.current_time() + bound
        await self._patiently(bound, lambda: not (self._runs or self._steps.under_way))
        if self._steps.under_way or self._runs:
            log.warning("shutdown.undelivered", prompts=self._steps.under_way + len(self._runs))
        self._editors.close()
        await self._reactions.flush(min(LAST_MARKS, latest - anyio.current_time()))

    def _tell_threads(self, grace: float) -> None:
        """Tell each thread, in one notice, what the restart means for what runs and for what waits there."""
        running = {turn.thread_id for turn in self._runs.all()} if grace else set()
        # A thread that is not open yet can't be told anything: Discord would call it gone.
        waiting = {entry.thread_id for entry in self._scheduler.waiting() if _has_thread(entry)}
        waiting = waiting if self._store.durable else set()
        for thread_id in running | waiting:
            told = [GRACE.format(grace=grace)] if thread_id in running else []
            told += [KEPT] if thread_id in waiting else []
            self._notices.tell_stop(thread_id, " ".join([f"-# ⏸ {STOPPING}", *told]))

    def _end_waiting(self) -> None:
        """End what waits, if no later run knows it."""
        for thread_id in {entry.thread_id for entry in self._scheduler.waiting()}:
            self.turn_ended(thread_id)

    def turn_ended(self, thread_id: int) -> None:
        """End what waits in a thread once the bot stops, if no later run knows it; a turn may have left some behind."""
        if self._scheduler.closed and not self._store.durable:
            cut = interrupted()
            why = Why(cut.outcome, reason=cut.reason)
            self._scheduler.do(thread_id, lambda queue: queue.end_waiting(why), anyio.current_time())

    async def _patiently(self, seconds: float, done: Callable[[], bool]) -> None:
        seconds = min(seconds, HURRIED) if self._hurried else seconds
        with anyio.move_on_after(seconds) as self._patience:
            await self._steps.until(done)

    def hurry(self) -> None:
        """Wait for turns and messages only a moment longer."""
        self._hurried = True
        self._patience.deadline = min(self._patience.deadline, anyio.current_time() + HURRIED)


def _has_thread(entry: Entry) -> bool:
    return entry.accepted or not entry.messages[0].inbound.opens_thread
