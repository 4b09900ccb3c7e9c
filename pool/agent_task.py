"""What is awaited for an agent: one task for each process, and below it one for each thread's session in it.

A connection is entered and left by this one task, no matter which turn wanted it or gave up waiting. A fault in a
session's task never reaches its process or the other threads in it, and none here reaches the pool's task group.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import anyio
import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars

from acp.connection import AgentConnection, ConnectionLimits, OpenedSession
from acp.engine import LaunchSpec
from acp.errors import AcpError, AgentExited, AgentSpawnError, RequestTimeout, SpawnFailure, leaves
from acp.schema import SessionResult
from acp.session import AgentSession
from pool.engines.model import PoolEngine
from pool.launcher import Launcher
from pool.model import AgentState, Reason, SlotState
from pool.registry import Registry
from pool.session_servers import SessionServers
from pool.slot import PooledAgent, Slot
from pool.storage.durable import SessionStore

log = structlog.get_logger(__name__)

OpenConnection = Callable[[LaunchSpec, ConnectionLimits], AbstractAsyncContextManager[AgentConnection]]
"""Starts an agent; leaving the context ends its processes, shielded and bounded, whatever way it is left."""


async def wait_until(registry: Registry, holds: Callable[[], bool]) -> None:
    """Wait until something holds that only a change makes hold, or the passing of the bound on what ends."""
    while not holds():
        with anyio.move_on_after(registry.next_overdue()):
            await registry.changes.wait()
        # No change is reported when a bound passes, so every waiter looks for itself.
        registry.give_up_overdue()


def _is_gone(agent: PooledAgent) -> bool:
    # Or its end takes too long to wait for: the next try may find room all the same.
    return not agent.live and agent.state is not AgentState.STOPPING


@dataclass(frozen=True, slots=True)
class AgentTask:
    """The one task that owns an agent process: opens the connection, has sessions opened in it, waits, and leaves."""

    agent: PooledAgent
    registry: Registry
    launcher: Launcher
    store: SessionStore
    limits: ConnectionLimits
    open_connection: OpenConnection
    servers: SessionServers

    async def run(self) -> None:
        """Keep the process until it is told to stop or ends by itself."""
        agent = self.agent
        first = next(iter(agent.slots))
        # Cleared first: the context is that of the turn that came first, and the agent outlives it. Bound once: what
        # the connection logs of spawning, sessions and ending says whose it is.
        clear_contextvars()
        if agent.sharing is None:
            bind_contextvars(thread_id=first.thread_id, generation=first.generation)
        else:
            bind_contextvars(process=first.generation)
        try:
            with agent.scope:
                await wait_until(self.registry, lambda: self.registry.cleared(agent))
                await self._serve()
        except AcpError as exc:
            self._fail_all(exc)
        except Exception as exc:  # the owner of the connection: every fault becomes the answer to those who wait
            log.exception("agent.failed")
            causes = leaves(exc) if isinstance(exc, ExceptionGroup) else [exc]
            self._fail_all(causes[0] if len(causes) == 1 else exc)
        finally:
            self.registry.retire(agent)

    async def _serve(self) -> None:
        agent, spec = self.agent, None
        # 1. How to start the process; only the threads for which the launcher can't say it fail.
        while spec is None:
            for slot in agent.newcomers():
                try:
                    spec = await self._spec(slot)
                except AgentSpawnError as exc:
                    fail(self.registry, slot, exc)
                else:
                    break
            else:
                await agent.called()
        # 2. The process, and a task for each session in it.
        if spec.engine is not None:
            ask_for_room = partial(self.registry.make_room, agent, spec.engine)
            spec = replace(spec, tell=self._tell, ask_for_room=ask_for_room)
        agent.engine = spec.engine
        async with self._opened(spec) as connection:
            agent.connection, agent.waits_for = connection, ""
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, connection)
                while agent.live:
                    for slot in agent.newcomers():
                        slot.attended = True
                        session = SessionTask(slot, connection, self.registry, self.launcher, self.store, self.servers)
                        tasks.start_soon(session.run)
                    await agent.called()
                # The end of the process ends all its sessions: nothing is left to do for a single one.
                tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def _opened(self, spec: LaunchSpec) -> AsyncIterator[AgentConnection]:
        """Start the process; on an engine that is full, an agent that nobody uses gives way.

        While all of them work, the next one that is done is waited for, as long as the engine lets a start take. Some
        engines wait by themselves, and ask for room meanwhile.
        """
        async with AsyncExitStack() as stack:
            began = anyio.current_time()
            while True:
                try:
                    connection = await stack.enter_async_context(self.open_connection(spec, self.limits))
                    break
                except AgentSpawnError as exc:
                    if spec.engine is None or exc.room_on is None:
                        raise
                    engine, nodes = cast("PoolEngine", spec.engine), exc.room_on
                    deadline = began + engine.start_timeout
                    # Not when the time is over: nobody is to end for a start that fails.
                    in_time = anyio.current_time() < deadline
                    leaving = self.registry.give_way(engine, nodes) if in_time else None
                    if leaving is None and not await self._room(engine, nodes, str(exc), deadline):
                        raise
                    if leaving is not None:
                        await wait_until(self.registry, partial(_is_gone, leaving))
            yield connection

    async def _room(self, engine: PoolEngine, nodes: tuple[str, ...], reason: str, deadline: float) -> bool:
        """Wait until another try may find a place; False: nobody of ours will leave one, or not in time."""
        working = [one for one in self.registry.on_engine(engine, nodes) if not _is_gone(one)]
        if not working:
            return False
        self._tell(reason)
        with anyio.move_on_after(deadline - anyio.current_time()):
            await wait_until(
                self.registry,
                lambda: self.registry.unused_on(engine, nodes) is not None or any(map(_is_gone, working)),
            )
            return True
        return False

    async def _spec(self, slot: Slot) -> LaunchSpec:
        if self.agent.sharing is not None:
            # It starts in none of its threads' directories; each is prepared beside the others, for its own session.
            return self.launcher.errand(slot.thread_id)
        # A stop cancels this with the whole start: it is the only thread in the process.
        await self.launcher.prepare(slot.thread_id)
        spec = self.launcher.spec(slot.thread_id)
        slot.cwd = spec.directory
        return spec

    def _tell(self, waits_for: str) -> None:
        if waits_for != self.agent.waits_for:
            log.info("agent.waits", reason=waits_for)
        self.agent.waits_for = waits_for

    async def _watch(self, connection: AgentConnection) -> None:
        self._fail_all(AgentExited(await connection.wait_exited()))
        registry = self.registry
        told = registry.stop_agent(self.agent, Reason.DIED)
        # An agent that starts well and dies before its first turn is a crash loop too.
        for slot in told if not self.agent.had_a_turn else ():
            registry.breaker.failed(slot.thread_id, registry.clock())
        registry.changed()  # its place can be promised from now on

    def _fail_all(self, exc: Exception) -> None:
        for slot in tuple(self.agent.slots):
            fail(self.registry, slot, exc)


@dataclass(frozen=True, slots=True)
class SessionTask:
    """Opens one thread's session in a living process, and ends it if the process outlives it."""

    slot: Slot
    connection: AgentConnection
    registry: Registry
    launcher: Launcher
    store: SessionStore
    servers: SessionServers

    async def run(self) -> None:
        """Open the slot's session, and end it when the slot is told to stop and the process goes on."""
        slot = self.slot
        bind_contextvars(thread_id=slot.thread_id, generation=slot.generation)
        try:
            await self._run()
        finally:
            # However the session ended, this task among it by a cancel with its process: its token ends, too.
            if slot.offer is not None:
                slot.offer.withdraw()

    async def _run(self) -> None:
        slot, opened = self.slot, None
        try:
            opened = await self._open()
        except AcpError as exc:
            # The waiters hear of it now; the shutdown escalation that may follow takes seconds.
            fail(self.registry, slot, exc)
        except Exception as exc:  # the owner of the session: every fault becomes the answer to those who wait
            log.exception("agent.failed")
            fail(self.registry, slot, exc)
        if opened is None:
            self.registry.vacate(slot)
            return
        # One that was told to stop in the last step of its start is no longer used, only ended.
        if slot.state is SlotState.STARTING:
            self.registry.ready(slot, opened)
        await slot.stop_requested.wait()
        await self._end(opened.session)

    async def _open(self) -> OpenedSession | None:
        """Open the session; None if the slot was told to stop before that.

        Raises:
            AgentSpawnError: the store does not say which one is to be resumed.
        """
        slot, store_bound = self.slot, self.registry.limits.store_bound
        # Never twice in two places: the thread's earlier session has to be gone, or given up.
        await wait_until(self.registry, lambda: all(other.departed for other in slot.after))
        # Bounded, and not resumed on a guess: without the store's answer, a session that was reset would be resumed.
        with anyio.move_on_after(store_bound) as asked:
            while (reset := self.registry.resets.get(slot.thread_id)) is not None:
                await reset.wait()
            record = await self.store.thread(slot.thread_id)
        if asked.cancelled_caught:
            reason = f"the state file did not answer within {store_bound:g} s"
            raise AgentSpawnError(reason, failure=SpawnFailure.OTHER)
        if not slot.live:
            return None
        if slot.cwd is None:
            slot.cwd = await self._directory()
        if slot.cwd is None:
            return None
        wanted = record.session_id if record is not None else None
        # Nor in two threads: one that was given up there may still be ending.
        await wait_until(self.registry, lambda: wanted is None or not self.registry.open_elsewhere(slot, wanted))
        # Looked at once more: a reset meanwhile may have given it to another thread.
        if slot.state is not SlotState.STARTING:
            return None
        slot.wanted = wanted  # no await since the look: of two that want it, the other one sees this
        opened = await self._open_copy(wanted) or await self._open_own(slot.cwd, wanted)
        # One that was told to stop meanwhile may have been reset: then its session is to be forgotten.
        if slot.state is SlotState.STARTING:
            info = self.connection.agent.agent_info
            name = info.name if info is not None else None
            # Not waited for without end: it is handed in, and the store has it before the prompt that comes next.
            with anyio.move_on_after(store_bound) as waited:
                await self.store.bind(slot.thread_id, agent=name, session_id=opened.session.id, cwd=slot.cwd)
            if waited.cancelled_caught:
                log.warning("session.not_kept_yet", seconds=store_bound)
        return opened

    async def _directory(self) -> str | None:
        """Return where the session is to work, once that is ready; None if the slot was told to stop meanwhile."""
        slot = self.slot
        with anyio.CancelScope() as scope:
            slot.waiting.add(scope)
            try:
                await self.launcher.prepare(slot.thread_id)
            finally:
                slot.waiting.discard(scope)
        # A stop cancels the scope, and may also come in the last step of it.
        return self.launcher.spec(slot.thread_id).directory if slot.live else None

    async def _open_copy(self, wanted: str | None) -> OpenedSession | None:
        """Open the copy that was made for the thread; None if there is none, or the thread wants another session."""
        copy = self.registry.copies.take(self.slot.thread_id)
        if copy is None:
            return None
        if copy.session.id == wanted and copy.connection is self.connection:
            self.slot.offer = copy.offer
            return OpenedSession(copy.session, "copied", lost=False, result=SessionResult())
        await copy.leave()
        if copy.session.id != wanted or self.slot.cwd is None:
            return None
        return await self._open_own(self.slot.cwd, wanted, copy.origin)

    async def _open_own(self, cwd: str, wanted: str | None, origin: str | None = None) -> OpenedSession:
        self.slot.offer = offer = self.servers.offer(self.slot.thread_id)
        opened = await self.connection.open_session(cwd, wanted, origin, offer.servers)
        offer.session = opened.session
        return opened

    async def _end(self, session: AgentSession) -> None:
        """End the session once no turn has it, unless its process ends."""
        slot, agent, spoiled = self.slot, self.slot.agent, False
        try:
            if agent.live:
                session.cancel()
                await wait_until(self.registry, lambda: not slot.turns)
            if not agent.live or not self.connection.usable():
                return
            await self.connection.end_session(session)
        except RequestTimeout as exc:
            log.warning("session.stuck", reason=str(exc))
            spoiled = True  # the session may still be open in there, and must not be opened there again
            if session.is_prompting:  # as for any cancel that is not obeyed
                self.registry.stop_agent(agent, Reason.HUNG)
                self.registry.changed()
        except AcpError as exc:
            log.info("session.cut_off", reason=str(exc))
            return
        except Exception:  # the owner of the session: the others in the process go on
            log.exception("session.end_failed")
            spoiled = True
        self.registry.vacate(slot, spoiled=spoiled)


def fail(registry: Registry, slot: Slot, exc: Exception) -> None:
    """Tell those who wait for a slot that it will never be ready, and why."""
    match exc:
        case AgentSpawnError():
            error = exc
        case AgentExited():
            error = AgentSpawnError(str(exc), failure=SpawnFailure.EXITED, exit=exc.exit)
        case RequestTimeout():
            error = AgentSpawnError(str(exc), failure=SpawnFailure.TIMEOUT)
        case AcpError():
            error = AgentSpawnError(str(exc), failure=SpawnFailure.OTHER)
        case _:
            error = AgentSpawnError(f"the start failed: {type(exc).__name__}", failure=SpawnFailure.OTHER)
    if error is not exc:
        error.__cause__ = exc
    # A process that did not open a session in time would keep the next thread waiting as long.
    registry.fail(slot, error, spoiled=isinstance(exc, RequestTimeout))
