"""The measuring agent: speaks ACP v1 on stdio and does what a word in the prompt says, such as ``bench:stream:30:15``.

Pure standard library and one file, so that it starts fast. Chunks carry the moment in which they were written. The main
thread reads; a prompt is played by a thread of its own. ``--raw N`` writes N lines without any protocol. In a directory
given as an argument, a file `HANG_NEXT` makes the process that finds it never answer; a file `WRITTEN` tells that a
line without an end was taken; with a file `OFFERS` there are 500 commands, models and old sessions to choose from.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

LINE = 245
HANG_NEXT = "hang-next"
HUNG = "hung"
WRITTEN = "written"
OFFERS, OFFERED = "offers", 500
BURST = 200  # lines in one write
COMMAND = re.compile(r"bench:([a-z]+)((?::[\d.]+)*)")
FLOOD_LINES = (1 << 10, 1 << 16, 1 << 20)
TOOL_CALL = {"sessionUpdate": "tool_call_update", "toolCallId": "t1"}
PIECE = b"x" * (1 << 16)
FLAT = {"path": "src/a.py", "line": 7}
TAKES: dict[str, Any] = {"promptCapabilities": {"image": True}}
LISTS: dict[str, Any] = {"sessionCapabilities": {"list": {}, "resume": {}, "fork": {}}}
NESTED = {"path": "src/a.py", "range": {"start": 7, "end": 9}}


def line_of(update: dict[str, Any], session: str) -> bytes:
    """Return the line that carries an update."""
    message = {"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": session, "update": update}}
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def chunk(text: str, session: str, message: object = 0) -> bytes:
    """Return the line that carries a chunk of the answer; each turn needs a message id of its own."""
    content = {"type": "text", "text": text}
    return line_of({"sessionUpdate": "agent_message_chunk", "messageId": f"m{message}", "content": content}, session)


def sized_chunk(size: int, session: str, message: object = 0) -> bytes:
    """Return a line of exactly so many bytes."""
    words = "lorem ipsum dolor sit amet " * (size // 27 + 1)
    return chunk(words[: size - len(chunk("", session, message))], session, message)


def sized_list(size: int, item: dict[str, Any], session: str) -> bytes:
    """Return a line of almost so many bytes: the output of a tool call, full of small objects."""
    head, _, tail = line_of({**TOOL_CALL, "rawOutput": [None]}, session).partition(b"null")
    one = json.dumps(item, separators=(",", ":")).encode()
    return head + b",".join([one] * ((size - len(head) - len(tail)) // (len(one) + 1))) + tail


def write(data: bytes) -> None:
    """Write to the client, blocking."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_lines(count: int, session: str, message: object = 0) -> None:
    """Write so many lines of `LINE` bytes as fast as they are taken."""
    block = sized_chunk(LINE, session, message) * BURST
    for _ in range(count // BURST):
        write(block)


class Player:
    """Plays one prompt; `stop` ends it."""

    def __init__(self, number: Any, session: str) -> None:
        self.number = number
        self.session = session
        self.stop = threading.Event()

    def play(self, name: str, numbers: list[float]) -> None:
        """Do what the prompt said and answer it."""
        with suppress(BrokenPipeError):
            getattr(self, f"do_{name}")(*numbers)
            reason = "cancelled" if self.stop.is_set() else "end_turn"
            result = {"jsonrpc": "2.0", "id": self.number, "result": {"stopReason": reason}}
            write(json.dumps(result).encode() + b"\n")

    def stamp(self) -> None:
        """Write a chunk that carries this moment."""
        write(chunk(f"t{time.monotonic_ns() // 1000} ", self.session, self.number))

    def do_hi(self) -> None:
        """Write one chunk."""
        self.stamp()

    def do_stream(self, delay: float, seconds: float, rate: float) -> None:
        """Wait, then write so many chunks a second."""
        self.stop.wait(delay)
        start = time.monotonic()
        for number in range(int(seconds * rate)):
            if self.stop.wait(max(0.0, start + number / rate - time.monotonic())):
                return
            self.stamp()

    def do_chunks(self, count: float) -> None:
        """Write so many lines as fast as they are taken."""
        write_lines(int(count), self.session, self.number)

    def do_text(self, size: float, count: float) -> None:
        """Write so many lines of a size as fast as they are taken."""
        line = sized_chunk(int(size), self.session, self.number)
        for _ in range(int(count)):
            write(line)

    def do_flat(self, size: float) -> None:
        """Write one line full of small objects."""
        write(sized_list(int(size), FLAT, self.session))

    def do_nested(self, size: float) -> None:
        """Write one line full of small objects that hold another each."""
        write(sized_list(int(size), NESTED, self.session))

    def do_endless(self, size: float) -> None:
        """Write so many bytes of a line that does not end until cancelled."""
        for _ in range(int(size) // len(PIECE)):
            write(PIECE)
        Path(sys.argv[1], WRITTEN).touch()
        self.stop.wait()
        write(b"\n")

    def do_stderr(self, size: float) -> None:
        """Write so many bytes to stderr, then one chunk."""
        for _ in range(int(size) // len(PIECE)):
            sys.stderr.buffer.write(PIECE)
            sys.stderr.buffer.flush()
        self.stamp()

    def do_flood(self) -> None:
        """Write lines of up to 1 MiB until cancelled."""
        lines = [sized_chunk(size, self.session, self.number) for size in FLOOD_LINES]
        while not self.stop.is_set():
            for line in lines:
                write(line)


def stuff() -> None:
    """Ask for so much that the answers fill our input, which is not read any more."""
    method = "x" * 500
    for number in range(1000):
        write(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": {}}).encode() + b"\n")
    threading.Event().wait()


def offered_commands() -> dict[str, Any]:
    """Return the update that tells of commands."""
    names = (f"command-{number:03}" for number in range(OFFERED))
    told = [{"name": name, "description": f"does {name}", "input": {"hint": "what to do"}} for name in names]
    return {"sessionUpdate": "available_commands_update", "availableCommands": told}


def offered_options() -> list[dict[str, Any]]:
    """Return the options of a session: many models, and modes."""
    models = [{"value": f"model-{number:03}", "name": f"Model {number:03}"} for number in range(OFFERED)]
    modes = [{"value": name, "name": name.capitalize()} for name in ("ask", "plan", "code")]
    return [
        {"id": name, "name": name, "category": name, "type": "select", "currentValue": values[0]["value"]}
        | {"options": values}
        for name, values in (("model", models), ("mode", modes))
    ]


def offered_sessions(cwd: str) -> list[dict[str, Any]]:
    """Return the sessions of earlier days."""
    return [
        {"sessionId": f"old-{number:03}", "cwd": cwd, "title": f"Session {number:03}"}
        | {"updatedAt": f"2026-01-01T{number // 60:02}:{number % 60:02}:00Z"}
        for number in range(OFFERED)
    ]


class Agent:
    """Answers the client; the mutable state is the turn that runs, and whether it was told to offer much."""

    def __init__(self, *, offers: bool = False) -> None:
        self.player: Player | None = None
        self.offers = offers

    def serve(self) -> None:
        """Read until the client goes."""
        for line in sys.stdin.buffer:
            self.take(json.loads(line))
        if self.player is not None:
            self.player.stop.set()

    def take(self, message: dict[str, Any]) -> None:
        """Do what one message wants."""
        method = message.get("method")
        if method == "session/prompt":
            self.prompt(message)
        elif method == "session/cancel" and self.player is not None:
            self.player.stop.set()
        elif "id" in message and method is not None:
            session = f"s{time.monotonic_ns()}"
            result = {"protocolVersion": 1, "agentCapabilities": TAKES, "sessionId": session}
            if self.offers:
                result |= {"agentCapabilities": TAKES | LISTS, "configOptions": offered_options()}
                result |= {"sessions": offered_sessions(message.get("params", {}).get("cwd") or "/")}
            write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode() + b"\n")
            if self.offers and method == "session/new":
                write(line_of(offered_commands(), session))

    def prompt(self, message: dict[str, Any]) -> None:
        """Play what the prompt says."""
        text = "".join(block.get("text", "") for block in message["params"]["prompt"])
        found = COMMAND.search(text)
        name, numbers = (found[1], found[2].split(":")[1:]) if found else ("hi", [])
        if name == "stuff":
            stuff()
        self.player = Player(message["id"], message["params"]["sessionId"])
        threading.Thread(target=self.player.play, args=(name, [float(one) for one in numbers]), daemon=True).start()


def hang_if_told(directory: Path) -> None:
    """Never answer, if this process is the one that was chosen."""
    try:
        (directory / HANG_NEXT).rename(directory / HUNG)
    except FileNotFoundError:
        return
    sys.stdin.buffer.read()
    sys.exit()


def main() -> None:
    """Run the agent, or write raw lines."""
    if sys.argv[1:2] == ["--raw"]:
        write_lines(int(sys.argv[2]), "s123456789012345")
        return
    if len(sys.argv) > 1:
        hang_if_told(Path(sys.argv[1]))
    Agent(offers=Path(*sys.argv[1:2], OFFERS).exists()).serve()


if __name__ == "__main__":
    main()
