"""An agent that runs in a pod: its streams, how it ended, and its end.

The engine runs `follow` beside it: that sees the connection or the pod end, and says so only once it is known which.
The mutable state is how it ended, and the report of the stop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import anyio
import anyio.abc
import anyio.lowlevel
import structlog

from acp.errors import AgentExit, AgentExited
from acp.shutdown import Members, SingleStop, StopLimits, StopReport, StopStage
from acp.stderr_tail import StderrTail
from pool.engines.kubernetes.api import PODS, ApiError, KubeApi
from pool.engines.kubernetes.attach import PodStream, exit_code
from pool.engines.kubernetes.manifest import BESIDE, CONTAINER, FED, READY
from pool.engines.kubernetes.status import NODE_LOST, has_phase_of_end, how_it_ended, node_of, shortened
from pool.engines.kubernetes.times import Times
from pool.engines.kubernetes.watch import SeenPod, remove
from pool.engines.model import CommandResult

LOST = "the connection to the pod was lost"

_LOOK = 1.0
_LAST_WORDS = 2.0

log = structlog.get_logger(__name__)


class PodInput(anyio.abc.ByteSendStream):
    """The agent's stdin. A connection that broke is reported only once it is known how the agent ended."""

    def __init__(self, stream: PodStream, ended: anyio.Event) -> None:
        self._stream = stream
        self._ended = ended

    async def send(self, item: bytes) -> None:
        try:
            await self._stream.send(item)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            # It comes: `follow` finds out how the agent ended, or gives up, within its own bounds.
            await self._ended.wait()
            raise

    async def aclose(self) -> None:
        await self._stream.end_input()


class KubernetesAgent:
    """A pod whose agent runs and is attached.

    Attributes:
        stdin: waits while the agent takes nothing.
        stdout: ends once it is known how the agent ended.
        drained: set once its stderr was read to the end.
        pid: None: it is not on this machine.
        node: the node that it is on.
        name: of the pod.
    """

    def __init__(
        self,
        seen: SeenPod,
        api: KubeApi,
        stream: PodStream,
        tail: StderrTail,
        *,
        directory: str,
        times: Times,
        on_removed: Callable[[SeenPod, bool], None],
    ) -> None:
        self.name = seen.name
        self.node = node_of(seen.pod or {})
        self.pid: int | None = None
        self.drained = anyio.Event()
        self.stdout: anyio.abc.ByteReceiveStream = stream.stdout
        self._seen = seen
        self._api = api
        self._stream = stream
        self._tail = tail
        self._directory = directory
        self._times = times
        self._on_removed = on_removed
        self._exit: AgentExit | None = None
        self._ended = anyio.Event()
        self._stop_began = False
        self._patience = anyio.CancelScope()
        self._stopping = SingleStop()
        self.stdin: anyio.abc.ByteSendStream = PodInput(stream, self._ended)

    @property
    def place(self) -> str:
        """Where it is."""
        return f"pod {self.name} on {self.node}"

    @property
    def stderr_bytes(self) -> int:
        """How much it has said on its stderr so far."""
        return self._tail.total

    @property
    def heard(self) -> float:
        """When it last said something, by anyio's clock."""
        return self._stream.heard

    def exit(self) -> AgentExit | None:
        return self._exit

    def stderr_since(self, mark: int) -> str:
        return self._tail.since(mark)

    async def wait(self) -> AgentExit:
        await self._ended.wait()
        assert self._exit is not None
        return self._exit

    async def drain_stderr(self) -> None:
        # It is read with the rest, as it comes over the same connection; only its end is waited for.
        await self._stream.ended.wait()
        self.drained.set()

    async def members(self, *, everywhere: bool) -> Members:
        """Return nothing: its processes are elsewhere."""
        del everywhere
        await anyio.lowlevel.checkpoint()
        return frozenset()

    async def enter(self, header: bytes) -> bool:
        """Give the pod's gate what it waits for; whether the agent began."""
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self.stdin.send(header)
            said = b""
            while said != READY:
                # Never a byte more: the next one is the agent's.
                said += await self.stdout.receive(len(READY) - len(said))
                if not READY.startswith(said):
                    said = said[-1:] if READY.startswith(said[-1:]) else b""
            return True
        return False

    # --- its end -------------------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Follow the connection and the pod until one of them has ended and it is known how; never raises."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._stream.run)
            tasks.start_soon(self._cut_when_over)
            await self._stream.ended.wait()
            await self._settle()
            # Only now: whoever reads the end asks at once how the agent ended.
            self._stream.stdout.end()
            tasks.cancel_scope.cancel()

    def lost(self, reason: str) -> None:
        """Take that the way to it is gone, by what somebody else has seen."""
        self._end(AgentExit(None, self._tail.text(), reason, unreachable=True))
        self._stream.stdout.end()
        self._stream.cut()

    async def give_up(self, reason: str) -> None:
        """Do as `lost`."""
        self.lost(reason)
        await anyio.lowlevel.checkpoint()

    async def _cut_when_over(self) -> None:
        """End the connection soon after the pod, if it does not end by itself."""
        while not self._seen.over:
            await self._seen.change(math.inf)
        # The last output is still on its way; it may also be that nobody reads it yet.
        with anyio.move_on_after(_LAST_WORDS):
            await self._stream.ended.wait()
        self._end(self._how())
        while self._stream.idle() < _LAST_WORDS:  # noqa: ASYNC110 - time itself is what is waited for
            await anyio.sleep(_LAST_WORDS / 4)
        self._stream.cut()

    async def _settle(self) -> None:
        """Find out how the agent ended, now that its connection has; one that runs on after that is lost."""
        trouble = ""
        # Whoever stops the agent waits for the cluster's word with bounds of its own.
        if not self._stop_began:
            self._patience.deadline = anyio.current_time() + self._times.settle
        with self._patience:
            while not self._seen.over and self._exit is None:
                trouble = await self._look()
                if not self._seen.over:
                    await self._seen.change(_LOOK)
        if self._seen.over or has_phase_of_end(self._seen.pod or {}):
            self._end(self._how())
        else:
            self._end(AgentExit(None, self._tail.text(), f"{LOST}: {trouble}" if trouble else LOST, unreachable=True))

    def _how(self) -> AgentExit:
        pod = self._seen.pod or {}
        deleted = self._seen.gone or "deletionTimestamp" in pod.get("metadata", {})
        ended = how_it_ended(pod, self._tail.text(), deleted=deleted and not self._stop_began)
        if not self._stream.broken or self._stop_began or ended.reason:
            return ended
        # A pod's input ends with the connection, and an agent with its input: the cause is what has to be told.
        if ended.returncode == 0:
            return AgentExit(None, ended.stderr_tail, LOST, unreachable=True)
        return replace(ended, reason=LOST)

    async def _look(self) -> str:
        """Ask about the pod; return why that did not work."""
        try:
            await self._seen.look(self._api)
        except ApiError as exc:
            return shortened(str(exc))
        return ""

    def _end(self, ended: AgentExit) -> None:
        if self._exit is None:
            # Only the first word counts: what is seen later may be our own removal.
            self._exit = ended
            log.info("pod.ended", pod=self.name, node=self.node, how=ended.describe())
            self._ended.set()

    async def stop(self, limits: StopLimits = StopLimits()) -> StopReport:  # noqa: B008
        return await self._stopping.run(lambda: self._stop(limits))

    async def _stop(self, limits: StopLimits) -> StopReport:
        began, stage = anyio.current_time(), StopStage.GONE
        # From here on it is known how it ends, so nobody reads that the connection was lost.
        self._stop_began, self._patience.deadline = True, math.inf
        # 1. Politely: an agent that reads the end of its input can save its session.
        if self._exit is None:
            stage = StopStage.EOF
            with anyio.move_on_after(limits.eof):
                await self._stream.end_input()
                await self._ended.wait()
        # 2. The node sends TERM and then KILL; of a node that is lost nothing is to be expected.
        if self._exit is None:
            stage = StopStage.TERM
        gone = False
        if self._exit is None or not self._exit.reason.startswith(NODE_LOST):
            grace = max(1, math.ceil(limits.term))
            within = grace + limits.kill + self._times.confirm
            gone = await remove(self._api, self._seen, grace=grace, within=within)
        # 3. Without the node's word, as the thread has to go on.
        if not gone:
            stage = StopStage.KILL
            gone = await remove(self._api, self._seen, grace=0, within=self._times.force)
        self._on_removed(self._seen, gone)
        unconfirmed = AgentExit(None, self._tail.text(), "the cluster does not confirm its end", unreachable=True)
        self._end(self._how() if self._seen.over else unconfirmed)
        self._stream.stdout.end()
        self._stream.cut()
        log.info("pod.removed", pod=self.name, stage=stage, gone=gone, seconds=round(anyio.current_time() - began, 2))
        return StopReport(stage, anyio.current_time() - began, left=() if gone else (self.place,))

    # --- beside it -----------------------------------------------------------------------------------------------

    async def run(self, argv: Sequence[str], stdin: bytes = b"", *, limit: int, seconds: float) -> CommandResult:
        """Run a command in the agent's container; see `pool.engines.model.RemoteAgent.run`.

        What is cut off here is ended by the end of its streams, or with the pod.
        """
        how = [FED, "weft", self._directory, str(len(stdin))] if stdin else [BESIDE, "weft", self._directory]
        query = [("command", one) for one in ("/bin/sh", "-c", *how, *argv)]
        query += [("container", CONTAINER), ("stdout", "true"), ("stderr", "true")]
        query += [("stdin", "true")] if stdin else []
        with anyio.move_on_after(seconds):
            return await self._run(query, stdin, limit)
        return CommandResult(None, b"", b"")

    async def _run(self, query: list[tuple[str, str]], stdin: bytes, limit: int) -> CommandResult:
        said, errors = bytearray(), bytearray()

        def take_error(data: bytes) -> None:
            errors.extend(data)
            # It may go on without end: cutting the connection ends it.
            if len(errors) > limit:
                stream.cut()

        try:
            websocket = await self._api.websocket(f"{PODS}/{self.name}/exec", query)
        except ApiError as exc:
            raise self._unreached(str(exc)) from exc
        stream = PodStream(websocket, take_error, self._times)

        async def follow() -> None:
            await stream.run()
            stream.stdout.end()

        async def feed() -> None:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # it has ended without reading all
                await stream.send(stdin)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            tasks.start_soon(feed)
            with suppress(anyio.EndOfStream):
                while len(said) <= limit:
                    said += await stream.stdout.receive()
            tasks.cancel_scope.cancel()
        if len(said) > limit or len(errors) > limit:
            return CommandResult(None, bytes(said[:limit]), bytes(errors[:limit]))
        code = exit_code(stream.status)
        if code is None:
            raise self._unreached(str((stream.status or {}).get("message", "")))
        return CommandResult(code, bytes(said), bytes(errors))

    def _unreached(self, why: str) -> AgentExited:
        lost = AgentExit(None, self._tail.text(), shortened(f"{LOST}: {why}" if why else LOST), unreachable=True)
        return AgentExited(self._exit or lost)
