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

LOGIN = "log in"
_MOST_METHODS = 5
_DATA_KEYS = ("message", "details", "detail", "error")
_DATA_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Row:
    """What a code stands for in the answer to a prompt; the advice comes before the message."""

    outcome: Outcome = Outcome.FAILED
    advice: str = ""


FREE_FORM = Row()

_LOST = Row(advice="the agent may no longer know this conversation")
_BUSY = Row(advice="the model's provider wants fewer requests, try again later")
_FAULT = Row(advice="the model's provider has a fault, try again later")

ROWS = {
    AUTH_REQUIRED: Row(advice=LOGIN),
    REQUEST_CANCELLED: Row(Outcome.STOPPED),  # nobody asked for it, or the turn would not be a failed one
    RESOURCE_NOT_FOUND: _LOST,
    INVALID_PARAMS: _LOST,  # all that a prompt names is its session
    401: Row(advice=LOGIN),
    429: _BUSY,
    500: _FAULT,
    502: _FAULT,
    503: _FAULT,
    529: _FAULT,
    1001: Row(advice="a part of the agent has ended, try again"),
}
"""Codes with a known meaning; all others are `FREE_FORM`."""


def with_data(message: str, data: Any) -> str:
    """Return an error's message with the text of its `data` behind it where that says more: it is often the cause.

    `data` may be anything; understood are a text, and an object with a text, or such an object, under a usual name.
    """
    text = _text_in(data, _DATA_DEPTH)
    # Some agents repeat the message there, in full or as its beginning.
    if not text or text.lower() in message.lower():
        return message
    return text if text.lower().startswith(message.lower()) else f"{message}: {text}"


def _text_in(data: Any, depth: int) -> str:
    if isinstance(data, str):
        return data.strip()
    # Bounded: the agent may nest it as deep as it likes.
    if not isinstance(data, dict) or not depth:
        return ""
    texts = (_text_in(data.get(key), depth - 1) for key in _DATA_KEYS)
    return next((text for text in texts if text), "")


def advised(row: Row, message: str, methods: Sequence[str] = ()) -> str:
    """Return an error's message behind the advice for its code.

    Args:
        methods: names of the agent's ways to log in, as far as they are known.
    """
    if row.advice != LOGIN:
        return ": ".join(part for part in (row.advice, message) if part)
    # Many agents say so themselves; only the names of the ways are worth saying it twice.
    if LOGIN in message.lower() and not methods:
        return message
    ways = " or ".join(methods[:_MOST_METHODS])
    advice = f"log in with {ways}" if ways else "log in to the agent first"
    return f"{advice}: {message}" if message else advice
