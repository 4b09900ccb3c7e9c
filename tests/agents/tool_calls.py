"""How the scripted agent calls the tools of the servers that its sessions are given.

Through `sdk_client`, a child, as real agents do, or straight at the socket, as the server itself does: that spares two
starts of Python a session, and tests of what tools do need neither. Standard library only, like `scripted`. The mutable
state is the client of each server, and the answers that it has given, guarded by the lock that turns wait on.
"""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    JSON = dict[str, Any]
CLIENT = Path(__file__).with_name("sdk_client.py")


class ToolClient:
    """One server of one session, over a child that speaks to it."""

    def __init__(self, server: JSON, changed: threading.Condition) -> None:
        self.answers: dict[int, JSON] = {}
        self.ended = False
        self._changed = changed
        self._ids = itertools.count()
        # -P: the agent may work in a directory that has modules of any name. It ends with the agent, whose end of the
        # pipe closes, and takes the server along.
        self._child = subprocess.Popen(
            [sys.executable, "-P", str(CLIENT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._send(server)
        threading.Thread(target=self._listen, daemon=True).start()

    def call(self, tool: str, arguments: JSON) -> int:
        """Call a tool, or with "" ask for their names; return the id of the answer in `answers`."""
        number = next(self._ids)
        self._send({"id": number, "tool": tool, "arguments": arguments})
        return number

    def cancel(self, number: int) -> None:
        """Withdraw a call."""
        self._send({"cancel": number})

    def _send(self, message: JSON) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(message) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            self.ended = True

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            answer = json.loads(line)
            with self._changed:
                self.answers[answer["id"]] = answer
                self._changed.notify_all()
        with self._changed:
            self.ended = True
            self._changed.notify_all()


class SocketClient:
    """Calls the bot as ``weft mcp`` does, see `bot.mcp.protocol`: a connection for each call."""

    ended = False

    def __init__(self, server: JSON, changed: threading.Condition) -> None:
        self.answers: dict[int, JSON] = {}
        self._changed = changed
        self._env = {entry["name"]: entry["value"] for entry in server["env"]}
        self._ids = itertools.count()
        self._open: dict[int, socket.socket] = {}

    def call(self, tool: str, arguments: JSON) -> int:
        """Call a tool; return the id of the answer in `answers`."""
        number = next(self._ids)
        self._open[number] = connection = socket.socket(socket.AF_UNIX)
        threading.Thread(target=self._converse, args=(number, connection, tool, arguments), daemon=True).start()
        return number

    def cancel(self, number: int) -> None:
        """Withdraw a call."""
        self._open[number].shutdown(socket.SHUT_RDWR)

    def _converse(self, number: int, connection: socket.socket, tool: str, arguments: JSON) -> None:
        answer: JSON = {"text": "the bot is gone", "error": True}
        try:
            with connection:
                connection.connect(self._env["WEFT_MCP_SOCKET"])
                lines = {"version": 1, "token": self._env["WEFT_MCP_TOKEN"]}, {"tool": tool, "arguments": arguments}
                connection.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
                if line := connection.makefile("rb").readline():
                    answer = json.loads(line)
        except OSError as exc:
            answer["text"] = str(exc)
        with self._changed:
            self.answers[number] = {"id": number, **answer}
            self._changed.notify_all()


class ToolClients:
    """The clients of all sessions, by the token or whatever else makes a server one session's own."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str, bool], ToolClient | SocketClient] = {}
        self._lock = threading.Lock()

    def of(self, server: JSON, changed: threading.Condition, *, sdk: bool) -> ToolClient | SocketClient:
        """Return the client of a server, which is started if need be."""
        key = json.dumps(server), sdk
        with self._lock:
            if key not in self._clients or self._clients[key].ended:
                self._clients[key] = ToolClient(server, changed) if sdk else SocketClient(server, changed)
            return self._clients[key]


CLIENTS = ToolClients()


def wait_for_answer(client: ToolClient | SocketClient, number: int, wait: Callable[[Callable[[], bool]], None]) -> JSON:
    """Return the answer to a call; ``wait`` is given what has to hold, and may raise instead: then it is withdrawn."""
    try:
        wait(lambda: number in client.answers or client.ended)
    except Exception:
        client.cancel(number)
        raise
    return client.answers.get(number, {"text": "the server has ended", "error": True})
