"""Which turn an update belongs to (pure).

A session has one router; it lives as long as the session does in its process, so what a new process sends never meets
what an old one has said. The mutable state is the turn whose prompt was written last, and which ids came first when.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum, auto
from typing import Final

from acp.schema import AgentMessageChunk, MessageChunk, SessionUpdate, ToolCallUpdate
from acp.snapshot import Phase
from acp.tools import block_text, has_result
from acp.turn import Turn

_MOST_IDS = 20_000
"""Ids that are remembered, the latest ones; a session lives for weeks."""


class Route(Enum):
    """Where an update goes that belongs to no running turn."""

    LATE = auto()
    """It is shown as output outside a turn."""


LATE: Final = Route.LATE


class TurnRouter:
    """Routes the updates of one session.

    Args:
        muted: history is being replayed: nothing is shown until the next prompt, whenever the replay ends.
    """

    def __init__(self, *, muted: bool = False) -> None:
        self._muted = muted
        self._turn: Turn | None = None
        self._number = 0
        self._first: OrderedDict[tuple[str, str], int | None] = OrderedDict()

    def begin(self, turn: Turn) -> None:
        """Make ``turn`` the one whose prompt is being written."""
        self._turn = turn
        self._number += 1
        self._muted = False

    def route(self, update: SessionUpdate) -> Turn | Route | None:
        """Return the turn that takes the update, `LATE` if it is output outside a turn, None if nobody sees it."""
        owner = self._owner(update)
        if self._muted or owner is None:
            return None
        if owner == self._number and self._turn is not None and self._turn.phase is not Phase.ENDED:
            return self._turn
        return LATE if _is_output(update) else None

    def _owner(self, update: SessionUpdate) -> int | None:
        """Return the number of the turn that saw the update's id first; None: it was part of a replay."""
        key = _key(update)
        if key is None:
            return self._number
        if key in self._first:
            return self._first[key]
        if len(self._first) >= _MOST_IDS:
            self._first.popitem(last=False)
        self._first[key] = None if self._muted else self._number
        return self._first[key]


def _key(update: SessionUpdate) -> tuple[str, str] | None:
    if isinstance(update, MessageChunk):
        return ("message", update.message_id) if update.message_id else None
    return ("tool", update.tool_call_id) if isinstance(update, ToolCallUpdate) else None


def _is_output(update: SessionUpdate) -> bool:
    if isinstance(update, AgentMessageChunk):
        return bool(block_text(update.content))
    return isinstance(update, ToolCallUpdate) and has_result(update)
