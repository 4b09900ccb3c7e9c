"""A connection to one agent process: the handshake, the pumps, its sessions, its end, and which message goes where.

`open_connection` owns the process and the tasks around it; `pool` decides when to open and close one. The mutable state
is the sessions whose messages are taken, by id, and how the connection ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from signal import SIGKILL
from typing import Any

import anyio
import structlog
from pydantic import ValidationError

from acp.elicitation import ElicitationMode, cancelled_elicitation, read_elicitation
from acp.engine import LaunchSpec, RunningAgent
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
    can_steer,
    introduction,
    login_error,
    session_result,
    start_error,
    understood,
    ways,
)
from acp.jsonrpc import MAX_LINE, Loss, RequestId
from acp.mcp_servers import McpServer, opening
from acp.open_request import RequestEnd, request_key
from acp.peer import NOISE_LIMIT, WRITE_TIMEOUT, JsonRpcPeer, PeerEnd, PendingRequest
from acp.permission_request import cancelled_response
from acp.process import AgentProcess
from acp.schema import InitializeResult, PermissionParams, SessionCapabilities, SessionResult
from acp.session import AgentSession
from acp.session_list import SessionList, read_pages
from acp.shutdown import StopLimits, StopReport
from acp.steering import STEER_TIMEOUT

_LAST_WORDS = 0.5
_END_SEEN = 1.0
_EXIT_GRACE = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What holds for a connection; times are in seconds.

    Attributes:
        start: for the answer to ``initialize``.
        session: for the answer to each request that opens a session.
        close: for the answer to a cancelled prompt, and again to the request that closes a session.
        steer: for the answer to text that was put into a running turn.
        write: for the agent to take what is written to it.
        max_line: bytes in the longest line that is accepted.
        noise: bytes that may come before the first message.
        stop: the steps of the shutdown escalation.
        elicitation: the kinds of questions that are announced and taken; none unless somebody shows them to people.
    """

    start: float = 60.0
    session: float = 60.0
    close: float = 10.0
    steer: float = STEER_TIMEOUT
    write: float = WRITE_TIMEOUT
    max_line: int = MAX_LINE
    noise: int = NOISE_LIMIT
    stop: StopLimits = field(default_factory=StopLimits)
    elicitation: tuple[ElicitationMode, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A session and how it came about; ``lost`` means that another one was wanted and is not to be had."""

    session: AgentSession
    how: How
    lost: bool
    result: SessionResult


@asynccontextmanager
async def open_connection(spec: LaunchSpec, limits: ConnectionLimits | None = None) -> AsyncIterator[AgentConnection]:
    """Start an agent and introduce ourselves; leaving ends all it started, shielded and within the stop limits.

    Entered and left by the same task. The body is not notified when the agent ends: it waits for `wait_exited`.

    Raises:
        AgentSpawnError: the agent could not be started or did not get through the handshake.
    """
    limits = limits or ConnectionLimits()
    if spec.start_timeout is not None:
        limits = replace(limits, start=spec.start_timeout, session=spec.start_timeout)
    process: RunningAgent = await (AgentProcess.start(spec) if spec.engine is None else spec.engine.start(spec))
    # No await until the task group is entered: a cancel here would leave a process that nobody ends.
    connection = AgentConnection(process, limits)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection._run)
            try:
                try:
                    raw = await connection._peer.request(
                        "initialize", introduction(limits.elicitation), timeout=limits.start
                    )
                except AcpError as exc:
                    raise start_error(exc) from exc
                connection.agent = understood(raw)
                connection._can = connection.agent.agent_capabilities.session_capabilities
                yield connection
            finally:
                # Before the pumps are cancelled: what the agent says while it ends is still read.
                connection.stop_report = await process.stop(limits.stop)
                # Shielded, as a cancelled body must not keep others from learning of the end; bounded, as the end may
                # not come.
                with anyio.move_on_after(_END_SEEN, shield=True):
                    await connection.exited.wait()
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        # One level only: a fault of our own in a pump stays in its group, so that nobody takes it for the body's error.
        raise group.exceptions[0] from group.exceptions[0].__cause__


class AgentConnection:
    """A living agent process that answered ``initialize``.

    Attributes:
        agent: what the agent said of itself.
        process: what is under it; only the connection ends it.
        pid: its process id; None: it is not on this machine.
        exited: set once the process is gone and its last words were handed on.
        stop_report: how it was ended, once it was.
    """

    agent: InitializeResult
    _can: SessionCapabilities

    def __init__(self, process: RunningAgent, limits: ConnectionLimits) -> None:
        self.process = process
        self.pid = process.pid
        self.exited = anyio.Event()
        self.stop_report: StopReport | None = None
        self._limits = limits
        self._stop_requested = anyio.Event()
        self._pumped = anyio.Event()
        self._sessions: dict[str, AgentSession] = {}
        self._peer = JsonRpcPeer(
            process.stdout,
            process.stdin,
            handler=self,
            max_line=limits.max_line,
            write_timeout=limits.write,
            noise_limit=limits.noise,
        )

    def alive(self) -> bool:
        """Whether the process still runs; polled, never waits."""
        return self.process.exit() is None

    def usable(self) -> bool:
        """Whether a prompt may be sent: the process runs, is heard, and nobody has asked for its end."""
        ending = (self._pumped, self._stop_requested, self.exited)
        return self.alive() and not any(event.is_set() for event in ending)

    def exit(self) -> AgentExit | None:
        return self.process.exit()

    async def wait_exited(self) -> AgentExit:
        """Return how the process ended, within 1 s of its end and after its last words were handed on."""
        await self.exited.wait()
        return self.exit() or AgentExit(-SIGKILL)  # None only for what even SIGKILL did not end in time

    def request_stop(self) -> None:
        """Have the process ended now, by the connection itself; returns at once."""
        self._stop_requested.set()

    # --- opening sessions ----------------------------------------------------------------------------------------

    async def open_session(
        self, cwd: str, previous: str | None, origin: str | None = None, servers: Sequence[McpServer] = ()
    ) -> OpenedSession:
        """Resume or load the session ``previous``, or start a new one.

        Args:
            origin: of what ``previous`` is a copy: an agent may keep none that was never prompted, and copies it again.
            servers: what gives the session further tools.

        Raises:
            AgentSpawnError: the agent wants a login first.
            RequestFailed: the agent refused for another reason; ``previous`` may be as good as ever.
            RequestTimeout, AgentExited: it did not answer; ``previous`` may be as good as ever.
        """
        try:
            opened = await self._restore(cwd, previous, servers) if previous is not None else None
            if opened is None and origin is not None:
                with suppress(ForkFailed):
                    copy = await self.fork_session(origin, cwd, servers)
                    opened = OpenedSession(copy, "copied", lost=False, result=SessionResult())
            if opened is None:
                session, result = await self._create("session/new", opening(cwd, servers), replayed=False)
                opened = OpenedSession(session, "new", previous is not None, result)
        except RequestFailed as exc:
            if exc.code != AUTH_REQUIRED:
                raise
            raise login_error(self.agent, exc) from exc
        log.info("session.opened", pid=self.pid, how=opened.how)
        return opened

    async def _restore(self, cwd: str, session_id: str, servers: Sequence[McpServer]) -> OpenedSession | None:
        """Open a session that exists by the best way the agent has; None if it is unknown or there is no way."""
        for how, method in ways(self.agent):
            if session_id in self._sessions:  # it is another thread's: what it says would reach the wrong one
                raise ProtocolError("the session is open already")
            # Known before the request is sent: the replay comes before its answer.
            session = self._add_session(session_id, replayed=True)
            # Anew each time: an agent keeps none of them with the session, and a token of before is not valid any more.
            params = {"sessionId": session_id, **opening(cwd, servers)}
            # Read before the next line is: what follows the answer may tell of a change already.
            pending = self._peer.start_request(method, params, on_response=partial(_read_options, session))
            try:
                raw = await pending.wait(self._limits.session)
            except BaseException as exc:
                self._sessions.pop(session_id, None)
                if isinstance(exc, RequestFailed) and exc.code == METHOD_NOT_FOUND:
                    continue  # announced and not there: the next way may be
                if isinstance(exc, RequestFailed) and exc.code in UNKNOWN_SESSION:
                    break
                raise
            finally:
                self._peer.forget(pending)
            if how == "loaded":
                await session.end_of_replay()
            return OpenedSession(session, how, lost=False, result=session_result(raw))
        log.info("session.lost", pid=self.pid)
        return None

    @property
    def can_list(self) -> bool:
        """Whether the agent says which sessions it has."""
        return self._can.listing is not None

    async def list_sessions(self) -> SessionList:
        """Return the sessions that the agent has, within bounds, whatever turns run.

        Raises:
            RequestFailed, RequestTimeout, AgentExited: it does not say; one that can't is not asked.
        """
        return await read_pages(lambda params: self._peer.request("session/list", params, timeout=self._limits.session))

    @property
    def can_fork(self) -> bool:
        """Whether `fork_session` is worth a try."""
        return self._can.fork is not None

    async def fork_session(self, session_id: str, cwd: str, servers: Sequence[McpServer] = ()) -> AgentSession:
        """Copy a session with its history into one that is prompted at the same time; end it with `close_session`.

        Raises:
            ForkFailed: the agent can't, won't, did not answer in time, or is gone.
        """
        if not self.can_fork:
            raise ForkFailed("the agent can't fork sessions")
        params = {"sessionId": session_id, **opening(cwd, servers)}
        try:
            # One real agent replays the history into the copy, as if it had been loaded.
            session, _ = await self._create("session/fork", params, replayed=True)
        except AcpError as exc:
            raise ForkFailed(str(exc)) from exc
        log.info("session.opened", pid=self.pid, how="forked")
        return session

    async def _create(
        self, method: str, params: dict[str, Any], *, replayed: bool
    ) -> tuple[AgentSession, SessionResult]:
        """Send a request whose answer names a new session; one that nobody waits for any more is closed."""
        made: list[AgentSession] = []
        abandoned = False

        def take(pending: PendingRequest) -> None:
            # Called before the next line is read: the session's first updates may follow the answer at once.
            session_id = session_result(pending.result).session_id
            if not session_id or session_id in self._sessions:
                return  # an id that is in use stays its owner's: a thread must not see what another one asked
            made.append(self._add_session(session_id, replayed=replayed))
            _read_options(made[0], pending)
            if abandoned:
                self.close_session(made[0])

        pending = self._peer.start_request(method, params, on_response=take)
        try:
            result = session_result(await pending.wait(self._limits.session))
            if made and replayed:
                await made[0].end_of_replay()
        except BaseException:
            # A cancel counts, too. The answer may still come: then the agent would hold a session for nobody.
            abandoned = True
            self._peer.abandon(pending)
            if made:
                self.close_session(made[0])
            raise
        if not made:
            raise ProtocolError(f"the agent's answer to {method} has no session id of its own")
        return made[0], result

    def _add_session(self, session_id: str, *, replayed: bool) -> AgentSession:
        session = self._sessions[session_id] = AgentSession(
            self.pid,
            self._peer,
            session_id,
            replayed=replayed,
            can_steer=can_steer(self.agent),
            steer_timeout=self._limits.steer,
        )
        return session

    # --- closing sessions ----------------------------------------------------------------------------------------

    def close_session(self, session: AgentSession) -> None:
        """Let a session go that nobody prompts any more; an open prompt is cancelled. Returns at once."""
        # By identity: the id may be another session's by now.
        if self._sessions.get(session.id) is not session:
            return
        del self._sessions[session.id]
        session.cancel()
        if session.prompt is not None:  # nobody prompts the session again: its answer would change nothing
            self._peer.forget(session.prompt)
        if self._can.close is not None:
            self._peer.forget(self._peer.start_request("session/close", {"sessionId": session.id}))

    async def delete_session(self, session: AgentSession) -> None:
        """Let a session go and, where the agent can do that, have it forget the conversation.

        Raises:
            RequestFailed, RequestTimeout, AgentExited: it may still know it.
        """
        self.close_session(session)
        if self._can.delete is not None:
            await self._peer.request("session/delete", {"sessionId": session.id}, timeout=self._limits.session)

    async def end_session(self, session: AgentSession) -> None:
        """Let a session go while others of this process go on: an open prompt is cancelled, and its answer awaited.

        Where the agent can't close sessions, it just gets no more prompts.

        Raises:
            RequestTimeout: the agent obeyed neither the cancel nor the closing; the session may still be at work.
            AgentExited, ProtocolError: the process, or what is heard of it, is gone.
        """
        if self._sessions.get(session.id) is not session:
            return
        session.cancel()
        # Known until then: what is still said of the prompt belongs to nobody else.
        await session.answered(self._limits.close)
        self._sessions.pop(session.id, None)
        if self._can.close is not None:
            with suppress(RequestFailed):  # it says no, or does not know the session any more: nothing is left to do
                await self._peer.request("session/close", {"sessionId": session.id}, timeout=self._limits.close)
        log.info("session.closed", pid=self.pid)

    # --- the account of the agent ------------------------------------------------------------------------------------

    async def authenticate(self, method_id: str, timeout: float) -> None:
        """Have the agent log in by one of its methods, but for those of type ``terminal``; it may ask a browser.

        Raises:
            RequestFailed, RequestTimeout, AgentExited: it is not known to be logged in.
        """
        await self._peer.request("authenticate", {"methodId": method_id}, timeout=timeout)

    async def logout(self, timeout: float) -> None:
        """Have the agent forget its login; for agents that announce it.

        Raises:
            RequestFailed, RequestTimeout, AgentExited: it may still be logged in.
        """
        await self._peer.request("logout", {}, timeout=timeout)

    # --- what the peer hands on, in wire order -------------------------------------------------------------------

    def on_notification(self, method: str, params: dict[str, Any]) -> None:
        """Take a notification; an unknown one is ignored."""
        if method == "session/update":
            session_id = params.get("sessionId")
            # Agents send anything in the place of an id, also what can't be looked up in a map.
            session = self._sessions.get(session_id) if type(session_id) is str else None
            if session is not None:
                session.on_update(params.get("update"))
        elif method == "$/cancel_request":
            for session in tuple(self._sessions.values()):  # it names a request, not its session
                session.close_requests(RequestEnd.WITHDRAWN, request_key(params.get("requestId")))
        elif method == "elicitation/complete":
            elicitation_id = params.get("elicitationId")
            if isinstance(elicitation_id, str):
                for session in tuple(self._sessions.values()):
                    session.complete_elicitation(elicitation_id)

    def on_request(self, request_id: RequestId, method: str, params: dict[str, Any]) -> None:
        """Take a request; all but those to people are refused at once, whatever capabilities were announced."""
        if method == "session/request_permission":
            self._on_permission(request_id, params)
        elif method == "elicitation/create" and self._limits.elicitation:
            self._on_elicitation(request_id, params)
        else:
            self._peer.respond_error(request_id, METHOD_NOT_FOUND, f"method not found: {method}")

    def _on_permission(self, request_id: RequestId, params: dict[str, Any]) -> None:
        try:
            permission = PermissionParams.parse(params)
        except ValidationError:
            self._peer.respond_error(request_id, INVALID_PARAMS, "malformed permission request")
            return
        session = self._sessions.get(permission.session_id)
        if session is None:
            self._peer.send(cancelled_response(request_id))  # an agent that waits for ever can't be prompted again
        else:
            session.on_permission(request_id, permission)

    def _on_elicitation(self, request_id: RequestId, params: dict[str, Any]) -> None:
        try:
            question = read_elicitation(params, self._limits.elicitation)
        except ValueError as exc:
            self._peer.respond_error(request_id, INVALID_PARAMS, str(exc))
            return
        session = self._sessions.get(question.session_id or "")
        if question.request_id is not None:
            # Of our requests only a prompt has people who wait for it. Typed exactly, as in `acp.peer`.
            prompts = [one for one in self._sessions.values() if one.prompt is not None]
            known = [one for one in prompts if one.prompt and repr(one.prompt.id) == repr(question.request_id)]
            session = known[0] if known else None
        if session is None:
            self._peer.send(cancelled_elicitation(request_id))
        else:
            session.on_elicitation(request_id, question)

    def on_loss(self, loss: Loss) -> None:
        """Note a dropped message in the turn of its session; where it can't be told, in each that runs."""
        session = self._sessions.get(loss.session_id or "")
        for one in (session,) if session is not None else tuple(self._sessions.values()):
            one.on_loss(loss)

    # --- start and end -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Pump the pipes until the process has ended and its last words were read, or its pipes are of no more use."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._pump)
                tasks.start_soon(self.process.drain_stderr)
                tasks.start_soon(self._obey_stop_request)
                await self.process.wait()
                # Last words come before the end is announced, but what the agent started may hold the pipes for ever.
                with anyio.move_on_after(_LAST_WORDS):
                    await self._pumped.wait()
                    await self.process.drained.wait()
                self._close()
                tasks.cancel_scope.cancel()
        finally:
            # Also when a handler failed: whoever waits for an answer must not wait for ever.
            self._close()

    async def _pump(self) -> None:
        end = await self._peer.run()
        self._pumped.set()
        if end in (PeerEnd.EOF, PeerEnd.BROKEN):
            # The pipes of a dying process close first: how it ended says more than that they did.
            with anyio.move_on_after(_EXIT_GRACE):
                await self.exited.wait()
        if not self.alive():
            return
        why = {
            PeerEnd.EOF: "the agent closed its output",
            PeerEnd.BROKEN: "the agent closed its input",
            PeerEnd.HUNG: f"the agent read nothing for {self._limits.write:g} s",
            PeerEnd.NOISE: f"the agent wrote more than {self._limits.noise:,} bytes and no message of the protocol",
        }[end]
        log.warning("agent.disconnected", place=self.process.place, end=end.name)
        # First the answers, then the stop, which takes its time: a turn must not wait for a process nobody hears.
        self._peer.fail_all(ProtocolError(why))
        self.request_stop()

    async def _obey_stop_request(self) -> None:
        await self._stop_requested.wait()
        await self.process.stop(self._limits.stop)

    def _close(self) -> None:
        """Announce that it is over; only the first call counts."""
        if self.exited.is_set():
            return
        ended = self.exit()
        # Cards first, then the prompts, then who watches the process: a turn that has ended asks nobody any more.
        for session in tuple(self._sessions.values()):
            session.close_requests(RequestEnd.AGENT_DIED)
        self._peer.fail_all(AgentExited(ended) if ended else ProtocolError("the connection to the agent failed"))
        self.exited.set()


def _read_options(session: AgentSession, pending: PendingRequest) -> None:
    """Take what the answer to a request that opened a session says of its options."""
    if pending.error is None:
        session.options.opened(session_result(pending.result))
