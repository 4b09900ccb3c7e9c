"""Both pipes of an agent, in the hands of a test."""

from __future__ import annotations

import json
from typing import Any

import anyio
import anyio.abc


class Output(anyio.abc.ByteReceiveStream):
    """What the other side writes: pieces, as they come out of the pipe."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[bytes](1000)

    def write(self, *messages: dict[str, Any] | bytes) -> None:
        lines = [item if isinstance(item, bytes) else line(item) for item in messages]
        self._send.send_nowait(b"".join(lines))

    def close(self) -> None:
        self._send.close()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._receive.receive()

    async def aclose(self) -> None:
        self._send.close()
        self._receive.close()


class Input(anyio.abc.ByteSendStream):
    """What the other side reads: one item for each write."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.open.set()
        self._send, self._receive = anyio.create_memory_object_stream[bytes](1000)
        self.breaks: anyio.Event | None = None
        """Set when a write failed; with it, every write does."""

    async def send(self, item: bytes) -> None:
        await self.open.wait()
        if self.breaks is not None:
            self.breaks.set()
            raise anyio.BrokenResourceError
        await self._send.send(item)

    async def read(self) -> list[dict[str, Any]]:
        """Return the messages of one write."""
        return [json.loads(text) for text in (await self._receive.receive()).splitlines()]

    async def aclose(self) -> None:
        self._send.close()
        self._receive.close()


def line(message: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
