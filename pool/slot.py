"""A thread's session in an agent process, and the claims that protect both.

The process is a `pool.agent.PooledAgent`; several slots may be in one. Which slot is current, and who holds a place, is
the registry's business.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import structlog

from acp.connection import AgentSession
from acp.errors import AgentSpawnError
from pool.agent import PooledAgent
from pool.model import SlotState, SlotStatus
from pool.ports import How, Opened

log = structlog.get_logger(__name__)


class Slot:
    """One thread's session. The mutable state is its attributes; all but the lock can be read without the lock.

    Attributes:
        agent: the process it is in.
        after: slots that have to be gone before this one's session may be opened: earlier ones of the same thread, and
            one whose room in the process it has.
        begun: whether anybody wants its session opened; until then it is only a claim.
        attended: whether a task sees to its session.
        stop_requested: set once it was told to stop.
        stopping_since: when it was.
        leaked: whether its session took longer to end than a process may.
        claims: who protects the slot: reservations and admitted turns, each an object of its own.
        lock: held for the length of a turn.
        settled: set once the slot is ready or will never be.
        error: why it will never be ready, when its start failed.
        displaced: whether it was stopped for a reset or since a neighbour hung: who waits goes on in the next one.
        cwd: the working directory of the session, once it is known.
        turns: the running turns and when each began: the lock stands for the one in the session itself, its claim for
            each extra turn.
        internal_errors: how many turns in a row ended in an internal error of the agent.
    """

    def __init__(
        self, thread_id: int, generation: int, agent: PooledAgent, after: tuple[Slot, ...], now: float
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
        self.last_used = now
        self.cwd: str | None = None
        self.turns: dict[object, float] = {}
        self.internal_errors = 0
        self._state = SlotState.STARTING
        self._news: tuple[How, bool] | None = None
        self._waiting: set[anyio.CancelScope] = set()

    @property
    def state(self) -> SlotState:
        """Where the slot is; changed by `_set` only."""
        return self._state

    @property
    def live(self) -> bool:
        """Whether it was not told to stop."""
        return self._state in (SlotState.STARTING, SlotState.READY)

    @property
    def departed(self) -> bool:
        """Whether a successor has no more to wait for."""
        return self._state is SlotState.CLOSED or self.leaked

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
        self.after = ()
        self.agent.serving = True
        self._set(SlotState.READY)
        self.settled.set()

    def stop(self, now: float, error: AgentSpawnError | None = None) -> None:
        """Take no more turns, and wake who waits for the slot; ``error`` tells them why it never gets ready, if so."""
        if self._state is SlotState.STARTING:
            self.error = error
        self.stopping_since = now
        self._set(SlotState.CLOSING)
        self.stop_requested.set()
        self.settled.set()
        for scope in self._waiting:
            scope.cancel()

    def closed(self) -> None:
        """Say that nothing of the slot is left."""
        self.after = ()
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
            self.agent.leased = True
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
