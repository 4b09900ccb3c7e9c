"""A connection to one agent process: the handshake, the pumps, its end, and which message goes where.

`open_connection` owns everything: the process, the pumps, the watch over its end. When to open and close one is
`pool`'s business, how its sessions are opened `acp.sessions`'. The mutable state is how the connection ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from signal import SIGKILL
from typing import Any

import anyio
import structlog
from pydantic import ValidationError

from acp.errors import INVALID_PARAMS, METHOD_NOT_FOUND, AcpError, AgentExit, AgentExited, ProtocolError, leaves
from acp.handshake import can_fork, introduction, ourselves, start_error, understood
from acp.jsonrpc import MAX_LINE, Loss, RequestId
from acp.peer import NOISE_LIMIT, WRITE_TIMEOUT, JsonRpcPeer, PeerEnd
from acp.permission import cancelled_response, permission_key
from acp.process import AgentProcess, LaunchSpec, StopLimits, StopReport
from acp.schema import Implementation, InitializeResult, PermissionParams
from acp.session import AgentSession, TurnSink
from acp.sessions import OpenedSession, Sessions
from acp.steering import STEER_TIMEOUT
from acp.tree import Members

__all__ = ["AgentConnection", "AgentSession", "ConnectionLimits", "OpenedSession", "TurnSink", "open_connection"]

START_TIMEOUT = 60.0
"""Seconds for the handshake, and again for opening a session."""

CLOSE_TIMEOUT = 10.0
"""Seconds for the answer to a cancelled prompt, and again to the request that closes a session."""

_LAST_WORDS = 0.5
_END_SEEN = 1.0
_EXIT_GRACE = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of a connection; times are in seconds.

    Attributes:
        start: for the answer to ``initialize``.
        session: for the answer to each request that opens a session.
        close: for the answer to a cancelled prompt, and again to the request that closes a session.
        steer: for the answer to text that was put into a running turn.
        write: for the agent to take what is written to it.
        max_line: bytes in the longest line that is accepted.
        noise: bytes that may come before the first message.
        stop: the steps of the stop ladder.
    """

    start: float = START_TIMEOUT
    session: float = START_TIMEOUT
    close: float = CLOSE_TIMEOUT
    steer: float = STEER_TIMEOUT
    write: float = WRITE_TIMEOUT
    max_line: int = MAX_LINE
    noise: int = NOISE_LIMIT
    stop: StopLimits = field(default_factory=StopLimits)


@asynccontextmanager
async def open_connection(
    spec: LaunchSpec, limits: ConnectionLimits | None = None, client: Implementation | None = None
) -> AsyncIterator[AgentConnection]:
    """Start an agent and introduce ourselves; leaving ends all it started, shielded and within the stop limits.

    Entered and left by the same task. The body is not told when the agent ends: it waits for `wait_exited`.

    Raises:
        AgentSpawnError: the agent could not be started or did not get through the handshake.
    """
    process = await AgentProcess.start(spec)
    connection = AgentConnection(process, _limits_of(spec, limits))  # no await until the task group is entered
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection._run)
            try:
                await connection._introduce(client or ourselves())
                yield connection
            finally:
                await connection._end()
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        causes = leaves(group)
        if len(causes) > 1:
            raise
        raise causes[0] from causes[0].__cause__


def _limits_of(spec: LaunchSpec, limits: ConnectionLimits | None) -> ConnectionLimits:
    limits, own = limits or ConnectionLimits(), spec.start_timeout
    return limits if own is None else replace(limits, start=own, session=own)


class AgentConnection:
    """A living agent process that answered ``initialize``.

    Attributes:
        agent: what the agent said of itself.
        pid: its process id.
        exited: set once the process is gone and its last words were handed on.
        stop_report: how it was ended, once it was.
    """

    agent: InitializeResult

    def __init__(self, process: AgentProcess, limits: ConnectionLimits) -> None:
        self.pid = process.pid
        self.exited = anyio.Event()
        self.stop_report: StopReport | None = None
        self._process = process
        self._limits = limits
        self._stop_requested = anyio.Event()
        self._pumped = anyio.Event()
        self._peer = JsonRpcPeer(
            process.stdout,
            process.stdin,
            handler=self,
            max_line=limits.max_line,
            write_timeout=limits.write,
            noise_limit=limits.noise,
        )
        self._sessions = Sessions(
            self, self._peer, timeout=limits.session, close_timeout=limits.close, steer_timeout=limits.steer
        )

    def alive(self) -> bool:
        """Whether the process still runs; polled, never waits."""
        return self.exit() is None

    def usable(self) -> bool:
        """Whether a prompt may be sent: the process runs, is heard, and nobody has asked for its end."""
        ending = (self._pumped, self._stop_requested, self.exited)
        return self.alive() and not any(event.is_set() for event in ending)

    def exit(self) -> AgentExit | None:
        """Return how the process ended, or None while it runs."""
        return self._process.exit()

    @property
    def stderr_bytes(self) -> int:
        """How much the process has said on its stderr so far."""
        return self._process.stderr_bytes

    def stderr_since(self, mark: int) -> str:
        """Return what it said there since it had ``mark`` bytes, as far as it is kept."""
        return self._process.stderr_since(mark)

    async def members(self, *, everywhere: bool) -> Members:
        """Return the process and what it has started; see `AgentProcess.members`."""
        return await self._process.members(everywhere=everywhere)

    async def wait_exited(self) -> AgentExit:
        """Return how the process ended, within 1 s of its end and after its last words were handed on."""
        await self.exited.wait()
        return self.exit() or AgentExit(-SIGKILL)  # None only for what even SIGKILL did not end in time

    def request_stop(self) -> None:
        """Have the process ended now, by the connection itself; returns at once."""
        self._stop_requested.set()

    # --- sessions ------------------------------------------------------------------------------------------------

    async def open_session(self, cwd: str, previous: str | None) -> OpenedSession:
        """Resume or load the session ``previous``, or start a new one.

        Raises:
            AgentSpawnError: the agent wants a login first.
            RequestFailed: the agent refused for another reason; ``previous`` may be as good as ever.
            RequestTimeout, AgentExited: it did not answer; ``previous`` may be as good as ever.
        """
        return await self._sessions.open(cwd, previous)

    @property
    def can_fork(self) -> bool:
        """Whether `fork_session` is worth a try."""
        return can_fork(self.agent)

    async def fork_session(self, session_id: str, cwd: str) -> AgentSession:
        """Copy a session with its history into one that is prompted at the same time; end it with `close_session`.

        Raises:
            ForkFailed: the agent can't, won't, did not answer in time, or is gone.
        """
        return await self._sessions.fork(session_id, cwd)

    def close_session(self, session: AgentSession) -> None:
        """Let a session go that nobody prompts any more; an open prompt is cancelled. Returns at once."""
        self._sessions.close(session)

    async def delete_session(self, session: AgentSession) -> None:
        """Let a session go and, where the agent can do that, have it forget the conversation.

        Raises:
            RequestFailed, RequestTimeout, AgentExited: it may still know it.
        """
        await self._sessions.delete(session)

    async def end_session(self, session: AgentSession) -> None:
        """Let a session go while others of this process go on: an open prompt is cancelled, and its answer awaited.

        Where the agent can't close sessions, it just gets no more prompts.

        Raises:
            RequestTimeout: the agent obeyed neither the cancel nor the closing; the session may still be at work.
            AgentExited, ProtocolError: the process, or what is heard of it, is gone.
        """
        await self._sessions.end(session)

    # --- what the peer hands on ----------------------------------------------------------------------------------

    def on_notification(self, method: str, params: dict[str, Any]) -> None:
        """Take a notification; an unknown one is ignored."""
        if method == "session/update":
            session = self._sessions.get(params.get("sessionId"))
            if session is not None:
                session.on_update(params.get("update"))
        elif method == "$/cancel_request":
            for session in self._sessions:
                session.on_withdrawn(permission_key(params.get("requestId")))

    def on_request(self, request_id: RequestId, method: str, params: dict[str, Any]) -> None:
        """Take a request; all but permission requests are refused at once, whatever capabilities were announced."""
        if method != "session/request_permission":
            self._peer.respond_error(request_id, METHOD_NOT_FOUND, f"method not found: {method}")
            return
        try:
            permission = PermissionParams.parse(params)
        except ValidationError:
            self._peer.respond_error(request_id, INVALID_PARAMS, "malformed permission request")
            return
        session = self._sessions.get(permission.session_id)
        if session is None:
            self._peer.send(cancelled_response(request_id))
        else:
            session.on_permission(request_id, permission)

    def on_loss(self, loss: Loss) -> None:
        """Take the news that a message was dropped: it is missing in the turn of its session, or in each that runs."""
        session = self._sessions.get(loss.session_id)
        for one in (session,) if session is not None else self._sessions:
            one.on_loss(loss)

    # --- start and end -------------------------------------------------------------------------------------------

    async def _introduce(self, client: Implementation) -> None:
        try:
            raw = await self._peer.request("initialize", introduction(client), timeout=self._limits.start)
        except AcpError as exc:
            raise start_error(exc) from exc
        self.agent = understood(raw)

    async def _run(self) -> None:
        """Pump the pipes until the process has ended and its last words were read, or its pipes are of no more use."""
        drained = anyio.Event()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._pump)
                tasks.start_soon(self._drain_stderr, drained)
                tasks.start_soon(self._obey_stop_request)
                await self._process.wait()
                with anyio.move_on_after(_LAST_WORDS):  # what the agent started may hold the pipes for ever
                    await self._pumped.wait()
                    await drained.wait()
                self._close()
                tasks.cancel_scope.cancel()
        finally:
            self._close()

    async def _pump(self) -> None:
        end = await self._peer.run()
        self._pumped.set()
        if end in (PeerEnd.EOF, PeerEnd.BROKEN):
            with anyio.move_on_after(_EXIT_GRACE):
                await self.exited.wait()
        if self.alive():
            error = ProtocolError(_end_text(end, self._limits))
            log.warning("agent.disconnected", pid=self.pid, end=end.name)
            self._peer.fail_all(error)
            self.request_stop()

    async def _drain_stderr(self, drained: anyio.Event) -> None:
        await self._process.drain_stderr()
        drained.set()

    async def _obey_stop_request(self) -> None:
        await self._stop_requested.wait()
        await self._process.stop(self._limits.stop)

    def _close(self) -> None:
        """Tell everybody that it is over; only the first call counts."""
        if self.exited.is_set():
            return
        ended = self.exit()
        for session in self._sessions:
            session.on_exit()
        self._peer.fail_all(AgentExited(ended) if ended else ProtocolError("the connection to the agent failed"))
        self.exited.set()

    async def _end(self) -> None:
        self.stop_report = await self._process.stop(self._limits.stop)
        with anyio.move_on_after(_END_SEEN, shield=True):
            await self.exited.wait()


def _end_text(end: PeerEnd, limits: ConnectionLimits) -> str:
    if end is PeerEnd.HUNG:
        return f"the agent read nothing for {limits.write:g} s"
    if end is PeerEnd.NOISE:
        return f"the agent wrote more than {limits.noise:,} bytes and no message of the protocol"
    return "the agent closed its output" if end is PeerEnd.EOF else "the agent closed its input"
