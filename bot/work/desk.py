"""The work as Discord sees it: takes messages, answers commands at once, sees every message to its one outcome.

It ties intake, scheduler, turns, cards, editors and deliveries together; each of them decides its own part. The mutable
state is what came too late to be taken, and how much patience the end of the bot has left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import anyio
import structlog
from anyio.abc import TaskGroup

from acp.turn import TurnSnapshot
from bot.outcome import Outcome
from bot.reply.editor import Delivery
from bot.reply.port import Body
from bot.work.asking import Asking
from bot.work.delivery import Deliveries
from bot.work.editors import Editors, nonce_source
from bot.work.ending import TurnEnd, interrupted
from bot.work.intake import Intake
from bot.work.late import LateOutput
from bot.work.limits import DeskLimits
from bot.work.model import Actor, Inbound, QueueMode
from bot.work.modes import Modes
from bot.work.permissions import PermissionDesk
from bot.work.policy.decisions import Cancel, Decision, Edited, End, Inject, Queued, Warm
from bot.work.policy.entry import Entry, EntryState, MessageState, Why
from bot.work.policy.lanes import Lanes
from bot.work.policy.rate import RateLimit
from bot.work.policy.rules import Rules
from bot.work.policy.scheduler import Scheduler
from bot.work.policy.thread import ThreadQueue
from bot.work.ports import Answer, Chat
from bot.work.queued import QueuedNotices
from bot.work.reactions import Mark, Reactions, mark_of
from bot.work.record import accepted_prompt
from bot.work.restart import Restart
from bot.work.runs import Runs
from bot.work.status import describe_pool, describe_queue, describe_thread
from bot.work.steps import Steps
from bot.work.turns import CONTEXT_LOST, RunningTurn, TurnService, cancel_cards
from bot.work.unrun import Unrun
from pool.pool import ConnectionPool, Lease
from pool.slot import Reservation
from pool.store import SessionStore

log = structlog.get_logger(__name__)

WAITING_FOR_AGENT = Body(
    "-# ⏳ Waiting for a free agent: all that are allowed are at work. This message keeps its place."
)
HURRIED = 1.0
"""Seconds that the end of the bot still waits once it was told to hurry."""

STOPPING = "-# ⏸ Weft is about to restart. This turn has {grace:.0f} s to finish; the session is kept."
KEPT = Body("-# ⏸ Weft is about to restart. What waits here goes on afterwards.")
RESTARTING = Answer("Weft is restarting: please try again afterwards.", accepted=False)
NOT_WAITING = Answer("It does not wait any more.", accepted=False)


class ThreadDesk:
    """Implements `bot.work.ports.Desk`.

    Args:
        tasks: owns every task of the work: accepts, turns, editors, timers.
        redact: takes secrets out of what agents say about their failures.

    Attributes:
        permissions: the permission requests that people may press.
        deliveries: sees final replies to their end, and tells of each outcome.
        modes: what people chose for threads and servers.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        chat: Chat,
        pool: ConnectionPool,
        store: SessionStore,
        limits: DeskLimits,
        redact: Callable[[str], str],
    ) -> None:
        self.permissions = PermissionDesk()
        self._tasks = tasks
        self._pool = pool
        self._store = store
        self._limits = limits
        self._too_late: set[int] = set()
        self._hurried = False
        self._patience = anyio.CancelScope()
        self._woken = anyio.Event()
        self._steps = Steps(tasks)
        self._rate = RateLimit(limits.user_messages, limits.user_window)
        self._scheduler: Scheduler[Reservation] = Scheduler(
            Lanes(limits.lanes),
            rules=self._rules,
            reserve=pool.try_reserve,
            start=self._start,
            wait=self._tell_to_wait,
            carry_out=self._carry_out,
        )
        pacing = replace(limits.pacing, streaming=lambda: len(self._runs))
        self._editors = Editors(
            tasks, chat.thread, pacing, nonce_source(time.time_ns()), on_gone=self.thread_gone, as_shown=redact
        )
        self.deliveries = Deliveries(self._steps, self._editors, store, redact, self._let_editor_go)
        self.deliveries.on_recorded = self._recorded
        self.modes = Modes(self._steps, store, limits.rules.mode)
        self._reactions = Reactions(tasks, chat, enabled=limits.reactions)
        self._unrun = Unrun(self._steps, self._editors, redact, self.deliveries.record, self._let_editor_go)
        self._notices = QueuedNotices(tasks, self._editors, self._let_editor_go)
        self._intake = Intake(
            tasks,
            chat,
            store,
            accepted=self._accepted,
            dropped=self._dropped,
            withdrawn=self._withdrawn,
            record=self.deliveries.record,
            redact=redact,
            acknowledged=self._reactions.seen,
        )
        self._asking = Asking(
            tasks, self.permissions, limits.permission_timeout, waits=self._lend, goes_on=self._take_back
        )
        turns = TurnService(pool, store, ask=self._asking, leased=self._leased, finishing=self._finishing)
        self._runs = Runs(
            tasks, self._steps, pool, store, self._editors, self.deliveries, turns, limits, self._turn_ended
        )
        self._restart = Restart(self._steps, chat, store, self._editors, self.deliveries, queue_again=self._queue_again)
        tasks.start_soon(self._keep_time, name="queue clock")

    # --- from Discord: synchronous, whatever an agent does ---------------------------------------------------

    def submit(self, inbound: Inbound) -> None:
        """Take a message over; from here on it gets exactly one outcome."""
        if self._steps.over or (self._intake.closed and self._store.durable):
            # Not accepted, and not counted as seen: the next run fetches it from Discord.
            self._too_late.add(inbound.message_id)
            log.info("message.left", message=inbound.message_id, reason="the bot stops")
            return
        if self._scheduler.queue(inbound.thread_id).line.holds(inbound.message_id):
            return  # Discord sent the event twice; a copy that comes later is the store's to refuse
        now = anyio.current_time()
        if not self._rate.take(inbound.author.id, now):
            self._refuse_hasty(inbound, self._rate.wait(inbound.author.id, now))
            return
        inbound = replace(inbound, mode=self.modes.of(inbound))
        self._scheduler.arrive(inbound, now)
        self._steps.begin(self._intake.accept, inbound, name=f"accept {inbound.message_id}")
        self._woken.set()

    def _refuse_hasty(self, inbound: Inbound, wait: float) -> None:
        reason = f"more than {self._rate.per_user} messages in {self._rate.window:.0f} s; try again in {wait:.0f} s"
        end = TurnEnd(Outcome.DROPPED, reason=reason)
        if inbound.opens_thread:
            self._steps.begin(self._intake.refuse, inbound, end, name=f"refuse {inbound.message_id}")
        else:
            self._unrun.end(inbound, end)

    def edited(self, message_id: int, text: str) -> None:
        """Take the new text of a message that waits (Q5)."""
        self._about(message_id, lambda queue: queue.edit(message_id, text))

    def deleted(self, message_id: int) -> None:
        """Take a message out that was deleted while it waited (Q5)."""
        self._reactions.forget(message_id)
        self._about(message_id, lambda queue: queue.delete(message_id))

    def pending(self) -> frozenset[int]:
        """Return the ids of the messages that were handed over and are not written down yet."""
        return frozenset(self._too_late).union(self._scheduler.accepting(), self._restart.missing)

    def hold(self) -> None:
        """Start nothing new until `release` (Q1)."""
        self._scheduler.held = True

    def release(self) -> None:
        """Let waiting prompts start again."""
        self._scheduler.held = False
        self.admit()

    def missed(self, inbound: Inbound) -> None:
        """Take a message that was posted too long ago to be run unasked (R2)."""
        self._restart.miss(inbound)

    def go_on(self, thread_id: int, prompt: int, notice: int, by: Actor) -> Answer:
        """Go on with an interrupted prompt (R2)."""
        return RESTARTING if self._intake.closed else self._restart.go_on(thread_id, prompt, notice, by)

    def admit(self) -> None:
        """Look again at what may start: an agent may be free now."""
        self._scheduler.admit(anyio.current_time())

    def stop(self, thread_id: int, by: Actor, prompt: int | None = None) -> Answer:
        """Stop the oldest running turn of the thread, else take its next waiting prompt out (Q7, T6)."""
        waiting = len(self._scheduler.queue(thread_id).line)
        decisions = self._do(thread_id, lambda queue: queue.stop(by.name, prompt))
        if any(isinstance(decision, Cancel) for decision in decisions):
            return Answer("Stopping.", accepted=True)
        if len(self._scheduler.queue(thread_id).line) < waiting:
            return Answer("Stopped before it began.", accepted=True)
        finishing = prompt is not None or self._runs.in_thread(thread_id)
        return Answer("Already finished." if finishing else "There is nothing to stop.", accepted=False)

    def stop_all(self, thread_id: int, by: Actor, before: int) -> Answer:
        """End the turns of the thread and empty its queue, up to snowflake ``before`` (Q7)."""
        waiting = len(self._scheduler.queue(thread_id).line)
        decisions = self._do(thread_id, lambda queue: queue.stop_all(by.name, before))
        running = sum(isinstance(decision, Cancel) for decision in decisions)
        if not running and not waiting:
            return Answer("There is nothing to stop.", accepted=False)
        return Answer(f"Stopping everything: {running} running, {waiting} waiting.", accepted=True)

    def clear(self, thread_id: int, by: Actor) -> Answer:
        """Take everything out that waits in a thread; the running turn goes on."""
        waiting = len(self._scheduler.queue(thread_id).line)
        self._do(thread_id, lambda queue: queue.clear(by.name))
        return Answer(f"Removed {waiting}." if waiting else "Nothing waits here.", accepted=bool(waiting))

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
        return Answer("Removed.", accepted=True)

    def choose_mode(self, place_id: int, mode: QueueMode, by: Actor, *, server: bool) -> Answer:
        """Choose what a message does that comes while a turn runs (Q2)."""
        self.modes.choose(place_id, mode)
        log.info("mode.chosen", place=place_id, mode=str(mode), user=by.id, server=server)
        return Answer(f"{'Everywhere here' if server else 'In this thread'} from now on: **{mode}**.", accepted=True)

    def queue(self, thread_id: int) -> str:
        """Return what waits in a thread and by which rules, as Discord Markdown (Q11)."""
        return describe_queue(self._scheduler.queue(thread_id), self.modes.at(thread_id))

    def status(self, thread_id: int | None) -> str:
        """Return the state of a thread, or of the whole bot, as Discord Markdown (Q11)."""
        if thread_id is None:
            waiting = sum(1 for _ in self._scheduler.waiting())
            counts, trouble = self._pool.counts(), self._store.trouble
            lanes = self._scheduler.counts()
            return describe_pool(counts, running=len(self._runs), waiting=waiting, trouble=trouble, lanes=lanes)
        running = self._runs.in_thread(thread_id)
        return describe_thread(
            running[0].turn.snapshot() if running else None,
            waiting=len(self._scheduler.queue(thread_id).line),
            slot=self._pool.status(thread_id),
            now=anyio.current_time(),
        )

    def reset(self, thread_id: int, by: Actor) -> Answer:
        """End the thread's agent and forget its session; what waits goes on with a new one (Q8)."""
        if self._intake.closed:
            return RESTARTING
        self._do(thread_id, lambda queue: queue.reset(by.name))
        self._pool.reset(thread_id)
        return Answer("Reset: the next message starts a new session.", accepted=True)

    def decide(self, request: str, option: int, by: Actor) -> Answer:
        """Answer a permission request, if ``by`` may (D6)."""
        return self.permissions.decide(request, option, by)

    def thread_gone(self, thread_id: int, reason: str) -> None:
        """Cancel what runs and drop what waits in a thread that can't be written to any more (D10)."""
        log.info("thread.gone", thread=thread_id, reason=reason)
        running = self._runs.in_thread(thread_id)
        for turn in running:
            turn.abandoned = True
        self._do(thread_id, lambda queue: queue.gone(reason))
        if not running:
            self._pool.evict(thread_id)

    # --- what the queues decide --------------------------------------------------------------------------------

    def _rules(self, _thread_id: int) -> Rules:
        return self._limits.rules

    def _do(self, thread_id: int, act: Callable[[ThreadQueue], list[Decision]]) -> list[Decision]:
        return self._scheduler.do(thread_id, act, anyio.current_time())

    def _about(self, message_id: int, act: Callable[[ThreadQueue], list[Decision]]) -> None:
        """Let the queue decide that a message is in; one that is in none is nobody's any more."""
        found = self._scheduler.find(message_id)
        if found is not None:
            self._do(found[0], act)

    def _waits(self, thread_id: int, prompt: int) -> bool:
        entry = self._scheduler.queue(thread_id).line.find(prompt)
        return entry is not None and entry.state in (EntryState.COLLECTING, EntryState.WAITING)

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case End(message, why):
                self._notices.clear(message.id)
                self._unrun.end(message.inbound, TurnEnd(why.outcome, by=why.by, reason=why.reason))
            case Cancel(entry, why):
                self._runs.cancel(entry, why)
            case Inject(into, entry):
                self._steps.begin(self._steer, into, entry, name=f"steer {entry.place}")
            case Queued(message, place):
                self._reactions.show(message.inbound, Mark.WAITING)
                self._notices.show(message.inbound, place)
            case Edited(message):
                row = accepted_prompt(replace(message.inbound, text=message.text))
                self._steps.begin(self._store.amend, row.message_id, row.payload, name=f"amend {message.id}")
            case Warm(thread_id):
                self._pool.warm(thread_id)

    async def _steer(self, into: Entry, entry: Entry) -> None:
        taken = False
        try:
            taken = await self._runs.steer(into, entry)
        finally:
            self._do(entry.thread_id, lambda queue: queue.steered(entry, ok=taken))

    async def _keep_time(self) -> None:
        """Look at the queues again when a debounce is over."""
        while True:
            due = self._scheduler.next_wakeup()
            self._woken = anyio.Event()
            with anyio.move_on_after(None if due is None else max(0.0, due - anyio.current_time())):
                await self._woken.wait()
            self._scheduler.tick(anyio.current_time())

    # --- messages on their way -----------------------------------------------------------------------------------

    def _accepted(self, inbound: Inbound) -> None:
        self._scheduler.accepted(inbound, anyio.current_time())
        self._woken.set()

    def _dropped(self, inbound: Inbound) -> None:
        self._scheduler.refused(inbound, anyio.current_time())

    def _withdrawn(self, inbound: Inbound) -> TurnEnd | None:
        why = self._scheduler.queue(inbound.thread_id).line.withdrawn(inbound.message_id)
        return None if why is None else TurnEnd(why.outcome, by=why.by, reason=why.reason)

    def _queue_again(self, inbound: Inbound) -> None:
        """Take a prompt that an earlier run accepted: it is written down, and has its place by its snowflake."""
        if self._scheduler.queue(inbound.thread_id).line.holds(inbound.message_id):
            return
        self._scheduler.restore(inbound, anyio.current_time(), MessageState.ACCEPTING)
        self._steps.begin(self._intake.take_up, inbound, name=f"take up {inbound.message_id}")

    def _recorded(self, inbound: Inbound, outcome: Outcome) -> None:
        self._reactions.show(inbound, mark_of(outcome))

    # --- turns -----------------------------------------------------------------------------------------------------

    def _start(self, entry: Entry, reservation: Reservation) -> None:
        for message in entry.messages:
            self._notices.clear(message.id)
            self._reactions.show(message.inbound, Mark.RUNNING)
        self._runs.start(entry, reservation)

    def _turn_ended(self, running: RunningTurn, end: TurnEnd) -> None:
        share = _context_share(end.snapshot)

        def note(queue: ThreadQueue) -> list[Decision]:
            return queue.context_share(share) if share is not None else []

        self._do(running.thread_id, note)
        self._scheduler.ended(running.entry, anyio.current_time())

    def _finishing(self, running: RunningTurn) -> None:
        self._scheduler.queue(running.thread_id).finishing(running.entry)

    def _lend(self, running: RunningTurn) -> None:
        self._scheduler.lend(running.entry, anyio.current_time())

    def _take_back(self, running: RunningTurn) -> None:
        self._scheduler.take_back(running.entry)

    def _let_editor_go(self, thread_id: int) -> None:
        if self._scheduler.queue(thread_id).idle:
            self._editors.forget_idle(thread_id)

    def _tell_to_wait(self, entry: Entry) -> None:
        self._editors.of(entry.thread_id).say(WAITING_FOR_AGENT, reply_to=entry.messages[0].id)

    def _leased(self, running: RunningTurn, lease: Lease) -> None:
        thread_id = running.thread_id
        self._do(thread_id, lambda queue: queue.steerable(can=lease.session.can_steer))
        if lease.lost:
            self._editors.of(thread_id).say(CONTEXT_LOST)
        if lease.session.on_late is None:
            # The editor is asked for when there is something to say: by then another may own the thread.
            late = LateOutput(self._tasks, lambda body: self._say_late(thread_id, body))
            lease.session.on_late = lambda update: None if self._steps.over else late.feed(update)

    def _say_late(self, thread_id: int, body: Body) -> None:
        self._tasks.start_soon(self._deliver_late, thread_id, self._editors.of(thread_id).say(body), name="late output")

    async def _deliver_late(self, thread_id: int, notice: Delivery) -> None:
        await notice.delivered()
        self._let_editor_go(thread_id)

    # --- start and end ---------------------------------------------------------------------------------------

    def limit(self, limits: DeskLimits) -> None:
        """Put other limits in force; a turn that runs keeps its own."""
        self._limits = self._runs.limits = limits
        self._asking.timeout = limits.permission_timeout

    async def recover(self) -> None:
        """Go on where an earlier run on this state ended (R2)."""
        await self.modes.load()
        await self._restart.recover()

    async def shutdown(self) -> None:
        """Take nothing more, let turns finish for a while, end the others, deliver what is left; bounded (R1)."""
        self._intake.closed = self._scheduler.closed = self._asking.closed = True
        self._unrun.hurry()
        self._tell_stop()
        await self._patiently(self._limits.stop_grace, lambda: not self._runs)
        for running in self._runs.all():
            running.interrupt("a restart")
        bound = self._limits.stop_bound + self._limits.flush_bound
        await self._patiently(bound, lambda: not (self._runs or self._steps.under_way))
        if self._steps.under_way or self._runs:
            log.warning("shutdown.undelivered", prompts=self._steps.under_way + len(self._runs))
        self._editors.close()

    def _tell_stop(self) -> None:
        """Tell each thread what becomes of its prompts: those that wait are kept where the store can."""
        waiting = list(self._scheduler.waiting())
        # A thread that is not open yet can't be told anything: Discord would call it gone.
        for thread_id in {entry.thread_id for entry in waiting if _has_thread(entry)} if self._store.durable else ():
            self._editors.of(thread_id).say(KEPT)
        if not self._store.durable:
            cut = interrupted()
            why = Why(cut.outcome, reason=cut.reason)
            for thread_id in {entry.thread_id for entry in waiting}:
                self._do(thread_id, lambda queue: queue.end_waiting(why))
        for running in self._runs.all():
            cancel_cards(running)
            if self._limits.stop_grace:
                self._editors.of(running.thread_id).say(Body(STOPPING.format(grace=self._limits.stop_grace)))

    async def _patiently(self, seconds: float, done: Callable[[], bool]) -> None:
        seconds = min(seconds, HURRIED) if self._hurried else seconds
        with anyio.move_on_after(seconds) as self._patience:
            await self._steps.until(done)

    def hurry(self) -> None:
        """Let a `shutdown` that is under way wait for turns and messages only a moment longer (R1)."""
        self._hurried = True
        self._patience.deadline = min(self._patience.deadline, anyio.current_time() + HURRIED)


def _has_thread(entry: Entry) -> bool:
    return entry.accepted or not entry.messages[0].inbound.opens_thread


def _context_share(snapshot: TurnSnapshot | None) -> float | None:
    context = snapshot.context if snapshot is not None else None
    return context.used / context.size if context is not None and context.size else None
