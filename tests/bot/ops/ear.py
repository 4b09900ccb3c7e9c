"""The supervisor's end of the notification socket: what was said, and by which process."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from bot.ops.supervisor import Notifier

_CREDENTIALS = struct.Struct("3i")


@dataclass
class Ear:
    """A datagram socket of a supervisor's kind."""

    address: str
    socket: socket.socket
    heard: list[list[str]] = field(default_factory=list)
    senders: set[int] = field(default_factory=set)

    @property
    def notifier(self) -> Notifier:
        return Notifier(self.address)

    def listen(self) -> list[list[str]]:
        """Take in what has come; return all messages so far, each as its lines."""
        while True:
            try:
                data, ancillary, _flags, _sender = self.socket.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
            except BlockingIOError:
                return self.heard
            self.heard.append(data.decode().split("\n"))
            ((_level, _kind, credentials),) = ancillary
            self.senders.add(_CREDENTIALS.unpack(credentials)[0])

    def lines(self) -> list[str]:
        """Return all lines so far."""
        return [line for message in self.listen() for line in message]

    async def until(self, wanted: Callable[[list[str]], object]) -> None:
        """Wait until the lines are as wanted; the caller bounds the wait."""
        while not wanted(self.lines()):
            await anyio.wait_readable(self.socket)


@contextmanager
def ear(path: Path | str) -> Iterator[Ear]:
    """Listen at a path, or at an abstract name that begins with @."""
    address = str(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        receiver.setblocking(False)
        receiver.bind("\0" + address[1:] if address.startswith("@") else address)
        yield Ear(address, receiver)
