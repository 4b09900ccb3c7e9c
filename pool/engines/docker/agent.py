"""An agent in a container: its streams, how it ended, and its end.

Its stdin and stdout share one connection to the daemon, its stderr has another, so that neither waits for the other's
reader. How it ended the daemon tells in a call that is open for as long as the container runs; that call, the streams
and the engine's own look at the daemon together tell an end from a lost connection. The mutable state is the tail of
stderr, how it ended, and the report of the stop.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

import anyio
import anyio.abc
import anyio.lowlevel
import structlog

from acp.errors import AgentExit, AgentExited
from acp.shutdown import Members, SingleStop, StopLimits, StopReport, StopStage
from acp.stderr_tail import StderrTail
from pool.engines.docker.client import CALL, DockerClient, DockerFault
from pool.engines.docker.stream import STDERR, STDOUT, Hijacked
from pool.engines.model import CommandResult, returncode_of

AWAY = "the Docker daemon does not answer"

_CLOSED = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError)
_READ_SIZE: Final = 256 * 1024
_SETTLE: Final = 0.5
"""Seconds between the end of the streams and the look whether the container runs on without them."""
_ASKS: Final = 3
_PATIENCE: Final = 3.0
"""How often a daemon is asked, and how long it may take each time, before an agent is given up."""
_UNDERSTOOD: Final = 30.0
"""Seconds for which the end of a stream is held back, at most."""
_LONG: Final = 30.0
"""Seconds after which a call that breaks off was not refused."""
_TELL_ID: Final = 'echo $$; exec "$@"'
_END_GROUP: Final = 'kill -KILL -- "-$0" || kill -KILL "$0"'

_ID_LINE: Final = 12
_DELETED: Final = "deleted"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Container:
    """A started container: its id, its name, the machine it is on, and the directory its agent works in."""

    id: str
    name: str
    node: str
    directory: str


class _Stdin(anyio.abc.ByteSendStream):
    def __init__(self, streams: Hijacked) -> None:
        self._streams = streams
        self._ended = False

    async def send(self, item: bytes) -> None:
        if self._ended:
            raise anyio.ClosedResourceError
        await self._streams.send(item)

    async def aclose(self) -> None:
        """End the agent's input; its output goes on."""
        if not self._ended:
            # Noted before the wait: nothing may be sent after the end of the input.
            self._ended = True
            # It may have closed its end before us; or it reads nothing, and somebody still waits to send.
            with suppress(*_CLOSED, anyio.BusyResourceError):
                await self._streams.send_eof()


class _Output(anyio.abc.ByteReceiveStream):
    """One channel of a container.

    Attributes:
        ended: set once it was read to its end.
        understood: set once it is known what that means; its reader sees the end no earlier.
    """

    def __init__(self, streams: Hijacked) -> None:
        self._streams = streams
        self.ended = anyio.Event()
        self.understood = anyio.Event()

    async def receive(self, max_bytes: int = _READ_SIZE) -> bytes:
        try:
            return (await self._streams.receive(max_bytes))[1]
        except _CLOSED:
            self.ended.set()
            # An end without a reason would be taken for the agent's own doing.
            with anyio.move_on_after(_UNDERSTOOD):
                await self.understood.wait()
            raise

    async def aclose(self) -> None:
        await self._streams.aclose()


class DockerAgent:
    """An agent in a container; see `acp.engine.RunningAgent` and `pool.engines.model.RemoteAgent`.

    `watch` runs in the engine's task group. ``streams`` are the connection for stdin and stdout and the one for stderr,
    of which ``said`` was read already; ``remove`` ends the container and says whether that is certain.
    """

    pid = None

    def __init__(
        self,
        client: DockerClient,
        container: Container,
        streams: Sequence[Hijacked],
        said: bytes,
        remove: Callable[[str, float], Awaitable[bool]],
    ) -> None:
        self.node = container.node
        self.stdin: anyio.abc.ByteSendStream = _Stdin(streams[0])
        self._stdout, self._stderr = _Output(streams[0]), _Output(streams[1])
        self._stderr.understood.set()  # nobody concludes anything from its end
        self.stdout: anyio.abc.ByteReceiveStream = self._stdout
        self.drained = anyio.Event()
        self._client = client
        self._container = container
        self._remove = remove
        self._tail = StderrTail()
        self._tail.add(said)
        self._exit: AgentExit | None = None
        self._ended = anyio.Event()
        self._stopping = SingleStop()

    @property
    def place(self) -> str:
        """Where it is."""
        return f"container {self._container.name}" + (f" on {self.node}" if self.node else "")

    @property
    def stderr_bytes(self) -> int:
        """How much it has said on its stderr so far."""
        return self._tail.total

    def stderr_since(self, mark: int) -> str:
        return self._tail.since(mark)

    async def members(self, *, everywhere: bool) -> Members:
        del everywhere
        await anyio.lowlevel.checkpoint()
        return frozenset()

    async def drain_stderr(self) -> None:
        with suppress(*_CLOSED):  # whatever way it ends, that is its end
            while True:
                self._tail.add(await self._stderr.receive())
                await anyio.lowlevel.checkpoint()
        self.drained.set()

    # --- how it ended --------------------------------------------------------------------------------------------

    def exit(self) -> AgentExit | None:
        return None if self._exit is None else replace(self._exit, stderr_tail=self._tail.text())

    async def wait(self) -> AgentExit:
        await self._ended.wait()
        ended = self.exit()
        assert ended
        return ended

    async def lose(self, reason: str) -> None:
        """Give the agent up: it may run on, but nobody can tell."""
        if self._end(AgentExit(None, reason=reason, unreachable=True)):
            # A task that still reads would wait for ever.
            await self._close()

    async def watch(self) -> None:
        """Find out how it ends; returns then."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_container)
            tasks.start_soon(self._watch_streams)
            await self._ended.wait()
            tasks.cancel_scope.cancel()

    def _end(self, ended: AgentExit) -> bool:
        """Note how it ended; only the first word counts."""
        if self._exit is not None:
            return False
        self._exit = ended
        self._ended.set()
        # Last: whoever sees the end of the stream asks at once how the agent ended.
        self._stdout.understood.set()
        log.info("agent.ended", place=self.place, how=ended.describe())
        return True

    async def _watch_container(self) -> None:
        asked = 0
        while asked < _ASKS:
            began = anyio.current_time()
            try:
                code = await self._client.wait(self._container.id)
            except DockerFault as fault:
                if fault.missing:
                    self._end(AgentExit(None, reason=_DELETED))
                    return
                # The call broke off: a daemon that restarts, or a way that is cut. Is there still somebody?
                if not await self._answers():
                    await self.lose(AWAY)
                    return
                # Something between us may cut what is silent for long: no reason to give up, however often.
                asked = 1 if anyio.current_time() - began > _LONG else asked + 1
                log.info("docker.wait_failed", place=self.place, why=fault.message)
                await anyio.sleep(_SETTLE)
            else:
                self._end(AgentExit(returncode_of(code), reason=await self._reason()))
                return
        await self.lose("the Docker daemon does not say how it ended")

    async def _answers(self) -> bool:
        for _ in range(_ASKS):
            with suppress(DockerFault):
                await self._client.ping(_PATIENCE)
                return True
            await anyio.sleep(_SETTLE)
        return False

    async def _reason(self) -> str:
        """Return what else there is to say of an exit status: who ended it."""
        try:
            state = (await self._client.inspect(self._container.id))["State"]
        except DockerFault as fault:
            state = {"Status": "removing"} if fault.missing else {}
        if state.get("OOMKilled"):
            return "OOMKilled"
        # Our own removal is not reported as somebody's deletion.
        if state.get("Status") in ("removing", "dead") and not self._stopping.under_way:
            return _DELETED
        return ""

    async def _watch_streams(self) -> None:
        """Give the agent up if both its streams have ended and the container runs on: nobody hears it any more."""
        await self._stdout.ended.wait()
        with anyio.move_on_after(_SETTLE):
            await self._stderr.ended.wait()
        if not self._stderr.ended.is_set():
            self._stdout.understood.set()  # the agent itself has closed its stdout
            await self._stderr.ended.wait()
        while True:
            await anyio.sleep(_SETTLE)
            try:
                running = (await self._client.inspect(self._container.id))["State"].get("Running")
            except DockerFault as fault:
                if not fault.away:
                    return  # the other watch tells
                continue
            if running:
                await self.lose("the connection to the container was lost")
            return

    # --- its end -------------------------------------------------------------------------------------------------

    async def stop(self, limits: StopLimits = StopLimits()) -> StopReport:  # noqa: B008
        return await self._stopping.run(lambda: self._stop(limits))

    async def _stop(self, limits: StopLimits) -> StopReport:
        started = anyio.current_time()
        stage = StopStage.GONE
        if self._exit is None:
            # 1. Politely, by the end of its input.
            stage = StopStage.EOF
            with anyio.move_on_after(limits.eof):
                await self.stdin.aclose()
                await self._ended.wait()
        if self._exit is None:
            # 2. The init in the container passes the signal on to the agent.
            stage = StopStage.TERM
            with anyio.move_on_after(limits.term):
                with suppress(DockerFault):  # what it cannot do any more, the next step can
                    await self._client.kill(self._container.id, "SIGTERM")
                await self._ended.wait()
        if self._exit is None or self._exit.unreachable:
            stage = StopStage.KILL
        # 3. With the container ends everything that was ever started in it, whatever it did to hide.
        # Where it is known that nobody answers, one try has to do: the engine tries again when somebody does.
        away = self._exit is not None and self._exit.reason == AWAY
        gone = await self._remove(self._container.name, limits.kill + (0 if away else CALL))
        if self._exit is None:
            with anyio.move_on_after(limits.kill):
                await self._ended.wait()
            how = AgentExit(-signal.SIGKILL) if gone else AgentExit(None, reason=AWAY, unreachable=True)
            self._end(how)
        await self._close()
        report = StopReport(stage, anyio.current_time() - started, left=() if gone else (self.place,))
        log.info(
            "agent.exited",
            place=self.place,
            how=self._exit.describe() if self._exit else None,
            stage=report.stage,
            seconds=round(report.seconds, 2),
            left=list(report.left),
        )
        return report

    async def _close(self) -> None:
        await self._stdout.aclose()
        await self._stderr.aclose()

    # --- a command beside it -------------------------------------------------------------------------------------

    async def run(self, argv: Sequence[str], stdin: bytes = b"", *, limit: int, seconds: float) -> CommandResult:
        taken = {STDOUT: bytearray(), STDERR: bytearray()}
        code: int | None = None
        # Its first line is its process id: the API has no other way to end a command.
        words = ["/bin/sh", "-c", _TELL_ID, "sh", *argv]
        try:
            with anyio.move_on_after(seconds):
                command, streams = await self._client.execute(
                    self._container.id, words, directory=self._container.directory, stdin=bool(stdin), seconds=seconds
                )
                async with _closing(streams), anyio.create_task_group() as tasks:
                    tasks.start_soon(_feed, streams, stdin)
                    whole = await _collect(streams, taken, limit)
                    tasks.cancel_scope.cancel()
                if whole:
                    code = await self._client.executed(command)
        except DockerFault as fault:
            raise AgentExited(await self._gone(fault)) from fault
        finally:
            head, _, output = bytes(taken[STDOUT]).partition(b"\n")
            # It was cut off, by its time, by a limit or by a cancel, and may still run.
            if code is None:
                await self._end_command(head.decode(errors="replace"))
        return CommandResult(code, output[:limit], bytes(taken[STDERR][:limit]))

    async def _gone(self, fault: DockerFault) -> AgentExit:
        """Return how the agent ended, when a call says that it has."""
        # A call fails a moment before the end that it failed by is known.
        with anyio.move_on_after(_SETTLE):
            return await self.wait()
        return AgentExit(None, self._tail.text(), reason=fault.message, unreachable=True)

    async def _end_command(self, process_id: str) -> None:
        """End a command that was cut off; what can't be ended so ends with the container."""
        if not process_id.isdigit() or self._exit is not None:
            return
        with anyio.CancelScope(shield=True), suppress(DockerFault, *_CLOSED), anyio.fail_after(CALL):
            words = ["/bin/sh", "-c", _END_GROUP, process_id]
            _, streams = await self._client.execute(self._container.id, words, directory="/", stdin=False, seconds=CALL)
            async with _closing(streams):
                while True:
                    await streams.receive()


@asynccontextmanager
async def _closing(streams: Hijacked) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await streams.aclose()


async def _feed(streams: Hijacked, stdin: bytes) -> None:
    with suppress(*_CLOSED):  # a command may end before it has read everything
        if stdin:
            await streams.send(stdin)
            await streams.send_eof()


async def _collect(streams: Hijacked, taken: dict[int, bytearray], limit: int) -> bool:
    """Take a command's output up to the limit; return whether that was all."""
    while True:
        try:
            channel, data = await streams.receive()
        except _CLOSED as end:
            return isinstance(end, anyio.EndOfStream)
        taken.setdefault(channel, bytearray()).extend(data)
        # The line with the id is none of the command's.
        if len(taken[channel]) > limit + (_ID_LINE if channel == STDOUT else 0):
            return False
