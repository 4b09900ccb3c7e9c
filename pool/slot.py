"""A thread's session in an agent process, the process's side of it, and the claims that protect both.

`PooledAgent` is one process and its owner task, `Slot` one thread's session in it: two objects, so that threads can
share a process one day. Which slot is current, and who holds a place, is the registry's business.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import structlog

from acp.connection import AgentSession
from acp.errors import AgentSpawnError
from pool.model import SlotState, SlotStatus
from pool.ports import Connection, How, Opened

log = structlog.get_logger(__name__)


class PooledAgent:
    """One agent process: how its owner task is told to stop, and what became of it.

    Attributes:
        begun: whether the owner task was started.
        serving: whether the start is over; from then on the owner is told to stop, before that it is cancelled.
        left: whether the owner is done with it.
        leaked: whether it outlived its stop ladder; the place stays taken until it is gone.
        gone: whether nothing of it is left.
        stopping_since: when it was told to stop, or ended.
    """

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.stop_requested = anyio.Event()
        self.connection: Connection | None = None
        self.begun = False
        self.serving = False
        self.left = False
        self.leaked = False
        self.gone = False
        self.stopping_since: float | None = None

    def stop(self, now: float) -> None:
        """Tell the owner to end the process."""
        self.stopping_since = now
        self.stop_requested.set()
        # A start may hang anywhere; a living connection is left in order, so that its pipes are read to the end.
        if not self.serving:
            self.scope.cancel()

    def alive(self) -> bool:
        """Whether the process is known to run."""
        return self.connection is not None and self.connection.alive()

    def usable(self) -> bool:
        """Whether a turn may be given to it."""
        return self.connection is not None and self.connection.usable()

    def can_fork(self) -> bool:
        """Whether turns can run on copies of its session."""
        return self.connection is not None and self.connection.can_fork

    def remains(self) -> bool:
        """Whether anything of it outlived the stop ladder: the process, or what it started."""
        report = self.connection.stop_report if self.connection is not None else None
        return self.alive() or (report is not None and bool(report.leaked_pids()))


class Slot:
    """One thread's session. The mutable state is its attributes; all but the lock can be read without the lock.

    Attributes:
        after: agents of the same thread that have to be gone before this one may start.
        claims: who protects the slot: reservations and admitted turns, each an object of its own.
        lock: held for the length of a turn.
        settled: set once the slot is ready or will never be.
        error: why it will never be ready, when its start failed.
        cwd: the working directory of the session, once it is known.
        turns: the running turns and when each began: the lock stands for the one in the session itself, its claim for
            each extra turn.
        internal_errors: how many turns in a row ended in an internal error of the agent.
    """

    def __init__(self, thread_id: int, generation: int, after: tuple[PooledAgent, ...], now: float) -> None:
        self.thread_id = thread_id
        self.generation = generation
        self.after = after
        self.agent = PooledAgent()
        self.claims: set[Claim] = set()
        self.lock = anyio.Lock()
        self.settled = anyio.Event()
        self.error: AgentSpawnError | None = None
        self.session: AgentSession | None = None
        self.last_used = now
        self.cwd: str | None = None
        self.turns: dict[object, float] = {}
        self.leased = False
        self.internal_errors = 0
        self._state = SlotState.STARTING
        self._news: tuple[How, bool] | None = None
        self._waiting: set[anyio.CancelScope] = set()

    @property
    def state(self) -> SlotState:
        """Where the slot is; changed by `_set` only."""
        return self._state

    @property
    def claimed(self) -> bool:
        """Whether an admitted turn or a reservation protects the slot."""
        return bool(self.claims)

    @property
    def taken(self) -> bool:
        """Whether a turn is admitted to the session itself, so that another one would have to wait for it."""
        return any(isinstance(claim, Reservation) for claim in self.claims)

    @property
    def busy_since(self) -> float | None:
        """When the oldest running turn got the slot."""
        return min(self.turns.values(), default=None)

    @property
    def usable(self) -> bool:
        """Whether a turn may begin."""
        return self._state is SlotState.READY and self.agent.usable()

    def ready(self, opened: Opened, now: float) -> None:
        """Say that the session is open, and wake who waits for it."""
        self.session = opened.session
        self._news = (opened.how, opened.lost)
        self.last_used = now
        self.agent.serving = True
        self._set(SlotState.READY)
        self.settled.set()

    def stop(self, now: float, error: AgentSpawnError | None = None) -> None:
        """Tell the agent to stop, and wake who waits for the slot; ``error`` tells them why it never got ready."""
        self.error = error
        self._set(SlotState.CLOSING)
        self.agent.stop(now)
        self.settled.set()
        for scope in self._waiting:
            scope.cancel()

    def closed(self) -> None:
        """Say that nothing of the slot is left."""
        self.agent.gone = True
        self._set(SlotState.CLOSED)

    async def acquire(self, clock: Callable[[], float]) -> bool:
        """Wait for the lock; False, without the lock, if the slot can't be used any more."""
        acquired = False
        if self._state is SlotState.READY:
            with anyio.CancelScope() as scope:
                self._waiting.add(scope)
                try:
                    await self.lock.acquire()
                    acquired = True
                finally:
                    self._waiting.discard(scope)
        if acquired and not self.usable:
            self.lock.release()
            return False
        if acquired:
            self.leased = True
            self.begin(self.lock, clock())
        return acquired

    def leave(self, now: float) -> None:
        """Give the lock back after a turn."""
        self.end(self.lock, now)
        self.lock.release()

    def begin(self, turn: object, now: float) -> None:
        """Note that a turn runs; see ``turns``."""
        self.turns[turn] = now

    def end(self, turn: object, now: float) -> None:
        """Note that a turn runs no more."""
        del self.turns[turn]
        self.last_used = now

    def take_news(self) -> tuple[How, bool] | None:
        """Return how the session was opened and whether the wanted one was lost: to the first turn only."""
        news, self._news = self._news, None
        return news

    def status(self) -> SlotStatus:
        """Return what can be said about the slot now."""
        connection = self.agent.connection
        info = connection.agent.agent_info if connection is not None else None
        return SlotStatus(
            state=self._state,
            busy=self.claimed,
            pid=connection.pid if connection is not None else None,
            last_used=self.last_used,
            generation=self.generation,
            agent=info.name if info is not None else None,
        )

    def _set(self, state: SlotState) -> None:
        log.debug("slot.changed", thread_id=self.thread_id, generation=self.generation, state=state.value)
        self._state = state


class Claim:
    """Something that protects a slot from being suspended; given back exactly once.

    Attributes:
        slot: what is claimed; None once it was given back.
    """

    __slots__ = ("_release", "slot", "thread_id")

    def __init__(self, thread_id: int, release: Callable[[Claim], None]) -> None:
        self.thread_id = thread_id
        self.slot: Slot | None = None
        self._release = release

    def release(self) -> None:
        """Give back what was taken; a second call does nothing."""
        self._release(self)


class Reservation(Claim):
    """A claim on a thread's session: a place in the pool.

    Attributes:
        refusal: set instead of a slot while the thread's starts are held back; the session call raises it.
    """

    __slots__ = ("refusal",)

    def __init__(self, thread_id: int, release: Callable[[Claim], None]) -> None:
        super().__init__(thread_id, release)
        self.refusal: AgentSpawnError | None = None


class ExtraReservation(Claim):
    """A claim for a turn on a copy of a thread's session, in the same process: it needs no place of its own."""

    __slots__ = ()
