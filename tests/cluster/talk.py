"""Talking with an agent in a pod, without a bot: what the tests of the launcher do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from acp.connection import AgentConnection, ConnectionLimits, OpenedSession, open_connection
from acp.elicitation import ElicitationRequest
from acp.engine import LaunchSpec
from acp.permission_request import PermissionRequest
from acp.schema import text_block
from acp.shutdown import StopLimits
from acp.snapshot import TurnSnapshot
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from acp.turn_runner import run_turn

LIMITS = ConnectionLimits(start=60, session=60, write=60, stop=StopLimits(eof=2.0, term=1.0, kill=2.0))


class Sink:
    """Allows what the agent asks with the option ``choice``, and counts the turn's changes."""

    def __init__(self, choice: str = "yes") -> None:
        self.choice = choice
        self.asked: list[PermissionRequest] = []
        self.changes = 0
        self._waiting = anyio.Event()

    def changed(self) -> None:
        self.changes += 1
        self._waiting.set()
        self._waiting = anyio.Event()

    def permission(self, request: PermissionRequest) -> None:
        self.asked.append(request)
        request.select(self.choice)

    def question(self, request: ElicitationRequest) -> None:
        request.cancel()

    async def change(self) -> None:
        """Wait for the next change."""
        await self._waiting.wait()


@dataclass(slots=True)
class Talk:
    """A connection with one session."""

    connection: AgentConnection
    opened: OpenedSession

    @property
    def place(self) -> str:
        return self.connection.process.place

    @property
    def node(self) -> str:
        return self.place.rpartition(" on ")[2]

    def turn(self) -> Turn:
        return Turn(TurnLimits(drain_quiet=0.0), anyio.current_time())

    async def ask(self, prompt: str, turn: Turn | None = None, sink: Sink | None = None) -> TurnSnapshot:
        """Run a turn to its end."""
        turn, sink = turn or self.turn(), sink or Sink()
        return await run_turn(self.connection, self.opened.session, turn, [text_block(prompt)], sink)


@asynccontextmanager
async def talking(spec: LaunchSpec, session_id: str | None = None) -> AsyncIterator[Talk]:
    """Start an agent and open a session, or go on with one; leaving ends the agent."""
    async with open_connection(spec, LIMITS) as connection:
        yield Talk(connection, await connection.open_session(spec.directory, session_id))
