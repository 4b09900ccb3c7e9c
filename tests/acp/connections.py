"""Connections to small agents for tests: opening them, prompting them, looking at what they heard."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from acp.connection import AgentConnection, ConnectionLimits, open_connection
from acp.elicitation import ElicitationRequest
from acp.errors import AgentSpawnError
from acp.open_request import RequestEnd
from acp.permission_request import PermissionRequest
from acp.schema import text_block
from acp.session import AgentSession
from acp.shutdown import StopLimits
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from tests.acp.children import agent

QUICK = ConnectionLimits(start=30, session=30, write=30, stop=StopLimits(eof=0.5, term=0.5, kill=1.0))
RESUME = "greet(agentCapabilities={'sessionCapabilities': {'resume': {}}})"
LOAD = "greet(agentCapabilities={'loadSession': True})"
CANCELLED = {"outcome": {"outcome": "cancelled"}}
HELLO = [text_block("hello")]


class Sink:
    """Notes what a turn reports; `changes` wakes who waits for the next change."""

    def __init__(self) -> None:
        self.changes = anyio.Event()
        self.requests: list[PermissionRequest] = []
        self.questions: list[ElicitationRequest] = []
        self.ends: list[RequestEnd] = []

    def changed(self) -> None:
        self.changes.set()
        self.changes = anyio.Event()

    def permission(self, request: PermissionRequest) -> None:
        request.on_closed = self.ends.append
        self.requests.append(request)
        self.changed()

    def question(self, request: ElicitationRequest) -> None:
        request.on_closed = self.ends.append
        self.questions.append(request)
        self.changed()

    async def until_questioned(self, count: int = 1) -> ElicitationRequest:
        while len(self.questions) < count:
            await self.changes.wait()
        return self.questions[-1]

    async def until_asked(self, count: int = 1) -> PermissionRequest:
        while len(self.requests) < count:
            await self.changes.wait()
        return self.requests[-1]


class Writes:
    """Stands between the peer and the pipe and notes each write."""

    def __init__(self, connection: AgentConnection) -> None:
        self._writer = connection._peer._writer
        self.seen: list[list[dict[str, Any]]] = []
        connection._peer._writer = self  # type: ignore[assignment]

    async def send(self, item: bytes) -> None:
        self.seen.append([json.loads(line) for line in item.splitlines()])
        await self._writer.send(item)


@asynccontextmanager
async def connected(source: str, cwd: Path, limits: ConnectionLimits = QUICK) -> AsyncIterator[AgentConnection]:
    with anyio.fail_after(30):
        async with open_connection(agent(source, cwd), limits) as connection:
            yield connection


@asynccontextmanager
async def in_session(
    source: str, cwd: Path, limits: ConnectionLimits = QUICK
) -> AsyncIterator[tuple[AgentConnection, AgentSession, Turn, Sink]]:
    async with connected(f"greet()\nopen_session()\n{source}", cwd, limits) as connection:
        opened = await connection.open_session(str(cwd), None)
        yield connection, opened.session, Turn(TurnLimits(), anyio.current_time()), Sink()


async def refusal(source: str, cwd: Path, limits: ConnectionLimits = QUICK) -> AgentSpawnError:
    with pytest.raises(AgentSpawnError) as caught:
        async with connected(source, cwd, limits):
            raise AssertionError("the start should have failed")
    return caught.value


def heard(cwd: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (cwd / "heard").read_text().splitlines()]


def said(turn: Turn) -> str:
    return turn.snapshot().text


def begun(session: AgentSession, sink: Sink | None = None) -> Turn:
    """Prompt a session; return the turn."""
    turn = Turn(TurnLimits(), anyio.current_time())
    session.begin_turn(turn, sink or Sink(), HELLO)
    return turn


def methods(cwd: Path) -> list[str | None]:
    """Return the methods that an agent has heard after the handshake and its first session."""
    return [message.get("method") for message in heard(cwd)[2:]]
