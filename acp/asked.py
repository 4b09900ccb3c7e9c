"""What tool calls say in full, for those whose permission is asked for (pure).

A turn keeps its tool calls cut to what is shown (`acp.tools`); nobody may approve what was cut. So the fields of those
that are not over are kept here as they came, in all as much as a line may have. The mutable state is those tool calls.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from acp.schema import ToolCallUpdate

MOST_KEPT = 16 * 1024 * 1024
"""About the bytes of all tool calls together."""

_COST_OF_A_VALUE = 64
_OVER = ("completed", "failed")


@dataclass(slots=True)
class _Known:
    fields: dict[str, Any]
    size: int
    complete: bool


class AskedCalls:
    """The tool calls of a session that may still be asked for.

    Attributes:
        forgot: something was too much since the last `new_turn`, so a tool call that seems new may be an old one.
    """

    def __init__(self, most: int = MOST_KEPT) -> None:
        self.forgot = False
        self._most = most
        self._size = 0
        self._calls: OrderedDict[str, _Known] = OrderedDict()

    def new_turn(self) -> None:
        """Take a tool call that nothing is known of for a new one again."""
        self.forgot = False

    def news(self, raw: Any) -> None:
        """Take a tool call or an update of one, as it came; one that is over is let go."""
        call_id = raw.get("toolCallId") if isinstance(raw, dict) else None
        if not isinstance(call_id, str):
            return
        if raw.get("status") in _OVER:
            self._let_go(call_id)
        else:
            self._merge(call_id, raw)
            self._make_room(call_id)

    def asked(self, call: ToolCallUpdate) -> tuple[ToolCallUpdate, bool]:
        """Return a permission request's tool call with all that was said of it before, and whether that is all."""
        first_sight = call.tool_call_id not in self._calls
        known = self._merge(call.tool_call_id, call.as_sent())
        self._make_room(call.tool_call_id)
        return call if first_sight else ToolCallUpdate.parse(known.fields), known.complete

    def _merge(self, call_id: str, raw: dict[str, Any]) -> _Known:
        known = self._calls.setdefault(call_id, _Known({}, 0, complete=not self.forgot))
        self._calls.move_to_end(call_id)
        known.fields = known.fields | _news_in(raw)
        self._size -= known.size
        known.size = _size(known.fields, self._most)
        self._size += known.size
        return known

    def _make_room(self, but: str) -> None:
        """Forget the oldest tool calls; the latest is kept whatever its size, which its line bounds."""
        while self._size > self._most and next(iter(self._calls)) != but:
            self.forgot = True
            self._let_go(next(iter(self._calls)))

    def _let_go(self, call_id: str) -> None:
        if (known := self._calls.pop(call_id, None)) is not None:
            self._size -= known.size


def _news_in(raw: dict[str, Any]) -> dict[str, Any]:
    # Absent and null are unchanged; an empty list takes nothing back that was announced (`acp.tools`).
    return {key: value for key, value in raw.items() if key != "_meta" and value not in (None, [])}


def _size(value: Any, most: int) -> int:
    """Return about how many bytes a JSON value holds, counted no further than just above ``most``."""
    size, todo = 0, [value]
    while todo and size <= most:  # nothing calls itself: it may be of any depth
        item = todo.pop()
        size += _COST_OF_A_VALUE
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, dict):
            todo += item.keys()
            todo += item.values()
        elif isinstance(item, list):
            todo += item
    return size
