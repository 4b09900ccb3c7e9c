"""Agents without processes: each can be made to hang in its start or end, to fail, to die, or to outlive its stop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import anyio.lowlevel

from acp.engine import LaunchSpec
from acp.errors import AgentExit, AgentSpawnError, ForkFailed
from acp.handshake import How
from acp.mcp_servers import McpServer
from acp.schema import Implementation, InitializeResult
from acp.shutdown import Members, StopReport
from pool.agent_task import OpenConnection
from pool.launcher import Sharing
from pool.model import PoolLimits, SlotState
from pool.pool import ConnectionPool
from pool.session_servers import SessionServers
from tests.pool.memory import MemoryStore


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeSession:
    id: str
    connection: FakeConnection
    is_prompting: bool = False
    cancels: int = 0
    heard: float = 0.0

    def cancel(self) -> None:
        self.cancels += 1


@dataclass
class FakeOpened:
    session: Any
    how: How
    lost: bool = False


class FakeConnection:
    def __init__(self, agents: FakeAgents, key: str, pid: int) -> None:
        self.agents = agents
        self.key = key
        self.pid = pid
        self.node = ""
        self.agent = InitializeResult(protocol_version=1, agent_info=Implementation(name="fake", version="1"))
        self.asked_for: str | None = None
        self.stop_report: StopReport | None = None
        self.hung_up = False
        self.stderr = ""
        self.can_fork = True
        self.forked: list[tuple[str, str]] = []
        self.closed: list[str] = []
        self.ended: list[str] = []
        self.open: set[str] = set()
        self.most = 0
        self._exit: AgentExit | None = None
        self._exited = anyio.Event()

    def alive(self) -> bool:
        return self._exit is None

    def usable(self) -> bool:
        return self.alive() and not self.hung_up

    def exit(self) -> AgentExit | None:
        return self._exit

    @property
    def process(self) -> FakeConnection:
        return self

    @property
    def stderr_bytes(self) -> int:
        return len(self.stderr)

    def stderr_since(self, mark: int) -> str:
        return self.stderr[mark:]

    async def members(self, *, everywhere: bool) -> Members:
        await anyio.lowlevel.checkpoint()
        return frozenset()

    async def wait_exited(self) -> AgentExit:
        await self._exited.wait()
        assert self._exit is not None
        return self._exit

    def die(self, returncode: int = 0) -> None:
        if self._exit is None:
            self._exit = AgentExit(returncode)
            self._exited.set()

    async def open_session(
        self, cwd: str, previous: str | None, origin: str | None = None, servers: Sequence[McpServer] = ()
    ) -> FakeOpened:
        self.agents.given.append(tuple(servers))
        self.asked_for = previous
        if cwd in self.agents.session_gates:
            await self.agents.session_gates[cwd].wait()
        if cwd in self.agents.session_errors:
            raise self.agents.session_errors[cwd]
        known = previous is not None and previous not in self.agents.unknown
        if not known and origin is not None:
            copy = await self.fork_session(origin, cwd)
            self.open.add(copy.id)
            return FakeOpened(copy, "copied")
        session_id = previous if known and previous is not None else self.agents.session_id(self.pid)
        how: How = "resumed" if known else "new"
        everywhere = [other for agent in self.agents.connections if agent.alive() for other in agent.open]
        assert session_id not in everywhere, "a session is opened once at a time"
        self.open.add(session_id)
        self.most = max(self.most, len(self.open))
        return FakeOpened(FakeSession(session_id, self), how, lost=previous is not None and not known)

    async def fork_session(self, session_id: str, cwd: str, servers: Sequence[McpServer] = ()) -> FakeSession:
        self.agents.given.append(tuple(servers))
        if self.key in self.agents.fork_gates:
            self.agents.waiting.set()
            await self.agents.fork_gates[self.key].wait()
        await anyio.lowlevel.checkpoint()
        if self.key in self.agents.fork_errors or not self.alive():
            raise self.agents.fork_errors.get(self.key, ForkFailed("gone"))
        self.forked.append((session_id, cwd))
        return FakeSession(f"{session_id}-fork-{len(self.forked)}", self)

    def close_session(self, session: FakeSession) -> None:
        self.closed.append(session.id)

    async def end_session(self, session: FakeSession) -> None:
        if session.id in self.agents.end_gates:
            await self.agents.end_gates[session.id].wait()
        await anyio.lowlevel.checkpoint()
        if session.id in self.agents.end_errors:
            raise self.agents.end_errors[session.id]
        self.ended.append(session.id)
        self.open.discard(session.id)


@dataclass
class FakeAgents:
    """Stands in for `open_connection`; the key of an agent is where it starts: the thread id, or what threads share."""

    start_gates: dict[str, anyio.Event] = field(default_factory=dict)
    stop_gates: dict[str, anyio.Event] = field(default_factory=dict)
    session_gates: dict[str, anyio.Event] = field(default_factory=dict)
    end_gates: dict[str, anyio.Event] = field(default_factory=dict)
    end_errors: dict[str, Exception] = field(default_factory=dict)
    fork_gates: dict[str, anyio.Event] = field(default_factory=dict)
    fork_errors: dict[str, Exception] = field(default_factory=dict)
    start_errors: dict[str, Exception] = field(default_factory=dict)
    session_errors: dict[str, Exception] = field(default_factory=dict)
    immortal: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    start_steps: Callable[[], int] = lambda: 0
    stop_steps: Callable[[], int] = lambda: 0
    connections: list[FakeConnection] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    starts: list[str] = field(default_factory=list)
    given: list[tuple[McpServer, ...]] = field(default_factory=list)
    session_counts: dict[int, int] = field(default_factory=dict)
    shared: set[object] = field(default_factory=set)
    peak: int = 0
    doubles: int = 0
    waiting: anyio.Event = field(default_factory=anyio.Event)

    @asynccontextmanager
    async def open(self, spec: LaunchSpec, limits: object) -> AsyncIterator[FakeConnection]:
        key = spec.cwd
        self._enter(key)
        try:
            await self._start(key)
            connection = FakeConnection(self, key, pid=100 + len(self.connections))
            self.connections.append(connection)
            try:
                yield connection
            finally:
                await self._stop(key)
                if key not in self.immortal:
                    connection.die()
        finally:
            self.running.remove(key)

    def session_id(self, pid: int) -> str:
        """Return the id of a new session: the process's number, and from its second session on another number, too."""
        count = self.session_counts[pid] = self.session_counts.get(pid, 0) + 1
        return f"session-{pid}" if count == 1 else f"session-{pid}-{count}"

    def _enter(self, key: str) -> None:
        self.starts.append(key)
        self.doubles += key in self.running and key not in self.shared
        self.running.append(key)
        self.peak = max(self.peak, len(self.running))

    async def _start(self, key: str) -> None:
        await anyio.lowlevel.checkpoint()
        for _ in range(self.start_steps()):
            await anyio.lowlevel.checkpoint()
        if key in self.start_gates:
            self.waiting.set()
            await self.start_gates[key].wait()
        if key in self.start_errors:
            raise self.start_errors[key]

    async def _stop(self, key: str) -> None:
        # Bounded, so that a test that fails before it opens the gate fails and does not hang.
        with anyio.move_on_after(8, shield=True):
            await anyio.lowlevel.checkpoint()
            for _ in range(self.stop_steps()):
                await anyio.lowlevel.checkpoint()
            if key in self.stop_gates:
                await self.stop_gates[key].wait()

    def last(self, key: object) -> FakeConnection:
        return next(connection for connection in reversed(self.connections) if connection.key == str(key))


class ByThread:
    """A launcher whose working directory is the thread's id."""

    def __init__(self) -> None:
        self.errors: dict[int, AgentSpawnError] = {}
        self.shared: dict[int, Sharing] = {}
        self.gates: dict[int, anyio.Event] = {}
        self.preparing: set[int] = set()

    async def prepare(self, thread_id: int) -> None:
        if thread_id in self.gates:
            self.preparing.add(thread_id)
            try:
                await self.gates[thread_id].wait()
            finally:
                self.preparing.discard(thread_id)

    def spec(self, thread_id: int) -> LaunchSpec:
        if thread_id in self.errors:
            raise self.errors[thread_id]
        shared = self.shared.get(thread_id)
        where = str(thread_id if shared is None else shared.key)
        return LaunchSpec(argv=("agent",), cwd=where, env={}, session_cwd=str(thread_id))

    def sharing(self, thread_id: int) -> Sharing | None:
        return self.shared.get(thread_id)

    def errand(self, place_id: int) -> LaunchSpec:
        return self.spec(place_id)

    def same_agent(self, place_id: int, other: int) -> bool:
        # Agents have a hundred threads each.
        return place_id // 100 == other // 100


@dataclass
class PoolUnderTest:
    agents: FakeAgents
    launcher: ByThread
    store: MemoryStore
    clock: Clock
    pool: ConnectionPool
    cut_off: list[int]
    servers: SessionServers


def tools_for(thread_id: int, token: str) -> tuple[McpServer, ...]:
    return (McpServer(str(thread_id), "/bin/tools", env={"TOKEN": token}),)


def make_pool(
    limits: PoolLimits | None = None, on_change: Callable[[], None] = lambda: None, store: MemoryStore | None = None
) -> PoolUnderTest:
    """Return a pool on fake agents, not entered yet; at most two agents unless told otherwise."""
    agents, launcher, store, clock = FakeAgents(), ByThread(), store or MemoryStore(), Clock()
    cut_off: list[int] = []
    servers = SessionServers(tools_for)
    pool = ConnectionPool(
        launcher,
        store,
        limits or PoolLimits(max_agents=2),
        cast("Any", None),
        on_change=on_change,
        on_cut_off=cut_off.append,
        servers=servers,
        clock=clock,
        open_connection=cast("OpenConnection", agents.open),
    )
    return PoolUnderTest(agents, launcher, store, clock, pool, cut_off, servers)


def make_shared_pool(
    limits: PoolLimits | None = None, *, threads: Iterable[int] = range(1, 10), sessions: int = 20
) -> PoolUnderTest:
    """Return a pool whose threads share processes, one at most unless told otherwise."""
    at = make_pool(limits or PoolLimits(max_agents=1))
    at.launcher.shared = dict.fromkeys(threads, Sharing("shared", sessions))
    return at


async def use(pool: ConnectionPool, thread_id: int) -> str:
    """Run a turn that does nothing; return how it got its session."""
    async with pool.session(thread_id) as lease:
        return lease.how


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until the condition holds."""
    while not condition():
        await anyio.lowlevel.checkpoint()


async def settle() -> None:
    """Let the other tasks run as far as they get without anything from outside."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


def shared_process(at: PoolUnderTest) -> FakeConnection:
    return at.agents.last("shared")


def slot_state(pool: ConnectionPool, thread_id: int) -> SlotState | None:
    status = pool.status(thread_id)
    return status.state if status else None


def slot_pid(pool: ConnectionPool, thread_id: int) -> int | None:
    status = pool.status(thread_id)
    return status.pid if status else None


async def hold_session(pool: ConnectionPool, thread_id: int, leave: anyio.Event) -> None:
    async with pool.session(thread_id):
        await leave.wait()
