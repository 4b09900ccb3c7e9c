"""An agent's question to a person: a form by a restricted JSON schema, or a page to be opened (``elicitation/create``).

Source: the Agent Client Protocol, "Elicitation" (stable in version 1 since July 2026). What a form may ask for and how
an answer is checked belongs to those who show it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Literal

from pydantic import ValidationError

from acp.errors import INVALID_PARAMS
from acp.jsonrpc import RequestId, Response, RpcError
from acp.open_request import OpenRequest, RequestEnd
from acp.wire import WireModel

ElicitationMode = Literal["form", "url"]


class ElicitationParams(WireModel):
    """Parameters of ``elicitation/create``; see `read_elicitation` for which of them a mode requires.

    Attributes:
        requested_schema: of a form: an object whose properties are its fields.
        url, elicitation_id: of a page; its completion is told by that id.
        session_id, tool_call_id: what it is about; or ``request_id``, a request of ours.
    """

    message: str
    mode: str = "form"
    requested_schema: dict[str, Any] | None = None
    url: str | None = None
    elicitation_id: str | None = None
    session_id: str | None = None
    tool_call_id: str | None = None
    request_id: int | str | None = None


def read_elicitation(raw: Any, modes: Collection[str]) -> ElicitationParams:
    """Return the parameters of a question in one of ``modes``.

    Raises:
        ValueError: it is none that can be asked; the text says why, for the agent.
    """
    try:
        params = ElicitationParams.parse(raw)
    except ValidationError:
        raise ValueError("malformed elicitation request") from None
    if params.mode not in modes:
        raise ValueError("this mode of elicitation was not announced")
    if (params.session_id is None) == (params.request_id is None):
        raise ValueError("an elicitation belongs to either a sessionId or a requestId")
    if params.mode == "url" and not (params.url and params.elicitation_id):
        raise ValueError("an elicitation in url mode has an url and an elicitationId")
    if params.mode == "form" and params.requested_schema is None:
        raise ValueError("an elicitation in form mode has a requestedSchema")
    return params


def cancelled_elicitation(request_id: RequestId) -> Response:
    """Return the answer to a question that nobody answers."""
    return Response(request_id, {"action": "cancel"})


class ElicitationRequest(OpenRequest):
    """A question that waits for a person.

    Attributes:
        params: what is asked.
        completed: the agent has said that what was to be done on the page is done.
        on_completed: called when it says so, whether the question was answered before or not.
    """

    def __init__(
        self, request_id: RequestId, params: ElicitationParams, answer: Callable[[OpenRequest, Response], None]
    ) -> None:
        super().__init__(request_id, answer)
        self.params = params
        self.completed = False
        self.on_completed: Callable[[], None] | None = None

    def cancelled(self) -> Response:
        return cancelled_elicitation(self.id)

    def accept(self, content: dict[str, Any] | None = None) -> bool:
        """Answer with what was filled in; without content that the page may be opened. False: already answered."""
        given = {} if content is None else {"content": content}
        return self._settle(Response(self.id, {"action": "accept", **given}))

    def decline(self) -> bool:
        """Answer that the person does not want to; False if it is already answered."""
        return self._settle(Response(self.id, {"action": "decline"}), rejected=True)

    def refuse(self, why: str) -> bool:
        """Answer with an error, as it can't be asked like this; False if it is already answered."""
        return self._settle(Response(self.id, error=RpcError(INVALID_PARAMS, why)), rejected=True)

    def complete(self) -> None:
        """Take the agent's word that it is done; only the first call counts."""
        if self.completed:
            return
        self.completed = True
        # Done before anybody pressed a button here: who went through with it has agreed to it.
        self.accept()
        if self.on_completed is not None:
            self.on_completed()


class OwnQuestion(ElicitationRequest):
    """A question that we ask in a turn ourselves; its one answer goes to ``heard``, and not to the agent.

    Args:
        number: tells it from the others of its session.
        answered: lets the session forget it.
    """

    def __init__(
        self,
        number: int,
        params: ElicitationParams,
        answered: Callable[[OpenRequest, Response], None],
        heard: Callable[[Response], None],
    ) -> None:
        super().__init__(number, params, answered)
        # Unlike the key of any id: an agent chooses its ids as it likes, and must not hit upon one of ours.
        self.key = f"own {number}"
        self.heard = heard

    def close(self, reason: RequestEnd) -> Response | None:
        response = super().close(reason)
        if response is not None:
            self.heard(response)
        return None  # nothing is to be written to the agent
