"""The sessions of one connection: opening, restoring, copying and closing them, and which of them a message is for.

What a session does with its messages is `acp.session`'s business, the process and the pipes are `acp.connection`'s. The
mutable state is the map of the sessions whose messages are taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from acp.errors import AUTH_REQUIRED, METHOD_NOT_FOUND, AcpError, ForkFailed, ProtocolError, RequestFailed
from acp.handshake import UNKNOWN_SESSION, How, can_close, can_delete, can_fork, login_error, session_result, ways
from acp.peer import JsonRpcPeer, PendingRequest
from acp.schema import InitializeResult, SessionResult
from acp.session import AgentSession

if TYPE_CHECKING:
    from acp.connection import AgentConnection

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
