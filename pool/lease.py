"""What a turn gets of the pool: a session, and what it may tell of the agent behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog

from acp.connection import AgentSession
from acp.handshake import ways
from acp.schema import InitializeResult
from pool.model import SlotStatus
from pool.ports import How
from pool.slot import Slot

log = structlog.get_logger(__name__)

MOST_INTERNAL_ERRORS = 2
"""Turns in a row that may end in an internal error before the agent is replaced."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A thread's session, or a copy of it, for the length of a turn.

    Attributes:
        how: how the session came about; "live" from its second turn on, "forked" for a copy.
        lost: the remembered session was unknown to the agent, and this is a fresh one.
    """

    session: AgentSession
    how: Literal["live", "forked"] | How
    lost: bool
    agent: InitializeResult
    _slot: Slot
    _stop: Callable[[Slot], bool]

    @property
    def slot(self) -> SlotStatus:
        """What can be said about the slot now."""
        return self._slot.status()

    def served(self, *, internal_error: bool) -> None:
        """Tell how the turn ended: an agent that fails inside twice in a row is stopped, if its session can be kept.

        Of a process that other threads share, the thread's session is ended, and nobody joins that process any more.
        """
        slot = self._slot
        slot.internal_errors = slot.internal_errors + 1 if internal_error else 0
        # A turn beside it may still do well.
        due = slot.internal_errors >= MOST_INTERNAL_ERRORS and len(slot.turns) <= 1
        # What the agent runs inside may be dead for good. Without a way back to the session the cure would cost more.
        if due and ways(self.agent) and self.stop():
            slot.agent.barred = True
            log.warning("agent.recycled", thread_id=slot.thread_id, internal_errors=slot.internal_errors)

    def stop(self) -> bool:
        """Tell this very slot to stop, although turns hold it, and its process with the last; False if told before."""
        return self._stop(self._slot)
