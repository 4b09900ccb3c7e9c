"""The work as Discord sees it: takes messages, answers commands at once, sees every message to its one outcome.

It ties intake, scheduler, turns, cards, editors and deliveries together; each of them decides its own part. The mutable
state is the map of running turns by thread, and what came too late to be taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import anyio
import structlog
from anyio.abc import TaskGroup

from acp.turn import Turn
from bot.reply.cards import stop_button
from bot.reply.editor import Delivery, LiveReply
from bot.reply.port import Body
from bot.work.asking import Asking
from bot.work.delivery import Deliveries
from bot.work.editors import Editors, nonce_source
from bot.work.ending import TurnEnd, crashed, interrupted, stopped
from bot.work.intake import Intake
from bot.work.late import LateOutput
from bot.work.limits import DeskLimits
from bot.work.model import Actor, Inbound
from bot.work.permissions import PermissionDesk
from bot.work.ports import Answer, Chat
from bot.work.queue import Prompt, PromptState
from bot.work.restart import Restart
from bot.work.scheduler import Scheduler
from bot.work.status import describe_pool, describe_thread
from bot.work.steps import Steps
from bot.work.turns import CONTEXT_LOST, RunningTurn, TurnService, cancel_cards
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


class ThreadDesk:
    """Implements `bot.work.ports.Desk`.

    Args:
        tasks: owns every task of the work: accepts, turns, editors, timers.
        redact: takes secrets out of what agents say about their failures.

    Attributes:
        permissions: the permission requests that people may press.
        deliveries: sees final replies to their end, and tells of each outcome.
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
        self._running: dict[int, RunningTurn] = {}
        self._too_late: set[int] = set()
        self._hurried = False
        self._steps = Steps(tasks)
        self._patience = anyio.CancelScope()
        self._scheduler: Scheduler[Reservation] = Scheduler(
            lane=limits.lane, reserve=pool.try_reserve, start=self._start, wait=self._tell_to_wait
        )
        pacing = replace(limits.pacing, streaming=lambda: len(self._running))
        self._editors = Editors(
            tasks, chat.thread, pacing, nonce_source(time.time_ns()), on_gone=self.thread_gone, as_shown=redact
        )
        self.deliveries = Deliveries(self._steps, self._editors, store, redact, self._let_editor_go)
        self._intake = Intake(
            tasks,
            chat,
            store,
            accepted=self._accepted,
            dropped=self._scheduler.end,
            record=self.deliveries.record,
            redact=redact,
        )
        self._asking = Asking(tasks, self.permissions, limits.permission_timeout)
        self._turns = TurnService(pool, store, ask=self._asking, leased=self._leased)
        self._restart = Restart(
            self._steps,
            chat,
            store,
            self._editors,
            self.deliveries,
            queue_again=self._queue_again,
            submit=self.submit,
        )

    # --- from Discord: synchronous, whatever an agent does ---------------------------------------------------

    def submit(self, inbound: Inbound) -> None:
        """Take a message over; from here on it gets exactly one outcome."""
        if self._steps.over or (self._intake.closed and self._store.durable):
            # Not accepted, and not counted as seen: the next run fetches it from Discord.
            self._too_late.add(inbound.message_id)
            log.info("message.left", message=inbound.message_id, reason="the bot stops")
            return
        if self._scheduler.queue(inbound.thread_id).holds(inbound.message_id):
            return  # Discord sent the event twice; a copy that comes later is the store's to refuse
        prompt = Prompt(inbound)
        self._scheduler.add(prompt)
        self._steps.begin(self._intake.accept, prompt, name=f"accept {prompt.id}")

    def pending(self) -> frozenset[int]:
        """Return the ids of the messages that were handed over and are not written down yet."""
        accepting = [prompt.id for prompt in self._scheduler.waiting() if prompt.state is PromptState.ACCEPTING]
        return frozenset(self._too_late).union(accepting, self._restart.missing)

    def hold(self) -> None:
        """Start nothing new until `release` (Q1)."""
        self._scheduler.held = True

    def release(self) -> None:
        """Let waiting prompts start again."""
        self._scheduler.held = False
        self._scheduler.admit()

    def missed(self, inbound: Inbound) -> None:
        """Take a message that was posted too long ago to be run unasked (R2)."""
        self._restart.miss(inbound)

    def go_on(self, thread_id: int, prompt: int, notice: int, by: Actor) -> Answer:
        """Go on with an interrupted prompt (R2)."""
        return RESTARTING if self._intake.closed else self._restart.go_on(thread_id, prompt, notice, by)

    def admit(self) -> None:
        """Look again at what may start: an agent may be free now."""
        self._scheduler.admit()

    def stop(self, thread_id: int, by: Actor, prompt: int | None = None) -> Answer:
        """Stop the running turn of the thread, else take its oldest waiting prompt out (Q7, T6)."""
        running = self._running.get(thread_id)
        if running is not None and prompt in (None, running.prompt.id):
            told = running.stop(by.name)
            return Answer("Stopping." if told else "Already finished.", accepted=told)
        queue = self._scheduler.queue(thread_id)
        waiting = [item for item in queue.waiting if prompt in (None, item.id) and item.withdrawn is None]
        if waiting:
            self._withdraw(waiting[0], stopped(by.name))
            return Answer("Stopped before it began.", accepted=True)
        return Answer("There is nothing to stop." if prompt is None else "Already finished.", accepted=False)

    def status(self, thread_id: int | None) -> str:
        """Return the state of a thread, or of the whole bot, as Discord Markdown (Q11)."""
        if thread_id is None:
            waiting = sum(1 for _ in self._scheduler.waiting())
            counts, trouble = self._pool.counts(), self._store.trouble
            return describe_pool(counts, running=len(self._running), waiting=waiting, trouble=trouble)
        running = self._running.get(thread_id)
        return describe_thread(
            running.turn.snapshot() if running else None,
            waiting=len(self._scheduler.queue(thread_id).waiting),
            slot=self._pool.status(thread_id),
            now=anyio.current_time(),
        )

    def reset(self, thread_id: int, by: Actor) -> Answer:
        """End the thread's agent and forget its session; what waits goes on with a new one (Q8)."""
        if self._intake.closed:
            return RESTARTING
        running = self._running.get(thread_id)
        if running is not None:
            running.stop(by.name)
        self._pool.reset(thread_id)
        return Answer("Reset: the next message starts a new session.", accepted=True)

    def decide(self, request: str, option: int, by: Actor) -> Answer:
        """Answer a permission request, if ``by`` may (D6)."""
        return self.permissions.decide(request, option, by)

    def thread_gone(self, thread_id: int, reason: str) -> None:
        """Cancel what runs and drop what waits in a thread that can't be written to any more (D10)."""
        log.info("thread.gone", thread=thread_id, reason=reason)
        running = self._running.get(thread_id)
        if running is not None:
            running.abandoned = True
            running.stop(reason)
        else:
            self._pool.evict(thread_id)
        for prompt in list(self._scheduler.queue(thread_id).waiting):
            self._withdraw(prompt, stopped(reason))

    # --- turns -----------------------------------------------------------------------------------------------

    def _start(self, prompt: Prompt, reservation: Reservation) -> None:
        now = anyio.current_time()
        turn = Turn(self._limits.turn, now)
        running = RunningTurn(prompt, self._open_reply(prompt, turn), turn, started=now)
        self._running[running.thread_id] = running
        self._tasks.start_soon(self._run, running, reservation, name=f"turn {prompt.id}")

    def _open_reply(self, prompt: Prompt, turn: Turn) -> LiveReply:
        inbound = prompt.inbound
        return self._editors.of(inbound.thread_id).open(
            prompt.id,
            turn.snapshot,
            reply_to=None if inbound.opens_thread else prompt.id,
            stop_button=stop_button(inbound.thread_id, prompt.id),
            on_shown=lambda messages: self._note_shown(prompt, messages),
        )

    def _note_shown(self, prompt: Prompt, messages: tuple[int, ...]) -> None:
        self._steps.begin(self._store.shown, prompt.id, messages, name=f"note {prompt.id}")

    async def _run(self, running: RunningTurn, reservation: Reservation) -> None:
        """Own one turn: whatever happens in it, its place is freed and it has one outcome (Q10, O1)."""
        end = interrupted()
        try:
            end = await self._turns.run(running, reservation)
        except Exception:
            log.exception("turn.failed", prompt=running.prompt.id)
            end = crashed()
        finally:
            reservation.release()
            del self._running[running.thread_id]
            self._steps.changed()
            if running.abandoned:
                self._pool.evict(running.thread_id)
            self.deliveries.finish(running.prompt, running.reply, end, anyio.current_time() - running.started)
            self._scheduler.end(running.prompt)

    def _accepted(self, prompt: Prompt) -> None:
        """Let a prompt start that is written down and has its thread; or tell its end, if it was withdrawn."""
        if prompt.withdrawn is None:
            self._scheduler.accepted(prompt)
        else:
            self._end_unrun(prompt, prompt.withdrawn)

    def _queue_again(self, inbound: Inbound) -> None:
        """Take a prompt that an earlier run accepted: it is written down, and has its place by its snowflake."""
        if self._scheduler.queue(inbound.thread_id).holds(inbound.message_id):
            return
        prompt = Prompt(inbound)
        self._scheduler.add(prompt)
        self._steps.begin(self._intake.take_up, prompt, name=f"take up {prompt.id}")

    def _withdraw(self, prompt: Prompt, end: TurnEnd) -> None:
        """End a prompt that never ran; one that is still being accepted is told once that is over."""
        if prompt.state is not PromptState.ACCEPTING:
            self._end_unrun(prompt, end)
        elif prompt.withdrawn is None:
            prompt.withdrawn = end

    def _end_unrun(self, prompt: Prompt, end: TurnEnd) -> None:
        self._scheduler.end(prompt)
        reply = self._open_reply(prompt, Turn(self._limits.turn, anyio.current_time()))
        self.deliveries.finish(prompt, reply, end, 0.0)

    def _let_editor_go(self, thread_id: int) -> None:
        if self._scheduler.queue(thread_id).idle:
            self._editors.forget_idle(thread_id)

    def _tell_to_wait(self, prompt: Prompt) -> None:
        self._editors.of(prompt.inbound.thread_id).say(WAITING_FOR_AGENT, reply_to=prompt.id)

    def _leased(self, running: RunningTurn, lease: Lease) -> None:
        thread_id = running.thread_id
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
        self._limits = limits
        self._asking.timeout = limits.permission_timeout

    async def recover(self) -> None:
        """Go on where an earlier run on this state ended (R2)."""
        await self._restart.recover()

    async def shutdown(self) -> None:
        """Take nothing more, let turns finish for a while, end the others, deliver what is left; bounded (R1)."""
        self._intake.closed = self._scheduler.closed = self._asking.closed = True
        self._tell_stop()
        await self._patiently(self._limits.stop_grace, lambda: not self._running)
        for running in list(self._running.values()):
            running.interrupt("a restart")
        bound = self._limits.stop_bound + self._limits.flush_bound
        await self._patiently(bound, lambda: not (self._running or self._steps.under_way))
        if self._steps.under_way or self._running:
            log.warning("shutdown.undelivered", prompts=self._steps.under_way + len(self._running))
        self._editors.close()

    def _tell_stop(self) -> None:
        """Tell each thread what becomes of its prompts: those that wait are kept where the store can."""
        for thread_id in {prompt.inbound.thread_id for prompt in self._scheduler.waiting()}:
            if self._store.durable:
                self._editors.of(thread_id).say(KEPT)
        for prompt in () if self._store.durable else list(self._scheduler.waiting()):
            self._withdraw(prompt, interrupted())
        for running in self._running.values():
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
