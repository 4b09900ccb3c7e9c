"""The turns that run: each is started, stopped, steered and seen to its end; which runs when is the scheduler's.

Whatever happens in a turn, its place is freed and its messages have one outcome (Q10, O1). The mutable state is the
map of running turns by entry, and the threads in which turns can't run side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import anyio
import structlog
from anyio.abc import TaskGroup

from acp.errors import ForkFailed
from acp.snapshot import Phase, TurnSnapshot
from acp.turn import Turn
from bot.reply.cards import turn_button
from bot.reply.port import Body
from bot.reply.sanitise import plain_line
from bot.work.delivery import Deliveries
from bot.work.editors import Editors
from bot.work.ending import TurnEnd, crashed, interrupted
from bot.work.files.turn_files import nothing_left
from bot.work.leftovers import Leftovers
from bot.work.limits import WorkLimits
from bot.work.observer import Observer, turn_report, waited
from bot.work.queue.entry import Entry, Why
from bot.work.queue.scheduler import Scheduler
from bot.work.queue_notices import QueueNotices
from bot.work.running_turn import Claim, RunningTurn
from bot.work.silences import Silences
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from bot.work.transcripts.record import FinishedTurn
from bot.work.turn_events import TurnEvents
from bot.work.turns import TurnService, as_decided, cut_off
from pool.pool import ConnectionPool
from pool.slot import ExtraReservation
from pool.storage.durable import SessionStore

log = structlog.get_logger(__name__)


ONE_BY_ONE = Body("-# This agent can't work on two requests of a thread at once: they run one after the other.")
_REMEMBERED = 1000
_WAITS_LIMIT = 80


@dataclass(eq=False)
class Runs:
    """Runs admitted entries.

    Attributes:
        limits: those of turns that start from now on.
        running: the turns that run, by entry, the oldest first.
        silences: knows which agents have fallen silent again and again.
        serial: threads whose turns cannot run side by side, since their agent cannot copy a session.
    """

    tasks: TaskGroup
    tracker: TaskTracker
    pool: ConnectionPool
    store: SessionStore
    scheduler: Scheduler[Claim]
    editors: Editors
    deliveries: Deliveries
    notices: QueueNotices
    leftovers: Leftovers
    turns: TurnService
    thread_settings: ThreadSettings
    observer: Observer
    events: TurnEvents
    limits: WorkLimits
    running: dict[Entry, RunningTurn] = field(default_factory=dict)
    silences: Silences = field(default_factory=Silences)
    serial: dict[int, None] = field(default_factory=dict)

    def in_thread(self, thread_id: int) -> list[RunningTurn]:
        """Return the turns that run in a thread, the oldest first."""
        return [running for running in self.running.values() if running.thread_id == thread_id]

    def reserve(self, thread_id: int, behind: bool) -> Claim | None:
        """Claim the thread's session, or a copy of it where another turn has it (P4, Q9); never waits.

        Args:
            behind: an older prompt waits for an agent.
        """
        # Turns on copies leave the session itself free.
        if all(turn.extra for turn in self.in_thread(thread_id)):
            return self.pool.try_reserve(thread_id, behind=behind)
        return None if thread_id in self.serial else self.pool.try_reserve_extra(thread_id, behind=behind)

    def held_up(self, entry: Entry) -> None:
        """Say so where an entry waits for the turn before it because its agent can't work on two at once."""
        # None, not False, while nobody knows: only an agent that has said so is called unable.
        if self.in_thread(entry.thread_id) and self.pool.can_fork(entry.thread_id) is False:
            self.serialise(entry.thread_id)

    def serialise(self, thread_id: int) -> None:
        """Run the turns of a thread one after the other from now on, and say so once."""
        if thread_id in self.serial:
            return
        self.serial[thread_id] = None
        # Bounded: a thread that is forgotten here only finds out again.
        if len(self.serial) > _REMEMBERED:
            del self.serial[next(iter(self.serial))]
        self.editors.of(thread_id).say(ONE_BY_ONE)

    def start(self, entry: Entry, claim: Claim) -> None:
        """Begin the turn of an admitted entry, in its own task."""
        now, first = anyio.current_time(), entry.messages[0]
        limits = self.thread_settings.limits_for(entry.thread_id, self.limits.turn)
        turn, visible = Turn(limits, now), False

        def note(messages: tuple[int, ...]) -> None:
            nonlocal visible
            if not visible and (after := waited(entry, anyio.current_time())) is not None:
                self.observer.reply_visible(entry.lane, after)
            visible = True
            self.tracker.begin(self.store.shown, first.message_id, messages, name=f"note {first.message_id}")

        def look(text_from: int = 0) -> TurnSnapshot:
            # An entry that was put back may run again by now, in another turn with another reply.
            running = self.running.get(entry)
            return turn.snapshot(text_from) if running is None or running.turn is not turn else running.look(text_from)

        reply = self.editors.of(entry.thread_id).open(
            first.message_id,
            look,
            reply_to=None if first.opens_thread else first.message_id,
            stop_button=turn_button("stop", entry.thread_id, first.message_id),
            on_shown=note,
        )
        agent = self.thread_settings.agent_name_for(entry.thread_id)
        running = RunningTurn(entry, reply, turn, started=now, hard_timeout=limits.hard_timeout, agent=agent)
        running.doing = partial(self._doing, entry.thread_id)
        running.extra = isinstance(claim, ExtraReservation)
        entry.attempts += 1
        # In the map before its task begins: a stop may come first, and has to find it.
        self.running[entry] = running
        self.events.started(running)
        self.tasks.start_soon(self._run, running, claim, name=f"turn {entry.place}")

    def _doing(self, thread_id: int) -> str:
        """Return what is done before the thread's agent is there, or what its start waits for; "" if nothing."""
        if doing := self.turns.projects.doing(thread_id):
            return doing
        # An engine's words, with names of other people's making in them.
        waits_for = self.pool.waits_for(thread_id)
        return f"starting: {plain_line(waits_for, _WAITS_LIMIT)}" if waits_for else ""

    async def _run(self, running: RunningTurn, claim: Claim) -> None:
        end: TurnEnd | None = interrupted()
        try:
            end = await self.turns.run(running, claim)
        except ForkFailed as exc:
            log.warning("session.not_forked", thread=running.thread_id, reason=str(exc))
            end = None
        except Exception:
            log.exception("turn.failed", prompt=running.entry.place)
            end = crashed()
        finally:
            # No await in here: whoever looks sees the turn either running or with its reply handed over.
            del self.running[running.entry]
            self.tracker.changed()
            try:
                self._finish(running, end)
            finally:
                # Last: whoever hears that an agent is free must already see what this turn left in its thread.
                claim.release()
                if running.abandoned:
                    self.pool.evict(running.thread_id)

    def _finish(self, running: RunningTurn, end: TurnEnd | None) -> None:
        """Hand the reply over, then let the queue know; without an end, nothing was prompted."""
        entry, thread_id = running.entry, running.thread_id
        now = anyio.current_time()
        # 1. It could not run beside another one: it begins anew some other time, unless somebody stopped it.
        if end is None and running.stopped_by is None:
            running.reply.end(delivered=False)
            # First: to be put back starts what may start, and this turn must not be tried beside the other once more.
            self.serialise(thread_id)
            self.scheduler.ended(entry, now, again=True)
            self.notices.show(thread_id)
        # 2. It has ended, as what stopped it decided.
        else:
            end = as_decided(end or cut_off(running), entry.cancelled)
            over_at = running.over_at or now
            report = turn_report(entry, entry.owed, end, started=running.started, now=over_at, agent=running.agent)
            self.silences.ended(running.agent, end.outcome, silent=running.silent)
            turn = FinishedTurn.of(entry, end, over_at - running.started, running.agent)
            # Of a turn that ended without a drain it begins here.
            self.turns.branches.begin(running)
            self.deliveries.finish(turn, running.reply, report, running.branch)
            self.leftovers.ended(running.first)
            self.events.ended(running, end)
            context = end.snapshot.context if end.snapshot is not None else None
            memory = self.scheduler.queue(thread_id).memory
            # What a session that was reset had used says nothing about the next one.
            if context is not None and context.size and entry.generation == memory.generation:
                memory.share = context.used / context.size
            # After the reply was handed over: the next turn of the thread must come below this one.
            self.scheduler.ended(entry, now)
        # 3. While the bot stops, nothing more starts; a turn may have left something behind that waits.
        if self.scheduler.closed and not self.store.durable:
            end_waiting(self.scheduler, thread_id)

    def start_afresh(self, thread_id: int, *, keep_files: bool = False) -> None:
        """End the thread's agent; the next turn has a new session, and finds out anew what that one can do.

        Args:
            keep_files: what people have sent stays, as the conversation goes on with them.
        """
        self.serial.pop(thread_id, None)
        self.pool.reset(thread_id)
        if not keep_files:
            self.turns.files.remove(thread_id)

    async def steer(self, into: Entry, entry: Entry) -> None:
        """Put an entry into a running turn, and let the queue know whether its messages are part of it (Q2)."""
        running, taken = self.running.get(into), False
        try:
            if running is not None:
                taken = await self._steer(running, entry)
        finally:
            # The queue has handed the entry out: whatever happened to the agent, it has to get it back.
            with self.scheduler.deciding(entry.thread_id, anyio.current_time()) as (queue, decisions):
                decisions.extend(queue.steered(entry, ok=taken))
            self.notices.show(entry.thread_id)

    async def _steer(self, running: RunningTurn, entry: Entry) -> bool:
        lease, session = running.lease, running.session
        if lease is None or session is None or not session.can_steer:
            return False
        # One after the other: a message with files, which are fetched first, is not overtaken by the next.
        async with running.steering:
            notices = await self.turns.bring(entry, lease)
            # What has nothing left to say fails as its own prompt, with the reason.
            if running.turn.phase is not Phase.RUNNING or nothing_left(entry):
                return False
            for notice in notices:
                self.editors.of(entry.thread_id).say(notice)
            # Written first, as for a prompt: what the agent may have read is not run again by itself.
            await self.store.started(running.first.message_id, [message.message_id for message in entry.messages])
            steered = session.steer(running.turn, entry.prompt())
        return await steered


def end_waiting(scheduler: Scheduler[Claim], thread_id: int) -> None:
    """End what waits in a thread since the bot stops and no later run will know it (R1)."""
    cut = interrupted()
    with scheduler.deciding(thread_id, anyio.current_time()) as (queue, decisions):
        decisions.extend(queue.end_waiting(Why(cut.outcome, reason=cut.reason)))
