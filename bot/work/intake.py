"""From a message that was handed over to a prompt that may start: written down, acknowledged, its thread open (O2).

A prompt that can't get that far has its one outcome here, told where the message was posted. That is so, too, for one
that was withdrawn before its thread was there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import anyio
import structlog

from bot.model import Inbound, QueueMode
from bot.reply.port import PortError, Unavailable
from bot.work.budget.budgets import Budgets
from bot.work.delivery import Deliveries
from bot.work.editors import Editors
from bot.work.ending import TurnEnd, busy, crashed, interrupted, lines, not_opened
from bot.work.observer import Observer
from bot.work.ports import Chat
from bot.work.prompt import runs_command
from bot.work.queue.scheduler import Scheduler
from bot.work.reactions import Reactions
from bot.work.running_turn import Claim
from bot.work.runs import Runs
from bot.work.serialization import accepted_prompt
from bot.work.slash.commands import AgentCommands
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings, gone_line
from pool.pool import ConnectionPool
from pool.storage.durable import SessionStore
from pool.store import StoreBusy

log = structlog.get_logger(__name__)

OPEN_AGAIN, OPEN_AGAIN_LONGEST = 5.0, 60.0
"""Seconds until the opening of a thread is tried again that Discord did not take; doubled each time."""


@dataclass(eq=False)
class Intake:
    """Takes messages to where their turn may start.

    Attributes:
        closed: the bot is stopping: what comes now gets an answer, and is not accepted (R1).
    """

    tracker: TaskTracker
    chat: Chat
    store: SessionStore
    pool: ConnectionPool
    scheduler: Scheduler[Claim]
    editors: Editors
    reactions: Reactions
    deliveries: Deliveries
    thread_settings: ThreadSettings
    runs: Runs
    budgets: Budgets
    commands: AgentCommands
    observer: Observer
    redact: Callable[[str], str]
    closed: bool = False

    def take(self, inbound: Inbound) -> None:
        """Give a message its place, and have it written down."""
        self._settle_agent(inbound)
        mode = self.thread_settings.mode_in(inbound.thread_id, inbound.guild_id, inbound.mode)
        if self.commands.named_in(inbound):
            inbound = replace(inbound, command=True)
        # A command of the agent's counts only as the first text of a prompt: it shares none, and steers none (K3).
        if runs_command(inbound) and mode is not QueueMode.INTERRUPT:
            mode = QueueMode.QUEUE
        inbound = replace(inbound, mode=mode)
        now = anyio.current_time()
        # Its place first: what comes after it in the same moment must not get ahead while this one is written down.
        with self.scheduler.deciding(inbound.thread_id, now) as (queue, decisions):
            decisions.extend(queue.arrive(inbound, now))
        self.tracker.begin(self.accept, inbound, name=f"accept {inbound.message_id}")

    def take_again(self, inbound: Inbound, asked_after: int = 0) -> None:
        """Take a prompt that is written down: it has its place by its snowflake; see `ThreadQueue.restore`."""
        self._settle_agent(inbound)
        if self.scheduler.queue(inbound.thread_id).line.holds(inbound.message_id):
            return
        with self.scheduler.deciding(inbound.thread_id, anyio.current_time()) as (queue, decisions):
            decisions.extend(queue.restore(inbound, asked_after, stored=False))
        self.tracker.begin(self.take_up, inbound, name=f"take up {inbound.message_id}")

    def _settle_agent(self, inbound: Inbound) -> None:
        """See that the message's thread has an agent; one whose agent is gone starts afresh with another (P8)."""
        gone = self.thread_settings.settle_agent(inbound)
        if gone is not None:
            self.runs.start_afresh(inbound.thread_id)
            instead = self.thread_settings.agent_of(inbound.thread_id)
            self.editors.of(inbound.thread_id).say(gone_line(gone, instead))

    async def accept(self, inbound: Inbound) -> None:
        """Take a message to where it may start; one that can't get there has its one outcome then."""
        # 1. Not recorded while the bot stops, or nobody would run it or report its end.
        if self.closed:
            await self.refuse(inbound, interrupted())
            return
        try:
            # 2. Record before show: what is acknowledged has to survive a kill, and a second copy is told apart here
            # (O2).
            if not await self.store.accept(accepted_prompt(inbound)):
                with self.scheduler.deciding(inbound.thread_id, anyio.current_time()) as (queue, decisions):
                    decisions.extend(queue.refused(inbound.message_id))
                return
        except StoreBusy:
            await self.refuse(inbound, busy())
            return
        except Exception:
            log.exception("prompt.failed", prompt=inbound.message_id)
            await self.refuse(inbound, self._withdrawn(inbound) or crashed())
            return
        await self.take_up(inbound)

    async def take_up(self, inbound: Inbound) -> None:
        """Take a message that is written down to where it may start."""
        self.reactions.accepted(inbound)
        try:
            refusal = await self._open_thread(inbound)
        except Exception:
            log.exception("prompt.failed", prompt=inbound.message_id)
            refusal = crashed()
        if refusal is None:
            self.observer.prompt_accepted(inbound.lane)
            why = self.budgets.refusal(inbound)
            if why is not None and inbound.opens_thread:
                # Warmed meanwhile, as below; whoever is allowed to go on here starts another.
                self.pool.evict(inbound.thread_id)
            # Only now do its mode and the cap affect others: the store has it, and its thread is there.
            with self.scheduler.deciding(inbound.thread_id, anyio.current_time()) as (queue, decisions):
                # Here and not at its arrival: the refusal needs the thread, with a button in it for the way out.
                if why is not None:
                    decisions.extend(queue.turn_away(inbound.message_id, why))
                decisions.extend(queue.accepted(inbound.message_id))
            return
        # It was warmed while the thread was being opened: nobody will ever prompt it there.
        self.pool.evict(inbound.thread_id)
        await self.refuse(inbound, self._withdrawn(inbound) or refusal)

    async def _open_thread(self, inbound: Inbound) -> TurnEnd | None:
        if not inbound.opens_thread:
            return None
        pause = OPEN_AGAIN
        # Asked anew before each attempt: who stops it meanwhile no longer wants a thread (T6).
        while (withdrawn := self._withdrawn(inbound)) is None:
            try:
                await self.chat.open_thread(inbound)
            except Unavailable as exc:
                # A refusal would not get through, either; and what was accepted is not lost with the connection (O2).
                log.warning("thread.not_opened", prompt=inbound.message_id, error=str(exc))
                await anyio.sleep(max(pause, exc.retry_after))
                pause = min(2 * pause, OPEN_AGAIN_LONGEST)
            except PortError as exc:
                return not_opened(str(exc))
            else:
                await self.store.bind(inbound.thread_id, title=inbound.title)
                return None
        return withdrawn

    async def refuse(self, inbound: Inbound, end: TurnEnd) -> None:
        """Tell the end of a message where it was posted: it has no thread, or is not accepted."""
        # It leaves the queue before anybody waits for Discord: nothing behind it is held up by its notice.
        with self.scheduler.deciding(inbound.thread_id, anyio.current_time()) as (queue, decisions):
            decisions.extend(queue.refused(inbound.message_id))
        try:
            await self.chat.refuse(inbound, "\n".join(lines(end, self.redact)))
        except PortError as exc:
            log.warning("refusal.failed", message=inbound.message_id, error=str(exc))
        except Exception:
            # Nothing more can be shown; the outcome still has to be written down.
            log.exception("refusal.failed", message=inbound.message_id)
        await self.deliveries.record(inbound, end.outcome)

    def _withdrawn(self, inbound: Inbound) -> TurnEnd | None:
        """Return which end a message was given while it was being accepted."""
        end = self.scheduler.queue(inbound.thread_id).line.undecided.get(inbound.message_id)
        return None if end is None else TurnEnd(end.why.outcome, by=end.why.by, reason=end.why.reason)
