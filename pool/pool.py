"""ConnectionPool: a thread's live session behind its own lock, with a bound on how many agents run at once.

This is the outside of the pool: claims, sessions, status, eviction, reset and closing. `pool.registry` decides,
`pool.agent_task` awaits what a process or a session in it does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Literal, Self, cast

import anyio
import anyio.lowlevel
import structlog
from anyio.abc import TaskGroup

from acp import connection
from acp.connection import AgentConnection, ConnectionLimits
from acp.errors import AgentSpawnError, ForkFailed, SpawnFailure
from acp.handshake import How, ways
from acp.session import AgentSession
from pool.agent_task import AgentTask, OpenConnection, wait_until
from pool.copies import Copies, SessionCopy, original_of
from pool.engines.model import NodeStatus, RemoteAgent
from pool.launcher import Launcher
from pool.model import PoolCounts, PoolLimits, PoolStats, Reason, SlotState, SlotStatus
from pool.registry import Registry
from pool.session_servers import SessionServers
from pool.slot import Claim, ExtraReservation, Reservation, Slot
from pool.storage.durable import SessionStore

MOST_INTERNAL_ERRORS = 2
"""Turns in a row that may end in an internal error before the agent is replaced."""

PLACE_LIMIT = 10.0
"""Seconds that an errand waits for a place: a person waits for its answer."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SessionLease:
    """What a turn gets: a thread's session, or a copy of it, for the length of the turn.

    Attributes:
        how: how the session came about; "live" from its second turn on, "forked" for a copy.
        lost: the remembered session was unknown to the agent, and this is a fresh one.
    """

    connection: AgentConnection
    session: AgentSession
    how: Literal["live", "forked"] | How
    lost: bool
    _slot: Slot
    _registry: Registry

    @property
    def directory(self) -> str:
        """Where the session works, as the agent sees it."""
        return self._slot.cwd or ""

    @property
    def original(self) -> str | None:
        """The id of the thread's session of which this is a copy; None: it is none, or that one is gone."""
        original = self._slot.session if self.how == "forked" else None
        return original.id if original is not None else None

    @property
    def slot(self) -> SlotStatus:
        """What can be said about the slot now."""
        return self._slot.status()

    @property
    def alone(self) -> bool:
        """Whether no other thread has a part in the process: what it says and starts is this thread's."""
        return self._slot.agent.sharing is None

    @property
    def remote(self) -> RemoteAgent | None:
        """The agent, if an engine runs it on another machine."""
        process = self.connection.process
        return cast("RemoteAgent", process) if process.pid is None else None

    def listen(self) -> Callable[[], str]:
        """Return what tells the agent's stderr from now on; nothing where threads share it: it may be a neighbour's."""
        if not self.alone:
            return str
        return partial(self.connection.process.stderr_since, self.connection.process.stderr_bytes)

    def served(self, *, internal_error: bool) -> None:
        """Say how the turn ended: an agent with internal errors twice in a row is stopped, if its session can be kept.

        Of a process that other threads share, the thread's session is ended, and no other thread joins that process.
        """
        slot = self._slot
        slot.internal_errors = slot.internal_errors + 1 if internal_error else 0
        # A turn that runs beside it may still succeed.
        due = slot.internal_errors >= MOST_INTERNAL_ERRORS and len(slot.turns) <= 1
        # What the agent runs inside may be dead for good. Without a way back to the session the cure would cost more.
        if due and ways(self.connection.agent) and self._registry.stop(slot, Reason.ASKED, spoiled=True):
            log.warning("agent.recycled", thread_id=slot.thread_id, internal_errors=slot.internal_errors)
            self._registry.changed()

    def stop(self) -> bool:
        """Tell this very slot to stop, although turns hold it, and its process with the last; False if told before."""
        told = self._registry.stop(self._slot, Reason.ASKED)
        self._registry.changed()
        return told


class ConnectionPool:
    """Threads and their agents. Entered and left by one task; everything else may be called from any.

    Args:
        on_change: called, without arguments, whenever a refused `try_reserve` may succeed now; must not wait.
        on_cut_off: called with each thread whose agent is ended as unused although it was just at work (P3).
        servers: gives sessions tools of ours; None: they get none.
        nodes: returns how full the machines of each engine are, by its name, without waiting.
        renew_nodes: has ``nodes`` be of now, as far as that can be had soon.
        clock: seconds, monotonic.
        open_connection: starts an agent; tests have agents without processes.

    Attributes:
        stats: what has happened so far, in numbers; not to be changed.
        copies: of sessions, to be given to threads that the store knows to have them by now.
        nodes, renew_nodes: as they were given.
    """

    def __init__(
        self,
        launcher: Launcher,
        store: SessionStore,
        limits: PoolLimits,
        connection_limits: ConnectionLimits,
        *,
        on_change: Callable[[], None],
        on_cut_off: Callable[[int], None],
        servers: SessionServers | None = None,
        nodes: Callable[[], Mapping[str, Sequence[NodeStatus]]] = dict,
        renew_nodes: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint,
        clock: Callable[[], float] = anyio.current_time,
        open_connection: OpenConnection = connection.open_connection,
    ) -> None:
        self._store = store
        self._registry = Registry(limits, on_change, on_cut_off, clock, launcher.sharing)
        self.stats: PoolStats = self._registry.stats
        self.copies: Copies = self._registry.copies
        self._launcher = launcher
        self._connection_limits = connection_limits
        self._open_connection = open_connection
        self._servers = servers if servers is not None else SessionServers()
        self.nodes, self.renew_nodes = nodes, renew_nodes
        self._tasks: TaskGroup

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._maintain_for_ever)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        # Agents are ended in order first. What is left after that is the maintenance, and what ignores the bound.
        await self.close()
        self._tasks.cancel_scope.cancel()
        return await self._tasks.__aexit__(kind, value, trace)

    def widen(self, hung_after: float) -> None:
        """Let a turn hold a slot this long (seconds) from now on; never shorter than before, for those that run."""
        limits = self._registry.limits
        self._registry.limits = replace(limits, hung_after=max(hung_after, limits.hung_after))

    @property
    def last_pass(self) -> float:
        """The clock at the last maintenance pass: a sign of life."""
        return self._registry.last_pass

    # --- claims and sessions -------------------------------------------------------------------------------------

    def try_reserve(self, thread_id: int, *, behind: bool = False) -> Reservation | None:
        """Claim the thread's slot, a free place, or a victim's, in one step; None if the thread has to wait.

        Args:
            behind: a thread that was refused waits for longer: the process that is nearest to being idle takes no
                turn before that one had its try, or a process with turns of many threads would never be idle.
        """
        claim = Reservation(thread_id, self._registry.release)
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
    async def session(self, thread_id: int, reservation: Reservation | None = None) -> AsyncIterator[SessionLease]:
        """Hold the thread's session for a turn: its slot's lock and nothing else.

        Takes the reservation over; without one it waits for a place. Who gives up waiting leaves the start going.

        Raises:
            AgentSpawnError: the agent could not be started, its starts are held back, or the pool is closing.
        """
        claim = reservation or Reservation(thread_id, self._registry.release)
        if claim.thread_id != thread_id:
            raise ValueError(f"the reservation is for thread {claim.thread_id}, not {thread_id}")
        try:
            slot = await self._acquire(claim)
            try:
                session, connection = slot.session, slot.agent.connection
                assert session is not None
                assert connection is not None
                news, slot.news = slot.news, None  # how the session came about is news to its first turn only
                how, lost = news or ("live", False)
                yield SessionLease(connection, session, how, lost, slot, self._registry)
            finally:
                slot.end_turn(slot.lock, self._registry.clock())
                slot.lock.release()  # before the claim: a slot without one may be stopped for a newcomer at once
        finally:
            claim.release()

    # --- extra turns of a thread, on copies of its session -------------------------------------------------------

    def can_fork(self, thread_id: int) -> bool | None:
        """Whether turns of the thread can run side by side; None until its agent has said so."""
        slot = self._registry.slots.get(thread_id)
        return slot.can_fork if slot is not None and slot.usable else None

    def try_reserve_extra(self, thread_id: int, *, behind: bool = False) -> ExtraReservation | None:
        """Claim a turn beside the one that has the thread's session, in one step and without a further process.

        None if that can't be: no turn has the session (`try_reserve` gives it), its agent is not ready yet, or it can't
        fork. Then the turn has to wait. ``on_change`` is called when an agent gets ready. For ``behind`` see
        `try_reserve`.
        """
        claim = ExtraReservation(thread_id, self._registry.release)
        return claim if self._registry.book_extra(claim, behind=behind) else None

    @asynccontextmanager
    async def extra_session(self, reservation: ExtraReservation) -> AsyncIterator[SessionLease]:
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
            # From now on, and not once the copy is there: a fork that hangs is a turn that hangs.
            slot.turns[reservation] = self._registry.clock()
            try:
                connection, original = slot.agent.connection, slot.session
                if not slot.usable or connection is None or original is None or slot.cwd is None:
                    raise ForkFailed("the agent ended, or was told to, before its session could be forked")
                with self._servers.offer(slot.thread_id) as offer:
                    offer.session = session = await connection.fork_session(original.id, slot.cwd, offer.servers)
                    # Not waited for: only a list of sessions ever asks whose this one was.
                    self._store.copied(session.id, slot.thread_id)
                    try:
                        if not slot.usable:  # nothing was prompted yet: the turn does better in the successor
                            raise ForkFailed("the agent ended, or was told to, while its session was forked")
                        yield SessionLease(connection, session, "forked", False, slot, self._registry)
                    finally:
                        connection.close_session(session)
            finally:
                slot.end_turn(reservation, self._registry.clock())
        finally:
            reservation.release()

    # --- copies of a session, for other threads ---------------------------------------------------------------------

    async def copy_session(self, thread_id: int, elsewhere: Callable[[], Awaitable[str]] | None = None) -> SessionCopy:
        """Copy the thread's session as it is now, whatever turn runs in it.

        `copies` has it given to another thread, or dropped.

        It is made in the process that has the original, which is started for that if need be, and stays open there.

        Args:
            elsewhere: makes the directory in which the copy is to work, once it is known that there can be one, and
                returns it as the agent sees it; None: the copy works where the original does.

        Raises:
            AgentSpawnError: the agent could not be started, or no place is free for it.
            ForkFailed: there is no copy that could be opened again; the text says why.
        """
        claim = self.try_reserve(thread_id)
        if claim is None:
            raise AgentSpawnError("all places for agents are taken", failure=SpawnFailure.OTHER)
        try:
            if claim.refusal is not None:
                raise claim.refusal
            slot = claim.slot
            assert slot is not None
            self._begin(slot)
            await slot.settled.wait()
            if slot.error is not None:
                raise AgentSpawnError(str(slot.error), failure=slot.error.failure, exit=slot.error.exit) from slot.error
            connection, original, cwd = original_of(slot)
            cwd = await elsewhere() if elsewhere is not None else cwd
            offer = self._servers.offer(thread_id, copy=True)
            try:
                offer.session = session = await connection.fork_session(original.id, cwd, offer.servers)
            except BaseException:
                offer.withdraw()
                raise
            # At once: if it gets no thread after all, its agent lists it still, and it says what was said here.
            self._store.copied(session.id, thread_id)
            return SessionCopy(connection, session, cwd, original.id, offer)
        finally:
            claim.release()

    # --- requests without a session ------------------------------------------------------------------------------

    @asynccontextmanager
    async def borrow(self, place_id: int) -> AsyncIterator[AgentConnection]:
        """Hold a connection to the agent of a thread or channel, for requests beside all turns.

        It is that of a living process, which is not suspended meanwhile, else of a new one, which has a place in the
        pool as any other and ends with the block. Entered and left by one task; what is asked is for it to bound.

        Raises:
            AgentSpawnError: the agent could not be started, no place came free in time, or the pool is closing.
        """
        registry = self._registry
        claim = Claim(place_id, registry.release)
        living = registry.book_any(claim, partial(self._launcher.same_agent, place_id))
        if living is not None:
            try:
                yield living
            finally:
                claim.release()
            return
        agent = registry.hire()
        try:
            with agent.scope:
                with anyio.move_on_after(PLACE_LIMIT) as waited:
                    await wait_until(registry, lambda: registry.cleared(agent))
                if waited.cancelled_caught:
                    busy = f"all places for agents are taken ({registry.limits.max_agents})"
                    raise AgentSpawnError(busy, failure=SpawnFailure.OTHER)
                async with self._open_connection(self._launcher.errand(place_id), self._connection_limits) as hired:
                    registry.hired(agent, hired)
                    try:
                        yield hired
                    finally:
                        registry.dismiss(agent)
            if agent.scope.cancelled_caught:
                raise AgentSpawnError("the pool is closing", failure=SpawnFailure.OTHER)
        finally:
            registry.retire(agent)

    def renew_idle(self, place_id: int, spared: AgentConnection) -> None:
        """End what of a place's agent is open and unused, but for one process: it may know an old login only."""
        for slot in tuple(self._registry.slots.values()):
            others = slot.agent.connection is not spared and not slot.claims
            if others and self._launcher.same_agent(place_id, slot.thread_id):
                self._registry.stop(slot, Reason.ASKED)
        self._registry.changed()

    async def _acquire(self, claim: Reservation) -> Slot:
        registry = self._registry
        while True:
            # 1. A slot for the claim: its own, a free place, or the first that comes free.
            if claim.slot is None and claim.refusal is None and not registry.book(claim):
                registry.seekers[claim] = None
            while (slot := claim.slot) is None:
                if claim.refusal is not None:
                    # Said once: a claim that is used again is booked again.
                    refusal, claim.refusal = claim.refusal, None
                    raise refusal
                if registry.closing:
                    raise AgentSpawnError("the pool is closing", failure=SpawnFailure.OTHER)
                await registry.changes.wait()
            # 2. Its session, or why there is none.
            self._begin(slot)
            await slot.settled.wait()
            if slot.error is not None:
                # A new exception for each task that waits: a shared one would collect all their tracebacks.
                error = AgentSpawnError(str(slot.error), failure=slot.error.failure, exit=slot.error.exit)
                raise error from slot.error
            # 3. Its lock.
            if await slot.acquire(registry.clock):
                registry.breaker.reset(slot.thread_id)
                return slot
            if slot.session is None and not slot.displaced:
                raise AgentSpawnError("the agent was stopped while it was starting", failure=SpawnFailure.OTHER)
            # It died or was stopped since it was ready, or because of a neighbour: go on with its successor.
            registry.move_on(claim)

    def _begin(self, slot: Slot) -> None:
        agent = self._registry.begin(slot)
        if agent is None:
            return
        task = AgentTask(
            agent,
            self._registry,
            self._launcher,
            self._store,
            self._connection_limits,
            self._open_connection,
            self._servers,
        )
        # In the pool's task group, not in that of the caller: a caller that gives up ends nothing.
        self._tasks.start_soon(task.run)

    # --- control: none of these waits for a slot -----------------------------------------------------------------

    def status(self, thread_id: int) -> SlotStatus | None:
        """Return what can be said about the thread's slot, or None if it has none."""
        slot = self._registry.slots.get(thread_id)
        return slot.status() if slot is not None else None

    def live_session(self, thread_id: int) -> AgentSession | None:
        """Return the thread's session if a turn may begin in it now, to be looked at only: turns hold it by a lock."""
        slot = self._registry.slots.get(thread_id)
        return slot.session if slot is not None and slot.usable else None

    def counts(self) -> PoolCounts:
        """Return how full the pool is."""
        return self._registry.counts()

    def evict(self, thread_id: int, *, displaced: bool = False) -> bool:
        """Tell the thread's agent to stop, busy or not; its session stays remembered. False if there is none.

        Of a process that other threads share, only the thread's session is ended. ``displaced``: those who wait for it
        go on in the next one.
        """
        slot = self._registry.slots.get(thread_id)
        if slot is None:
            return False
        told = self._registry.stop(slot, Reason.ASKED, displaced=displaced)
        self._registry.changed()
        return told

    async def end(self, *thread_ids: int) -> bool:
        """Evict the agents of threads and wait until they are gone; False: one can't be ended. Bounded as their ends.

        Prompts that come meanwhile wait for the next ones. Call it in the same step in which no turn runs there.
        """
        registry = self._registry
        slots = [slot for slot in registry.all_slots() if slot.thread_id in thread_ids]
        for slot in slots:
            registry.stop(slot, Reason.ASKED, displaced=True)
        registry.changed()
        await wait_until(registry, lambda: all(slot.departed for slot in slots))
        return not any(slot.leaked for slot in slots)

    def reset(self, thread_id: int) -> bool:
        """Evict the thread's agent and forget its session; the next one starts afresh. False if no agent ran."""
        registry = self._registry
        if thread_id not in registry.resets:
            registry.resets[thread_id] = anyio.Event()
            self._tasks.start_soon(self._forget, thread_id)
        registry.breaker.reset(thread_id)
        # What the reset is to stop is cancelled by the caller; the next turn may wait for the slot already.
        return self.evict(thread_id, displaced=True)

    def waits_for(self, thread_id: int) -> str:
        """Return what the start of the thread's agent waits for, in a few words; "" if for nothing in particular."""
        slot = self._registry.slots.get(thread_id)
        return slot.agent.waits_for if slot is not None and slot.state is SlotState.STARTING else ""

    def maintain(self) -> None:
        """Make one maintenance pass now."""
        self._registry.maintain()

    async def _maintain_for_ever(self) -> None:
        while True:
            await anyio.sleep(self._registry.limits.maintenance)
            try:
                self.maintain()
            except Exception:  # the maintenance pass: a fault here must not end the pool, and the next one runs
                log.exception("maintenance.failed")

    async def close(self) -> None:
        """End every agent; returns when all are gone, or when the bound has passed."""
        registry = self._registry
        registry.begin_closing()
        # Shielded: the pool is often left since its owner is cancelled, and no agent may outlive it.
        with anyio.move_on_after(registry.limits.close_bound, shield=True):
            while not registry.at_rest():
                await registry.changes.wait()
        if not registry.at_rest():
            log.error("pool.close_overran", seconds=registry.limits.close_bound, closing=registry.counts().closing)

    async def _forget(self, thread_id: int) -> None:
        try:
            # One write, handed in at once: however long it takes, even if this task is cancelled, nothing gets past it.
            await self._store.bind(thread_id, session_id=None)
        except Exception:  # the control command: the store's fault is logged, the pool goes on
            log.exception("session.forget_failed", thread_id=thread_id)
        finally:
            # The thread's next session waits for this, or it would resume what is being forgotten.
            self._registry.resets.pop(thread_id).set()
            self._registry.changed()
