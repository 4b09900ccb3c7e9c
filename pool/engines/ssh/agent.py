"""An agent on a host of an ssh engine: its streams, its end, and commands beside it.

The script at the other end copies stdin, ends the whole tree when that ends, and says how the agent ended in lines on
stderr; stdout is the agent's own. The mutable state is what these lines have said, and the report of the stop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import anyio
import anyio.abc
import anyio.lowlevel
import structlog

from acp.engine import LaunchSpec
from acp.errors import AgentExit, AgentExited, SpawnFailure
from acp.shutdown import Members, SingleStop, StopLimits, StopReport, StopStage
from acp.stderr_tail import StderrTail
from pool.engines.bot_run import BotRun
from pool.engines.model import CommandResult, returncode_of, without_marks
from pool.engines.ssh.client import CLOSED, SshClient, SshConnection
from pool.engines.ssh.failure import SshFailure
from pool.engines.ssh.script import Frames, marked, number, steps
from pool.engines.ssh.settings import SshHost

_READ_SIZE = 256 * 1024
_POLL = 0.25
_LINGER = 2.0
_DRAIN = 1.0
_CALL = 5.0

_MARKS = ("WEFT_ENGINE_STATE", "WEFT_RUN", "WEFT_BOT_RUN", "WEFT_EPOCH")

SCRIPT_LIMITS = StopLimits()
"""By which the script ends an agent whose input has ended."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AgentMarks:
    """What an agent is marked with, and its thread."""

    marker: str
    state: str
    thread: str
    run: BotRun

    @property
    def mark(self) -> str:
        """The entry of the environment that all its processes have."""
        return marked("WEFT_AGENT", self.marker)

    @property
    def values(self) -> Mapping[str, str]:
        """The script's variables by which it marks what it starts."""
        named = {"bot_run": self.run.name, "epoch": self.run.epoch_mark}
        return {"marker": self.marker, "state": self.state, **named}


class SshAgent:
    """A started agent; see `pool.engines.model.RemoteAgent`. ``on_stopped`` hears once whether all of it is gone."""

    def __init__(
        self,
        client: SshClient,
        connection: SshConnection,
        host: SshHost,
        marks: AgentMarks,
        spec: LaunchSpec,
        on_stopped: Callable[[SshAgent, bool], None],
    ) -> None:
        self.stdin: anyio.abc.ByteSendStream = connection.stdin
        self.stdout: anyio.abc.ByteReceiveStream = connection.stdout
        self.drained = anyio.Event()
        self.node = host.called
        self.marks = marks
        self.host = host
        self._client = client
        self._connection = connection
        self._spec = spec
        self._on_stopped = on_stopped
        self._tail = StderrTail()
        self._news = anyio.Event()
        self._code: int | None = None
        self._reason = ""
        self._said_at = 0.0
        self._ended_at = 0.0
        self._gone: bool | None = None
        self._stage = StopStage.EOF
        self._exit: AgentExit | None = None
        self._stopping = SingleStop()

    @property
    def pid(self) -> None:
        return None

    @property
    def place(self) -> str:
        return f"{self.marks.marker[:8]} on {self.node}"

    @property
    def stderr_bytes(self) -> int:
        return self._tail.total

    def stderr_since(self, mark: int) -> str:
        return self._tail.since(mark)

    async def members(self, *, everywhere: bool) -> Members:
        del everywhere  # the ssh process here is not the agent's
        await anyio.lowlevel.checkpoint()
        return frozenset()

    # --- how it ended --------------------------------------------------------------------------------------------

    def exit(self) -> AgentExit | None:
        if self._exit is None:
            self._exit = self._look()
            if self._exit is not None and self._exit.unreachable:
                log.warning("ssh.lost", node=self.node, place=self.place, reason=self._exit.reason)
        return self._exit

    def _look(self) -> AgentExit | None:
        now, over = anyio.current_time(), self._connection.process.returncode is not None
        if over and not self._ended_at:
            self._ended_at = now
        if self._code is not None:
            # Its last words may be on their way yet, for as long as nobody else holds its stdout.
            known = over or self.drained.is_set() or now - self._said_at > _LINGER
            return AgentExit(self._code, self._tail.text(), self._reason) if known else None
        # How it ended may still be in the pipe.
        if not over or not (self.drained.is_set() or now - self._ended_at > _DRAIN):
            return None
        return self._lost(self._connection.loss(self._tail.text()))

    def _lost(self, reason: str) -> AgentExit:
        return AgentExit(None, self._tail.text(), f"{self.node}: {reason}", unreachable=True)

    async def wait(self) -> AgentExit:
        while (ended := self.exit()) is None:
            # In short pieces: the end may be told by the process, or by a line of the script's before that.
            with anyio.move_on_after(_POLL):
                if self._connection.process.returncode is None and self._code is None:
                    await self._connection.process.wait()
                else:
                    await self.drained.wait()
        return ended

    async def drain_stderr(self) -> None:
        """Read stderr to its end: the script's lines are taken out, the last of the rest is kept."""
        frames = Frames(self._connection.nonce, behind=True)
        with suppress(*CLOSED):  # whatever way the pipe ends, that is its end
            while True:
                said, lines = frames.feed(await self._connection.stderr.receive(_READ_SIZE))
                self._tail.add(said)
                for words in lines:
                    self._hear(words)
                await anyio.lowlevel.checkpoint()  # a full pipe is read without ever giving way
        self._tail.add(frames.rest())
        self.drained.set()
        self._wake()

    def _hear(self, words: list[str]) -> None:
        what, rest = words[0], [word for word in words[1:] if word]
        if what == "exit" and (code := number(rest, 0)) is not None:
            self._code = returncode_of(code)
            self._reason = " ".join(rest[1:])
            self._said_at = anyio.current_time()
        elif what == "stage" and rest and rest[0] in tuple(StopStage):
            self._stage = StopStage(rest[0])
        elif what == "gone":
            self._gone = not rest
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    # --- ending it -----------------------------------------------------------------------------------------------

    async def stop(self, limits: StopLimits = StopLimits()) -> StopReport:  # noqa: B008
        return await self._stopping.run(lambda: self._stop(limits))

    async def _stop(self, limits: StopLimits) -> StopReport:
        started, was = anyio.current_time(), self.exit()
        # 1. The end of its input, at which the script ends all of it by the limits that it was started with.
        # Whether we wait at least as long as the script needs by itself.
        patient = limits.eof >= SCRIPT_LIMITS.eof and limits.term >= SCRIPT_LIMITS.term
        if was is None:
            with anyio.move_on_after(limits.eof), suppress(*CLOSED):  # it may have closed its end before us
                await self.stdin.aclose()
            await self._until_over(limits.eof + (limits.term + limits.kill + _DRAIN if patient else 0.0))
        # The agent ended by itself, and the script is still ending what it has left.
        elif not was.unreachable:
            await self._until_over(limits.term + limits.kill + _DRAIN)
        # 2. Sooner than the script would, if we are to wait for less than it does, and where it does not answer.
        lost = self._code is None and self._connection.process.returncode is not None
        if self._gone is None and not lost:
            gone = await self._end_now(limits)
            await self._until_over(_DRAIN)  # its own connection says how it ended
            self._gone = gone
        gone = bool(self._gone)
        # 3. What is on this machine.
        await self._connection.end()
        with anyio.move_on_after(_POLL):
            await self.drained.wait()
        ended = self.exit()
        # Only now: what it said last tells how it ended.
        await self._connection.close()
        stage = self._stage if was is None else StopStage.GONE
        report = StopReport(stage, anyio.current_time() - started, left=() if gone else (self.place,))
        log.info(
            "ssh.stopped",
            place=self.place,
            how=ended.describe() if ended else None,
            stage=report.stage,
            seconds=round(report.seconds, 2),
            gone=gone,
        )
        # Once, as `SingleStop` has this run once: a leftover that was reported twice would be ended twice.
        self._on_stopped(self, gone)
        return report

    async def _until_over(self, seconds: float) -> None:
        """Wait until the script has said that nothing is left, or can't any more; at most so long."""
        with anyio.move_on_after(seconds):
            while self._gone is None and not (self._connection.process.returncode is not None and self._drained()):
                with anyio.move_on_after(_POLL):
                    await self._news.wait()

    def _drained(self) -> bool:
        return self.drained.is_set() or self.exit() is not None

    async def _end_now(self, limits: StopLimits) -> bool:
        """Have another session on the same connection end it; return whether nothing of it is left."""
        self._stage = StopStage.TERM
        seconds = limits.term + limits.kill + _CALL
        try:
            answer = await self._client.ask(
                self.host,
                "end",
                steps(limits),
                arguments=(self.marks.mark,),
                seconds=seconds,
                through=self._connection.socket,
            )
        except SshFailure as exc:
            log.warning("ssh.end_failed", place=self.place, reason=exc.in_full)
            return False
        return not any(answer[-1][2:])

    # --- beside it -----------------------------------------------------------------------------------------------

    async def run(self, argv: Sequence[str], stdin: bytes = b"", *, limit: int, seconds: float) -> CommandResult:
        """Run a command beside the agent, over its connection; see `pool.engines.model.RemoteAgent.run`."""
        if (ended := self.exit()) is not None:
            raise AgentExited(ended)
        command = _Command(limit)
        connection: SshConnection | None = None
        try:
            with anyio.move_on_after(seconds) as bound:
                connection, _ = await self._client.open(
                    self.host,
                    "run",
                    {"cwd": self._spec.cwd, **self.marks.values},
                    arguments=argv,
                    env=remote_environment(self._spec),
                    through=self._connection.socket,
                )
                await command.take(connection, stdin)
        except SshFailure as exc:
            if exc.failure is SpawnFailure.BAD_DIRECTORY:
                return CommandResult(127, b"", exc.reason.encode())
            raise AgentExited(self._lost(exc.reason)) from exc
        finally:
            if connection is not None:
                with anyio.CancelScope(shield=True):
                    if command.code is None:
                        await self._end_command(connection)
                    await connection.close()
        if connection is not None and command.code is None and not (command.cut or bound.cancelled_caught):
            raise AgentExited(self.exit() or self._lost(connection.loss(command.stderr.decode(errors="replace"))))
        return CommandResult(None if command.cut else command.code, bytes(command.stdout), bytes(command.stderr))

    async def _end_command(self, connection: SshConnection) -> None:
        """End what a command has started that was cut off; its marks let the agent's end do it otherwise."""
        with suppress(SshFailure):
            await self._client.ask(
                self.host,
                "end",
                steps(StopLimits(eof=0, term=0.2, kill=0.5)),
                arguments=(marked("WEFT_RUN", connection.nonce),),
                seconds=_CALL,
                through=self._connection.socket,
            )


class _Command:
    """What a command beside an agent has said so far, and how it ended.

    Attributes:
        cut: it said more than it may.
    """

    def __init__(self, limit: int) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.code: int | None = None
        self.cut = False
        self._limit = limit
        self._ended = anyio.Event()
        self._over = anyio.Event()

    async def take(self, connection: SshConnection, stdin: bytes) -> None:
        """Feed it and take what it says, to its end or to a limit."""
        frames = Frames(connection.nonce)
        async with anyio.create_task_group() as tasks:

            async def feed() -> None:
                with suppress(*CLOSED):  # it need not read its input
                    if stdin:
                        await connection.stdin.send(stdin)
                    await connection.stdin.aclose()

            async def read() -> None:
                async with anyio.create_task_group() as pair:
                    pair.start_soon(self._read, connection.stdout, self.stdout, None)
                    pair.start_soon(self._read, connection.stderr, self.stderr, frames)
                self._over.set()

            async def linger() -> None:
                # What it has left in the background may hold its stdout.
                await self._ended.wait()
                await anyio.sleep(_LINGER)
                self._over.set()

            for task in (feed, read, linger):
                tasks.start_soon(task)
            await self._over.wait()
            tasks.cancel_scope.cancel()

    async def _read(self, stream: anyio.abc.ByteReceiveStream, into: bytearray, frames: Frames | None) -> None:
        with suppress(*CLOSED):
            while True:
                data = await stream.receive(_READ_SIZE)
                if frames is not None:
                    data, lines = frames.feed(data)
                    for words in lines:
                        self._hear(words)
                into += data
                if len(into) > self._limit:
                    self.cut = True
                    del into[self._limit :]
                    self._over.set()
                    return

    def _hear(self, words: list[str]) -> None:
        if words[0] == "exit" and (code := number(words, 1)) is not None:
            self.code = returncode_of(code)
            self._ended.set()


def remote_environment(spec: LaunchSpec) -> dict[str, str]:
    """Return what a command gets there; what marks processes of this machine is not among it."""
    return {name: value for name, value in without_marks(spec.env).items() if name not in _MARKS}
