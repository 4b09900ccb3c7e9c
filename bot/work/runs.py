"""The turns that run: each is started, stopped, steered and seen to its end; which runs when is the scheduler's.

Whatever happens in a turn, its place is freed and its messages have one outcome (Q10, O1). The mutable state is the
map of running turns by entry, and the threads in which turns can't run side by side.
"""

from __future__ import annotations

import anyio
import structlog
from anyio.abc import TaskGroup

from acp.errors import ForkFailed
from acp.schema import text_block
from acp.snapshot import Phase, TurnSnapshot
from acp.turn import Turn
from bot.reply.cards import turn_button
from bot.reply.live_reply import LiveReply
from bot.reply.port import Body
from bot.work.delivery import Deliveries
from bot.work.editors import Editors
from bot.work.ending import TurnEnd, crashed, interrupted
from bot.work.leftovers import Leftovers
from bot.work.limits import WorkLimits
from bot.work.observer import Observer, turn_report, waited
from bot.work.queue.entry import Entry, Why
from bot.work.queue.scheduler import Scheduler
from bot.work.queue_notices import QueueNotices
from bot.work.silences import Silences
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from bot.work.turns import Claim, RunningTurn, TurnService, as_decided, cut_off
from pool.pool import ConnectionPool
from pool.slot import ExtraReservation
from pool.store import SessionStore

log = structlog.get_logger(__name__)


ONE_BY_ONE = Body("-# This agent can't work on two requests of a thread at once: they run one after the other.")
_REMEMBERED = 1000


class Runs:
    """Runs admitted entries.

    Attributes:
        limits: those of turns that start from now on.
        silences: knows which agents have fallen silent again and again.
        claims: gives turns their agents.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        tracker: TaskTracker,
        pool: ConnectionPool,
        store: SessionStore,
        scheduler: Scheduler[Claim],
        editors: Editors,
        deliveries: Deliveries,
        notices: QueueNotices,
        leftovers: Leftovers,
        turns: TurnService,
        thread_settings: ThreadSettings,
        observer: Observer,
        limits: WorkLimits,
    ) -> None:
        self.limits = limits
        self._tasks = tasks
        self._tracker = tracker
        self._pool = pool
        self._store = store
        self._scheduler = scheduler
        self._editors = editors
        self._deliveries = deliveries
        self._notices = notices
        self._leftovers = leftovers
        self._turns = turns
        self._thread_settings = thread_settings
        self._observer = observer
        self.claims = Claims(pool, self, editors)
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
        limits = self._thread_settings.limits_for(entry.thread_id, self.limits.turn)
        turn = Turn(limits, now)
        running = RunningTurn(
            entry,
            self._open_reply(entry, turn),
            turn,
            started=now,
            hard_timeout=limits.hard_timeout,
            agent=self._thread_settings.agent_name_for(entry.thread_id),
        )
        entry.attempts += 1
        running.extra = isinstance(claim, ExtraReservation)
        # In the map before its task begins: a stop may come first, and has to find it.
        self._running[entry] = running
        self._tasks.start_soon(self._run, running, claim, name=f"turn {entry.place}")

    def _open_reply(self, entry: Entry, turn: Turn) -> LiveReply:
        first, visible = entry.messages[0].inbound, False

        def note(messages: tuple[int, ...]) -> None:
            nonlocal visible
            if not visible and (after := waited(entry, anyio.current_time())) is not None:
                self._observer.reply_visible(entry.lane, after)
            visible = True
            self._tracker.begin(self._store.shown, first.message_id, messages, name=f"note {first.message_id}")

        def look(text_from: int = 0) -> TurnSnapshot:
            running = self._running.get(entry)
            return turn.snapshot(text_from) if running is None or running.turn is not turn else running.look(text_from)

        return self._editors.of(first.thread_id).open(
            first.message_id,
            look,
            reply_to=None if first.opens_thread else first.message_id,
            stop_button=turn_button("stop", first.thread_id, first.message_id),
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
            # No await in here: whoever looks sees the turn either running or with its reply handed over.
            del self._running[running.entry]
            self._tracker.changed()
            try:
                self._finish(running, end)
            finally:
                # Last: whoever hears that an agent is free must already see what this turn left in its thread.
                claim.release()
                if running.abandoned:
                    self._pool.evict(running.thread_id)

    def _finish(self, running: RunningTurn, end: TurnEnd | None) -> None:
        """Hand the reply over; without an end, nothing was prompted, and the turn begins anew some other time."""
        if end is None and running.stopped_by is None:
            running.reply.end(delivered=False)
            self._put_back(running)
            return
        end = as_decided(end or cut_off(running), running.entry.cancelled)
        messages = running.messages
        now = running.over_at or anyio.current_time()
        report = turn_report(running.entry, messages, end, started=running.started, now=now, agent=running.agent)
        self.silences.ended(running.agent, end.outcome, silent=running.silent)
        self._deliveries.finish(messages, running.reply, end, report)
        self._leftovers.ended(running.first)
        self._free_place(running, end)

    def _free_place(self, running: RunningTurn, end: TurnEnd) -> None:
        """Let the queue know that the turn has really ended: its place is free."""
        context = end.snapshot.context if end.snapshot is not None else None
        queue = self._scheduler.queue(running.thread_id)
        # What a session that was reset had used says nothing of the next one.
        if context is not None and context.size and running.entry.generation == queue.memory.generation:
            queue.context_share(context.used / context.size)
        self._scheduler.ended(running.entry, anyio.current_time())
        self._end_if_unknown(running.thread_id)

    def _put_back(self, running: RunningTurn) -> None:
        """Queue a turn again that could not run beside another one."""
        # First: to be put back starts what may start, and this turn must not be tried beside the other once more.
        self.claims.serialise(running.thread_id)
        self._scheduler.put_back(running.entry, anyio.current_time())
        self._notices.show(running.thread_id)
        self._end_if_unknown(running.thread_id)

    def _end_if_unknown(self, thread_id: int) -> None:
        # While the bot stops, nothing starts any more; a turn may have left something behind that waits.
        if self._scheduler.closed and not self._store.durable:
            end_waiting(self._scheduler, thread_id)

    def let_agent_go(self, thread_id: int) -> None:
        """End an agent that was started for a thread that is not there."""
        self._pool.evict(thread_id)

    def start_afresh(self, thread_id: int) -> None:
        """End the thread's agent; the next turn has a new session, and finds out anew what that one can do."""
        self.claims.forget(thread_id)
        self._pool.reset(thread_id)

    def cancel(self, entry: Entry, why: Why) -> bool:
        """Cancel the turn of an entry; False: it is too late."""
        running = self._running.get(entry)
        return running is not None and running.stop(why.by or why.reason)

    async def steer(self, into: Entry, entry: Entry) -> bool:
        """Put an entry into a running turn; True: its messages are part of it (Q2)."""
        running = self._running.get(into)
        if running is None or (session := running.session) is None or not session.can_steer:
            return False
        if running.turn.phase is not Phase.RUNNING:
            return False
        # Written first, as for a prompt: what the agent may have read is not run again by itself.
        await self._store.started(running.first.message_id, [message.id for message in entry.messages])
        return await session.steer(running.turn, [text_block(entry.prompt_text())])


class Claims:
    """Claims agents for turns: the thread's own session, or a copy of it for a turn beside another one (P4, Q9)."""

    def __init__(self, pool: ConnectionPool, runs: Runs, editors: Editors) -> None:
        self._pool = pool
        self._runs = runs
        self._editors = editors
        self._serial: dict[int, None] = {}

    def reserve(self, thread_id: int, behind: bool) -> Claim | None:
        """Claim the thread's session, or a copy of it where another turn has it; never waits.

        Args:
            behind: an older prompt waits for an agent.
        """
        if all(turn.extra for turn in self._runs.in_thread(thread_id)):
            return self._pool.try_reserve(thread_id, behind=behind)
        return None if thread_id in self._serial else self._pool.try_reserve_extra(thread_id, behind=behind)

    def held_up(self, entry: Entry) -> None:
        """Tell that an entry waits for the turn before it, where that is since its agent can't do two at once."""
        if self._runs.in_thread(entry.thread_id) and self._pool.can_fork(entry.thread_id) is False:
            self.serialise(entry.thread_id)

    def serialise(self, thread_id: int) -> None:
        """Run the turns of a thread one after the other from now on, and say so once."""
        if thread_id in self._serial:
            return
        self._serial[thread_id] = None
        if len(self._serial) > _REMEMBERED:
            del self._serial[next(iter(self._serial))]
        self._editors.of(thread_id).say(ONE_BY_ONE)

    def forget(self, thread_id: int) -> None:
        """Try it anew with the next session."""
        self._serial.pop(thread_id, None)


def end_waiting(scheduler: Scheduler[Claim], thread_id: int) -> None:
    """End what waits in a thread since the bot stops and no later run will know it (R1)."""
    cut = interrupted()
    why = Why(cut.outcome, reason=cut.reason)
    scheduler.do(thread_id, lambda queue: queue.end_waiting(why), anyio.current_time())
