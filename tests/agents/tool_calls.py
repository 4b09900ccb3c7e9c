"""How the scripted agent calls the tools of the servers that its sessions are given: through `sdk_client`, a child.

Standard library only, like `scripted`. The mutable state is the child of each session, started for its first call, and
the answers that it has given, guarded by the lock that turns wait on.
"""

from __future__ import annotations

import itertools
import json
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


class ToolClients:
    """The clients of all sessions, by the token or whatever else makes a server one session's own."""

    def __init__(self) -> None:
        self._clients: dict[str, ToolClient] = {}
        self._lock = threading.Lock()

    def of(self, server: JSON, changed: threading.Condition) -> ToolClient:
        """Return the client of a server, which is started if need be."""
        key = json.dumps(server)
        with self._lock:
            if key not in self._clients or self._clients[key].ended:
                self._clients[key] = ToolClient(server, changed)
            return self._clients[key]


CLIENTS = ToolClients()


def wait_for_answer(client: ToolClient, number: int, wait: Callable[[Callable[[], bool]], None]) -> JSON:
    """Return the answer to a call; ``wait`` is given what has to hold, and may raise instead: then it is withdrawn."""
    try:
        wait(lambda: number in client.answers or client.ended)
    except Exception:
        client.cancel(number)
        raise
    return client.answers.get(number, {"text": "the server has ended", "error": True})
