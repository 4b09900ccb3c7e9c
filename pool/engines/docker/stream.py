"""A hijacked connection to a Docker daemon: the raw way to a container's or a command's stdin and output.

Such a connection begins as an HTTP request and goes on as two byte streams: ours to stdin, and theirs in frames, of
which each says whether it is stdout or stderr. The client library's own stream has no end of stdin that leaves the
output open, so this one opens its connection itself, by `Address`.

Whoever reads pulls, from the socket's buffer on: there is no task and nothing is kept but the part of a frame that has
not been asked for yet, so a slow reader slows the container down. The mutable state is that of one connection.
"""

from __future__ import annotations

import json
import re
import ssl
import struct
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import anyio
import anyio.abc

from pool.engines.keep_alive import keep_alive

STDOUT, STDERR = 1, 2

_READ_SIZE: Final = 64 * 1024
_HEAD: Final = 16 * 1024
"""Bytes that the head of an answer may take; and as much of a refusal is read."""
_END_OF_HEAD: Final = b"\r\n\r\n"
_HEADER: Final = struct.Struct(">B3sL")
"""Before each frame: its channel, three zeros, its length."""
_REFUSAL: Final = 1.0
"""Seconds in which a refusal has to be told; it needs no end."""
_MESSAGE: Final = re.compile(rb'"message"\s*:\s*"((?:[^"\\]|\\.)*)"')

ByteStream = anyio.abc.ByteStream


class StreamRefused(Exception):
    """The daemon did not let the connection through: its status and its words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} ({status})")
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Address:
    """Where a daemon listens: a socket's ``path``, or ``host`` and ``port``, with ``tls`` or without."""

    path: str = ""
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None

    async def connect(self) -> ByteStream:
        """Open a connection.

        Raises:
            OSError: there is nobody; a certificate that is not good is one, too.
        """
        if self.path:
            return await anyio.connect_unix(self.path)
        stream = await anyio.connect_tcp(self.host, self.port)
        raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 - not Django's
        # An agent may say nothing for an hour: without this, a cut way would look the same.
        keep_alive(raw, idle=10, every=5, misses=3)
        if self.tls is None:
            return stream
        try:
            return await TlsStream.wrap(stream, self.tls, self.host)
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise


class TlsStream(anyio.abc.ByteStream):
    """TLS that can end our direction and go on reading the other one, which anyio's cannot."""

    def __init__(self, transport: ByteStream, context: ssl.SSLContext, host: str) -> None:
        self._transport = transport
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._flushing = anyio.Lock()

    @classmethod
    async def wrap(cls, transport: ByteStream, context: ssl.SSLContext, host: str) -> TlsStream:
        """Shake hands.

        Raises:
            OSError: the other side is not who it should be, or does not speak TLS.
        """
        stream = cls(transport, context, host)
        while True:
            try:
                stream._tls.do_handshake()
            except ssl.SSLWantReadError:
                await stream._flush()
                await stream._feed()
            else:
                await stream._flush()
                return stream

    async def send(self, item: bytes) -> None:
        self._tls.write(item)
        await self._flush()

    async def receive(self, max_bytes: int = _READ_SIZE) -> bytes:
        while True:
            try:
                data = self._tls.read(max_bytes)
            except ssl.SSLWantReadError:
                await self._feed()
            except ssl.SSLZeroReturnError:
                raise anyio.EndOfStream from None
            except ssl.SSLError as exc:
                raise anyio.BrokenResourceError from exc
            else:
                if not data:  # their farewell, too, while ours is not said yet
                    raise anyio.EndOfStream
                return data

    async def send_eof(self) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            # Our farewell is written; theirs comes after what they still have to say, which goes on being read.
            await self._flush()

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _flush(self) -> None:
        # One at a time: records have to arrive in the order in which they were made.
        async with self._flushing:
            if data := self._outgoing.read():
                await self._transport.send(data)

    async def _feed(self) -> None:
        try:
            self._incoming.write(await self._transport.receive(_READ_SIZE))
        except anyio.EndOfStream:
            self._incoming.write_eof()


class Hijacked:
    """One connection that the daemon has handed over. One task may send while another receives."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._channel, self._left = STDOUT, 0

    @classmethod
    async def open(cls, address: Address, path: str, body: bytes = b"") -> Hijacked:
        """Ask for ``path`` by POST and take the connection over.

        Raises:
            StreamRefused: the daemon answered with something else.
            OSError: there is no daemon, or it went away meanwhile.
        """
        stream = await address.connect()
        hijacked = cls(stream)
        try:
            await stream.send(_request(address.host, path, body))
            status = await hijacked._status()
            refusal = None if status == HTTPStatus.SWITCHING_PROTOCOLS else await hijacked._refusal()
        except BaseException as exc:
            # Cancelled, too: nobody else knows this connection yet.
            await anyio.aclose_forcefully(stream)
            if isinstance(exc, (anyio.EndOfStream, anyio.BrokenResourceError)):
                raise ConnectionResetError("the daemon closed the connection") from exc
            raise
        if refusal is not None:
            await hijacked.aclose()
            raise StreamRefused(status, refusal)
        return hijacked

    async def send(self, data: bytes) -> None:
        """Send to stdin; waits while nobody takes it.

        Raises:
            BrokenResourceError, ClosedResourceError: nobody will.
        """
        await self._stream.send(data)

    async def send_eof(self) -> None:
        """End stdin; the output goes on."""
        await self._stream.send_eof()

    async def receive(self, max_bytes: int = _READ_SIZE) -> tuple[int, bytes]:
        """Return what was said next, and whether it was STDOUT or STDERR.

        Raises:
            EndOfStream: that was all.
            BrokenResourceError: the connection ended in the middle of a frame, or what came is no frame.
            ClosedResourceError: it was closed here.
        """
        data = b""
        while not (data := self._take(max_bytes)):
            try:
                self._buffer += await self._stream.receive(_READ_SIZE)
            except anyio.EndOfStream:
                # In the middle of a frame it was cut off, and is not the end of what the container says.
                if self._buffer or self._left:
                    raise anyio.BrokenResourceError from None
                raise
        return self._channel, data

    def _take(self, max_bytes: int) -> bytes:
        """Take what is here of one channel, of several frames if need be: agents write in small pieces."""
        taken: list[bytes] = []
        room, position = max_bytes, 0
        while room:
            if not self._left:
                if len(self._buffer) - position < _HEADER.size:
                    break
                channel, padding, length = _HEADER.unpack_from(self._buffer, position)
                # Once out of step, everything that follows would be misread.
                if channel > STDERR or any(padding):
                    raise anyio.BrokenResourceError
                # One call returns the bytes of one channel; this frame is for the next one.
                if taken and channel != self._channel:
                    break
                position += _HEADER.size
                self._channel, self._left = channel, length
                continue
            piece = bytes(self._buffer[position : position + min(room, self._left)])
            if not piece:
                break
            taken.append(piece)
            position, room, self._left = position + len(piece), room - len(piece), self._left - len(piece)
        del self._buffer[:position]
        return b"".join(taken)

    async def aclose(self) -> None:
        """Close it; the container's stdin ends with it."""
        # Without a farewell: nothing more is wanted, and the other side may be gone.
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)

    # --- the HTTP before it --------------------------------------------------------------------------------------

    async def _status(self) -> int:
        """Read the answer's head and return its status; what came behind it is left in the buffer."""
        while (end := self._buffer.find(_END_OF_HEAD)) < 0:
            if len(self._buffer) > _HEAD:
                raise ConnectionResetError("the daemon does not speak HTTP")
            self._buffer += await self._stream.receive(_READ_SIZE)
        version, _, rest = bytes(self._buffer[:end]).decode("latin-1").partition(" ")
        # What stands behind the head is the container's already.
        del self._buffer[: end + len(_END_OF_HEAD)]
        if not version.startswith("HTTP/") or not rest[:3].isdigit():
            raise ConnectionResetError("the daemon does not speak HTTP")
        return int(rest[:3])

    async def _refusal(self) -> str:
        """Return the daemon's words; the connection may stay open behind them."""
        with anyio.move_on_after(_REFUSAL), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while len(self._buffer) < _HEAD and not _MESSAGE.search(self._buffer):
                self._buffer += await self._stream.receive(_READ_SIZE)
        found = _MESSAGE.search(self._buffer)
        if found is not None:
            with suppress(ValueError):
                return str(json.loads(b'"' + found[1] + b'"'))
        return bytes(self._buffer[:200]).decode(errors="replace")


def _request(host: str, path: str, body: bytes) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host or 'docker'}",
        "Connection: Upgrade",
        "Upgrade: tcp",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + _END_OF_HEAD + body
