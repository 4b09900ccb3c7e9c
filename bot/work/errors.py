"""What an agent's error becomes for the people in the thread (pure).

Codes and messages are free-form in practice. So people read the message as it came, whatever it says; a code that is
known adds the outcome and what to do about it, and the words in an error's `data` follow the message.
`bot.reply.render` redacts, cuts and shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from acp.errors import AUTH_REQUIRED, INVALID_PARAMS, REQUEST_CANCELLED, RESOURCE_NOT_FOUND
from bot.model import Outcome

_LOGIN = "log in"
_MOST_METHODS = 5
_DATA_KEYS = ("message", "details", "detail", "error")
_DATA_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Row:
    """What a code stands for in the answer to a prompt; the advice comes before the message."""

    outcome: Outcome = Outcome.FAILED
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of an error."""

    outcome: Outcome
    reason: str


FREE_FORM = Row()

_LOST = Row(advice="the agent may no longer know this conversation")
_BUSY = Row(advice="the model's provider wants fewer requests, try again later")
_FAULT = Row(advice="the model's provider has a fault, try again later")

ROWS = {
    AUTH_REQUIRED: Row(advice=_LOGIN),
    REQUEST_CANCELLED: Row(Outcome.STOPPED),  # nobody asked for it, or the turn would not be a failed one
    RESOURCE_NOT_FOUND: _LOST,
    INVALID_PARAMS: _LOST,  # all that a prompt names is its session
    401: Row(advice=_LOGIN),
    429: _BUSY,
    500: _FAULT,
    502: _FAULT,
    503: _FAULT,
    529: _FAULT,
    1001: Row(advice="a part of the agent has ended, try again"),
}
"""Codes with a meaning of their own; all others are `FREE_FORM`."""


def told_of_answer(code: int | None, message: str, methods: Sequence[str] = ()) -> Told:
    """Return what is told of an error in the place of the answer to a prompt.

    Args:
        methods: names of the agent's ways to log in, as far as they are known.
    """
    row = ROWS.get(code, FREE_FORM) if code is not None else FREE_FORM
    return Told(row.outcome, _advised(row, message, methods))


def told_of_start(code: int, message: str, text: str, methods: Sequence[str] = ()) -> Told:
    """Return what is told of an error that came instead of a session; ``text`` also names the request and the code."""
    row = ROWS.get(code, FREE_FORM)
    asks_for_login = row.advice == _LOGIN
    return Told(Outcome.COULD_NOT_START, _advised(row, message, methods) if asks_for_login else text)


def with_data(message: str, data: Any) -> str:
    """Return an error's message with the text of its `data` behind it where that says more: it is often the cause.

    `data` may be anything; understood are a text, and an object with a text, or such an object, under a usual name.
    """
    text = _text_in(data, _DATA_DEPTH)
    if not text or text.lower() in message.lower():
        return message
    return text if text.lower().startswith(message.lower()) else f"{message}: {text}"


def _text_in(data: Any, depth: int) -> str:
    if isinstance(data, str):
        return data.strip()
    if not isinstance(data, dict) or not depth:
        return ""
    texts = (_text_in(data.get(key), depth - 1) for key in _DATA_KEYS)
    return next((text for text in texts if text), "")


def _advised(row: Row, message: str, methods: Sequence[str]) -> str:
    if row.advice != _LOGIN:
        return ": ".join(part for part in (row.advice, message) if part)
    if _LOGIN in message.lower() and not methods:
        return message
    ways = " or ".join(methods[:_MOST_METHODS])
    advice = f"log in with {ways}" if ways else "log in to the agent first"
    return f"{advice}: {message}" if message else advice
