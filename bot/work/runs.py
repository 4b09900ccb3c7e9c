"""The turns that run: each is started, stopped, steered and seen to its end; which runs when is the scheduler's.

Whatever happens in a turn, its place is freed and its messages have one outcome (Q10, O1). The mutable state is the
map of running turns by entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import anyio
import structlog
from anyio.abc import TaskGroup

from acp.errors import ForkFailed
from acp.schema import text_block
from acp.turn import Turn, TurnLimits, TurnSnapshot
from bot.model import Outcome
from bot.observer import Observer
from bot.reply.cards import stop_button
from bot.reply.live import LiveReply
from bot.work.delivery import Deliveries
from bot.work.editors import Editors
from bot.work.ending import TurnEnd, crashed, interrupted
from bot.work.limits import WorkLimits
from bot.work.queue.entry import Entry, Why
from bot.work.report import turn_report, waited
from bot.work.silences import Silences
from bot.work.task_tracker import TaskTracker
from bot.work.turns import Claim, RunningTurn, TurnService, cut_off
from pool.pool import ConnectionPool
from pool.slot import ExtraReservation
from pool.store import SessionStore

log = structlog.get_logger(__name__)


class Runs:
    """Runs admitted entries.

    Args:
        ended: told once the turn of an entry has really ended and its reply was handed over.
        not_forked: told of a turn that was to run beside another and can't: it has to run some other time.

    Attributes:
        limits: those of turns that start from now on.
        silences: knows which agents have fallen silent again and again.
        observer: told when a reply is first visible.
        limits_in: makes them those of a thread's agent.
        agent_in: returns the name of a thread's agent, where there are several.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        steps: TaskTracker,
        pool: ConnectionPool,
        store: SessionStore,
        editors: Editors,
        deliveries: Deliveries,
        turns: TurnService,
        limits: WorkLimits,
        ended: Callable[[RunningTurn, TurnEnd], None],
        not_forked: Callable[[RunningTurn], None],
    ) -> None:
        self.limits = limits
        self.observer = Observer()
        self.limits_in: Callable[[int, TurnLimits], TurnLimits] = lambda _thread_id, usual: usual
        self.agent_in: Callable[[int], str | None] = lambda _thread_id: None
        self._tasks = tasks
        self._steps = steps
        self._pool = pool
        self._store = store
        self._editors = editors
        self._deliveries = deliveries
        self._turns = turns
        self._ended = ended
        self._not_forked = not_forked
        self.silences = Silences()
        self._running: dict[Entry, RunningTurn] = {}

    def __len__(self) -> int:
        return len(self._running)

    def all(self) -> list[RunningTurn]:
        """Return the turns that run, the oldest first."""
        return list(self._running.values())

    def of(self, entry: Entry) -> RunningTurn | None:
        """Return the turn of an entry, if it runs."""
        return self._running.get(entry)

    def in_thread(self, thread_id: int) -> list[RunningTurn]:
        """Return the turns that run in a thread, the oldest first."""
        return [running for running in self._running.values() if running.thread_id == thread_id]

    def start(self, entry: Entry, claim: Claim) -> None:
        """Begin the turn of an admitted entry; it has a task of its own."""
        now = anyio.current_time()
        limits = self.limits_in(entry.thread_id, self.limits.turn)
        turn = Turn(limits, now)
        running = RunningTurn(
            entry,
            self._open_reply(entry, turn),
            turn,
            started=now,
            hard_timeout=limits.hard_timeout,
            agent=self.agent_in(entry.thread_id),
        )
        entry.attempts += 1
        running.extra = isinstance(claim, ExtraReservation)
        self._running[entry] = running
        self._tasks.start_soon(self._run, running, claim, name=f"turn {entry.place}")

    def _open_reply(self, entry: Entry, turn: Turn) -> LiveReply:
        first, visible = entry.messages[0].inbound, False

        def note(messages: tuple[int, ...]) -> None:
            nonlocal visible
            if not visible and (after := waited(entry, anyio.current_time())) is not None:
                self.observer.reply_visible(entry.lane, after)
            visible = True
            self._steps.begin(self._store.shown, first.message_id, messages, name=f"note {first.message_id}")

        def look(text_from: int = 0) -> TurnSnapshot:
            running = self._running.get(entry)
            return turn.snapshot(text_from) if running is None or running.turn is not turn else running.look(text_from)

        return self._editors.of(first.thread_id).open(
            first.message_id,
            look,
            reply_to=None if first.opens_thread else first.message_id,
            stop_button=stop_button(first.thread_id, first.message_id),
            on_shown=note,
        )

    async def _run(self, running: RunningTurn, claim: Claim) -> None:
        end: TurnEnd | None = interrupted()
        try:
            end = await self._turns.run(running, claim)
        except ForkFailed as exc:
            log.warning("session.not_forked", thread=running.thread_id, reason=str(exc))
            end = None
        except Exception:
            log.exception("turn.failed", prompt=running.entry.place)
            end = crashed()
        finally:
            del self._running[running.entry]
            self._steps.changed()
            try:
                self._finish(running, end)
            finally:
                # Last: who is told that an agent is free has to know already what this turn left in its thread.
                claim.release()
                if running.abandoned:
                    self._pool.evict(running.thread_id)

    def _finish(self, running: RunningTurn, end: TurnEnd | None) -> None:
        """Hand the reply over; without an end, nothing was prompted, and the turn begins anew some other time."""
        if end is None and running.stopped_by is None:
            running.reply.end(delivered=False)
            self._not_forked(running)
            return
        end = as_decided(end or cut_off(running), running.entry.cancelled)
        messages = [message.inbound for message in running.entry.owed]
        now = running.over_at or anyio.current_time()
        report = turn_report(running.entry, messages, end, started=running.started, now=now, agent=running.agent)
        self.silences.ended(running.agent, end.outcome, silent=running.silent)
        self._deliveries.finish(messages, running.reply, end, report)
        self._ended(running, end)

    def announce(self, running: RunningTurn, end: TurnEnd) -> None:
        """Show the end of a turn at once that its agent did not answer: the drain only holds the next prompt (T3)."""
        running.over_at = anyio.current_time()
        messages = [message.inbound for message in running.entry.owed]
        end = as_decided(end, running.entry.cancelled)
        self._deliveries.announce(messages, running.reply, end, running.over_at - running.started)

    def cancel(self, entry: Entry, why: Why) -> bool:
        """Cancel the turn of an entry; False: it is too late."""
        running = self._running.get(entry)
        return running is not None and running.stop(why.by or why.reason)

    async def steer(self, into: Entry, entry: Entry) -> bool:
        """Put an entry into a running turn; True: its messages are part of it (Q2)."""
        running = self._running.get(into)
        if running is None or not running.control.can_steer:
            return False
        # Written first, as for a prompt: what the agent may have read is not run again by itself.
        await self._store.started(running.first.message_id, [message.id for message in entry.messages])
        return await running.control.steer([text_block(entry.prompt_text())])


def as_decided(end: TurnEnd, why: Why | None) -> TurnEnd:
    """Return the end of a turn that was cancelled for a reason of the queue's: that decides the outcome."""
    if why is None or end.outcome is not Outcome.STOPPED:
        return end
    return replace(end, outcome=why.outcome, by=why.by, reason=why.reason or end.reason)
