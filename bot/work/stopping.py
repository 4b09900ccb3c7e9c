"""The end of the bot: threads are told, turns finish or are cut off, what is left is delivered; bounded (R1).

The mutable state is how much patience is left.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import structlog

from bot.reply.port import Body
from bot.work.editors import Editors
from bot.work.ending import interrupted
from bot.work.limits import DeskLimits
from bot.work.policy.entry import Entry, Why
from bot.work.policy.scheduler import Scheduler
from bot.work.runs import Runs
from bot.work.steps import Steps
from bot.work.turns import Claim, cancel_cards
from pool.store import SessionStore

log = structlog.get_logger(__name__)

HURRIED = 1.0
"""Seconds that the end of the bot still waits once it was told to hurry."""

STOPPING = "-# ⏸ Weft is about to restart. This turn has {grace:.0f} s to finish; the session is kept."
KEPT = Body("-# ⏸ Weft is about to restart. What waits here goes on afterwards.")


class Stopping:
    """Brings the work to its end, once nothing new is taken any more."""

    def __init__(
        self, scheduler: Scheduler[Claim], runs: Runs, steps: Steps, editors: Editors, store: SessionStore
    ) -> None:
        self._scheduler = scheduler
        self._runs = runs
        self._steps = steps
        self._editors = editors
        self._store = store
        self._hurried = False
        self._patience = anyio.CancelScope()

    async def run(self, limits: DeskLimits) -> None:
        """Let turns finish for a while, cut the others off, and wait until all is delivered, within the limits."""
        self._end_waiting()
        self._tell_running(limits.stop_grace)
        await self._patiently(limits.stop_grace, lambda: not self._runs)
        for running in self._runs.all():
            running.interrupt("a restart")
        await self._patiently(limits.stop_bound + limits.flush_bound, lambda: not (self._runs or self._steps.under_way))
        if self._steps.under_way or self._runs:
            log.warning("shutdown.undelivered", prompts=self._steps.under_way + len(self._runs))
        self._editors.close()

    def _end_waiting(self) -> None:
        """Tell each thread what becomes of the prompts that wait: they are kept where the store can."""
        waiting = list(self._scheduler.waiting())
        if self._store.durable:
            # A thread that is not open yet can't be told anything: Discord would call it gone.
            for thread_id in {entry.thread_id for entry in waiting if _has_thread(entry)}:
                self._editors.of(thread_id).say(KEPT)
            return
        for thread_id in {entry.thread_id for entry in waiting}:
            self.turn_ended(thread_id)

    def turn_ended(self, thread_id: int) -> None:
        """End what waits in a thread once the bot stops, if no later run knows it; a turn may have left some behind."""
        if self._scheduler.closed and not self._store.durable:
            cut = interrupted()
            why = Why(cut.outcome, reason=cut.reason)
            self._scheduler.do(thread_id, lambda queue: queue.end_waiting(why), anyio.current_time())

    def _tell_running(self, grace: float) -> None:
        for running in self._runs.all():
            cancel_cards(running)
            if grace:
                self._editors.of(running.thread_id).say(Body(STOPPING.format(grace=grace)))

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
