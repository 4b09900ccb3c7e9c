"""A bare client for tests of agents: lines over plain pipes, blocking, no more than it takes to ask and to read."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tests.agents.scenario import ScriptedAgent, Step, scenario

Message = dict[str, Any]
LIMIT = 20.0  # seconds until an agent that is stuck is killed, so that a test fails and doesn't hang


class PipeClient:
    """Asks an agent over its pipes; `seen` holds every message read, in wire order."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.seen: list[Message] = []
        self._ids = itertools.count(100)

    @property
    def stdin(self) -> IO[bytes]:
        assert self.process.stdin
        return self.process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self.process.stdout
        return self.process.stdout

    def send(self, **message: Any) -> None:
        self.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.stdin.flush()

    def notify(self, method: str, **params: Any) -> None:
        self.send(method=method, params=params)

    def request(self, method: str, **params: Any) -> int:
        """Send a request and return its id."""
        number = next(self._ids)
        self.send(id=number, method=method, params=params)
        return number

    def read(self) -> Message:
        """Return the next message; EOFError at the end of the agent's output."""
        if not (line := self.stdout.readline()):
            raise EOFError
        message: Message = json.loads(line)
        self.seen.append(message)
        return message

    def until(self, wanted: Callable[[Message], bool]) -> Message:
        """Read on to the first message that is wanted and return it."""
        while not wanted(message := self.read()):
            pass
        return message

    def answer_to(self, number: int) -> Message:
        """Read on to the response with this id."""
        return self.until(lambda message: message.get("id") == number and "method" not in message)

    def asked(self, method: str) -> Message:
        """Read on to a request or notification of this method."""
        return self.until(lambda message: message.get("method") == method)

    def updated(self, kind: str) -> Message:
        """Read on to an update of this kind and return it."""
        update: Message = self.until(lambda message: update_of(message).get("sessionUpdate") == kind)
        return update_of(update)

    def call(self, method: str, **params: Any) -> Message:
        """Send a request and return its response."""
        return self.answer_to(self.request(method, **params))

    def open(self, cwd: Path) -> str:
        """Initialize, make a session and return its id."""
        self.call("initialize", protocolVersion=1)
        session: str = self.call("session/new", cwd=str(cwd), mcpServers=[])["result"]["sessionId"]
        return session

    def prompt(self, session: str, text: str = "hello") -> int:
        """Send a prompt and return its id."""
        return self.request("session/prompt", sessionId=session, prompt=[{"type": "text", "text": text}])

    def choose(self, request: Message, option: str | None) -> None:
        """Answer a permission request with an option, or with ``cancelled``."""
        outcome = {"outcome": "cancelled"} if option is None else {"outcome": "selected", "optionId": option}
        self.respond(request, {"outcome": outcome})

    def respond(self, request: Message, result: Message) -> None:
        """Answer a request of the agent's."""
        self.send(id=request["id"], result=result)

    def updates(self, kind: str = "") -> list[Message]:
        """Return the updates read so far, of one kind or all."""
        updates = [update_of(message) for message in self.seen if message.get("method") == "session/update"]
        return [update for update in updates if kind in ("", update["sessionUpdate"])]

    def text(self) -> str:
        """Return the answer's text read so far."""
        return "".join(update["content"]["text"] for update in self.updates("agent_message_chunk"))

    def close(self) -> int:
        """Close stdin, read the rest and return the exit code."""
        self.stdin.close()
        self.stdout.read()
        return self.process.wait()


def update_of(message: Message) -> Message:
    """Return the update that a message carries, or nothing."""
    update: Message = message.get("params", {}).get("update", {})
    return update


@contextmanager
def talking_to(
    argv: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None, stderr: int | None = None
) -> Iterator[PipeClient]:
    """Start an agent and end it with the block, at the latest after `LIMIT`."""
    process = subprocess.Popen(
        argv, cwd=cwd, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True
    )
    timer = threading.Timer(LIMIT, process.kill)
    timer.start()
    try:
        yield PipeClient(process)
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            # What a dead agent did not read can't be flushed any more.
            with suppress(BrokenPipeError):
                if pipe:
                    pipe.close()


@contextmanager
def scripted_session(
    directory: Path, *turns: list[Step], **keys: Any
) -> Iterator[tuple[PipeClient, ScriptedAgent, str]]:
    """Start an agent with a scenario and open a session; yield the client, the agent's log and the session's id."""
    agent = scenario(directory, *turns, **keys)
    with talking_to(agent.argv, directory) as client:
        yield client, agent, client.open(directory)
