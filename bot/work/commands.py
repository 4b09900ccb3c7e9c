"""What people ask for by command, button or word: decided by the thread's queue, answered at once.

Nothing here waits for an agent or for a turn, and nothing here keeps state.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import structlog

from bot.model import Actor, QueueMode
from bot.work import cutoffs
from bot.work.assignments import Assignments
from bot.work.choices import Choices
from bot.work.leftovers import Leftovers
from bot.work.modes import Modes
from bot.work.ports import Answer
from bot.work.queue.decisions import Cancel, Decision
from bot.work.queue.entry import EntryState
from bot.work.queue.scheduler import Scheduler
from bot.work.queue.thread_queue import ThreadQueue
from bot.work.runs import Runs
from bot.work.status import describe_pool, describe_queue, describe_thread
from bot.work.turns import Claim
from pool.pool import ConnectionPool
from pool.store import SessionStore

log = structlog.get_logger(__name__)

NOT_WAITING = Answer("It does not wait any more.", accepted=False)


class Commands:
    """Answers what people ask for; see `bot.work.ports.Desk`."""

    def __init__(
        self,
        scheduler: Scheduler[Claim],
        runs: Runs,
        leftovers: Leftovers,
        pool: ConnectionPool,
        store: SessionStore,
        modes: Modes,
        choices: Choices,
        assignments: Assignments,
    ) -> None:
        self._scheduler = scheduler
        self._runs = runs
        self._leftovers = leftovers
        self._pool = pool
        self._store = store
        self._modes = modes
        self._choices = choices
        self._assignments = assignments

    def stop(self, thread_id: int, by: Actor, prompt: int | None = None, before: int | None = None) -> Answer:
        """Stop the oldest running turn of the thread, else take its next waiting prompt out (Q7, T6)."""
        waiting = len(self._scheduler.queue(thread_id).line)
        decisions = self._do(thread_id, lambda queue: queue.stop(by.name, prompt, before))
        if any(isinstance(decision, Cancel) for decision in decisions):
            return Answer("Stopping.", accepted=True)
        if len(self._scheduler.queue(thread_id).line) < waiting:
            return Answer("Stopped before it began.", accepted=True, lasting=True)
        finishing = prompt is not None or self._runs.in_thread(thread_id)
        return Answer("Already finished." if finishing else "There is nothing to stop.", accepted=False)

    def stop_all(self, thread_id: int, by: Actor, before: int) -> Answer:
        """End the turns of the thread and empty its queue, up to snowflake ``before`` (Q7)."""
        waiting = len(self._scheduler.queue(thread_id).line)
        decisions = self._do(thread_id, lambda queue: queue.stop_all(by.name, before))
        cutoffs.keep(self._choices, self._scheduler, thread_id)
        running = sum(isinstance(decision, Cancel) for decision in decisions)
        ended = waiting - len(self._scheduler.queue(thread_id).line)
        if not running and not ended:
            return Answer("There is nothing to stop.", accepted=False)
        return Answer(f"Stopping everything: {running} running, {ended} waiting.", accepted=True, lasting=True)

    def clear(self, thread_id: int, by: Actor) -> Answer:
        """Take everything out that waits in a thread; the running turn goes on."""
        waiting = len(self._scheduler.queue(thread_id).line)
        self._do(thread_id, lambda queue: queue.clear(by.name))
        if not waiting:
            return Answer("Nothing waits here.", accepted=False)
        return Answer(f"Removed {waiting}.", accepted=True, lasting=True)

    def promote(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        """Run a waiting prompt now (Q5)."""
        if not self._waits(thread_id, prompt):
            return NOT_WAITING
        self._do(thread_id, lambda queue: queue.promote(prompt, by.name))
        return Answer("It is next.", accepted=True)

    def remove(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        """Take a waiting prompt out (Q5)."""
        if not self._waits(thread_id, prompt):
            return NOT_WAITING
        self._do(thread_id, lambda queue: queue.remove(prompt, by.name))
        return Answer("Removed.", accepted=True, lasting=True)

    def choose_mode(self, place_id: int, mode: QueueMode, by: Actor, *, server: bool) -> Answer:
        """Choose what a message does that comes while a turn runs (Q2)."""
        self._modes.choose(place_id, mode)
        log.info("mode.chosen", place=place_id, mode=str(mode), user=by.id, server=server)
        where = "Everywhere here" if server else "In this thread"
        return Answer(f"{where} from now on: **{mode}**.", accepted=True, lasting=True)

    def queue(self, thread_id: int, guild_id: int | None = None) -> str:
        """Return what waits in a thread and by which rules, as Discord Markdown (Q11)."""
        return describe_queue(self._scheduler.queue(thread_id), self._modes.at(thread_id, guild_id))

    def status(self, thread_id: int | None) -> str:
        """Return the state of a thread, or of the whole bot, as Discord Markdown (Q11)."""
        if thread_id is None:
            waiting = sum(1 for _ in self._scheduler.waiting())
            counts, trouble = self._pool.counts(), self._store.trouble
            lanes = self._scheduler.counts()
            pool = describe_pool(counts, running=len(self._runs), waiting=waiting, trouble=trouble, lanes=lanes)
            return "\n".join([pool, *self._runs.silences.describe()])
        running, slot = self._runs.in_thread(thread_id), self._pool.status(thread_id)
        name = self._assignments.shown(thread_id)
        thread = describe_thread(
            running[0].look() if running else None,
            waiting=len(self._scheduler.queue(thread_id).line),
            slot=slot,
            agent=name,
            now=anyio.current_time(),
        )
        left = self._leftovers.describe(thread_id)
        return "\n".join([thread, *left, *self._runs.silences.describe(name or (slot.agent if slot else None))])

    def _do(self, thread_id: int, act: Callable[[ThreadQueue], list[Decision]]) -> list[Decision]:
        return self._scheduler.do(thread_id, act, anyio.current_time())

    def _waits(self, thread_id: int, prompt: int) -> bool:
        entry = self._scheduler.queue(thread_id).line.find(prompt)
        return entry is not None and entry.state in (EntryState.COLLECTING, EntryState.WAITING)
