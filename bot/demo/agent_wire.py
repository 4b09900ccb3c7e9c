"""The demo agent's end of the pipes: JSON-RPC messages out, and the answers to its own requests.

Any thread may write; one thread reads and hands answers to `resolve`. The mutable state is the open requests, their
answers and the closed flag, all guarded by `changed`, which is notified whenever something a turn may wait for happens.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Callable
from typing import Any

JSON = dict[str, Any]

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
INTERNAL_ERROR, NOT_FOUND = -32603, -32002


class WireClosed(Exception):
    """The client is gone."""


class Wire:
    """Writes whole lines to a file descriptor and matches answers to requests."""

    def __init__(self, fd: int) -> None:
        self.changed = threading.Condition()
        self.closed = False
        self._fd = fd
        self._writing = threading.Lock()
        self._ids = itertools.count()
        self._open: set[int] = set()
        self._answers: dict[int, JSON] = {}

    def notify(self, method: str, params: JSON) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params})

    def update(self, session_id: str, update: JSON) -> None:
        self.notify("session/update", {"sessionId": session_id, "update": update})

    def respond(self, request_id: Any, result: JSON) -> None:
        """Answer a request of the client."""
        self._send({"id": request_id, "result": result})

    def fail(self, request_id: Any, code: int, message: str) -> None:
        """Answer a request of the client with an error."""
        self._send({"id": request_id, "error": {"code": code, "message": message}})

    def request(self, method: str, params: JSON) -> int:
        """Send a request and return its id; `answer` gives what came back."""
        with self.changed:
            number = next(self._ids)
            self._open.add(number)
        self._send({"id": number, "method": method, "params": params})
        return number

    def resolve(self, message: JSON) -> None:
        """Take an answer of the client; one that nobody asked for is ignored."""
        with self.changed:
            number = message.get("id")
            # `True` is an int in Python, and would be taken for 1.
            if type(number) is int and number in self._open:
                self._open.remove(number)
                self._answers[number] = message
                self.changed.notify_all()

    def answer(self, number: int) -> JSON | None:
        """Return the whole response to a request, None while it is open."""
        return self._answers.get(number)

    def wait(self, ready: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until ready, at most so long; say whether it is.

        Raises:
            WireClosed: the client went away meanwhile.
        """
        with self.changed:
            # The end of the client wakes every wait: no thread may outlive it.
            self.changed.wait_for(lambda: self.closed or ready(), seconds)
            if self.closed:
                raise WireClosed
            return ready()

    def close(self) -> None:
        """Wake everybody who waits: nothing more will come."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def _send(self, message: JSON) -> None:
        line = json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
        try:
            # Another lock than `changed`: a client that reads slowly must not keep turns from being cancelled.
            with self._writing:
                # A pipe may take less than a whole line.
                while line:
                    line = line[os.write(self._fd, line) :]
        except BrokenPipeError as exc:
            self.close()
            raise WireClosed from exc
