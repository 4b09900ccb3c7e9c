"""One prompt turn of the demo agent: runs a scene's steps and says what the prompt is to be answered with.

Everything that waits (a pause, a permission request) ends with a cancel; an open permission request is waited for even
then, since the client owes it an answer. What is shown is decided in `agent_scenes`, the answer is sent by `agent`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.demo.agent_scenes import (
    ALLOW_ALWAYS,
    OPTIONS,
    Ask,
    Brought,
    Crash,
    Fail,
    Pause,
    Question,
    Request,
    Say,
    Scene,
    Show,
    Spend,
    Step,
    Think,
    scene_for,
)
from bot.demo.agent_sessions import Session
from bot.demo.agent_wire import Wire

CHUNK_PAUSE = 0.05  # seconds between two chunks, at pace 1
ANSWER_LIMIT = 5.0  # seconds in which a client must answer an open permission request after a cancel
CONTEXT_SIZE = 200_000
TITLE_LENGTH = 60


class TurnCancelled(Exception):
    """The client cancelled the turn."""


class TurnFailed(Exception):
    """The scene wants the prompt answered with an error."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ended: with a stop reason or, where ``error`` is given, with that error."""

    stop_reason: str
    error: str | None = None


class Turn:
    """Mutable are the cancelled flag (set by the reading thread), the text said, and the tools not yet finished."""

    def __init__(self, wire: Wire, session: Session, request_id: Any, text: str, pace: float, brought: Brought) -> None:
        self.session = session
        self.request_id = request_id
        self._wire = wire
        self._text = text
        self._pace = pace
        self._brought = brought
        self._cancelled = False
        self._said: list[str] = []
        self._unfinished: set[str] = set()
        self._name = f"turn-{len(session.history)}"
        self._message_ids = (f"{self._name}-message-{number}" for number in itertools.count(1))

    def cancel(self) -> None:
        """End the turn at its next step; may be called from any thread, more than once."""
        with self._wire.changed:
            self._cancelled = True
            # Whatever the turn waits for: a pause and an open request end alike.
            self._wire.changed.notify_all()

    def run(self, save: Callable[[Session], None]) -> Outcome:
        """Play the turn, keep it in the session, and return what to answer the prompt with.

        Raises:
            WireClosed: the client is gone.
        """
        self.session.history.append(("user", self._text))
        self._show_title()  # before it is saved: who is killed in the first turn keeps the name
        save(self.session)
        outcome = self._outcome()
        self.session.history.append(("agent", "".join(self._said)))
        # Also of a turn that was cancelled or failed, as with real agents.
        self.session.cost += self.session.price
        save(self.session)
        self._show_usage()
        return outcome

    def _outcome(self) -> Outcome:
        request = Request(self._text, Path(self.session.cwd), self._name, not self.session.asks, self._brought)
        try:
            self._play(scene_for(request))
        except TurnCancelled:
            self._end_tools()
            return Outcome("cancelled")
        except (TurnFailed, OSError) as exc:
            self._end_tools()
            return Outcome("end_turn", str(exc))
        return Outcome("end_turn")

    def _end_tools(self) -> None:
        for tool_id in sorted(self._unfinished):
            self._update({"sessionUpdate": "tool_call_update", "toolCallId": tool_id, "status": "failed"})

    def _play(self, scene: Scene) -> None:
        with contextlib.closing(scene), contextlib.suppress(StopIteration):  # how a generator says that it is done
            step = next(scene)
            while True:
                # A cancel is noticed between two steps even where none of them waits.
                self._pause(0)
                step = scene.send(self._do(step))

    def _do(self, step: Step) -> str:
        """Do one step; return the option chosen if it asked for one."""
        match step:
            case Say(text, chunks):
                self._stream("agent_message_chunk", text, chunks)
            case Think(text):
                self._stream("agent_thought_chunk", text, len(text))
            case Show(update):
                self._show(update)
            case Pause(seconds):
                self._pause(seconds)
            case Ask(tool_call):
                return self._ask(tool_call)
            case Question(message, properties, required):
                return self._question(message, properties, required)
            case Spend(dollars):
                self.session.cost += dollars
            case Fail(message):
                raise TurnFailed(message)
            case Crash(code):
                # No tidying up: it is to look like a crash.
                os._exit(code)
        return ""

    def _stream(self, kind: str, text: str, limit: int) -> None:
        message_id = next(self._message_ids)
        for piece in pieces(text, limit):
            self._update({"sessionUpdate": kind, "content": {"type": "text", "text": piece}, "messageId": message_id})
            if kind == "agent_message_chunk":
                self._said.append(piece)
            self._pause(CHUNK_PAUSE)

    def _show(self, update: dict[str, Any]) -> None:
        if tool_id := update.get("toolCallId"):
            finished = update.get("status") in ("completed", "failed")
            (self._unfinished.discard if finished else self._unfinished.add)(tool_id)
        self._update(update)

    def _ask(self, tool_call: dict[str, Any]) -> str:
        params = {"sessionId": self.session.id, "toolCall": tool_call, "options": OPTIONS}
        chosen = chosen_option(self._answer("session/request_permission", params))
        self.session.trusted = self.session.trusted or chosen == ALLOW_ALWAYS
        return chosen

    def _question(self, message: str, properties: dict[str, Any], required: Sequence[str]) -> str:
        schema = {"type": "object", "properties": properties, "required": [*required]}
        params = {"sessionId": self.session.id, "mode": "form", "message": message, "requestedSchema": schema}
        result = self._answer("elicitation/create", params).get("result")
        accepted = isinstance(result, dict) and result.get("action") == "accept"
        return json.dumps(result.get("content", {})) if accepted and isinstance(result, dict) else ""

    def _answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Ask people something and return the whole response."""
        number = self._wire.request(method, params)
        self._wire.wait(lambda: self._cancelled or self._wire.answer(number) is not None)
        if self._cancelled:
            self._wire.wait(lambda: self._wire.answer(number) is not None, ANSWER_LIMIT)
            # Whatever was answered: a turn that is cancelled does nothing more.
            raise TurnCancelled
        return self._wire.answer(number) or {}

    def _pause(self, seconds: float) -> None:
        if self._wire.wait(lambda: self._cancelled, seconds * self._pace):
            raise TurnCancelled

    def _show_title(self) -> None:
        if not self.session.title:
            # Not all of it: below a person's words Weft lists the files that came with them.
            written, _, _ = self._text.strip().partition("\n\n")
            self.session.title = " ".join(written.split())[:TITLE_LENGTH] or "(empty prompt)"
            self._update({"sessionUpdate": "session_info_update", "title": self.session.title})

    def _show_usage(self) -> None:
        cost = {"amount": round(self.session.cost, 6), "currency": "USD"}
        self._update(
            {"sessionUpdate": "usage_update", "used": self.session.used, "size": CONTEXT_SIZE, "cost": cost},
        )

    def _update(self, update: dict[str, Any]) -> None:
        self._wire.update(self.session.id, update)


def pieces(text: str, limit: int) -> Iterator[str]:
    """Cut a text into pieces of whole words with the space around them, two words each or, past the limit, more."""
    words = re.findall(r"\s*\S+\s*", text) or [text]
    size = max(2, -(-len(words) // max(1, limit)))
    for start in range(0, len(words), size):
        yield "".join(words[start : start + size])


def chosen_option(response: dict[str, Any]) -> str:
    """Return the id of the option in the response to a permission request, or nothing."""
    result = response.get("result")
    outcome = result.get("outcome") if isinstance(result, dict) else None
    return str(outcome.get("optionId", "")) if isinstance(outcome, dict) else ""
