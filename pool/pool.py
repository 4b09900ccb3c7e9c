"""ConnectionPool: a thread's live session behind its own lock, with a bound on how many agents run at once.

This is the outside of the pool: claims, sessions, status, eviction, reset and closing. What is decided stands in
`pool.registry`, what is awaited for a process in `pool.owner`, for one thread in it in `pool.attendant`. The mutable
state of its own is the task group.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Literal, Self

import anyio
import structlog
from anyio.abc import TaskGroup

from acp import connection
from acp.connection import AgentSession, ConnectionLimits
from acp.errors import AgentSpawnError, ForkFailed, SpawnFailure
from pool.launcher import Launcher
from pool.lease import Lease
from pool.maintenance import Maintenance
from pool.model import PoolCounts, PoolLimits, Reason, SlotStatus
from pool.owner import Owner
from pool.ports import How, OpenConnection
from pool.registry import Registry
from pool.slot import ExtraReservation, Reservation, Slot
from pool.store import SessionStore
from pool.tally import Tally

log = structlog.get_logger(__name__)


class ConnectionPool:
    """Threads and their agents. Entered and left by one task; everything else may be called from any.

    Args:
        on_change: called, without arguments, whenever a refused `try_reserve` may succeed now; must not wait.
        clock: seconds, monotonic.
        open_connection: starts an agent; `acp.connection.open_connection` unless given.
    """

    def __init__(
        self,
        launcher: Launcher,
        store: SessionStore,
        limits: PoolLimits,
        connection_limits: ConnectionLimits,
        *,
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = anyio.current_time,
        open_connection: OpenConnection = connection.open_connection,
    ) -> None:
        self._store = store
        self._registry = Registry(limits, on_change, clock, launcher.sharing)
        self._maintenance = Maintenance(self._registry)
        self._owner = Owner(self._registry, launcher, store, connection_limits, open_connection)
        self._group: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._group = await anyio.create_task_group().__aenter__()
        self._group.start_soon(self._maintenance.run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        await self.close()
        self._tasks.cancel_scope.cancel()
        return await self._tasks.__aexit__(kind, value, trace)

    @property
    def _tasks(self) -> TaskGroup:
        if self._group is None:
            raise RuntimeError("the pool was not entered")
        return self._group

    def widen(self, hung_after: float) -> None:
        """Let a turn hold a slot this long (seconds) from now on; never shorter than before, for those that run."""
        limits = self._registry.limits
        self._registry.limits = replace(limits, hung_after=max(hung_after, limits.hung_after))

    @property
    def last_pass(self) -> float:
        """The clock at the last maintenance pass: a sign of life."""
        return self._maintenance.last_pass

    # Claims and sessions

    def try_reserve(self, thread_id: int, *, behind: bool = False) -> Reservation | None:
        """Claim the thread's slot, a free place, or a victim's, in one step; None if the thread has to wait.

        Args:
            behind: a thread that was refused waits for longer: the process that is nearest to being idle takes no
                turn before that one had its try, or a process with turns of many threads would never be idle.
        """
        claim = self._claim(thread_id)
        return claim if self._registry.book(claim, behind=behind) else None

    def warm(self, thread_id: int) -> bool:
        """Open the thread's session ahead of its turn if that stops nobody; until then it may be suspended again."""
        registry = self._registry
        held_back = registry.breaker.wait_for(thread_id, registry.clock()) > 0
        if registry.closing or thread_id in registry.slots or held_back:
            return False
        slot = registry.create(thread_id, free_only=True)
        if slot is not None:
            self._begin(slot)
        return slot is not None

    @asynccontextmanager
    async def session(self, thread_id: int, reservation: Reservation | None = None) -> AsyncIterator[Lease]:
        """Hold the thread's session for a turn: its slot's lock and nothing else.

        Takes the reservation over; without one it waits for a place. Who gives up waiting leaves the start going.

        Raises:
            AgentSpawnError: the agent could not be started, its starts are held back, or the pool is closing.
        """
        claim = reservation or self._claim(thread_id)
        if claim.thread_id != thread_id:
            raise ValueError(f"the reservation is for thread {claim.thread_id}, not {thread_id}")
        try:
            slot = await self._acquire(claim)
            try:
                yield self._own_lease(slot)
            finally:
                slot.leave(self._registry.clock())
        finally:
            claim.release()

    # Extra turns of a thread, on copies of its session

    def can_fork(self, thread_id: int) -> bool | None:
        """Whether turns of the thread can run side by side; None while no agent of its own has said so."""
        slot = self._registry.slots.get(thread_id)
        return slot.agent.can_fork() if slot is not None and slot.usable else None

    def try_reserve_extra(self, thread_id: int, *, behind: bool = False) -> ExtraReservation | None:
        """Claim a turn beside the one that has the thread's session, in one step and without a further process.

        None if that can't be: no turn has the session (`try_reserve` gives it), its agent is not ready yet, or it can't
        fork. Then the turn has to wait. ``on_change`` is called when an agent gets ready. For ``behind`` see
        `try_reserve`.
        """
        claim = ExtraReservation(thread_id, self._registry.release)
        return claim if self._registry.book_extra(claim, behind=behind) else None

    @asynccontextmanager
    async def extra_session(self, reservation: ExtraReservation) -> AsyncIterator[Lease]:
        """Run a turn on a copy of the thread's session, made now and closed at the end; no lock is held.

        The copy knows what was said before the turns that run now; what it hears and says stays its own. It lives and
        dies with the slot's agent, which is not suspended meanwhile. The thread's session stays what it was.

        Raises:
            ForkFailed: there is no copy, and nothing was prompted: the turn has to wait for the session itself.
        """
        try:
            slot = reservation.slot
            if slot is None:
                raise ForkFailed("the reservation was given back")
            slot.begin(reservation, self._registry.clock())
            try:
                async with _copy(slot) as session:
                    yield self._lease(slot, session, "forked")
            finally:
                slot.end(reservation, self._registry.clock())
        finally:
            reservation.release()

    async def _acquire(self, claim: Reservation) -> Slot:
        while True:
            slot = claim.slot or await self._book(claim)
            self._begin(slot)
            await slot.settled.wait()
            if slot.error is not None:
                raise _again(slot.error)
            if await slot.acquire(self._registry.clock):
                self._registry.breaker.reset(slot.thread_id)
                return slot
            if slot.session is None and not slot.displaced:
                raise AgentSpawnError("the agent was told to stop before it was ready", failure=SpawnFailure.OTHER)
            # It has died or was told to stop since it was ready, or for a neighbour's sake: on to its successor.
            self._registry.move_on(claim)

    async def _book(self, claim: Reservation) -> Slot:
        registry = self._registry
        if claim.refusal is None and not registry.book(claim):
            registry.seek(claim)
        while claim.slot is None:
            if claim.refusal is not None:
                refusal, claim.refusal = claim.refusal, None
                raise refusal
            if registry.closing:
                raise AgentSpawnError("the pool is closing", failure=SpawnFailure.OTHER)
            await registry.changes.wait()
        return claim.slot

    def _begin(self, slot: Slot) -> None:
        if slot.begun or slot.settled.is_set():
            return
        slot.begun, agent = True, slot.agent
        if agent.begun:
            agent.call()
            return
        agent.begun = True
        # Owned by the pool's task group, not by who waits: a waiter that goes away ends nothing.
        self._tasks.start_soon(self._owner.run, agent)

    def _claim(self, thread_id: int) -> Reservation:
        return Reservation(thread_id, self._registry.release)

    def _own_lease(self, slot: Slot) -> Lease:
        how, lost = slot.take_news() or ("live", False)
        assert slot.session is not None
        return self._lease(slot, slot.session, how, lost=lost)

    def _lease(
        self, slot: Slot, session: AgentSession, how: Literal["live", "forked"] | How, *, lost: bool = False
    ) -> Lease:
        assert slot.agent.connection is not None
        return Lease(session, how, lost, slot.agent.connection.agent, _slot=slot, _stop=self._stop)

    # Control: none of these waits for a slot

    def status(self, thread_id: int) -> SlotStatus | None:
        """Return what can be said about the thread's slot, or None if it has none."""
        slot = self._registry.slots.get(thread_id)
        return slot.status() if slot is not None else None

    def counts(self) -> PoolCounts:
        """Return how full the pool is."""
        return self._registry.counts()

    def evict(self, thread_id: int) -> bool:
        """Tell the thread's agent to stop, busy or not; its session stays remembered. False if there is none.

        Of a process that other threads share, only the thread's session is ended.
        """
        slot = self._registry.slots.get(thread_id)
        return slot is not None and self._stop(slot)

    def reset(self, thread_id: int) -> bool:
        """Evict the thread's agent and forget its session; the next one starts afresh. False if no agent ran."""
        registry = self._registry
        if thread_id not in registry.resets:
            registry.resets[thread_id] = anyio.Event()
            self._tasks.start_soon(self._forget, thread_id)
        registry.breaker.reset(thread_id)
        if (slot := registry.slots.get(thread_id)) is not None and slot.live:
            # What the reset is to stop is cancelled by the caller; the next turn may wait already.
            slot.displaced = True
        return self.evict(thread_id)

    @property
    def tally(self) -> Tally:
        """What has happened so far, in numbers; not to be changed."""
        return self._registry.tally

    def maintain(self) -> None:
        """Make one maintenance pass now."""
        self._maintenance.once()

    async def close(self) -> None:
        """End every agent; returns when all are gone, or when the bound has passed."""
        registry = self._registry
        registry.begin_closing()
        with anyio.move_on_after(registry.limits.close_bound, shield=True):
            while not registry.at_rest():
                await registry.changes.wait()
        if not registry.at_rest():
            log.error("pool.close_overran", seconds=registry.limits.close_bound, closing=registry.counts().closing)

    def _stop(self, slot: Slot) -> bool:
        told = self._registry.stop(slot, Reason.ASKED)
        self._registry.changed()
        return told

    async def _forget(self, thread_id: int) -> None:
        try:
            # One write, handed in at once: however long it takes, and whoever gives up waiting, nothing gets past it.
            await self._store.bind(thread_id, session_id=None)
        except Exception:  # the control command: the store's fault is logged, the pool goes on
            log.exception("session.forget_failed", thread_id=thread_id)
        finally:
            # The thread's next session waits for this, or it would resume what is being forgotten.
            self._registry.resets.pop(thread_id).set()
            self._registry.changed()


@asynccontextmanager
async def _copy(slot: Slot) -> AsyncIterator[AgentSession]:
    """Copy the slot's session, and let the copy go at the end."""
    connection, original = slot.agent.connection, slot.session
    if not slot.usable or connection is None or original is None or slot.cwd is None:
        raise ForkFailed("the agent ended, or was told to, before its session could be forked")
    session = await connection.fork_session(original.id, slot.cwd)
    try:
        if not slot.usable:  # nothing was prompted yet: the turn does better in the successor
            raise ForkFailed("the agent ended, or was told to, while its session was forked")
        yield session
    finally:
        connection.close_session(session)


def _again(error: AgentSpawnError) -> AgentSpawnError:
    """Return an exception of its own for each who waits: a shared one would collect all their tracebacks."""
    copy = AgentSpawnError(str(error), failure=error.failure, exit=error.exit)
    copy.__cause__ = error
    return copy
