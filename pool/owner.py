"""The owner task of an agent process: enters the connection, has sessions opened in it, waits, and leaves.

A connection is entered and left by this one task, whoever wanted it and whoever gave up waiting; what is done for one
thread in it is a task below, see `pool.attendant`. Nothing that goes wrong here reaches the pool's task group.
"""

from __future__ import annotations

import anyio
import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars

from acp.connection import ConnectionLimits
from acp.errors import AcpError, AgentExited, AgentSpawnError
from acp.process import LaunchSpec
from pool import waiting
from pool.agent import PooledAgent
from pool.attendant import Attendant
from pool.launcher import Launcher
from pool.model import Reason
from pool.ports import Connection, OpenConnection
from pool.registry import Registry
from pool.store import SessionStore

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
        self._attendant = Attendant(registry, launcher, store)
        self._limits = limits
        self._open = open_connection

    async def run(self, agent: PooledAgent) -> None:
        """Keep a process until it is told to stop or ends by itself."""
        # Bound once: what the connection logs of spawning, sessions and ending says whose it is. Cleared first: the
        # context is that of the turn that came first, and the agent outlives it.
        clear_contextvars()
        bind_contextvars(**_name(agent))
        try:
            with agent.scope:
                await waiting.until(self._registry, lambda: self._registry.cleared(agent))
                await self._serve(agent)
        except AcpError as exc:
            self._fail(agent, exc)
        except Exception as exc:  # the connection owner: every fault becomes the answer to those who wait
            log.exception("agent.failed")
            self._fail(agent, _single(exc))
        finally:
            self._registry.retire(agent)

    async def _serve(self, agent: PooledAgent) -> None:
        while (spec := self._spec(agent)) is None:
            await agent.called()
        async with self._open(spec, self._limits) as connection:
            agent.connection = connection
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, agent, connection)
                while agent.stopping_since is None:
                    for slot in agent.newcomers():
                        slot.attended = True
                        tasks.start_soon(self._attendant.run, slot, connection)
                    await agent.called()
                tasks.cancel_scope.cancel()

    def _spec(self, agent: PooledAgent) -> LaunchSpec | None:
        """Return how to start the process; a thread for which that can't be said is alone in failing."""
        for slot in agent.newcomers():
            try:
                spec = self._launcher.spec(slot.thread_id)
            except AgentSpawnError as exc:
                self._attendant.fail(slot, exc)
            else:
                slot.cwd = spec.directory
                return spec
        return None

    async def _watch(self, agent: PooledAgent, connection: Connection) -> None:
        ended = await connection.wait_exited()
        self._fail(agent, AgentExited(ended))
        told = self._registry.stop_agent(agent, Reason.DIED)
        # An agent that starts well and dies before its first turn is a crash loop too.
        for slot in told if not agent.leased else ():
            self._registry.breaker.failed(slot.thread_id, self._registry.clock())
        self._registry.changed()  # its place can be promised from now on

    def _fail(self, agent: PooledAgent, exc: Exception) -> None:
        for slot in tuple(agent.slots):
            self._attendant.fail(slot, exc)


def _name(agent: PooledAgent) -> dict[str, int]:
    first = next(iter(agent.slots))
    if agent.sharing is None:
        return {"thread_id": first.thread_id, "generation": first.generation}
    return {"process": first.generation}


def _single(exc: Exception) -> Exception:
    """Return the one exception that a task group wrapped, or the group if it holds several."""
    while isinstance(exc, ExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc
