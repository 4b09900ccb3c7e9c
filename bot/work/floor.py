"""Where the work is done: carries out what the queues decide, and tells them what really happened.

It ties scheduler, intake, turns, cards, editors and deliveries together; each of them decides its own part. What people
ask for is `desk`'s. The mutable state is the event that tells the clock to look again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import anyio
import structlog
from anyio.abc import TaskGroup

from acp.turn import TurnSnapshot
from bot.model import Inbound, Outcome
from bot.observer import Observer
from bot.reply.port import Body
from bot.reply.sanitise import inline_code
from bot.work.claims import Claims
from bot.work.counts import WorkCounts, work_counts
from bot.work.delivery import Deliveries
from bot.work.editors import Editors, nonce_source
from bot.work.ending import TurnEnd
from bot.work.intake import Intake
from bot.work.late_output import LateOutputs
from bot.work.leftovers import Leftovers
from bot.work.limits import WorkLimits
from bot.work.permissions import PermissionRegistry
from bot.work.ports import Chat
from bot.work.queue.decisions import Cancel, Decision, Edited, End, Inject, Joined, Queued, Warm
from bot.work.queue.entry import Entry, MessageState
from bot.work.queue.lanes import Lanes
from bot.work.queue.scheduler import Scheduler
from bot.work.queue.thread_queue import ThreadQueue
from bot.work.queue_notices import QueueNotices
from bot.work.reactions import Mark, Reactions, mark_of
from bot.work.runs import Runs
from bot.work.serialization import accepted_prompt
from bot.work.skipped import SkippedMessages
from bot.work.task_tracker import TaskTracker
from bot.work.turn_cards import TurnCards
from bot.work.turns import CONTEXT_LOST, Claim, RunningTurn, TurnService
from pool.pool import ConnectionPool, Lease
from pool.store import SessionStore

log = structlog.get_logger(__name__)


class Floor:
    """The parts of the work, connected.

    Args:
        tasks: owns every task of the work: accepts, turns, editors, timers.
        redact: takes secrets out of what agents say about their failures.
        on_gone: told, with the reason, of a thread that can't be written to any more.

    Attributes:
        limits: those in force.
        observer: told of prompts; see `observe`.
        on_turn_over: told of the thread in which a turn has ended and its place is free.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        chat: Chat,
        pool: ConnectionPool,
        store: SessionStore,
        limits: WorkLimits,
        redact: Callable[[str], str],
        on_gone: Callable[[int, str], None],
    ) -> None:
        self.limits = limits
        self.observer = Observer()
        self.on_turn_over: Callable[[int], None] = _tell_nobody
        self.steps = TaskTracker(tasks)
        self.permissions = PermissionRegistry()
        self._pool = pool
        self._redact = redact
        self._store = store
        self._woken = anyio.Event()
        self.scheduler: Scheduler[Claim] = Scheduler(
            Lanes(limits.lanes),
            rules=lambda _thread_id: self.limits.rules,
            reserve=lambda thread_id, behind: self.claims.reserve(thread_id, behind),  # noqa: PLW0108  made below
            start=self._start,
            wait=self._held_up,
            carry_out=self._carry_out,
        )
        self.scheduler.looked = self.look_again
        pacing = replace(limits.pacing, streaming=lambda: len(self.runs))
        nonces = nonce_source(time.time_ns())
        self.editors = Editors(tasks, chat.thread, pacing, nonces, on_gone=on_gone, as_shown=redact)
        # Its last request may end after whoever posted has let go of it.
        self.editors.on_idle = self._let_editor_go
        self.deliveries = Deliveries(self.steps, self.editors, store, redact, self._let_editor_go)
        self.deliveries.on_recorded = self._recorded
        self.deliveries.on_told = lambda inbound, outcome: self.reactions.show(inbound, mark_of(outcome))
        self.reactions = Reactions(tasks, chat, enabled=limits.reactions)
        self.skipped = SkippedMessages(
            self.steps, self.editors, redact, self.deliveries.record, self._let_editor_go, owe=store.owe
        )
        self._late = LateOutputs(tasks, self.steps, self.editors, self._let_editor_go)
        pool.on_cut_off(self._late.cut_off)
        self.leftovers = Leftovers(tasks, self.steps, self.editors)
        self.notices = QueueNotices(tasks, self.steps, self.editors, store)
        self.intake = Intake(
            chat,
            store,
            accepted=self._accepted,
            dropped=self._dropped,
            withdrawn=self._withdrawn,
            record=self.deliveries.record,
            redact=redact,
            acknowledge=self.reactions.accepted,
        )
        self.asking = TurnCards(
            tasks, self.permissions, limits.permission_timeout, waits=self._lend, goes_on=self._take_back
        )
        turns = TurnService(pool, store, ask=self.asking, leased=self._leased, finishing=self._finishing)
        self.runs = Runs(
            tasks,
            self.steps,
            pool,
            store,
            self.editors,
            self.deliveries,
            turns,
            limits,
            self._turn_ended,
            self._not_forked,
        )
        self.claims = Claims(pool, self.runs, self.editors)
        tasks.start_soon(self._keep_time, name="queue clock")

    # --- what is asked of it -------------------------------------------------------------------------------------

    def take(self, inbound: Inbound) -> None:
        """Give a message its place, and have it written down."""
        self.scheduler.arrive(inbound, anyio.current_time())
        self.steps.begin(self._accept, inbound, name=f"accept {inbound.message_id}")

    def take_up(self, inbound: Inbound, asked_after: int = 0) -> None:
        """Take a prompt that is written down: it has its place by its snowflake; see `ThreadQueue.restore`."""
        if self.scheduler.queue(inbound.thread_id).line.holds(inbound.message_id):
            return
        self.scheduler.restore(inbound, anyio.current_time(), MessageState.ACCEPTING, asked_after)
        self.steps.begin(self.intake.take_up, inbound, name=f"take up {inbound.message_id}")

    def do(self, thread_id: int, act: Callable[[ThreadQueue], list[Decision]]) -> list[Decision]:
        """Let the queue of a thread decide, and carry that out."""
        self.look_again()  # what is next to start may be another one afterwards, and still be collecting
        return self.scheduler.do(thread_id, act, anyio.current_time())

    def about(self, message_id: int, act: Callable[[ThreadQueue], list[Decision]]) -> None:
        """Let the queue decide that a message is in; one that is in none is nobody's any more."""
        found = self.scheduler.find(message_id)
        if found is not None:
            self.do(found[0], act)

    def admit(self) -> None:
        """Look again at what may start: an agent may be free now."""
        self.scheduler.admit(anyio.current_time())
        self.look_again()

    def observe(self, observer: Observer) -> None:
        """Tell ``observer`` from now on what happens."""
        self.observer = self.runs.observer = observer
        self.deliveries.on_turn = observer.turn_finished

    def counts(self) -> WorkCounts:
        """Return how much work there is."""
        scheduler, cards = self.scheduler, self.permissions.open_cards
        return work_counts(scheduler.counts(), scheduler.waiting(), cards, self.steps.under_way)

    def look_again(self) -> None:
        """Have the clock ask anew when it is needed next."""
        self._woken.set()

    async def _keep_time(self) -> None:
        """Look at the queues again when a debounce is over."""
        while True:
            due = self.scheduler.next_wakeup()
            self._woken = anyio.Event()
            with anyio.move_on_after(None if due is None else max(0.0, due - anyio.current_time())) as waited:
                await self._woken.wait()
            if waited.cancelled_caught:
                self.scheduler.tick(anyio.current_time())

    # --- what the queues decide ------------------------------------------------------------------------------------

    def _carry_out(self, decision: Decision) -> None:
        with _contained():
            self._do_as_decided(decision)

    def _do_as_decided(self, decision: Decision) -> None:
        match decision:
            case End(message, why):
                self.skipped.end(message.inbound, TurnEnd(why.outcome, by=why.by, reason=why.reason))
                self.show_waiting(message.inbound.thread_id)
            case Cancel(entry, why):
                self.runs.cancel(entry, why)
            case Inject(into, entry):
                self.steps.begin(self._steer, into, entry, name=f"steer {entry.place}")
            case Joined(message):
                self.reactions.show(message.inbound, Mark.RUNNING)
            case Queued(message):
                self.reactions.show(message.inbound, Mark.WAITING)
                self.show_waiting(message.inbound.thread_id)
            case Edited(message):
                row = accepted_prompt(replace(message.inbound, text=message.text))
                self.steps.begin(self._store.amend, row.message_id, row.payload, name=f"amend {message.id}")
                self.show_waiting(message.inbound.thread_id)
            case Warm(thread_id):
                self._pool.warm(thread_id)

    async def _steer(self, into: Entry, entry: Entry) -> None:
        taken = False
        try:
            taken = await self.runs.steer(into, entry)
        finally:
            self.do(entry.thread_id, lambda queue: queue.steered(entry, ok=taken))
            self.show_waiting(entry.thread_id)

    def show_waiting(self, thread_id: int) -> None:
        """Let people see what waits in a thread (Q5)."""
        self.notices.show(thread_id, self.scheduler.queue(thread_id))

    def _held_up(self, entry: Entry) -> None:
        self.claims.held_up(entry)
        self.show_waiting(entry.thread_id)

    # --- messages on their way -----------------------------------------------------------------------------------

    async def _accept(self, inbound: Inbound) -> None:
        if await self.intake.accept(inbound) and inbound.left_out:
            notice = self.editors.of(inbound.thread_id).say(left_out(inbound), reply_to=inbound.message_id)
            await notice.delivered()
            self._let_editor_go(inbound.thread_id)

    def _accepted(self, inbound: Inbound) -> None:
        self.observer.prompt_accepted(inbound.lane)
        self.scheduler.accepted(inbound, anyio.current_time())

    def _dropped(self, inbound: Inbound) -> None:
        self.scheduler.refused(inbound, anyio.current_time())

    def _withdrawn(self, inbound: Inbound) -> TurnEnd | None:
        why = self.scheduler.queue(inbound.thread_id).line.withdrawn(inbound.message_id)
        return None if why is None else TurnEnd(why.outcome, by=why.by, reason=why.reason)

    def _recorded(self, inbound: Inbound, outcome: Outcome) -> None:
        self.observer.prompt_ended(inbound.lane, outcome)

    # --- turns -----------------------------------------------------------------------------------------------------

    def _start(self, entry: Entry, claim: Claim) -> None:
        self.runs.start(entry, claim)
        with _contained():
            self.show_waiting(entry.thread_id)
        for message in entry.messages:
            with _contained():
                self.reactions.show(message.inbound, Mark.RUNNING)

    def _turn_ended(self, running: RunningTurn, end: TurnEnd) -> None:
        self.leftovers.ended(running)
        share, queue = _context_share(end.snapshot), self.scheduler.queue(running.thread_id)
        # What a session that was reset had used says nothing of the next one.
        if share is not None and running.entry.generation == queue.memory.generation:
            queue.context_share(share)
        self.scheduler.ended(running.entry, anyio.current_time())
        self.on_turn_over(running.thread_id)

    def _finishing(self, running: RunningTurn, end: TurnEnd | None) -> None:
        self.scheduler.queue(running.thread_id).finishing(running.entry)
        if end is not None:
            with _contained():
                self.runs.announce(running, end)

    def _lend(self, running: RunningTurn) -> None:
        self.scheduler.lend(running.entry, anyio.current_time())

    def _take_back(self, running: RunningTurn) -> None:
        self.scheduler.take_back(running.entry)

    def _let_editor_go(self, thread_id: int) -> None:
        if self.scheduler.queue(thread_id).idle:
            self.editors.forget_idle(thread_id)

    def _not_forked(self, running: RunningTurn) -> None:
        """Queue a turn again that could not run beside another one."""
        self.claims.serialise(running.thread_id)
        self.scheduler.put_back(running.entry, anyio.current_time())
        self.show_waiting(running.thread_id)
        self.on_turn_over(running.thread_id)
        self.look_again()

    def _leased(self, running: RunningTurn, lease: Lease) -> None:
        thread_id, said = running.thread_id, lease.listen()
        running.hear = lambda: self._redact(said())
        self.leftovers.watch(running, lease)
        self.do(thread_id, lambda queue: queue.steerable(can=lease.session.can_steer))
        if lease.lost:
            self.editors.of(thread_id).say(CONTEXT_LOST)
        self._late.attend(thread_id, lease.session)


def left_out(inbound: Inbound) -> Body:
    """Return what the author of a message is told of what the agent does not get."""
    return Body(f"-# I can't pass files on yet. Left out: {inline_code(', '.join(inbound.left_out), 200)}")


def _tell_nobody(_thread_id: int) -> None:
    """Do nothing."""


@contextmanager
def _contained() -> Iterator[None]:
    """Log what fails: the queues of all threads are carried out by whoever has changed one of them (O4, Q10)."""
    try:
        yield
    except Exception:
        log.exception("decision.failed")


def _context_share(snapshot: TurnSnapshot | None) -> float | None:
    context = snapshot.context if snapshot is not None else None
    return context.used / context.size if context is not None and context.size else None
