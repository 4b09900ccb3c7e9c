"""The work as Discord sees it: takes messages, answers commands at once, sees every message to its one outcome.

It ties intake, scheduler, turns, cards and editors together; each of them decides its own part. The mutable state is
the map of running turns by thread and the count of steps under way.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import anyio
import structlog
from anyio.abc import TaskGroup

from acp.turn import Turn, TurnLimits
from bot.outcome import Outcome
from bot.reply.cards import stop_button
from bot.reply.editor import Delivery, FinalReply, LiveReply
from bot.reply.pacing import Pacing
from bot.reply.port import Body
from bot.work.asking import Asking
from bot.work.editors import Editors, nonce_source
from bot.work.ending import TurnEnd, crashed, final_reply, interrupted, stopped
from bot.work.intake import Intake
from bot.work.late import LateOutput
from bot.work.model import Actor, Inbound
from bot.work.permissions import PermissionDesk
from bot.work.ports import Answer, Chat
from bot.work.queue import Prompt, PromptState
from bot.work.scheduler import Scheduler
from bot.work.status import describe_pool, describe_thread
from bot.work.turns import CONTEXT_LOST, RunningTurn, TurnService
from pool.pool import ConnectionPool, Lease
from pool.slot import Reservation
from pool.store import SessionStore

log = structlog.get_logger(__name__)

WAITING_FOR_AGENT = Body(
    "-# ⏳ Waiting for a free agent: all that are allowed are at work. This message keeps its place."
)
HURRIED = 1.0
"""Seconds that the end of the bot still waits once it was told to hurry."""

NOT_SHOWN = "-# ⚠️ **{outcome}**: the reply could not be shown."


@dataclass(frozen=True, slots=True)
class DeskLimits:
    """The limits of the work; times in seconds.

    Attributes:
        lane: turns that run at once over all threads (Q6).
        permission_timeout: how long a permission card waits for a person (D6).
        stop_bound: how long turns get to end when the bot stops.
        flush_bound: how long last messages and edits get after that (R1).
    """

    turn: TurnLimits
    pacing: Pacing
    lane: int = 8
    permission_timeout: float = 600.0
    stop_bound: float = 15.0
    flush_bound: float = 5.0


def ignore_outcome(_inbound: Inbound, _outcome: Outcome) -> None:
    """Take no notice of an outcome."""


class ThreadDesk:
    """Implements `bot.work.ports.Desk`.

    Args:
        tasks: owns every task of the work: accepts, turns, editors, timers.
        redact: takes secrets out of what agents say about their failures.

    Attributes:
        permissions: the permission requests that people may press.
        on_outcome: told each outcome once it is recorded.
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
        self.on_outcome: Callable[[Inbound, Outcome], None] = ignore_outcome
        self._tasks = tasks
        self._pool = pool
        self._store = store
        self._limits = limits
        self._redact = redact
        self._running: dict[int, RunningTurn] = {}
        self._under_way = 0
        self._settled = anyio.Event()
        self._patience = anyio.CancelScope()
        self._scheduler: Scheduler[Reservation] = Scheduler(
            lane=limits.lane, reserve=pool.try_reserve, start=self._start, wait=self._tell_to_wait
        )
        self._intake = Intake(
            tasks,
            chat,
            store,
            accepted=self._accepted,
            dropped=self._scheduler.end,
            record=self._record,
            redact=redact,
        )
        asking = Asking(tasks, self.permissions, limits.permission_timeout)
        self._turns = TurnService(pool, store, ask=asking, leased=self._leased)
        pacing = replace(limits.pacing, streaming=lambda: len(self._running))
        self._editors = Editors(tasks, chat.thread, pacing, nonce_source(time.time_ns()), on_gone=self.thread_gone)

    # --- from Discord: synchronous, whatever an agent does ---------------------------------------------------

    def submit(self, inbound: Inbound) -> None:
        """Take a message over; from here on it gets exactly one outcome."""
        if self._over:
            log.info("message.ignored", message=inbound.message_id, reason="the bot has stopped")
            return
        if self._scheduler.queue(inbound.thread_id).holds(inbound.message_id):
            return  # Discord sent the event twice; a copy that comes later is the store's to refuse
        prompt = Prompt(inbound)
        self._scheduler.add(prompt)
        self._begin(self._intake.accept, prompt, name=f"accept {prompt.id}")

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
            return describe_pool(self._pool.counts(), running=len(self._running), waiting=waiting)
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
            return Answer("Weft is restarting: please try again afterwards.", accepted=False)
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

    @property
    def _over(self) -> bool:
        """Whether no task may be started any more: the agents and Discord's connection end after the work."""
        return self._tasks.cancel_scope.cancel_called

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
        )

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
            if running.abandoned:
                self._pool.evict(running.thread_id)
            self._finish(running.prompt, running.reply, end, anyio.current_time() - running.started)
            self._scheduler.end(running.prompt)

    def _accepted(self, prompt: Prompt) -> None:
        """Let a prompt start that is written down and has its thread; or tell its end, if it was withdrawn."""
        if prompt.withdrawn is None:
            self._scheduler.accepted(prompt)
        else:
            self._end_unrun(prompt, prompt.withdrawn)

    def _withdraw(self, prompt: Prompt, end: TurnEnd) -> None:
        """End a prompt that never ran; one that is still being accepted is told once that is over."""
        if prompt.state is not PromptState.ACCEPTING:
            self._end_unrun(prompt, end)
        elif prompt.withdrawn is None:
            prompt.withdrawn = end

    def _end_unrun(self, prompt: Prompt, end: TurnEnd) -> None:
        self._scheduler.end(prompt)
        self._finish(prompt, self._open_reply(prompt, Turn(self._limits.turn, anyio.current_time())), end, 0.0)

    def _finish(self, prompt: Prompt, reply: LiveReply, end: TurnEnd, elapsed: float) -> None:
        try:
            final = final_reply(end, prompt.inbound, elapsed, self._redact)
        except Exception:
            log.exception("reply.failed", prompt=prompt.id)
            final = FinalReply(end.outcome)
        reply.finish(final)
        self._begin(self._deliver, prompt, reply, end, elapsed, name=f"deliver {prompt.id}")

    async def _deliver(self, prompt: Prompt, reply: LiveReply, end: TurnEnd, elapsed: float) -> None:
        """Record the outcome once it is visible, or given up because the thread is gone (D3)."""
        delivered = await reply.delivered() or await self._say_instead(prompt, end)
        thread_id = prompt.inbound.thread_id
        tools = len(end.snapshot.tools) if end.snapshot else 0
        log.info(
            "turn.finished",
            outcome=str(end.outcome),
            thread=thread_id,
            prompt=prompt.id,
            seconds=round(elapsed, 3),
            tools=tools,
            delivered=delivered,
        )
        await self._record(prompt, end)
        self._let_editor_go(thread_id)

    async def _say_instead(self, prompt: Prompt, end: TurnEnd) -> bool:
        """Say how a prompt ended whose reply can't be shown as it is (O1); False where nothing can be shown."""
        editor = self._editors.of(prompt.inbound.thread_id)
        body = Body(NOT_SHOWN.format(outcome=end.outcome))
        return not editor.gone and await editor.say(body, reply_to=prompt.id).delivered()

    async def _record(self, prompt: Prompt, end: TurnEnd) -> None:
        """Write an outcome down; what fails in that is logged and hurts no other prompt (O4)."""
        try:
            await self._store.finished(prompt.id, end.outcome)
        except Exception:
            log.exception("outcome.not_written", prompt=prompt.id, outcome=str(end.outcome))
        try:
            self.on_outcome(prompt.inbound, end.outcome)
        except Exception:
            log.exception("outcome.listener_failed", prompt=prompt.id)

    def _begin(self, step: Callable[..., Awaitable[None]], *args: object, name: str) -> None:
        """Start a step on a prompt's way to its end; `shutdown` waits for those under way."""

        async def run() -> None:
            try:
                await step(*args)
            except Exception:
                log.exception("step.failed", step=name)
            finally:
                self._under_way -= 1
                self._settled.set()

        self._under_way += 1
        self._tasks.start_soon(run, name=name)

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
            lease.session.on_late = lambda update: None if self._over else late.feed(update)

    def _say_late(self, thread_id: int, body: Body) -> None:
        self._tasks.start_soon(self._deliver_late, thread_id, self._editors.of(thread_id).say(body), name="late output")

    async def _deliver_late(self, thread_id: int, notice: Delivery) -> None:
        await notice.delivered()
        self._let_editor_go(thread_id)

    # --- the end ---------------------------------------------------------------------------------------------

    async def shutdown(self) -> None:
        """Take nothing more, end every turn with a word in its thread, deliver what is left; bounded (R1)."""
        self._intake.closed = self._scheduler.closed = True
        for prompt in list(self._scheduler.waiting()):
            self._withdraw(prompt, interrupted())
        for running in list(self._running.values()):
            running.interrupt("a restart")
        with anyio.move_on_after(self._limits.stop_bound + self._limits.flush_bound) as self._patience:
            while self._under_way or self._running:
                self._settled = anyio.Event()
                await self._settled.wait()
        if self._under_way or self._running:
            log.warning("shutdown.undelivered", prompts=self._under_way + len(self._running))
        self._editors.close()

    def hurry(self) -> None:
        """Let a `shutdown` that is under way wait for turns and messages only a moment longer (R1)."""
        self._patience.deadline = min(self._patience.deadline, anyio.current_time() + HURRIED)
