"""An engine whose machines are this one: what the bot does with engines, without their own parts.

Its agents are child processes; what it says of them is that of an engine, and a test can lose one, or a whole machine.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import anyio
import anyio.abc
import anyio.lowlevel
from pydantic import BaseModel, ConfigDict

from acp.engine import LaunchSpec
from acp.errors import AgentExit, AgentExited, AgentSpawnError, SpawnFailure
from acp.process import AgentProcess
from acp.shutdown import Members, StopLimits, StopReport
from bot.agents.engines import EngineKind
from pool.engines.bot_run import BotRun
from pool.engines.model import CommandResult, EngineFinding, NodeStatus, Swept


async def run_beside(argv: Sequence[str], stdin: bytes, directory: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run a command. Its input is a file: a pipe would break where the command ends without reading it."""
    with tempfile.TemporaryFile() as file:
        file.write(stdin)
        file.seek(0)
        return await anyio.run_process(list(argv), stdin=file, check=False, cwd=directory)


class NearbySettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    places: int = 8


class NearbyAgent:
    """An agent that seems to be far away."""

    pid = None

    def __init__(self, engine: NearbyEngine, process: AgentProcess, spec: LaunchSpec, node: str) -> None:
        self._engine, self._process, self._spec, self.node = engine, process, spec, node
        self.process_id = process.pid
        self.stdin: anyio.abc.ByteSendStream = process.stdin
        self.stdout: anyio.abc.ByteReceiveStream = process.stdout
        self.drained = process.drained
        self._lost: AgentExit | None = None
        self._news = anyio.Event()

    @property
    def place(self) -> str:
        return f"process {self.process_id} on {self.node}"

    @property
    def stderr_bytes(self) -> int:
        return self._process.stderr_bytes

    def exit(self) -> AgentExit | None:
        return self._lost or self._process.exit()

    def stderr_since(self, mark: int) -> str:
        return self._process.stderr_since(mark)

    async def wait(self) -> AgentExit:
        ended: list[AgentExit] = []

        async def watch_process() -> None:
            ended.append(await self._process.wait())
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_process)
            await self._news.wait()
            tasks.cancel_scope.cancel()
        return self._lost or ended[0]

    def lose(self, reason: str) -> None:
        """Lose the way to it."""
        self._lost = AgentExit(None, "", reason=reason, unreachable=True)
        self._news.set()

    async def drain_stderr(self) -> None:
        await self._process.drain_stderr()

    async def members(self, *, everywhere: bool) -> Members:
        del everywhere
        await anyio.lowlevel.checkpoint()
        return frozenset()

    async def run(self, argv: Sequence[str], stdin: bytes = b"", *, limit: int, seconds: float) -> CommandResult:
        if self._lost is not None:
            raise AgentExited(self._lost)
        with anyio.move_on_after(seconds):
            done = await run_beside(argv, stdin, self._spec.cwd)
            return CommandResult(done.returncode, done.stdout[:limit], done.stderr[:limit])
        return CommandResult(None, b"", b"")

    async def stop(self, limits: StopLimits = StopLimits()) -> StopReport:  # noqa: B008
        report = await self._process.stop(limits)
        self._engine.agents.pop(self, None)
        return report


class NearbyEngine:
    """The engine.

    Attributes:
        agents: those that run, with what they were started with.
        run: of the bot, to which its agents belong.
        specs: of all starts, the oldest first.
        swept: the states that were swept.
        away: why starts fail now; "" while they don't.
        asked: how fresh what it says of its machines had to be, each time that it was asked.
        slow: what such an answer waits for; None: for nothing.
        hold: what a start waits for after it has said so; None: for nothing.
    """

    kind = "nearby"
    start_timeout = 10.0

    def __init__(self, name: str, settings: NearbySettings, *, run: BotRun | None = None) -> None:
        self.name, self.settings, self.run = name, settings, run
        self.agents: dict[NearbyAgent, LaunchSpec] = {}
        self.specs: list[LaunchSpec] = []
        self.swept: list[str] = []
        self.away = ""
        self.asked: list[float | None] = []
        self.slow: anyio.Event | None = None
        self.hold: anyio.Event | None = None
        made.append(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        del exc_info

    async def start(self, spec: LaunchSpec) -> NearbyAgent:
        if self.away:
            raise AgentSpawnError(f"near-1 does not answer: {self.away}", failure=SpawnFailure.UNREACHABLE)
        if len(self.agents) >= self.settings.places:
            raise AgentSpawnError("no free place", failure=SpawnFailure.NO_ROOM, room_on=())
        self.specs.append(spec)
        if self.hold is not None:
            spec.tell("no node has room for it: 2 Insufficient memory")
            await self.hold.wait()
            spec.tell("")
        await anyio.Path(spec.cwd).mkdir(parents=True, exist_ok=True)
        local = LaunchSpec(spec.argv, spec.cwd, spec.env)
        agent = NearbyAgent(self, await AgentProcess.start(local), spec, f"near-{len(self.specs)}")
        self.agents[agent] = spec
        return agent

    async def sweep(self, state: str) -> Swept:
        self.swept.append(state)
        return Swept()

    async def nodes(self, fresh: float | None = None) -> Sequence[NodeStatus]:
        self.asked.append(fresh)
        if self.slow is not None:
            await self.slow.wait()
        near = NodeStatus("near-1", len(self.agents), self.settings.places, 2**30, reachable=True)
        return [near, NodeStatus("near-2", 0, 4, None, reachable=False, reason="no route to host")]

    async def check(self, *specs: LaunchSpec) -> Sequence[EngineFinding]:
        del specs
        found = EngineFinding(ok=not self.away, what=self.away or "can be reached", fix="start it" if self.away else "")
        return [found]


made: list[NearbyEngine] = []
"""All that were made, the newest last."""

NEARBY = EngineKind(NearbySettings, f"{__name__}:NearbyEngine", contains=True)
"""What a test puts among the kinds of engines."""
