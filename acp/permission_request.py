"""An agent's permission request, answered at most once.

Those it is handed to decide who may answer and what silence means. It knows how to answer; its session knows what else
an answer changes. A turn keeps its tool calls cut to what is shown (`acp.tool_calls`), and nobody may approve what was
cut: `AskedCalls` keeps their fields as they came, in all as much as a line may have; of those that are over until the
end of the turn, as some agents ask for what has failed once more, and by its id alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from acp.jsonrpc import RequestId, Response
from acp.open_request import OpenRequest
from acp.schema import PermissionOption, PermissionParams, ToolCallUpdate


def cancelled_response(request_id: RequestId) -> Response:
    """Return the answer to a permission request that nobody will decide."""
    return Response(request_id, {"outcome": {"outcome": "cancelled"}})


class PermissionRequest(OpenRequest):
    """A permission request that waits for an answer; the first of select, cancel and close wins.

    Attributes:
        tool_call: what is asked for, with all that the agent has said of it before.
        complete: whether that is all; what is too much is not kept.
    """

    def __init__(
        self,
        request_id: RequestId,
        params: PermissionParams,
        answer: Callable[[OpenRequest, Response], None],
        *,
        complete: bool = True,
    ) -> None:
        super().__init__(request_id, answer)
        self.complete = complete
        self.tool_call: ToolCallUpdate = params.tool_call
        self.options: list[PermissionOption] = params.options

    def cancelled(self) -> Response:
        return cancelled_response(self.id)

    def select(self, option_id: str) -> bool:
        """Answer with one of the options; False if it is already answered or has no such option."""
        # Only what the agent offered goes back to it, whoever sent the choice here.
        chosen = next((option for option in self.options if option.option_id == option_id), None)
        if chosen is None:
            return False
        outcome = {"outcome": {"outcome": "selected", "optionId": option_id}}
        return self._settle(Response(self.id, outcome), rejected=chosen.kind.startswith("reject"))


MOST_KEPT = 16 * 1024 * 1024
"""About the bytes of all tool calls together."""

MOST_GONE = 10_000
"""Tool calls of one turn that are known not to be kept any more; beyond, none that seems new is taken for new."""

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
        forgot: something was lost since the last `new_turn`, so a tool call that seems new may be an old one.
    """

    def __init__(self, most: int = MOST_KEPT) -> None:
        self.forgot = False
        self._most = most
        self._size = 0
        self._open: OrderedDict[str, _Known] = OrderedDict()
        self._over: OrderedDict[str, _Known] = OrderedDict()
        self._gone: set[int] = set()  # hashes, as an id may be of any length

    def new_turn(self) -> None:
        """Let go what is over, and take a tool call that nothing is known of for a new one again."""
        self.forgot = False
        self._gone.clear()
        for call_id in list(self._over):
            self._let_go(call_id)

    def news(self, raw: Any) -> None:
        """Take a tool call or an update of one, as it came."""
        call_id = raw.get("toolCallId") if isinstance(raw, dict) else None
        if isinstance(call_id, str):
            self._merge(call_id, raw)

    def lost(self) -> None:
        """Note that a message was dropped: it may have said something of any tool call, known or not."""
        self.forgot = True
        for known in (*self._open.values(), *self._over.values()):
            known.complete = False

    def asked(self, call: ToolCallUpdate) -> tuple[ToolCallUpdate, bool]:
        """Return a permission request's tool call with all that was said of it before, and whether that is all."""
        first_sight = call.tool_call_id not in self._open and call.tool_call_id not in self._over
        known = self._merge(call.tool_call_id, call.as_sent())
        return call if first_sight else ToolCallUpdate.parse(known.fields), known.complete

    def _merge(self, call_id: str, raw: dict[str, Any]) -> _Known:
        known = self._open.pop(call_id, None) or self._over.pop(call_id, None)
        if known is None:
            known = _Known({}, 0, complete=not self.forgot and hash(call_id) not in self._gone)
        # Absent and null are unchanged; an empty list takes nothing back that was announced (`acp.tool_calls`).
        said = {key: value for key, value in raw.items() if key != "_meta" and value not in (None, [])}
        fields = known.fields = known.fields | said
        self._size -= known.size
        known.size = _size(known.fields, self._most)
        self._size += known.size
        (self._over if fields.get("status") in _OVER else self._open)[call_id] = known
        # The oldest go, those that are over first; the latest stays, whose line bounds its size.
        while self._size > self._most:
            oldest = next((one for calls in (self._over, self._open) for one in calls if one != call_id), None)
            if oldest is None:
                break
            self._let_go(oldest)
            # Should it be asked for all the same, it does not count as complete.
            if len(self._gone) < MOST_GONE:
                self._gone.add(hash(oldest))
            else:
                self.forgot = True
        return known

    def _let_go(self, call_id: str) -> None:
        known = self._open.pop(call_id, None) or self._over.pop(call_id, None)
        if known is not None:
            self._size -= known.size


def _size(value: Any, most: int) -> int:
    """Return about how many bytes a JSON value holds, counted no further than just above ``most``."""
    size, todo = 0, [value]
    # No recursion, as it may be of any depth; not via JSON, as all of it would be written again for each update.
    while todo and size <= most:
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
