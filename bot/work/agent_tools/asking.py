"""The tool that asks people: a question as agents ask by themselves, in the turn that runs (M2, C6).

So it has the card, the limits, the rights and the ends of `bot.work.questions`; here it is only made of the call, and
its answer put into words. There is no state.
"""

from __future__ import annotations

from typing import Any

import anyio
import orjson

from acp.elicitation import ElicitationParams
from acp.jsonrpc import Response
from acp.open_request import RequestEnd
from bot.mcp.tools import Ask, AskField, ToolRefused
from bot.reply.sanitise import clip
from bot.work.permissions.cards import CardState
from bot.work.permissions.shown_card import NOT_TAKEN
from bot.work.questions.registry import Question
from bot.work.running_turn import RunningTurn

ANSWER = "answer"

NOT_NOW = "The turn is ending, so nobody can be asked any more."
TOO_MANY = "Nobody was asked: too many questions and requests of this turn are open, or were asked already."
NOT_SHOWN = "The question could not be shown in the thread, so nobody was asked. Say what you need in your answer."
NOBODY = "Nobody answered in time. Go on without an answer, or end your turn and say what you need."
CANCELLED = "The question was cancelled before anyone answered."

_KINDS = {"text": "string", "choice": "string"}
_NAME = 60


def schema_of(asked: Ask) -> dict[str, Any]:
    """Return the form of a question as the protocol describes it: one answer, or the fields."""
    fields = asked.fields or (
        AskField(name=ANSWER, label="Answer", type="choice" if asked.options else "text", options=asked.options),
    )
    return {
        "type": "object",
        "properties": {field.name: _property(field) for field in fields},
        "required": [field.name for field in fields if field.required],
    }


def _property(field: AskField) -> dict[str, Any]:
    described: dict[str, Any] = {"type": _KINDS.get(field.type, field.type), "title": field.label or field.name}
    if field.description:
        described["description"] = field.description
    if field.options:
        # Each once, as a form that offers the same twice is refused.
        described["enum"] = list(dict.fromkeys(field.options))
    return described


async def ask(running: RunningTurn, asked: Ask) -> str:
    """Ask a question in a turn and wait for its end; return what its agent is told.

    Raises:
        ToolRefused: nobody was asked.
    """
    session, answers, done = running.session, list[Response](), anyio.Event()
    if session is None:
        raise ToolRefused(NOT_NOW)

    def heard(answer: Response) -> None:
        answers.append(answer)
        done.set()

    request = session.ask(ElicitationParams(message=asked.question, requested_schema=schema_of(asked)), heard)
    if request is None:
        raise ToolRefused(NOT_NOW)
    # Taken now: once it is over, it no longer knows what was asked.
    question = next((one for one in running.questions if one.request is request), None)
    try:
        await done.wait()
    finally:
        if not answers:
            # The agent gave the call up, or ended: as if it had withdrawn a request of its own.
            session.close_requests(RequestEnd.WITHDRAWN, request.key)
    return _told(answers[0], question, single=asked.fields is None)


def _told(answer: Response, question: Question | None, *, single: bool) -> str:
    if answer.error is not None:
        raise ToolRefused(f"Nobody was asked: {answer.error.message}.")
    if question is None:
        raise ToolRefused(TOO_MANY)
    result = answer.result if isinstance(answer.result, dict) else {}
    by = question.answered_by
    # In quotes and escaped: a name can be any text, and must not pass for words of ours.
    who = orjson.dumps(clip(by.name, _NAME)).decode() if by is not None else "Somebody"
    match result.get("action"):
        case "accept":
            content = result.get("content") or {}
            said = content.get(ANSWER) if single else content
            return f"{who} answered: {orjson.dumps(said).decode()}"
        case "decline":
            return f"{who} declined to answer. Go on without an answer, or end your turn and say what you need."
    if question.state is CardState.EXPIRED:
        return NOBODY
    return NOT_SHOWN if question.reason == NOT_TAKEN else CANCELLED
