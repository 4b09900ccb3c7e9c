"""What the pool needs from a connection to an agent; `acp.connection` has it, tests bring their own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

from acp.connection import AgentSession, ConnectionLimits
from acp.errors import AgentExit
from acp.process import LaunchSpec, StopReport
from acp.schema import InitializeResult

How = Literal["new", "resumed", "loaded"]


class Opened(Protocol):
    """A session as it was opened; ``lost`` says that the wanted one was unknown and a fresh one was made."""

    @property
    def session(self) -> AgentSession:
        """The open session."""

    @property
    def how(self) -> How:
        """How it came about."""

    @property
    def lost(self) -> bool:
        """Whether the wanted one was unknown."""


class Connection(Protocol):
    """A living agent process that answered ``initialize``."""

    @property
    def agent(self) -> InitializeResult:
        """What the agent said about itself."""

    @property
    def pid(self) -> int:
        """The process id."""

    @property
    def stop_report(self) -> StopReport | None:
        """How it was ended, and what outlived that; None until then."""

    def alive(self) -> bool:
        """Whether the process still runs; polled, never waits."""

    def usable(self) -> bool:
        """Whether a prompt may be sent; False for a process that still ends."""

    def exit(self) -> AgentExit | None:
        """Return how the process ended, or None while it runs."""

    async def wait_exited(self) -> AgentExit:
        """Wait for the end of the process."""

    async def open_session(self, cwd: str, previous: str | None) -> Opened:
        """Resume or load ``previous``, or start a new session."""

    @property
    def can_fork(self) -> bool:
        """Whether a session can be copied."""

    async def fork_session(self, session_id: str, cwd: str) -> AgentSession:
        """Copy a session into one that can be prompted at the same time; raises `ForkFailed`."""

    def close_session(self, session: AgentSession) -> None:
        """Let a copy go; returns at once."""

    async def end_session(self, session: AgentSession) -> None:
        """Let a session go, its open prompt cancelled and answered; raises `RequestTimeout` if it does not go."""


OpenConnection = Callable[[LaunchSpec, ConnectionLimits], AbstractAsyncContextManager[Connection]]
"""Starts an agent; leaving the context ends its processes, shielded and bounded, whatever way it is left."""
