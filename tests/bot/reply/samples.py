"""Snapshots and tool calls for the tests of the reply."""

from __future__ import annotations

from typing import Any

from acp.snapshot import Phase, ToolState, TurnSnapshot

_SNAPSHOT: dict[str, Any] = {"phase": Phase.RUNNING, "started": 1000.0, "last_event": 1000.0}


def snapshot(**fields: Any) -> TurnSnapshot:
    """Return a snapshot; what is not given is as in a turn that has just begun."""
    return TurnSnapshot(**{**_SNAPSHOT, **fields})


def tool(**fields: Any) -> ToolState:
    """Return a tool call; what is not given is as in one that has just been announced."""
    return ToolState(**{"id": "t1", **fields})
