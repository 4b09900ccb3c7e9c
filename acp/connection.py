"""A connection to one agent process: the handshake, the pumps, its end, and which message goes where.

`open_connection` owns everything: the process, the pumps, the watch over its end, the sessions. When to open and close
one is `pool`'s business. The mutable state is how the connection ended, and the sessions whose messages are taken.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from signal import SIGKILL
from typing import Any

import anyio
import structlog
from pydantic import ValidationError

from acp.errors import (
    AUTH_REQUIRED,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    AcpError,
    AgentExit,
    AgentExited,
    ForkFailed,
    ProtocolError,
    RequestFailed,
)
from acp.handshake import (
    UNKNOWN_SESSION,
    How,
    can_close,
    can_delete,
    can_fork,
    introduction,
    login_error,
    ourselves,
    session_result,
    start_error,
    understood,
    ways,
)
from acp.jsonrpc import MAX_LINE, Loss, RequestId
from acp.peer import NOISE_LIMIT, WRITE_TIMEOUT, JsonRpcPeer, PeerEnd, PendingRequest
from acp.permission import cancelled_response, permission_key
from acp.process import AgentProcess, LaunchSpec
from acp.schema import Implementation, InitializeResult, PermissionParams, SessionResult
from acp.session import AgentSession, TurnSink
from acp.shutdown import Members, StopLimits, StopReport
from acp.steering import STEER_TIMEOUT

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A session and how it came about; ``lost`` means that another one was wanted and is not to be had."""

    session: AgentSession
    how: How
    lost: bool
    result: SessionResult


@dataclass(slots=True)
class _Wanted:
    """A session that was asked for by ``request``; ``abandoned`` if nobody waits for it any more."""

    request: PendingRequest | None = None
    session: AgentSession | None = None
    abandoned: bool = False


class Sessions:
    """Opens and closes sessions, and finds them by their ids.

    Args:
        timeout: seconds for the answer to each request that opens a session.
        close_timeout: seconds for the answer to a cancelled prompt, and again to the request that closes a session.
        steer_timeout: seconds for the answer to text that was put into a running turn.
    """

    def __init__(
        self,
        connection: AgentConnection,
        peer: JsonRpcPeer,
        *,
        timeout: float,
        close_timeout: float,
        steer_timeout: float,
    ) -> None:
        self._connection = connection
        self._peer = peer
        self._timeout = timeout
        self._close_timeout = close_timeout
        self._steer_timeout = steer_timeout
        self._known: dict[str, AgentSession] = {}

    def __iter__(self) -> Iterator[AgentSession]:
        return iter(tuple(self._known.values()))

    def get(self, session_id: Any) -> AgentSession | None:
        """Return the session of that id, None if there is none, whatever was sent in its place."""
        return self._known.get(session_id) if type(session_id) is str else None

    # --- opening -------------------------------------------------------------------------------------------------

    async def open(self, cwd: str, previous: str | None) -> OpenedSession:
        """Resume or load the session ``previous``, or start a new one; see `AgentConnection.open_session`."""
        try:
            restored = await self._restore(cwd, previous) if previous is not None else None
            return restored or await self._new(cwd, lost=previous is not None)
        except RequestFailed as exc:
            if exc.code != AUTH_REQUIRED:
                raise
            raise login_error(self._agent, exc) from exc

    async def _restore(self, cwd: str, session_id: str) -> OpenedSession | None:
        """Open a session that exists by the best way the agent has; None if it is unknown or there is no way."""
        for how, method in ways(self._agent):
            try:
                return await self._restore_by(how, method, cwd, session_id)
            except RequestFailed as exc:
                if exc.code in UNKNOWN_SESSION:
                    break
                if exc.code != METHOD_NOT_FOUND:
                    raise
        log.info("session.lost", pid=self._connection.pid)
        return None

    async def _restore_by(self, how: How, method: str, cwd: str, session_id: str) -> OpenedSession:
        if session_id in self._known:  # it is another thread's: what it says would reach the wrong one
            raise ProtocolError("the session is open already")
        session = self._made(session_id, replayed=True)
        self._known[session_id] = session  # before the request, as the replay comes before its answer
        params = {"sessionId": session_id, "cwd": cwd, "mcpServers": []}
        try:
            raw = await self._peer.request(method, params, timeout=self._timeout)
        except BaseException:
            self._known.pop(session_id, None)
            raise
        if how == "loaded":
            await session.end_of_replay()
        log.info("session.opened", pid=self._connection.pid, how=how)
        return OpenedSession(session, how, lost=False, result=session_result(raw))

    async def _new(self, cwd: str, *, lost: bool) -> OpenedSession:
        wanted = _Wanted()
        pending = self._start(wanted, "session/new", {"cwd": cwd, "mcpServers": []}, replayed=False)
        with self._abandoning(wanted):
            result = session_result(await pending.wait(self._timeout))
            if wanted.session is None:
                raise ProtocolError("the agent's answer to session/new has no session id of its own")
        log.info("session.opened", pid=self._connection.pid, how="new")
        return OpenedSession(wanted.session, "new", lost, result)

    def _start(self, wanted: _Wanted, method: str, params: dict[str, Any], *, replayed: bool) -> PendingRequest:
        wanted.request = self._peer.start_request(method, params, on_response=partial(self._take, wanted, replayed))
        return wanted.request

    def _take(self, wanted: _Wanted, replayed: bool, pending: PendingRequest) -> None:
        """Know the session before the next line is read: its first updates may follow the answer at once."""
        session_id = session_result(pending.result).session_id
        if not session_id or session_id in self._known:
            return
        wanted.session = self._known[session_id] = self._made(session_id, replayed=replayed)
        if wanted.abandoned:
            self.close(wanted.session)

    @contextmanager
    def _abandoning(self, wanted: _Wanted) -> Iterator[None]:
        """Have a session closed that nobody waits for any more, also when it comes later."""
        try:
            yield
        except BaseException:
            wanted.abandoned = True
            if wanted.request is not None:
                self._peer.abandon(wanted.request)
            if wanted.session is not None:
                self.close(wanted.session)
            raise

    # --- copies --------------------------------------------------------------------------------------------------

    async def fork(self, session_id: str, cwd: str) -> AgentSession:
        """Copy a session, prompted or not, into one of its own; see `AgentConnection.fork_session`."""
        if not can_fork(self._agent):
            raise ForkFailed("the agent can't fork sessions")
        wanted = _Wanted()
        with self._abandoning(wanted):
            return await self._fork(wanted, session_id, cwd)

    async def _fork(self, wanted: _Wanted, session_id: str, cwd: str) -> AgentSession:
        params = {"sessionId": session_id, "cwd": cwd, "mcpServers": []}
        try:
            await self._start(wanted, "session/fork", params, replayed=True).wait(self._timeout)
        except AcpError as exc:
            raise ForkFailed(str(exc)) from exc
        if wanted.session is None:
            raise ForkFailed("the agent's answer to session/fork has no session id of its own")
        # One real agent replays the history into the copy, as if it had been loaded.
        await wanted.session.end_of_replay()
        log.info("session.opened", pid=self._connection.pid, how="forked")
        return wanted.session

    # --- closing -------------------------------------------------------------------------------------------------

    def close(self, session: AgentSession) -> None:
        """Take nothing more of a session, and have the agent let it go where it can; returns at once."""
        if self._known.get(session.id) is not session:
            return
        del self._known[session.id]
        session.cancel()
        session.forget_prompt()
        if can_close(self._agent):
            self._peer.forget(self._peer.start_request("session/close", {"sessionId": session.id}))

    async def delete(self, session: AgentSession) -> None:
        """Let a session go and have the agent forget it where it can; see `AgentConnection.delete_session`."""
        self.close(session)
        if can_delete(self._agent):
            await self._peer.request("session/delete", {"sessionId": session.id}, timeout=self._timeout)

    async def end(self, session: AgentSession) -> None:
        """Let a session go and wait until the agent has, as far as it says so; see `AgentConnection.end_session`."""
        if self._known.get(session.id) is not session:
            return
        session.cancel()
        # Known until then: what is still said of the prompt belongs to nobody else.
        await session.answered(self._close_timeout)
        self._known.pop(session.id, None)
        if can_close(self._agent):
            with suppress(RequestFailed):  # it says no, or does not know the session any more: nothing is left to do
                await self._peer.request("session/close", {"sessionId": session.id}, timeout=self._close_timeout)
        log.info("session.closed", pid=self._connection.pid)

    # --- all of them ---------------------------------------------------------------------------------------------

    @property
    def _agent(self) -> InitializeResult:
        return self._connection.agent

    def _made(self, session_id: str, *, replayed: bool = False) -> AgentSession:
        timeout = self._steer_timeout
        return AgentSession(self._connection, self._peer, session_id, replayed=replayed, steer_timeout=timeout)


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
        stop: the steps of the shutdown escalation.
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
        if len(group.exceptions) > 1:
            raise
        # One level only: a fault of our own in a pump stays in its group, so that nobody takes it for the body's error.
        raise group.exceptions[0] from group.exceptions[0].__cause__


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
