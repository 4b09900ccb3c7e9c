"""The owner task of an agent process: enters the connection, opens the session, waits, and leaves.

A connection is entered and left by this one task, whoever wanted it and whoever gave up waiting. Nothing that goes
wrong here reaches the pool's task group.
"""

from __future__ import annotations

import anyio
import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars

from acp.connection import ConnectionLimits
from acp.errors import AcpError, AgentExited, AgentSpawnError, RequestTimeout, SpawnFailure
from pool.launcher import Launcher
from pool.model import Reason, SlotState
from pool.ports import Connection, OpenConnection, Opened
from pool.registry import Registry
from pool.slot import Slot
from pool.store import SessionStore, ThreadChanges

log = structlog.get_logger(__name__)


class Owner:
    """Runs agent processes, one `run` each; what they need to start is the same for all."""

    def __init__(
        self,
        registry: Registry,
        launcher: Launcher,
        store: SessionStore,
        limits: ConnectionLimits,
        open_connection: OpenConnection,
    ) -> None:
        self._registry = registry
        self._launcher = launcher
        self._store = store
        self._limits = limits
        self._open = open_connection

    async def run(self, slot: Slot) -> None:
        """Keep the slot's process until it is told to stop or ends by itself."""
        # Bound once: what the connection logs of spawning, sessions and ending says whose it is. Cleared first: the
        # context is that of the turn that came first, and the agent outlives it.
        clear_contextvars()
        bind_contextvars(thread_id=slot.thread_id, generation=slot.generation)
        try:
            with slot.agent.scope:
                await self._wait_for_clearance(slot)
                await self._serve(slot)
        except AcpError as exc:
            self._fail(slot, exc)
        except Exception as exc:  # the connection owner: every fault becomes the answer to those who wait
            log.exception("agent.failed")
            self._fail(slot, _single(exc))
        finally:
            self._registry.retire(slot)

    async def _wait_for_clearance(self, slot: Slot) -> None:
        """Wait until the predecessor and the victim are gone, or have outlived their stop ladder."""
        while not self._registry.cleared(slot):
            with anyio.move_on_after(self._registry.next_leak()):
                await self._registry.changes.wait()
            self._registry.mark_leaks()

    async def _serve(self, slot: Slot) -> None:
        spec = self._launcher.spec(slot.thread_id)
        async with self._open(spec, self._limits) as connection:
            slot.agent.connection, slot.cwd = connection, spec.directory
            try:
                opened = await self._open_session(slot, connection, spec.directory)
            except AcpError as exc:
                # Those who wait are told now; the stop ladder that follows takes seconds.
                self._fail(slot, exc)
                return
            # Told to stop in the last step of the start: the cancellation comes at the next await, which is too late.
            if slot.state is not SlotState.STARTING:
                return
            slot.ready(opened, self._registry.clock())
            self._registry.changed()
            await self._until_stopped(slot, connection)

    async def _open_session(self, slot: Slot, connection: Connection, cwd: str) -> Opened:
        while (reset := self._registry.resets.get(slot.thread_id)) is not None:
            await reset.wait()
        record = await self._store.thread(slot.thread_id)
        wanted = record.session_id if record is not None else None
        opened = await connection.open_session(cwd, wanted)
        info = connection.agent.agent_info
        changes = ThreadChanges(agent=info.name if info is not None else None, session_id=opened.session.id, cwd=cwd)
        if opened.lost:
            changes["previous_session_id"] = wanted
        await self._store.bind(slot.thread_id, **changes)
        return opened

    async def _until_stopped(self, slot: Slot, connection: Connection) -> None:
        async def watch() -> None:
            await connection.wait_exited()
            slot.agent.stop_requested.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await slot.agent.stop_requested.wait()
            tasks.cancel_scope.cancel()
        if self._registry.stop(slot, Reason.DIED) and not slot.leased:
            # An agent that starts well and dies before its first turn is a crash loop too.
            self._registry.breaker.failed(slot.thread_id, self._registry.clock())

    def _fail(self, slot: Slot, exc: Exception) -> None:
        error = _spawn_error(exc)
        if slot.state is not SlotState.STARTING:
            return
        if error.transient:
            self._registry.breaker.failed(slot.thread_id, self._registry.clock())
        log.warning("agent.start_failed", failure=error.failure.name, reason=str(error))
        self._registry.stop(slot, Reason.FAILED, error)
        self._registry.changed()


def _single(exc: Exception) -> Exception:
    """Return the one exception that a task group wrapped, or the group if it holds several."""
    while isinstance(exc, ExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc


def _spawn_error(exc: Exception) -> AgentSpawnError:
    """Return what those who wait for the slot are told."""
    match exc:
        case AgentSpawnError():
            return exc
        case AgentExited():
            error = AgentSpawnError(str(exc), failure=SpawnFailure.EXITED, exit=exc.exit)
        case RequestTimeout():
            error = AgentSpawnError(str(exc), failure=SpawnFailure.TIMEOUT)
        case AcpError():
            error = AgentSpawnError(str(exc), failure=SpawnFailure.OTHER)
        case _:
            error = AgentSpawnError(f"the start failed: {type(exc).__name__}", failure=SpawnFailure.OTHER)
    error.__cause__ = exc
    return error
