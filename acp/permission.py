"""An agent's permission request, answered at most once.

Who may answer and what silence means is the business of those it is handed to. It knows how to answer; what else an
answer changes is its session's business.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from acp.jsonrpc import RequestId, Response
from acp.schema import PermissionOption, PermissionParams, ToolCallUpdate


class PermissionEnd(StrEnum):
    """Why a permission request was closed by something other than a call of `select` or `cancel`."""

    WITHDRAWN = "the agent withdrew it"
    TURN_CANCELLED = "the turn was cancelled"
    TURN_ENDED = "the turn ended"
    AGENT_DIED = "the agent ended"


def cancelled_response(request_id: RequestId) -> Response:
    """Return the answer to a permission request that nobody will decide."""
    return Response(request_id, {"outcome": {"outcome": "cancelled"}})


class PermissionRequest:
    """A permission request that waits for an answer; the first of select, cancel and close wins.

    Attributes:
        id: the JSON-RPC id, with its exact type.
        tool_call: what is asked for, with all that the agent has said of it before.
        complete: whether that is all; what is too much is not kept.
        answered: whether an answer was written, or can't be any more.
        rejected: the answer was no, or that nobody decides it.
        on_closed: called with the reason when `close` ended it.
    """

    def __init__(
        self,
        request_id: RequestId,
        params: PermissionParams,
        answer: Callable[[PermissionRequest, Response], None],
        *,
        complete: bool = True,
    ) -> None:
        self.id = request_id
        self.complete = complete
        self.tool_call: ToolCallUpdate = params.tool_call
        self.options: list[PermissionOption] = params.options
        self.answered = False
        self.rejected = False
        self.on_closed: Callable[[PermissionEnd], None] | None = None
        self._answer = answer

    @property
    def key(self) -> str:
        """The id as text in which 1 and ``"1"`` differ."""
        return permission_key(self.id)

    def select(self, option_id: str) -> bool:
        """Answer with one of the options; False if it is already answered or has no such option."""
        chosen = next((option for option in self.options if option.option_id == option_id), None)
        if self.answered or chosen is None:
            return False
        self.answered, self.rejected = True, chosen.kind.startswith("reject")
        self._answer(self, Response(self.id, {"outcome": {"outcome": "selected", "optionId": option_id}}))
        return True

    def cancel(self) -> bool:
        """Answer ``cancelled``; False if it is already answered."""
        if self.answered:
            return False
        self.answered = self.rejected = True
        self._answer(self, cancelled_response(self.id))
        return True

    def close(self, reason: PermissionEnd) -> Response | None:
        """Take it from whoever shows it; return the answer that is still to be written, None if there was one."""
        if self.answered:
            return None
        self.answered = True
        if self.on_closed is not None:
            self.on_closed(reason)
        return cancelled_response(self.id)


def permission_key(request_id: Any) -> str:
    """Return a JSON-RPC id as text in which 1 and ``"1"`` differ."""
    return repr(request_id)
