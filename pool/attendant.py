"""What is done for one thread in a living agent process: its session is opened, and ended if the process outlives it.

Runs below the owner of the process, which cancels it when the process is to end: then there is nothing left to do for
a single session. Nothing that goes wrong here reaches the owner, or another thread in the process.
"""

from __future__ import annotations

import anyio
import structlog
from structlog.contextvars import bind_contextvars

from acp.errors import AcpError, AgentExited, AgentSpawnError, RequestTimeout, SpawnFailure
from acp.session import AgentSession
from pool import waiting
from pool.launcher import Launcher
from pool.model import Reason, SlotState
from pool.ports import Connection, Opened
from pool.registry import Registry
from pool.slot import Slot
from pool.store import SessionStore

log = structlog.get_logger(__name__)


class Attendant:
    """Sees to sessions, one `run` each."""

    def __init__(self, registry: Registry, launcher: Launcher, store: SessionStore) -> None:
        self._registry = registry
        self._launcher = launcher
        self._store = store

    async def run(self, slot: Slot, connection: Connection) -> None:
        """Open the slot's session, and end it when the slot is told to stop and the process goes on."""
        bind_contextvars(thread_id=slot.thread_id, generation=slot.generation)
        opened = await self._open(slot, connection)
        if opened is not None:
            await slot.stop_requested.wait()
            if not await self._end(slot, connection, opened.session):
                return
        self._registry.vacate(slot)

    def fail(self, slot: Slot, exc: Exception) -> None:
        """Tell those who wait for a slot that it never will be ready, and why."""
        error = _spawn_error(exc)
        if slot.state is not SlotState.STARTING:
            return
        if error.transient:
            self._registry.breaker.failed(slot.thread_id, self._registry.clock())
        # A process that did not open a session in time would keep the next thread waiting as long.
        slot.agent.barred = slot.agent.barred or isinstance(exc, RequestTimeout)
        self._registry.tally.failed[error.failure] += 1
        log.warning("agent.start_failed", thread_id=slot.thread_id, failure=error.failure.name, reason=str(error))
        self._registry.stop(slot, Reason.FAILED, error)
        self._registry.changed()

    async def _open(self, slot: Slot, connection: Connection) -> Opened | None:
        """Open the session; None if nothing was opened, and those who wait were told."""
        try:
            opened = await self._open_session(slot, connection)
        except AcpError as exc:
            # Those who wait are told now; the stop ladder that may follow takes seconds.
            self.fail(slot, exc)
        except Exception as exc:  # the connection owner's: every fault becomes the answer to those who wait
            log.exception("agent.failed")
            self.fail(slot, exc)
        else:
            # Told to stop in the last step of the start: the session is not used, only ended.
            if opened is not None and slot.state is SlotState.STARTING:
                slot.ready(opened, self._registry.clock())
                self._registry.tally.ready(opened.how, lost=opened.lost)
                self._registry.changed()
            return opened
        return None

    async def _open_session(self, slot: Slot, connection: Connection) -> Opened | None:
        await waiting.until(self._registry, lambda: all(other.departed for other in slot.after))
        wanted = await self._wanted(slot.thread_id)
        if not slot.live:
            return None
        slot.cwd = slot.cwd or self._launcher.spec(slot.thread_id).directory
        opened = await connection.open_session(slot.cwd, wanted)
        # One that was told to stop meanwhile may have been reset: then its session is to be forgotten.
        if slot.state is SlotState.STARTING:
            await self._remember(slot, connection, opened)
        return opened

    async def _wanted(self, thread_id: int) -> str | None:
        """Return the session to resume.

        Raises:
            AgentSpawnError: the store does not say. Without its answer, one that was reset would be resumed.
        """
        bound = self._registry.limits.store_bound
        with anyio.move_on_after(bound):
            while (reset := self._registry.resets.get(thread_id)) is not None:
                await reset.wait()
            record = await self._store.thread(thread_id)
            return record.session_id if record is not None else None
        reason = f"the state file did not answer within {bound:g} s; please send this again in a while"
        raise AgentSpawnError(reason, failure=SpawnFailure.OTHER)

    async def _remember(self, slot: Slot, connection: Connection, opened: Opened) -> None:
        info = connection.agent.agent_info
        name = info.name if info is not None else None
        # Not waited for without end: it is handed in, and the store has it before the prompt that comes next.
        with anyio.move_on_after(self._registry.limits.store_bound) as waited:
            await self._store.bind(slot.thread_id, agent=name, session_id=opened.session.id, cwd=slot.cwd)
        if waited.cancelled_caught:
            log.warning("session.not_kept_yet", seconds=self._registry.limits.store_bound)

    async def _end(self, slot: Slot, connection: Connection, session: AgentSession) -> bool:
        """End the session once no turn has it; False if its process ends instead."""
        agent = slot.agent
        try:
            if agent.stopping_since is None:
                session.cancel()
                await waiting.until(self._registry, lambda: not slot.turns)
            if agent.stopping_since is not None or not connection.usable():
                return False
            await connection.end_session(session)
        except RequestTimeout as exc:
            log.warning("session.stuck", reason=str(exc))
            agent.barred = True
            if session.is_prompting:  # as for any cancel that is not obeyed
                self._registry.stop_agent(agent, Reason.HUNG)
                self._registry.changed()
        except AcpError as exc:
            log.info("session.cut_off", reason=str(exc))
            return False
        except Exception:  # the connection owner's: the others in the process go on
            log.exception("session.end_failed")
            agent.barred = True
        return True


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
