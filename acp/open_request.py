"""A request of the agent's that waits for a person, answered at most once.

The session that holds it writes the answer and knows what else that changes; whoever is handed the request decides what
the answer is. `acp.permission_request` and `acp.elicitation` say which answers there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from acp.jsonrpc import RequestId, Response


class RequestEnd(StrEnum):
    """Why a request was closed by something other than a person's answer."""

    WITHDRAWN = "the agent withdrew it"
    TURN_CANCELLED = "the turn was cancelled"
    TURN_ENDED = "the turn ended"
    AGENT_DIED = "the agent ended"


class OpenRequest(ABC):
    """A request that waits for an answer; the first answer or `close` wins.

    Attributes:
        id: the JSON-RPC id, with its exact type; ``key`` is the same as text in which 1 and ``"1"`` differ.
        answered: whether an answer was written, or can't be any more.
        rejected: the answer was no, or that nobody decides it.
        on_closed: called with the reason when `close` ended it.
    """

    def __init__(self, request_id: RequestId, answer: Callable[[OpenRequest, Response], None]) -> None:
        self.id = request_id
        self.key = request_key(request_id)
        self.answered = False
        self.rejected = False
        self.on_closed: Callable[[RequestEnd], None] | None = None
        self._answer = answer

    @abstractmethod
    def cancelled(self) -> Response:
        """Return the answer that nobody decides it."""

    def cancel(self) -> bool:
        """Answer that nobody decides it; False if it is already answered."""
        return self._settle(self.cancelled(), rejected=True)

    def close(self, reason: RequestEnd) -> Response | None:
        """Take it from whoever shows it; return the answer that is still to be written, None if there was one."""
        if self.answered:
            return None
        self.answered = True
        # Returned and not written here: the session puts all answers and its cancel into one write.
        if self.on_closed is not None:
            self.on_closed(reason)
        return self.cancelled()

    def _settle(self, response: Response, *, rejected: bool = False) -> bool:
        if self.answered:
            return False
        # Noted before it is written: two people who press at once must not both win.
        self.answered, self.rejected = True, rejected
        self._answer(self, response)
        return True


def request_key(request_id: Any) -> str:
    """Return a JSON-RPC id as text in which 1 and ``"1"`` differ."""
    return repr(request_id)
