"""The limits of the work (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from acp.turn import TurnLimits
from bot.reply.pacing import Pacing


@dataclass(frozen=True, slots=True)
class DeskLimits:
    """The limits of the work; times in seconds.

    Attributes:
        lane: turns that run at once over all threads (Q6).
        permission_timeout: how long a permission card waits for a person (D6).
        stop_grace: how long turns may go on when the bot stops (R1).
        stop_bound: how long they then get to end, once they are cancelled.
        flush_bound: how long last messages and edits get after that (R1).
    """

    turn: TurnLimits
    pacing: Pacing
    lane: int = 8
    permission_timeout: float = 600.0
    stop_grace: float = 0.0
    stop_bound: float = 15.0
    flush_bound: float = 5.0
