"""The demo agent, ``python -P -m bot.demo.agent``: shows over ACP what an agent can show, without any account.

Standard library only, so that it starts fast. The main thread reads stdin and answers what can be answered at once; a
separate thread plays each prompt (`agent_turn`). The mutable state here is the map of running turns, guarded by the
wire's condition. ``WEFT_DEMO_PACE`` scales every pause; 0 leaves them out.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot.demo.agent_options import commands, config_options, offered
from bot.demo.agent_scenes import Brought, summaries
from bot.demo.agent_sessions import Session, Sessions, default_directory
from bot.demo.agent_turn import Turn
from bot.demo.agent_wire import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    JSON,
    METHOD_NOT_FOUND,
    NOT_FOUND,
    PARSE_ERROR,
    Wire,
    WireClosed,
)

PROTOCOL_VERSION = 1
FROM_WEFT, DEFAULT_FOLDER = "[From Weft", ".weft/out"
OUT_FOLDER = re.compile(r"\.weft/out/\d+")
OPENING = ("session/new", "session/load", "session/resume", "session/fork")
LEAVE_LIMIT = 1.0  # seconds in which running turns must end after the end of stdin


class Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Agent:
    """Answers one client."""

    def __init__(self, wire: Wire, sessions: Sessions, pace: float) -> None:
        self._wire = wire
        self._sessions = sessions
        self._pace = pace
        self._turns: dict[str, tuple[Turn, threading.Thread]] = {}
        self._folders: dict[str, str] = {}
        self._requests: dict[str, Callable[[JSON], JSON]] = {
            "initialize": self._initialize,
            "session/new": self._new,
            "session/load": self._load,
            "session/resume": self._resume,
            "session/list": self._list,
            "session/fork": self._fork,
            "session/set_config_option": self._set_option,
        }

    def serve(self, lines: Iterable[bytes]) -> None:
        """Answer line by line until there are no more, then end every turn."""
        try:
            for line in lines:
                self._receive(line)
        finally:
            self._wire.close()
            for _, thread in list(self._turns.values()):
                # Bounded: a turn that hangs must not keep the process, which has nobody left to talk to.
                thread.join(LEAVE_LIMIT)

    def _receive(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self._wire.fail(None, PARSE_ERROR, "not a JSON text")
            return
        if not isinstance(message, dict):
            self._wire.fail(None, INVALID_REQUEST, "not a JSON-RPC message")
        # An answer to a request of ours; whatever else has no method is ignored there.
        elif "method" not in message:
            self._wire.resolve(message)
        elif "id" in message:
            self._answer(message["id"], message["method"], _params(message))
        else:
            self._notified(message["method"], _params(message))

    def _answer(self, request_id: Any, method: Any, params: JSON) -> None:
        handler = self._requests.get(method) if isinstance(method, str) else None
        try:
            if method == "session/prompt":
                self._prompt(request_id, params)
            elif handler is None:
                self._wire.fail(request_id, METHOD_NOT_FOUND, f"method not found: {method}")
            else:
                result = handler(params)
                self._wire.respond(request_id, result)
                # After the answer: before it the client does not know the session.
                if method in OPENING:
                    self._tell_commands(str(result.get("sessionId") or params.get("sessionId")))
        except Refused as exc:
            self._wire.fail(request_id, exc.code, str(exc))

    def _notified(self, method: Any, params: JSON) -> None:
        for turn in self._running():
            match method:
                case "session/cancel":
                    meant = turn.session.id == params.get("sessionId")
                case "$/cancel_request":
                    meant = turn.request_id == params.get("requestId")
                case _:
                    meant = False
            if meant:
                turn.cancel()

    def _running(self) -> list[Turn]:
        with self._wire.changed:
            return [turn for turn, _ in self._turns.values()]

    def _initialize(self, _: JSON) -> JSON:
        return {
            "protocolVersion": PROTOCOL_VERSION,
            "agentCapabilities": {
                "loadSession": True,
                "sessionCapabilities": {"resume": {}, "list": {}, "fork": {}},
            },
            "agentInfo": {"name": "weft-demo", "title": "Weft demo agent", "version": "1"},
            "authMethods": [],
        }

    def _new(self, params: JSON) -> JSON:
        session = self._sessions.create(_directory(params))
        self._sessions.save(session)
        return {"sessionId": session.id, **_options(session)}

    def _fork(self, params: JSON) -> JSON:
        # One that runs in this process stays where it works.
        origin = self._sessions.get(str(params.get("sessionId"))) or self._reopened(params)
        copied = self._sessions.copy(origin, _directory(params))
        self._sessions.save(copied)
        return {"sessionId": copied.id, **_options(copied)}

    def _list(self, params: JSON) -> JSON:
        cwd = params.get("cwd")
        listed = self._sessions.listed(cwd if isinstance(cwd, str) else None)
        return {"sessions": [_info(changed, session) for changed, session in listed]}

    def _set_option(self, params: JSON) -> JSON:
        session, option, value = self._known(params), params.get("configId"), params.get("value")
        if not offered(option, value):
            raise Refused(INVALID_PARAMS, f"{option} can't be {value}")
        session.chosen[str(option)] = str(value)
        self._sessions.save(session)
        return _options(session)

    def _tell_commands(self, session_id: str) -> None:
        told = {"sessionUpdate": "available_commands_update", "availableCommands": commands(summaries())}
        self._wire.update(session_id, told)

    def _load(self, params: JSON) -> JSON:
        session = self._reopened(params)
        for role, text in session.history:
            kind = "user_message_chunk" if role == "user" else "agent_message_chunk"
            self._wire.update(session.id, {"sessionUpdate": kind, "content": {"type": "text", "text": text}})
        return _options(session)

    def _resume(self, params: JSON) -> JSON:
        return _options(self._reopened(params))

    def _reopened(self, params: JSON) -> Session:
        session = self._sessions.reopen(str(params.get("sessionId")), _directory(params))
        if session is None:
            raise Refused(NOT_FOUND, f"no session {params.get('sessionId')}")
        return session

    def _known(self, params: JSON) -> Session:
        session = self._sessions.get(str(params.get("sessionId")))
        if session is None:
            raise Refused(NOT_FOUND, f"no session {params.get('sessionId')}")
        return session

    def _prompt(self, request_id: Any, params: JSON) -> None:
        session = self._known(params)
        prompt = params.get("prompt")
        self._folders[session.id] = folder = folder_named(prompt) or self._folders.get(session.id, DEFAULT_FOLDER)
        brought = Brought(tuple(described(prompt)), folder)
        turn = Turn(self._wire, session, request_id, prompt_text(prompt), self._pace, brought)
        thread = threading.Thread(target=self._play, args=(turn,), daemon=True)
        with self._wire.changed:
            # Looked at and put in under one lock: the turn before may be leaving the map at this moment.
            if session.id in self._turns:
                raise Refused(INVALID_REQUEST, "a turn of this session is still running")
            self._turns[session.id] = turn, thread
        # Outside of the lock, which the new thread wants as well.
        thread.start()

    def _play(self, turn: Turn) -> None:
        # The turn leaves the map before its answer is sent: the client may send the next prompt at once.
        with contextlib.suppress(WireClosed):  # nobody is left to answer
            try:
                outcome = turn.run(self._sessions.save)
            finally:
                with self._wire.changed:
                    del self._turns[turn.session.id]
            if outcome.error is None:
                self._wire.respond(turn.request_id, {"stopReason": outcome.stop_reason})
            else:
                self._wire.fail(turn.request_id, INTERNAL_ERROR, outcome.error)


def prompt_text(blocks: Any) -> str:
    """Return a prompt's words: its texts, and the names of whatever else it holds, one a line."""
    # What Weft tells agents of itself is nobody's words.
    known = [block for block in _known(blocks) if not str(block.get("text")).startswith(FROM_WEFT)]
    return "\n".join(str(block.get("text") or block.get("name") or f"({block.get('type')})") for block in known)


def described(blocks: Any) -> Iterator[str]:
    """Yield a line for each file in a prompt."""
    for block in _known(blocks):
        resource = block.get("resource")
        held = resource if isinstance(resource, dict) else block
        if block.get("type") == "text":
            continue
        name = block.get("name") or str(held.get("uri") or "").rpartition("/")[2] or "a file without a name"
        size = f", {block['size']:,} bytes" if isinstance(block.get("size"), int) else ""
        yield f"`{name}` ({block.get('type')}, {held.get('mimeType') or 'of no known type'}{size})"


def folder_named(blocks: Any) -> str | None:
    """Return the folder for files that a prompt names, below the working directory."""
    texts = (str(block.get("text")) for block in _known(blocks))
    told = [found[0] for text in texts if text.startswith(FROM_WEFT) and (found := OUT_FOLDER.search(text))]
    return told[-1] if told else None


def _known(blocks: Any) -> list[JSON]:
    return [block for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []


def pace(value: str) -> float:
    """Return the factor for pauses that ``WEFT_DEMO_PACE`` asks for, 1 when it makes no sense."""
    try:
        factor = float(value)
    except ValueError:
        return 1.0
    # `float` takes "nan" and "inf", with which a pause would have no end.
    return factor if math.isfinite(factor) and factor >= 0 else 1.0


def _options(session: Session) -> JSON:
    return {"configOptions": config_options(session.chosen)}


def _info(changed: float, session: Session) -> JSON:
    info = {"sessionId": session.id, "cwd": session.cwd, "title": session.title or None}
    told = datetime.fromtimestamp(changed, UTC).isoformat() if changed else None
    return {name: value for name, value in {**info, "updatedAt": told}.items() if value is not None}


def _params(message: JSON) -> JSON:
    params = message.get("params")
    return params if isinstance(params, dict) else {}


def _directory(params: JSON) -> str:
    cwd = params.get("cwd")
    if not isinstance(cwd, str) or not Path(cwd).is_absolute() or not Path(cwd).is_dir():
        raise Refused(INVALID_PARAMS, f"cwd is not an absolute path of a directory: {cwd}")
    return cwd


def main() -> None:
    """Serve stdin and stdout until stdin ends."""
    wire = Wire(sys.stdout.fileno())
    agent = Agent(wire, Sessions(default_directory()), pace(os.environ.get("WEFT_DEMO_PACE", "1")))
    try:
        agent.serve(sys.stdin.buffer)
    except WireClosed:
        return  # the client closed its end first


if __name__ == "__main__":
    main()
