"""The work as Discord sees it: takes messages, answers commands at once, sees every message to its one outcome.

It ties intake, scheduler, turns, cards, editors and deliveries together; each of them decides its own part. The mutable
state is what came too late to be taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import anyio
import structlog
from anyio.abc import TaskGroup

from acp.turn import TurnSnapshot
from bot.outcome import Outcome
from bot.work.asking import Asking
from bot.work.claims import Claims
from bot.work.commands import Commands
from bot.work.delivery import Deliveries
from bot.work.editors import Editors, nonce_source
from bot.work.ending import TurnEnd
from bot.work.hasty import Hasty
from bot.work.intake import Intake
from bot.work.late import LateOutputs
from bot.work.limits import DeskLimits
from bot.work.model import Actor, Inbound, QueueMode
from bot.work.modes import Modes
from bot.work.permissions import PermissionDesk
from bot.work.policy.decisions import Cancel, Decision, Edited, End, Inject, Queued, Warm
from bot.work.policy.entry import Entry, MessageState
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
from bot.work.steps import Steps
from bot.work.stopping import Stopping
from bot.work.turns import CONTEXT_LOST, Claim, RunningTurn, TurnService
from bot.work.unrun import Unrun
from pool.pool import ConnectionPool, Lease
from pool.store import SessionStore

log = structlog.get_logger(__name__)

RESTARTING = Answer("Weft is restarting: please try again afterwards.", accepted=False)


class ThreadDesk:
    """Implements `bot.work.ports.Desk`.

    Args:
        tasks: owns every task of the work: accepts, turns, editors, timers.
        redact: takes secrets out of what agents say about their failures.

    Attributes:
        permissions: the permission requests that people may press.
        deliveries: sees final replies to their end, and tells of each outcome.
        modes: what people chose for threads and servers.
        may: says whether a message's author would be let in now.
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
        self.may: Callable[[Inbound], bool] = lambda _inbound: True
        self._tasks = tasks
        self._pool = pool
        self._store = store
        self._limits = limits
        self._too_late: set[int] = set()
        self._woken = anyio.Event()
        self._steps = Steps(tasks)
        self._scheduler: Scheduler[Claim] = Scheduler(
            Lanes(limits.lanes),
            rules=self._rules,
            reserve=lambda thread_id: self._claims.reserve(thread_id),  # noqa: PLW0108  made right below
            start=self._start,
            wait=lambda entry: self._claims.tell_to_wait(entry),  # noqa: PLW0108
            carry_out=self._carry_out,
        )
        self._scheduler.looked = lambda: self._woken.set()  # noqa: PLW0108  another event for each wait
        pacing = replace(limits.pacing, streaming=lambda: len(self._runs))
        self._editors = Editors(
            tasks, chat.thread, pacing, nonce_source(time.time_ns()), on_gone=self.thread_gone, as_shown=redact
        )
        # Its last request may end after whoever posted has let go of it.
        self._editors.on_idle = self._let_editor_go
        self.deliveries = Deliveries(self._steps, self._editors, store, redact, self._let_editor_go)
        self.deliveries.on_recorded = self._recorded
        self.modes = Modes(self._steps, store, limits.rules.mode)
        self._reactions = Reactions(tasks, chat, enabled=limits.reactions)
        self._unrun = Unrun(
            self._steps, self._editors, redact, self.deliveries.record, self._let_editor_go, owe=store.owe
        )
        self._late = LateOutputs(tasks, self._steps, self._editors, self._let_editor_go)
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
        rate = RateLimit(limits.user_messages, limits.user_window)
        self._hasty = Hasty(self._steps, store, rate, in_channel=self._intake.refuse, in_thread=self._unrun.end)
        self._asking = Asking(
            tasks, self.permissions, limits.permission_timeout, waits=self._lend, goes_on=self._take_back
        )
        turns = TurnService(pool, store, ask=self._asking, leased=self._leased, finishing=self._finishing)
        self._runs = Runs(
            tasks,
            self._steps,
            pool,
            store,
            self._editors,
            self.deliveries,
            turns,
            limits,
            self._turn_ended,
            self._not_forked,
        )
        self._claims = Claims(pool, self._runs, self._editors)
        self._commands = Commands(self._scheduler, self._runs, pool, store, self.modes)
        self._stopping = Stopping(self._scheduler, self._runs, self._steps, self._editors, store)
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
        if self._hasty.refuses(inbound):
            return
        inbound = replace(inbound, mode=self.modes.of(inbound))
        self._scheduler.arrive(inbound, anyio.current_time())
        self._steps.begin(self._intake.accept, inbound, name=f"accept {inbound.message_id}")

    def edited(self, message_id: int, text: str) -> None:
        """Take the new text of a message that waits (Q5)."""
        self._about(message_id, lambda queue: queue.edit(message_id, text))

    def deleted(self, message_id: int) -> None:
        """Take a message out that was deleted while it waited (Q5)."""
        self._reactions.forget(message_id)
        self._about(message_id, lambda queue: queue.delete(message_id))

    def pending(self) -> frozenset[int]:
        """Return the ids of the messages that were handed over and are not written down yet."""
        return frozenset(self._too_late).union(self._scheduler.accepting(), self._hasty.pending, self._restart.missing)

    def hold(self) -> None:
        """Start nothing new until `release` (Q1)."""
        self._scheduler.held = True

    def release(self) -> None:
        """Let waiting prompts start again."""
        self.expel()
        self._scheduler.held = False
        self.admit()

    def expel(self) -> None:
        """Take out what waits of people who are let in no more: they may have been let in when it was accepted (D2)."""
        for entry in list(self._scheduler.waiting()):
            for message in list(entry.messages):
                if not self.may(message.inbound):
                    self._about(message.id, partial(ThreadQueue.expel, message_id=message.id))

    def missed(self, inbound: Inbound) -> None:
        """Take a message that was posted too long ago to be run unasked (R2)."""
        self._restart.miss(inbound)

    def go_on(self, thread_id: int, prompt: int, notice: int, by: Actor) -> Answer:
        """Go on with an interrupted prompt (R2)."""
        return RESTARTING if self._intake.closed else self._restart.go_on(thread_id, prompt, notice, by)

    def admit(self) -> None:
        """Look again at what may start: an agent may be free now."""
        self._scheduler.admit(anyio.current_time())
        self._woken.set()

    def stop(self, thread_id: int, by: Actor, prompt: int | None = None, before: int | None = None) -> Answer:
        """Stop the oldest running turn of the thread, else take its next waiting prompt out (Q7, T6)."""
        return self._commands.stop(thread_id, by, prompt, before)

    def stop_all(self, thread_id: int, by: Actor, before: int) -> Answer:
        """End the turns of the thread and empty its queue, up to snowflake ``before`` (Q7)."""
        return self._commands.stop_all(thread_id, by, before)

    def clear(self, thread_id: int, by: Actor) -> Answer:
        """Take everything out that waits in a thread; the running turn goes on."""
        return self._commands.clear(thread_id, by)

    def promote(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        """Run a waiting prompt now (Q5)."""
        return self._commands.promote(thread_id, prompt, by)

    def remove(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        """Take a waiting prompt out (Q5)."""
        return self._commands.remove(thread_id, prompt, by)

    def choose_mode(self, place_id: int, mode: QueueMode, by: Actor, *, server: bool) -> Answer:
        """Choose what a message does that comes while a turn runs (Q2)."""
        return self._commands.choose_mode(place_id, mode, by, server=server)

    def queue(self, thread_id: int, guild_id: int | None = None) -> str:
        """Return what waits in a thread and by which rules, as Discord Markdown (Q11)."""
        return self._commands.queue(thread_id, guild_id)

    def status(self, thread_id: int | None) -> str:
        """Return the state of a thread, or of the whole bot, as Discord Markdown (Q11)."""
        return self._commands.status(thread_id)

    def reset(self, thread_id: int, by: Actor) -> Answer:
        """End the thread's agent and forget its session; what waits goes on with a new one (Q8)."""
        if self._intake.closed:
            return RESTARTING
        self._do(thread_id, lambda queue: queue.reset(by.name))
        self._claims.forget(thread_id)
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
        self._woken.set()  # what is next to start may be another one afterwards, and still be collecting
        return self._scheduler.do(thread_id, act, anyio.current_time())

    def _about(self, message_id: int, act: Callable[[ThreadQueue], list[Decision]]) -> None:
        """Let the queue decide that a message is in; one that is in none is nobody's any more."""
        found = self._scheduler.find(message_id)
        if found is not None:
            self._do(found[0], act)

    def _carry_out(self, decision: Decision) -> None:
        with _contained():
            self._do_as_decided(decision)

    def _do_as_decided(self, decision: Decision) -> None:
        match decision:
            case End(message, why):
                self._unrun.end(message.inbound, TurnEnd(why.outcome, by=why.by, reason=why.reason))
                self._notices.clear(message.id)
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
            with anyio.move_on_after(None if due is None else max(0.0, due - anyio.current_time())) as waited:
                await self._woken.wait()
            if waited.cancelled_caught:
                self._scheduler.tick(anyio.current_time())

    # --- messages on their way -----------------------------------------------------------------------------------

    def _accepted(self, inbound: Inbound) -> None:
        self._scheduler.accepted(inbound, anyio.current_time())

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

    def _start(self, entry: Entry, claim: Claim) -> None:
        self._runs.start(entry, claim)
        for message in entry.messages:
            with _contained():
                self._notices.clear(message.id)
                self._reactions.show(message.inbound, Mark.RUNNING)

    def _turn_ended(self, running: RunningTurn, end: TurnEnd) -> None:
        share, queue = _context_share(end.snapshot), self._scheduler.queue(running.thread_id)
        # What a session that was reset had used says nothing of the next one.
        if share is not None and running.entry.generation == queue.memory.generation:
            queue.context_share(share)
        self._scheduler.ended(running.entry, anyio.current_time())
        self._stopping.turn_ended(running.thread_id)

    def _finishing(self, running: RunningTurn) -> None:
        self._scheduler.queue(running.thread_id).finishing(running.entry)

    def _lend(self, running: RunningTurn) -> None:
        self._scheduler.lend(running.entry, anyio.current_time())

    def _take_back(self, running: RunningTurn) -> None:
        self._scheduler.take_back(running.entry)

    def _let_editor_go(self, thread_id: int) -> None:
        if self._scheduler.queue(thread_id).idle:
            self._editors.forget_idle(thread_id)

    def _not_forked(self, running: RunningTurn) -> None:
        """Queue a turn again that could not run beside another one."""
        self._claims.serialise(running.thread_id)
        self._scheduler.put_back(running.entry, anyio.current_time())
        self._stopping.turn_ended(running.thread_id)
        self._woken.set()

    def _leased(self, running: RunningTurn, lease: Lease) -> None:
        thread_id = running.thread_id
        self._do(thread_id, lambda queue: queue.steerable(can=lease.session.can_steer))
        if lease.lost:
            self._editors.of(thread_id).say(CONTEXT_LOST)
        self._late.attend(thread_id, lease.session)

    # --- start and end ---------------------------------------------------------------------------------------

    def limit(self, limits: DeskLimits) -> None:
        """Put other limits in force; a turn that runs keeps its own."""
        self._limits = self._runs.limits = limits
        self._woken.set()
        self._asking.timeout = limits.permission_timeout

    async def recover(self) -> None:
        """Go on where an earlier run on this state ended (R2)."""
        await self.modes.load()
        await self._restart.recover()

    async def shutdown(self) -> None:
        """Take nothing more, let turns finish for a while, end the others, deliver what is left; bounded (R1)."""
        self._intake.closed = self._scheduler.closed = self._asking.closed = True
        self._unrun.hurry()
        self._notices.clear_all()
        await self._stopping.run(self._limits)

    def hurry(self) -> None:
        """Let a `shutdown` that is under way wait for turns and messages only a moment longer (R1)."""
        self._stopping.hurry()


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
