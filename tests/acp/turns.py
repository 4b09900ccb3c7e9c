"""Turns for tests, and what happens to them."""

from __future__ import annotations

from typing import Any

from acp.errors import RequestFailed
from acp.schema import SessionUpdate, ToolCallUpdate, decode_update
from acp.snapshot import Phase, TurnSnapshot
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits


def turn(**limits: float) -> Turn:
    return Turn(TurnLimits(**limits), 0.0)  # type: ignore[arg-type]


def update(name: str, **fields: Any) -> SessionUpdate:
    return decode_update({"sessionUpdate": name, **fields})


def text(words: str, message_id: str | None = None) -> SessionUpdate:
    return update("agent_message_chunk", content={"type": "text", "text": words}, messageId=message_id)


def call(call_id: str = "c1", **fields: Any) -> ToolCallUpdate:
    made = update("tool_call_update", toolCallId=call_id, **fields)
    assert isinstance(made, ToolCallUpdate)
    return made


def over(one: Turn, now: float) -> TurnSnapshot:
    one.tick(now)
    snapshot = one.snapshot()
    assert snapshot.phase is Phase.ENDED
    return snapshot


def failed(code: int, message: str = "no") -> RequestFailed:
    return RequestFailed("session/prompt", code, message)
