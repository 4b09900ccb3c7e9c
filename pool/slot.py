"""A thread's session in an agent process, that process, and the claims that protect both.

A process is one thread's own or shared by several; each thread's part in it is a `Slot`. Everybody may read what is
here; `pool.registry` alone decides about it and changes its states.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import structlog

from acp.connection import AgentConnection
from acp.engine import Engine
from acp.errors import AgentSpawnError
from acp.handshake import How
from acp.session import AgentSession
from pool.launcher import Sharing
from pool.model import AgentState, SlotState, SlotStatus
from pool.session_servers import Offer

JUST = 60.0
"""Seconds in which an agent that was heard outside a turn is assumed to be still at work."""

log = structlog.get_logger(__name__)


class PooledAgent:
    """One agent process.

    Attributes:
        state: where it is.
        sharing: whose threads may share it; None: it belongs to one thread.
        slots: the threads' sessions in it that are not closed yet, in the order in which they joined.
        after: what has to be gone before it may start: what came before in the thread that it was made for.
        scope: of its task.
        connection: what the task opened, once it did.
        stopping_since: when it was told to stop, or ended.
        takes_sessions: False once a session went wrong in a way that may not be the session's fault.
        had_a_turn: whether a turn was ever given to one of its sessions.
        errand: whether it is for requests without a session, and lives only as long as whoever made it needs it.
        waits_for: what its start waits for, as its engine says it; "" if for nothing in particular.
        engine: what runs it; None: this machine, or it is not known yet.
        displaced: who gave way to it on a full engine, the last one; None: nobody.
    """

    def __init__(self, sharing: Sharing | None = None, after: tuple[Slot, ...] = (), *, errand: bool = False) -> None:
        self.sharing = sharing
        self.errand = errand
        self.slots: dict[Slot, None] = {}
        self.after = after
        self.scope = anyio.CancelScope()
        self.connection: AgentConnection | None = None
        self.stopping_since: float | None = None
        self.takes_sessions = True
        self.had_a_turn = False
        self.waits_for = ""
        self.engine: Engine | None = None
        self.displaced: PooledAgent | None = None
        self.state = AgentState.CLAIMED
        self._calls = anyio.Event()

    def enter(self, state: AgentState) -> None:
        """Change the state; only the registry does."""
        log.debug("agent.changed", threads=[slot.thread_id for slot in self.slots], state=state.value)
        self.state = state

    @property
    def live(self) -> bool:
        """Whether it was not told to stop, and has not ended."""
        return self.state in (AgentState.CLAIMED, AgentState.STARTING, AgentState.SERVING)

    @property
    def ending(self) -> bool:
        """Whether its end is under way, and still waited for."""
        return self.state is AgentState.STOPPING

    @property
    def node(self) -> str:
        """The machine of its engine that it is on; "" where that is not known."""
        return str(getattr(self.connection.process, "node", "")) if self.connection is not None else ""

    @property
    def leaked(self) -> bool:
        """Whether waiting for its end was given up; the place stays taken until it is gone."""
        return self.state in (AgentState.OVERDUE, AgentState.REMAINS)

    @property
    def claimed(self) -> bool:
        """Whether somebody needs it: a turn or a reservation in any of its sessions, or who made it for an errand."""
        return self.errand or any(slot.claims for slot in self.slots)

    def fits(self, sharing: Sharing) -> bool:
        """Whether a thread of that key may be in it, as it is going to live; that there is room is not said."""
        if self.sharing is None or self.sharing.key != sharing.key:
            return False
        # One that hung up is about to end; its task has just not noticed yet.
        hung_up = self.connection is not None and not self.connection.usable()
        return self.live and self.takes_sessions and not hung_up

    def usable(self) -> bool:
        """Whether a turn may be given to it."""
        return self.connection is not None and self.connection.usable()

    def remains(self) -> bool:
        """Whether anything of it outlived the shutdown escalation: the process, or what it started."""
        if self.connection is None:
            return False
        # What it started counts: it may go on writing to the directory, and takes as much of the machine.
        report = self.connection.stop_report
        return self.connection.alive() or (report is not None and bool(report.leaked_pids()))

    def newcomers(self) -> list[Slot]:
        """Return whose sessions are to be opened and have no task yet."""
        return [slot for slot in self.slots if slot.begun and slot.live and not slot.attended]

    def call(self) -> None:
        """Have its task look: a session is to be opened, or the process to be ended."""
        self._calls.set()

    async def called(self) -> None:
        """Wait for the next `call`, or return at once if there was one."""
        await self._calls.wait()
        # No await since the wake-up: a call that comes meanwhile is covered by the look that follows.
        self._calls = anyio.Event()


class Slot:
    """One thread's session. The mutable state is its attributes; all but the lock can be read without the lock.

    Attributes:
        state: where it is; changed by `enter`.
        agent: the process it is in.
        after: slots that have to be gone before this one's session may be opened: earlier ones of the same thread, and
            one whose room in the process it has.
        begun: whether anybody wants its session opened; until then it is only a claim.
        attended: whether a task sees to its session.
        stop_requested: set once it was told to stop.
        stopping_since: when it was.
        leaked: whether its session took longer to end than a process may.
        claims: who protects the slot: reservations and admitted turns, one object each.
        lock: held for the length of a turn.
        settled: set once the slot is ready or will never be.
        error: why it will never be ready, when its start failed.
        displaced: whether it was stopped for a reset or since a neighbour hung: who waits goes on in the next one.
        wanted: the session that it resumes, from the moment in which its agent is asked for it.
        cwd: the working directory of the session, once it is known.
        offer: the servers that its session gets, from the moment in which it is opened until it has ended.
        news: how the session was opened and whether the wanted one was lost, for the first turn only.
        used: when it was made, got ready, or a turn last ended.
        waiting: those who wait for the lock, or for the directory: a stop cancels them.
        longest: for how long after a turn what its agent still does counts as use, in seconds.
        turns: the running turns and when each began: the lock stands for the one in the session itself, its claim for
            each extra turn.
        internal_errors: how many turns in a row ended in an internal error of the agent.
    """

    def __init__(
        self,
        thread_id: int,
        generation: int,
        agent: PooledAgent,
        after: tuple[Slot, ...],
        now: float,
        longest: float = 0.0,
    ) -> None:
        self.thread_id = thread_id
        self.generation = generation
        self.agent = agent
        self.after = after
        self.begun = False
        self.attended = False
        self.stop_requested = anyio.Event()
        self.stopping_since: float | None = None
        self.leaked = False
        self.claims: set[Claim] = set()
        self.lock = anyio.Lock()
        self.settled = anyio.Event()
        self.error: AgentSpawnError | None = None
        self.displaced = False
        self.session: AgentSession | None = None
        self.longest = longest
        self.wanted: str | None = None
        self.cwd: str | None = None
        self.offer: Offer | None = None
        self.turns: dict[object, float] = {}
        self.internal_errors = 0
        self.used = now
        self.state = SlotState.STARTING
        self.news: tuple[How, bool] | None = None
        self.waiting: set[anyio.CancelScope] = set()

    def enter(self, state: SlotState) -> None:
        """Change the state; only the registry does."""
        log.debug("slot.changed", thread_id=self.thread_id, generation=self.generation, state=state.value)
        self.state = state

    @property
    def live(self) -> bool:
        """Whether it was not told to stop."""
        return self.state in (SlotState.STARTING, SlotState.READY)

    @property
    def last_used(self) -> float:
        """When its last turn ended, or its agent was last at work outside one, for as long as a turn may take."""
        # The bound: an agent that never falls silent would keep its place for ever.
        heard = self.session.heard if self.session is not None else 0.0
        return max(self.used, min(heard, self.used + self.longest))

    def at_work(self, now: float) -> bool:
        """Whether its agent has just been heard outside a turn."""
        if self.session is None or self.turns:
            return False
        return self.session.heard > self.used and now - self.session.heard < JUST

    @property
    def departed(self) -> bool:
        """Whether its successor need not wait for it any longer."""
        return self.state is SlotState.CLOSED or self.leaked

    @property
    def usable(self) -> bool:
        """Whether a turn may begin."""
        return self.state is SlotState.READY and self.agent.usable()

    @property
    def can_fork(self) -> bool:
        """Whether turns can run on copies of its session."""
        return self.usable and self.agent.connection is not None and self.agent.connection.can_fork

    async def acquire(self, clock: Callable[[], float]) -> bool:
        """Wait for the lock and begin a turn; False, without the lock, if the slot is no longer usable."""
        if self.state is not SlotState.READY:
            return False
        acquired = False
        with anyio.CancelScope() as scope:
            self.waiting.add(scope)
            try:
                await self.lock.acquire()
                acquired = True
            finally:
                self.waiting.discard(scope)
        # By what happened, not by whether it was cancelled: a stop may come when the lock was already got.
        # Looked at again: the agent may have hung up while the turn before was running.
        if acquired and not self.usable:
            self.lock.release()
            return False
        if acquired:
            self.agent.had_a_turn = True
            self.turns[self.lock] = clock()
        return acquired

    def end_turn(self, turn: object, now: float) -> None:
        """Note that a turn runs no more; see ``turns``."""
        del self.turns[turn]
        self.used = now

    def status(self) -> SlotStatus:
        """Return what can be said about the slot now."""
        connection = self.agent.connection
        info = connection.agent.agent_info if connection is not None else None
        return SlotStatus(
            state=self.state,
            busy=bool(self.claims),
            pid=connection.pid if connection is not None else None,
            place=connection.process.place if connection is not None and connection.pid is None else "",
            last_used=self.last_used,
            generation=self.generation,
            agent=info.name if info is not None else None,
        )


class Claim:
    """Something that protects a slot from being suspended; given back exactly once.

    Attributes:
        slot: what is claimed; None once it was given back.
        refusal: set instead of a slot while the thread's starts are held back; the session call raises it.
    """

    __slots__ = ("_release", "refusal", "slot", "thread_id")

    def __init__(self, thread_id: int, release: Callable[[Claim], None]) -> None:
        self.thread_id = thread_id
        self.slot: Slot | None = None
        self.refusal: AgentSpawnError | None = None
        self._release = release

    def release(self) -> None:
        """Give back what was taken; a second call does nothing."""
        self._release(self)


class Reservation(Claim):
    """A claim on a thread's session: a place in the pool."""

    __slots__ = ()


class ExtraReservation(Claim):
    """A claim for a turn on a copy of a thread's session, in the same process: it takes no place."""

    __slots__ = ()
