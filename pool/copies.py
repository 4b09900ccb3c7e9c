"""Copies of sessions that are to be other threads' own (S2).

A copy is made in the process that has the original, and stays open there until its thread's session is opened: then it
is taken over in that process, or closed there and opened in another. The mutable state is which thread waits for which.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from acp.connection import AgentConnection
from acp.errors import AcpError, ForkFailed
from acp.handshake import ways
from acp.session import AgentSession
from pool.session_servers import Offer
from pool.slot import Slot

log = structlog.get_logger(__name__)

MOST_COPIES = 200
"""Copies that wait for their threads; the oldest is closed beyond that, and still known to its agent."""


@dataclass(frozen=True, slots=True, eq=False)
class SessionCopy:
    """A copy of a session.

    Attributes:
        connection: to the process in which it is open.
        cwd: where it works, as its agent sees it; the same as the original.
        origin: the id of the original.
        offer: the servers that it was opened with.
    """

    connection: AgentConnection
    session: AgentSession
    cwd: str
    origin: str
    offer: Offer

    async def leave(self) -> None:
        """Close it where it was made; it must not be open in two processes."""
        self.offer.withdraw()
        try:
            await self.connection.end_session(self.session)
        except AcpError as exc:
            # Gone with its process, or refused: whoever opens it next is told by the agent.
            log.info("session.cut_off", reason=str(exc))


def original_of(slot: Slot) -> tuple[AgentConnection, AgentSession, str]:
    """Return what a slot's session is copied by: its connection, the session, and where it works.

    Raises:
        ForkFailed: there can be no copy that could be opened again; the text says why.
    """
    connection, original = slot.agent.connection, slot.session
    if not slot.usable or connection is None or original is None or slot.cwd is None:
        raise ForkFailed("its agent is just ending")
    if slot.news is not None and slot.news[1]:
        raise ForkFailed("the agent no longer knows it")
    if not connection.can_fork:
        raise ForkFailed("this agent can't copy conversations")
    sharing = slot.agent.sharing
    # Without a way back to a session, only a thread in the same process can have it.
    if not ways(connection.agent) and (sharing is None or len(slot.agent.slots) >= sharing.sessions):
        raise ForkFailed("this agent can copy a conversation, but not open the copy in another process")
    return connection, original, slot.cwd


class Copies:
    """Which thread waits for which copy."""

    def __init__(self) -> None:
        self._waiting: dict[int, SessionCopy] = {}

    def give(self, thread_id: int, copy: SessionCopy) -> None:
        """Keep a copy for a thread."""
        self._waiting[thread_id] = copy
        # From here on, what its servers are asked for is asked for in that thread.
        copy.offer.thread_id = thread_id
        if len(self._waiting) > MOST_COPIES:
            oldest = next(iter(self._waiting))
            self.drop(self._waiting.pop(oldest))

    def take(self, thread_id: int) -> SessionCopy | None:
        """Return the copy of a thread whose session is about to be opened."""
        return self._waiting.pop(thread_id, None)

    def connection_for(self, thread_id: int) -> AgentConnection | None:
        """Return where a thread's copy is open."""
        copy = self._waiting.get(thread_id)
        return copy.connection if copy is not None else None

    def drop(self, copy: SessionCopy) -> None:
        """Close a copy that nobody wants; returns at once."""
        copy.offer.withdraw()
        copy.connection.close_session(copy.session)
