"""One session in an agent process: its turns, what waits for a person, the way of its updates.

Everything here is synchronous and called in wire order: an await in the middle would let a later message overtake an
earlier one. What an update does to a turn is decided in `acp.turn`. The mutable state is the open prompt with its turn
and sink, the requests that wait for a person, how many of them were ours, the pages to be completed, what tool calls
said in full, the messages on their way into the turn, and whether the agent has begun a turn by itself; and in the
router, which ids came first in which turn.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from typing import Any, Final, Protocol

import anyio
import structlog
from pydantic import ValidationError

from acp.commands import AgentCommand, usable_commands
from acp.elicitation import ElicitationParams, ElicitationRequest, OwnQuestion, cancelled_elicitation
from acp.errors import INTERNAL_ERROR, ProtocolError, RequestFailed
from acp.jsonrpc import Loss, Notification, RequestId, Response
from acp.open_request import OpenRequest, RequestEnd, request_key
from acp.peer import JsonRpcPeer, PendingRequest
from acp.permission_request import AskedCalls, PermissionRequest, cancelled_response
from acp.schema import (
    OUTPUT_NAMES,
    AgentMessageChunk,
    AvailableCommandsUpdate,
    ConfigOptionUpdate,
    ContentBlock,
    CurrentModeUpdate,
    MessageChunk,
    PermissionParams,
    PromptResult,
    SessionInfoUpdate,
    SessionUpdate,
    ToolCallUpdate,
    UnknownUpdate,
    decode_update,
)
from acp.session_options import SessionOptions
from acp.snapshot import Phase
from acp.steering import INJECTED, METHOD, STARTED_TURN, STAY_IDLE, Steering
from acp.tool_calls import block_text, has_result
from acp.turn import Turn

_PROMPT = "session/prompt"

REPLAY_QUIET = 0.2
REPLAY_MAX = 2.0
"""Seconds without an update that end a replay, and the most that is waited for them."""

_MOST_IDS = 20_000
"""Ids that are remembered, the latest ones; a session lives for weeks."""

_MOST_PAGES = 100
"""Questions of one turn with a page, the latest ones, whose completion is waited for."""

log = structlog.get_logger(__name__)


class Route(Enum):
    """Where an update goes that belongs to no running turn."""

    LATE = auto()
    """It is shown as output outside a turn."""


LATE: Final = Route.LATE


class TurnRouter:
    """Says which turn an update belongs to (O3).

    A session has one router; it lives as long as the session does in its process, so what a new process sends never
    meets what an old one has said.

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
        key: tuple[str, str] | None = None
        if isinstance(update, MessageChunk):
            key = ("message", update.message_id) if update.message_id else None
        elif isinstance(update, ToolCallUpdate):
            key = ("tool", update.tool_call_id)
        # 1. It belongs to the turn in which its id came first, None being a replay; without an id, to the latest.
        owner: int | None = self._number
        if key is not None and key in self._first:
            owner = self._first[key]
        elif key is not None:
            if len(self._first) >= _MOST_IDS:
                self._first.popitem(last=False)
            # Noted while muted, too: what a replay began must not turn up in the next turn's reply.
            owner = self._first[key] = None if self._muted else self._number
        if self._muted or owner is None:
            return None
        # 2. A turn that has ended takes nothing: its reply is final. What people would miss is shown apart.
        if owner == self._number and self._turn is not None and self._turn.phase is not Phase.ENDED:
            return self._turn
        if isinstance(update, AgentMessageChunk):
            return LATE if block_text(update.content) else None
        return LATE if isinstance(update, ToolCallUpdate) and has_result(update) else None


class TurnSink(Protocol):
    """What a turn reports to; all are called synchronously and must not raise."""

    def changed(self) -> None:
        """Something in the turn changed; called for each update, so it has to be cheap."""

    def permission(self, request: PermissionRequest) -> None:
        """The agent asks for permission; the request is to be shown and answered."""

    def question(self, request: ElicitationRequest) -> None:
        """The agent asks a person something; the question is to be shown and answered."""


class AgentSession:
    """A session; at most one prompt of it is open at a time.

    Attributes:
        id: the agent's id for it.
        router: knows which turn an update belongs to.
        can_steer: whether the agent takes text into a running turn.
        on_late: called with output that belongs to no running turn.
        on_title: called with a title that comes between turns; one that comes within a turn is in its snapshot.
        prompt: the latest prompt, open or answered.
        commands: which commands the agent offers now; empty before it has said so.
        options: what can be chosen in it, and is.
        briefed: whether its agent was told what it is to know of Weft; set by who tells it.
        heard: when it last said something or reported on a tool outside its turns; 0 before.

    Args:
        pid: of the process it lives in.
        replayed: whether the agent may send history that nobody wants to see.
        steer_timeout: seconds for the answer to text that was put into a running turn.
    """

    def __init__(
        self,
        pid: int | None,
        peer: JsonRpcPeer,
        session_id: str,
        *,
        replayed: bool,
        can_steer: bool,
        steer_timeout: float,
    ) -> None:
        self.id = session_id
        # An agent may answer session/load before it replays: only our next prompt ends the replay for sure.
        self.router = TurnRouter(muted=replayed)
        self.can_steer = can_steer
        # Set by who shows a thread's output, once it knows the thread; until then nobody asked anything of the session.
        self.on_late: Callable[[SessionUpdate], None] | None = None
        self.on_title: Callable[[str], None] | None = None
        self.heard = 0.0
        self.commands: tuple[AgentCommand, ...] = ()
        self.briefed = False
        self.options = SessionOptions()
        self.pid = pid
        self._peer = peer
        self._clock: Callable[[], float] = anyio.current_time
        self._turn: Turn | None = None
        self._sink: TurnSink | None = None
        self.prompt: PendingRequest | None = None
        self._requests: dict[str, OpenRequest] = {}
        self._pages: OrderedDict[str, ElicitationRequest] = OrderedDict()
        self._asked = AskedCalls()
        self._replay = anyio.CancelScope()
        self._steer_timeout = steer_timeout
        self._steerings: list[Steering] = []
        self._stray = False
        self._own_questions = 0

    async def end_of_replay(self) -> None:
        """Wait until a replay has gone quiet: an agent may answer session/load first and replay afterwards."""
        with anyio.move_on_after(REPLAY_MAX), self._replay:
            self._replay.deadline = anyio.current_time() + REPLAY_QUIET
            await anyio.sleep_forever()

    # --- what the turn's loop calls ------------------------------------------------------------------------------

    def begin_turn(
        self, turn: Turn, sink: TurnSink, prompt: list[ContentBlock], *, clock: Callable[[], float] = anyio.current_time
    ) -> PendingRequest:
        """Send the prompt; from here on ``turn`` gets the updates and the response, and ``sink`` each change.

        Raises:
            ProtocolError: the last prompt has not been answered; the session is of no more use.
        """
        if self.is_prompting:  # agents queue, merge or cancel then: no two do the same
            raise ProtocolError("the last prompt of this session is still open")
        # All before the prompt is sent: its answer may be handed on as soon as the loop runs again.
        self._turn, self._sink, self._clock = turn, sink, clock
        turn.begin(clock())  # before the first update, which may count against the deadlines already
        turn.note_options(self.options.model, self.options.unusual_mode)
        self.router.begin(turn)
        self._asked.new_turn()
        self._pages.clear()
        params = {"sessionId": self.id, "prompt": [block.to_wire() for block in prompt]}
        # Bound to this turn and this sink: a response that comes late must not end the turn after it.
        self.prompt = self._peer.start_request(_PROMPT, params, on_response=partial(self._on_response, turn, sink))
        return self.prompt

    @property
    def is_prompting(self) -> bool:
        """Whether a prompt waits for its response."""
        return self.prompt is not None and not self.prompt.done

    async def answered(self, timeout: float) -> None:
        """Wait until no prompt is open.

        Raises:
            RequestTimeout: it was not answered within ``timeout`` seconds.
            AgentExited, ProtocolError: it never will be.
        """
        if self.prompt is not None:
            with suppress(RequestFailed):  # an error is an answer
                await self.prompt.wait(timeout)

    def cancel(self, by: str | None = None) -> None:
        """Cancel the open prompt and answer what waits for a person, in one write; else do nothing.

        ``by`` stops the running turn as well, unless it has been answered or is being cancelled already. Never waits.
        """
        turn = self._turn
        # Decided before it is sent: what the agent answers to the cancel belongs to a turn that is stopped already.
        if by is not None and (turn is None or not turn.cancel(self._clock(), by)):
            return
        if self.is_prompting:
            # One write: the agent must not see the cancel while it still waits for an answer.
            cancel = Notification("session/cancel", {"sessionId": self.id})
            self.close_requests(RequestEnd.TURN_CANCELLED, None, cancel)
        if by is not None and self._sink is not None:
            self._sink.changed()

    async def set_option(self, option_id: str, value: str, timeout: float) -> str:
        """Choose a value of one of `options`; return the one that is chosen then, as the agent says.

        A prompt may be open meanwhile. An answer that comes too late still counts for what is known of the options.

        Raises:
            ValueError: there is no such option, or it has no such value.
            RequestFailed: the agent refused.
            RequestTimeout: it did not answer within ``timeout`` seconds.
            AgentExited, ProtocolError: it never will.
        """
        option = self.options.find(option_id)
        if option is None or not option.offers(value):
            raise ValueError(f"the session has no option {option_id!r} with the value {value!r}")
        method, params = option.request(value)
        answered = partial(self._on_option, option_id, value)
        pending = self._peer.start_request(method, {"sessionId": self.id, **params}, on_response=answered)
        try:
            await pending.wait(timeout)
        finally:
            if not pending.done:
                self._peer.abandon(pending)
        now = self.options.find(option_id)
        return now.current if now is not None else value

    def steer(self, turn: Turn, prompt: list[ContentBlock]) -> Steering:
        """Put text into a turn; it is written at once, so that texts keep their order.

        Awaiting the result, from any task, says whether the text is part of the turn: then it shares the turn's end. If
        not, and that is all that ever goes wrong, it has not been answered and is to be prompted (`acp.steering`).
        """
        # Not into the turn after it: whoever sent the text may have had to wait before. Nothing is sent then, so
        # nothing has to be waited for.
        running = turn is self._turn and turn.phase is Phase.RUNNING and self.is_prompting
        if not running or not self.can_steer:
            return Steering(reached=False)
        steering = Steering(self._steer_timeout)
        self._steerings.append(steering)
        answered = partial(self._on_steered, turn, steering)
        params = {"sessionId": self.id, "prompt": [block.to_wire() for block in prompt], "_meta": STAY_IDLE}
        # Its answer counts for some seconds only; one that comes later may still tell of a turn that nobody prompted.
        self._peer.abandon(self._peer.start_request(METHOD, params, on_response=answered))
        return steering

    def ask(self, params: ElicitationParams, heard: Callable[[Response], None]) -> OwnQuestion | None:
        """Ask a person something in the running turn, on our own: as if its agent had asked, until it is closed.

        ``heard`` gets the one answer, perhaps before this returns. None: no turn runs in which somebody could answer.
        """
        turn, sink = self._turn, self._sink
        if turn is None or sink is None or not self.is_prompting or turn.phase is not Phase.RUNNING:
            return None
        self._own_questions += 1
        question = OwnQuestion(self._own_questions, params, self._own_answer, heard)
        self._requests[question.key] = question
        turn.question_opened(question.key, "", self._clock())
        sink.question(question)
        return question

    # --- what the connection calls, in wire order ----------------------------------------------------------------

    def on_update(self, raw: Any) -> None:
        """Take ``params.update`` of a ``session/update``."""
        if self.prompt is None:
            self._replay.deadline = anyio.current_time() + REPLAY_QUIET
        update = decode_update(raw)
        if isinstance(update, UnknownUpdate) and update.name in OUTPUT_NAMES:
            self._lose(None)
        if isinstance(update, AvailableCommandsUpdate):
            # Also within a replay: what the session can do now is no history.
            self.commands = usable_commands(update.available_commands)
        self._feed(update)
        if isinstance(update, ConfigOptionUpdate | CurrentModeUpdate):
            # After the turn has it, whose words for it are the agent's ids.
            self.options.take(update)
            self._note_options()
        # After the turn has it, and as it came: the turn keeps what is shown, this what is asked about.
        if isinstance(raw, dict) and raw.get("sessionUpdate") in ("tool_call", "tool_call_update"):
            self._asked.news(raw)

    def on_loss(self, loss: Loss) -> None:
        """Note that a message was dropped that may have been part of the running turn."""
        self._asked.lost()
        self._lose(loss.size if loss.too_long else None)

    def on_permission(self, request_id: RequestId, params: PermissionParams) -> None:
        """Take a permission request; without a running turn there is nobody to decide it."""
        # Its tool call may be the first sight of it: it is shown, whoever decides.
        self._feed(params.tool_call)
        asked = self._people_of(request_id, cancelled_response(request_id))
        if asked is None:
            return
        turn, sink = asked
        tool_call, complete = self._asked.asked(params.tool_call)
        whole = params.model_copy(update={"tool_call": tool_call})
        request = PermissionRequest(request_id, whole, self._answer, complete=complete)
        # Open before it is shown: the sink may answer it at once.
        self._requests[request.key] = request
        turn.permission_opened(request.key, params.tool_call, self._clock())
        sink.permission(request)

    def on_elicitation(self, request_id: RequestId, params: ElicitationParams) -> None:
        """Take a question to a person; without a running turn there is nobody to answer it."""
        asked = self._people_of(request_id, cancelled_elicitation(request_id))
        if asked is None:
            return
        turn, sink = asked
        request = ElicitationRequest(request_id, params, self._answer)
        self._requests[request.key] = request
        if params.mode == "url" and params.elicitation_id:
            while len(self._pages) >= _MOST_PAGES:
                self._pages.popitem(last=False)
            self._pages[params.elicitation_id] = request
        turn.question_opened(request.key, params.tool_call_id or "", self._clock())
        sink.question(request)

    def complete_elicitation(self, elicitation_id: str) -> None:
        """Note that what was to be done on a page is done; of a question that is not this turn's, nothing is."""
        request = self._pages.pop(elicitation_id, None)
        if request is not None:
            request.complete()

    def _people_of(self, request_id: RequestId, nobody: Response) -> tuple[Turn, TurnSink] | None:
        """Return who decides a request; None: it was answered with ``nobody``, or will be with an open one's answer."""
        turn, sink = self._turn, self._sink
        if turn is None or sink is None or not self.is_prompting or turn.phase is not Phase.RUNNING:
            self._peer.send(nobody)
            return None
        # The answer to the first one of an id answers the others, too.
        return None if request_key(request_id) in self._requests else (turn, sink)

    def close_requests(self, reason: RequestEnd, key: str | None = None, *after: Notification) -> None:
        """Close what waits for a person, or the request with this key; answers and ``after`` go out in one write."""
        requests = [request for request in self._requests.values() if key in (None, request.key)]
        answers = [request.close(reason) for request in requests]
        for request in requests:
            self._forget(request)
        self._peer.send(*(answer for answer in answers if answer is not None), *after)

    def _lose(self, too_long: int | None) -> None:
        turn, sink = self._turn, self._sink
        if turn is not None and sink is not None and turn.phase is not Phase.ENDED:
            turn.lose(too_long)
            sink.changed()

    def _feed(self, update: SessionUpdate) -> None:
        target = self.router.route(update)
        if target is not None and target is not LATE:
            target.feed(update, self._clock())
            if self._sink is not None:
                self._sink.changed()
            return
        # Counts as use, so that no agent is ended at work; a replay does not: nobody has prompted yet.
        if self.prompt is not None and isinstance(update, MessageChunk | ToolCallUpdate):
            self.heard = self._clock()
        if target is LATE and self.on_late is not None:
            self.on_late(update)
        # Some agents think it up after the answer, by another call to their model: it may come after the drain.
        if isinstance(update, SessionInfoUpdate) and update.title and self.on_title is not None:
            self.on_title(update.title)

    def _on_response(self, turn: Turn, sink: TurnSink, pending: PendingRequest) -> None:
        now = self._clock()
        # 1. Nobody may decide anything for a turn that is over, and text that is still on its way came too late.
        self._asked.new_turn()
        self.close_requests(RequestEnd.TURN_ENDED)
        for steering in self._steerings:
            steering.settle(False)
        self._steerings.clear()
        self._cancel_stray_turn()
        # 2. The turn takes it last: how it looks from now on, it has no open requests.
        if pending.error is not None:
            turn.fail(pending.error, now)
        else:
            try:
                result = PromptResult.parse(pending.result)
            except ValidationError:
                turn.fail(RequestFailed(_PROMPT, INTERNAL_ERROR, "the answer has no stop reason"), now)
            else:
                turn.respond(result.stop_reason, result.spent, now)
        sink.changed()

    def _on_option(self, option_id: str, value: str, pending: PendingRequest) -> None:
        # In wire order, as an update that follows may already tell of the next change.
        if pending.error is None:
            self.options.chosen(option_id, value, pending.result)
            self._note_options()

    def _note_options(self) -> None:
        turn, sink = self._turn, self._sink
        if turn is not None and sink is not None and turn.phase is not Phase.ENDED:
            turn.note_options(self.options.model, self.options.unusual_mode)
            sink.changed()

    def _on_steered(self, turn: Turn, steering: Steering, pending: PendingRequest) -> None:
        outcome = pending.result.get("outcome") if isinstance(pending.result, dict) else None
        if outcome == STARTED_TURN and self._turn is turn:
            log.warning("turn.strayed", pid=self.pid)
            self._stray = True
        # A turn that nobody looks after any more is over for us, although its response is still to come.
        steering.settle(outcome == INJECTED and turn.phase in (Phase.RUNNING, Phase.CANCELLING))
        # While our own prompt is open a cancel would hit that one; it is sent after the response.
        if not self.is_prompting:
            self._cancel_stray_turn()

    def _cancel_stray_turn(self) -> None:
        """Cancel a turn that the agent began by itself: its text is going to be prompted, and answered once."""
        if self._stray:
            self._stray = False
            self._peer.send(Notification("session/cancel", {"sessionId": self.id}))

    # --- what waits for a person -------------------------------------------------------------------------------------

    def _answer(self, request: OpenRequest, response: Response) -> None:
        # Written before anything else changes: whatever the sink does now, the agent has its answer.
        self._peer.send(response)
        self._forget(request)

    def _own_answer(self, request: OpenRequest, response: Response) -> None:
        assert isinstance(request, OwnQuestion)
        self._forget(request)
        request.heard(response)

    def _forget(self, request: OpenRequest) -> None:
        del self._requests[request.key]
        if self._turn is not None:
            self._turn.permission_closed(request.key, self._clock(), rejected=request.rejected)
        if self._sink is not None:
            self._sink.changed()
