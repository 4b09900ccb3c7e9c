"""How the scripted agent plays a turn: each step of a scenario, on the writing side of the connection.

`scenario.py` names the steps; `scripted` answers requests and begins turns. Standard library only, as there. The
mutable state is the open requests, their answers and whether a turn was cancelled, all guarded by `Wire.changed`.
"""

from __future__ import annotations

import binascii
import itertools
import json
import os
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from tests.agents.offered import Session, Sessions

    JSON = dict[str, Any]
POLL = 0.005  # seconds between two looks at a gate file
OPTIONS = [
    {"optionId": "allow", "name": "Allow", "kind": "allow_once"},
    {"optionId": "reject", "name": "Reject", "kind": "reject_once"},
]
TOOL_FIELDS = {"input": "rawInput", "locations": "locations"}


class Behaviour:
    """How one kind of agent differs from the protocol's plain reading."""

    message_ids: bool = True
    greets: bool = False  # sends `_auth/status_update` before the answer to session/new
    on_cancel: str = "waits"  # an open permission request at cancel: "waits" for our answer, "ends", or "withdraws" it
    second: str = "overlaps"  # a prompt while one runs: "overlaps", "queues", "merges", or "cancels" the one that runs
    load_error: int = -32002
    prompt_error: int = -32002
    tells_options: bool = False  # sends `config_option_update` whenever an option was set
    tells_mode: bool = False  # sends `current_mode_update` when the option that is the mode was set
    any_model: bool = False  # session/set_model takes a name that was never offered
    commands_first: bool = False  # tells its commands before the answer to session/load
    commands_again: bool = False  # tells them once more in the first turn

    def __init__(self, **differs: Any) -> None:
        vars(self).update(differs)


BEHAVIOURS = {
    "plain": Behaviour(),
    "opencode": Behaviour(on_cancel="ends", second="merges", load_error=-32603, prompt_error=-32602),
    "claude": Behaviour(greets=True, on_cancel="withdraws", second="queues", tells_mode=True, commands_again=True),
    "codex": Behaviour(greets=True, on_cancel="withdraws", second="queues", tells_options=True, commands_first=True),
    "gemini": Behaviour(message_ids=False, second="cancels", load_error=-32603, prompt_error=-32602, any_model=True),
}


def content(text: str) -> list[JSON]:
    return [{"type": "content", "content": {"type": "text", "text": text}}]


def pieces(text: str, count: int) -> Iterator[str]:
    """Cut a text into so many parts of about equal length."""
    for number in range(count):
        yield text[len(text) * number // count : len(text) * (number + 1) // count]


class Journal:
    """The log: one JSON line an event, written at once, shared by every process of the scenario."""

    def __init__(self, path: str | None) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) if path else None
        self._path = path

    def write(self, event: str, **fields: Any) -> None:
        if self._fd is not None:
            entry = {"event": event, "pid": os.getpid(), "t": time.monotonic(), **fields}
            os.write(self._fd, json.dumps(entry).encode() + b"\n")

    def count(self, event: str) -> int:
        with open(self._path or os.devnull) as log:
            # Another process may be in the middle of a line: what crosses a page becomes visible in two steps.
            return sum(json.loads(line)["event"] == event for line in log if line.endswith("\n"))


class Wire:
    """The writing side of the connection; `changed` is notified whenever an answer or a cancel arrives."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.changed = threading.Condition()
        self.open: dict[int, str] = {}
        self.answers: dict[int, JSON] = {}
        self.hearing = threading.Event()
        self.hearing.set()
        self._lock = threading.Lock()
        self._ids = itertools.count()

    def write(self, line: bytes) -> None:
        with self._lock:
            while line:
                line = line[os.write(1, line) :]

    def send(self, **message: Any) -> None:
        if "method" not in message:
            # Before the line is written: what the client says next is logged later.
            self.journal.write("responded", id=message["id"])
        self.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def update(self, session: str, update: JSON) -> None:
        self.send(method="session/update", params={"sessionId": session, "update": update})

    def request(self, method: str, params: JSON) -> int:
        with self.changed:
            number = next(self._ids)
            self.open[number] = method
        self.send(id=number, method=method, params=params)
        return number

    def resolve(self, message: JSON) -> None:
        with self.changed:
            method = self.open.pop(message["id"], None)
            self.answers[message["id"]] = message
            self.changed.notify_all()
        self.journal.write("answer", method=method, result=message.get("result"), error=message.get("error"))


class CancelledTurn(Exception):
    """The client cancelled; the rest of the turn is not played."""


class SteeredTurn(Exception):
    """More text was put into the turn; what it asks for is played instead of the rest."""


class Turn:
    """One prompt being played: each step ``{"name": ...}`` is done by the method ``do_name``.

    A turn without a request id is one that nobody prompted, and has no response.
    """

    cancelled: bool = False
    responded: bool = False
    ignore_cancel: bool = False
    out: str = ".weft/out"  # where files for people go
    cut: bool = False
    finished: bool = False
    after: Turn | None = None

    def __init__(
        self, wire: Wire, behaviour: Behaviour, sessions: Sessions, kept: Session, request_id: Any, text: str
    ) -> None:
        self.wire = wire
        self.behaviour = behaviour
        self.sessions = sessions
        self.kept = kept
        self.session = kept.id
        self.said: list[str] = []
        self.usage: JSON | None = None
        self.request_id = request_id
        self.text = text
        self.message_id = os.urandom(16).hex()
        self.cancel_result: JSON = {"stopReason": "cancelled"}
        self.late: list[tuple[float, JSON]] = []
        self.more: list[tuple[str, list[JSON]]] = []
        self.merged: list[Any] = []
        self.over = threading.Event()

    def play(self, steps: list[JSON]) -> None:
        if self.after is not None:
            self.after.over.wait()
        # What was asked outlives the process in the middle of the turn, what was said so far does not: as in all four.
        self.sessions.remember(self.kept, "user", self.text)
        try:
            self.run_all(steps)
        except CancelledTurn:
            self.respond(self.cancel_result)
        if not self.responded:
            self.respond({"stopReason": "end_turn"})
        self.over.set()
        self.send_late()

    def run_all(self, steps: list[JSON]) -> None:
        """Play the steps, and those of the texts that came meanwhile."""
        while True:
            try:
                self.run(steps)
            except SteeredTurn:
                self.cut = False
            with self.wire.changed:
                self.finished = not self.more
                if self.finished:
                    return
                self.text, steps = self.more.pop(0)
                self.message_id = os.urandom(16).hex()

    def add(self, text: str, steps: list[JSON], number: Any = None) -> bool:
        """Take more text, before or instead of the rest; the one with a number is a prompt. False: it is too late."""
        with self.wire.changed:
            if not self.takes_text():
                return False
            self.more.append((text, steps))
            if number is None:
                self.cut = True
            else:
                self.merged.append(number)
            self.wire.changed.notify_all()
        return True

    def takes_text(self) -> bool:
        return not (self.finished or self.responded or self.cancelled)

    def run(self, steps: list[JSON] | JSON) -> None:
        for step in [steps] if isinstance(steps, dict) else steps:
            name = next(iter(step))
            self.checkpoint()
            getattr(self, f"do_{name}")(step[name], step)

    def checkpoint(self, seconds: float = 0, ready: Callable[[], bool] = lambda: False) -> None:
        """Wait so long, or until ready; a cancel that is not to be ignored ends the turn, new text the steps."""
        with self.wire.changed:
            self.wire.changed.wait_for(lambda: self.stopping or self.cut or ready(), timeout=seconds)
        if self.stopping:
            raise CancelledTurn
        if self.cut:
            raise SteeredTurn

    @property
    def stopping(self) -> bool:
        return self.cancelled and not self.ignore_cancel and not self.responded

    def respond(self, result: JSON) -> None:
        result = result if self.usage is None else {**result, "usage": self.usage}
        for number in self.ending():
            self.wire.send(id=number, result=result)

    def ending(self) -> list[Any]:
        """Keep what was said, before anybody hears that the turn is over; return the ids to answer."""
        if self.said:
            self.sessions.remember(self.kept, "agent", "".join(self.said))
            self.said.clear()
        self.responded = True
        return self.numbers()

    def numbers(self) -> list[Any]:
        """Return the ids of the requests that the turn answers: none if nobody prompted it."""
        return [number for number in (self.request_id, *self.merged) if number is not None]

    def update(self, update: JSON) -> None:
        self.wire.update(self.session, update)

    def send_late(self) -> None:
        start = time.monotonic()
        for delay, update in self.late:
            time.sleep(max(0.0, start + delay - time.monotonic()))
            self.update(update)

    def say(self, kind: str, text: str, step: JSON) -> None:
        """Send a text as chunks: in ``chunks`` parts, or ``repeat`` times over (-1: until cancelled)."""
        update: JSON = {"sessionUpdate": kind}
        if self.behaviour.message_ids and step.get("id", kind) is not None:
            update["messageId"] = step.get("id", f"{self.message_id}-{kind}")
        rounds = itertools.count() if step.get("repeat") == -1 else range(step.get("repeat", 1))
        parts = list(pieces(text, step.get("chunks", 1)))
        for part in (part for _ in rounds for part in parts):
            self.update({**update, "content": {"type": "text", "text": part}})
            if kind == "agent_message_chunk":
                self.said.append(part)
            self.checkpoint(step.get("delay", 0))

    def do_text(self, text: str, step: JSON) -> None:
        self.say("agent_message_chunk", text, step)

    def do_thought(self, text: str, step: JSON) -> None:
        self.say("agent_thought_chunk", text, step)

    def do_echo(self, _: bool, step: JSON) -> None:
        self.say("agent_message_chunk", self.text, step)

    def do_tool(self, tool: JSON, step: JSON) -> None:
        """Report a tool call in three updates; what a behaviour does instead is written out as ``update`` steps."""
        call = {"toolCallId": tool.get("id", "tool-1")}
        title, kind, output = tool.get("title", "run"), tool.get("kind", "execute"), tool.get("output", "")
        shown = [{"type": "diff", **tool["diff"]}] if "diff" in tool else content(output)
        done = {"status": tool.get("status", "completed"), "content": tool.get("content", shown)}
        more = {wire: tool[name] for name, wire in TOOL_FIELDS.items() if name in tool}
        self.update({"sessionUpdate": "tool_call", **call, "title": title, "kind": kind, "status": "pending", **more})
        for changes in ({"status": "in_progress"}, done):
            self.checkpoint(step.get("delay", 0))
            self.update({"sessionUpdate": "tool_call_update", **call, **changes})

    def do_update(self, update: JSON, _: JSON) -> None:
        self.update(update)

    def do_plan(self, entries: list[tuple[str, str]], _: JSON) -> None:
        told = [{"content": text, "priority": "medium", "status": status} for text, status in entries]
        self.update({"sessionUpdate": "plan", "entries": told})

    def do_title(self, title: str | None, step: JSON) -> None:
        """Name the session, or take its name away (None); ``late``: so many seconds after the response."""
        self.kept.title = title
        self.sessions.save(self.kept)
        update = {"sessionUpdate": "session_info_update", "title": title}
        if "late" in step:
            self.late.append((step["late"], update))
        elif step.get("shown", True):
            self.update(update)

    def do_spend(self, spent: JSON, _: JSON) -> None:
        """Report what was used: with ``cost``, the sum over the session; ``response`` goes into the answer."""
        self.usage = spent.get("response", self.usage)
        update = {"sessionUpdate": "usage_update", "used": spent.get("used", 12_000), "size": 200_000}
        if "cost" in spent:
            self.kept.cost = round(self.kept.cost + spent["cost"], 6)
            self.sessions.save(self.kept)
            update["cost"] = {"amount": self.kept.cost, "currency": spent.get("currency", "USD")}
        if set(spent) != {"response"}:
            self.update(update)

    def do_set(self, changes: JSON, _: JSON) -> None:
        """Change options by itself: {option id: value}, where the session has modes only its mode as ``mode``."""
        for name, value in changes.items():
            if self.kept.options is None:
                self.kept.choose_mode(value)
                self.update({"sessionUpdate": "current_mode_update", "currentModeId": value})
            else:
                self.kept.choose(name, value)
        if self.kept.options is not None:
            self.update({"sessionUpdate": "config_option_update", "configOptions": self.kept.shown_options()})

    def do_late(self, updates: list[tuple[float, JSON]], _: JSON) -> None:
        self.late += updates

    def do_respond(self, result: JSON, step: JSON) -> None:
        numbers = self.ending()
        for number in [step["id"]] if "id" in step else numbers:
            self.wire.send(id=number, result=result)

    def do_error(self, error: JSON, _: JSON) -> None:
        for number in self.ending():
            self.wire.send(id=number, error=error)

    def do_pause(self, seconds: float, _: JSON) -> None:
        self.checkpoint(seconds)

    def do_hang(self, _: bool, step: JSON) -> None:
        self.ignore_cancel = step.get("ignore_cancel", self.ignore_cancel)
        self.checkpoint(threading.TIMEOUT_MAX)

    def do_ignore_cancel(self, value: bool, _: JSON) -> None:
        self.ignore_cancel = value

    def do_on_cancel(self, result: JSON, _: JSON) -> None:
        self.cancel_result = result

    def do_wait_file(self, path: str, _: JSON) -> None:
        while not os.path.exists(path):
            self.checkpoint(POLL)

    def do_mark(self, name: str, _: JSON) -> None:
        self.wire.journal.write("mark", name=name)

    def do_exit(self, code: int, _: JSON) -> None:
        os._exit(code)

    def do_kill(self, number: int, _: JSON) -> None:
        os.kill(os.getpid(), number)
        # Another thread may be the one that takes the signal: nothing is said while it is on its way.
        threading.Event().wait()

    def do_raw(self, text: str, step: JSON) -> None:
        line = binascii.a2b_base64(text) if step.get("base64") else text.encode()
        line = line.replace(b"$SESSION", self.session.encode())
        self.wire.write(line * step.get("times", 1) + step.get("end", "\n").encode())

    def do_flood(self, size: int, step: JSON) -> None:
        """Send ``times`` chunks of so many characters, encoded once: what is measured is the client, not this agent."""
        content = {"type": "text", "text": (step.get("text", "x") * size)[:size]}
        update = {"sessionUpdate": "agent_message_chunk", "content": content, "messageId": self.message_id}
        params = {"sessionId": self.session, "update": update}
        line = json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params}).encode() + b"\n"
        batch = max(1, 65536 // len(line))
        for sent in range(0, step.get("times", 1), batch):
            self.wire.write(line * min(batch, step.get("times", 1) - sent))
            self.checkpoint()

    def do_deaf(self, deaf: bool, _: JSON) -> None:
        """Read no more of what the client says, after the line that is being read; or hear again."""
        if deaf:
            self.wire.hearing.clear()
        else:
            self.wire.hearing.set()

    def do_stderr(self, text: str, step: JSON) -> None:
        sys.stderr.write(text * step.get("times", 1))
        sys.stderr.flush()

    def do_files(self, files: dict[str, str], _: JSON) -> None:
        for name, data in files.items():
            path = name.replace("{out}", self.out)
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            with open(path, "wb") as file:
                file.write(binascii.a2b_base64(data))

    def do_python(self, code: str, _: JSON) -> None:
        from pathlib import Path

        Path(self.out).mkdir(parents=True, exist_ok=True)
        exec(code, {"out": Path(self.out)})

    def do_spawn_shell(self, command: str, step: JSON) -> None:
        import subprocess

        out = None if step.get("holds_stdout") else subprocess.DEVNULL
        child = subprocess.Popen(command, shell=True, stdin=subprocess.DEVNULL, stdout=out, start_new_session=True)
        self.wire.journal.write("spawned", child=child.pid)

    def do_request(self, request: JSON, step: JSON) -> None:
        params = {"sessionId": self.session, **request.get("params", {})}
        number = self.wire.request(request["method"], params)
        if step.get("wait", True):
            self.checkpoint(threading.TIMEOUT_MAX, lambda: number in self.wire.answers)

    def do_permission(self, asked: JSON, step: JSON) -> None:
        call = {"toolCallId": "tool-1", "title": "run", "kind": "execute", "status": "pending", **asked.get("tool", {})}
        params = {"sessionId": self.session, "toolCall": call, "options": asked.get("options", OPTIONS)}
        number = self.wire.request("session/request_permission", params)
        if step.get("wait", True):
            chosen, then = self.decision(number), step.get("then", {})
            self.run(then.get(chosen, then.get("*", [])))

    def do_elicit(self, asked: JSON, step: JSON) -> None:
        """Ask a person; ``then`` has what follows each action, and ``{answer}`` in its texts is the whole answer."""
        params = {"sessionId": self.session, "mode": "form", "message": "Which one?", **asked}
        number = self.wire.request(
            "elicitation/create", {name: value for name, value in params.items() if value is not None}
        )
        if step.get("wait", True):
            self.until_answered(number)
            message = self.wire.answers[number]
            answer = message.get("result") or message.get("error")
            then = step.get("then", {"*": [{"text": "{answer}"}]})
            steps = then.get(message.get("result", {}).get("action", "error"), then.get("*", []))
            told = json.dumps(json.dumps(answer, sort_keys=True))[1:-1]
            self.run(json.loads(json.dumps(steps).replace("{answer}", told)))

    def do_call(self, asked: JSON, step: JSON) -> None:
        """Call a tool of a server; ``then`` has what follows "ok" and "error", with "{result}" for its text."""
        # Here only: it takes longer to import than most turns do.
        from tool_calls import CLIENTS, wait_for_answer  # type: ignore[import-not-found]

        servers = asked.get("servers", self.kept.servers)
        if isinstance(servers, str):
            with open(servers) as file:
                servers = json.load(file)
        if not servers:
            raise ValueError("the session was given no server")
        # The names of all are known to the server alone.
        client = CLIENTS.of(servers[0], self.wire.changed, sdk=asked.get("sdk", not asked.get("tool")))
        number = client.call(asked.get("tool", ""), asked.get("arguments", {}))
        if not step.get("wait", True):
            return
        answer = wait_for_answer(client, number, lambda ready: self.checkpoint(threading.TIMEOUT_MAX, ready))
        self.wire.journal.write("tool_answer", tool=asked.get("tool", ""), **answer)
        then = step.get("then", {"*": [{"text": "{result}"}]})
        steps = then.get("error" if answer["error"] else "ok", then.get("*", []))
        told = json.dumps(answer["text"])[1:-1]
        self.run(json.loads(json.dumps(steps).replace("{result}", told)))

    def do_complete(self, elicitation: str, _: JSON) -> None:
        self.wire.send(method="elicitation/complete", params={"elicitationId": elicitation})

    def decision(self, number: int) -> str:
        """Wait for the answer to a permission request: the option's id, ``cancelled`` or ``error``."""
        self.until_answered(number)
        outcome = self.wire.answers[number].get("result", {}).get("outcome", {"outcome": "error"})
        return str(outcome.get("optionId", outcome["outcome"]))

    def until_answered(self, number: int) -> None:
        """Wait for the answer to a request to people, as the behaviour does when it is cancelled."""
        arrived = lambda: number in self.wire.answers  # noqa: E731
        try:
            self.checkpoint(threading.TIMEOUT_MAX, arrived)
        except SteeredTurn:
            self.wire.send(method="$/cancel_request", params={"requestId": number})
            raise
        except CancelledTurn:
            if self.behaviour.on_cancel == "withdraws":
                self.wire.send(method="$/cancel_request", params={"requestId": number})
            if self.behaviour.on_cancel == "waits":
                with self.wire.changed:
                    self.wire.changed.wait_for(arrived)
            raise
