"""The hijacked connection: its frames, its end of stdin, over TLS as well, and what a daemon may answer instead."""

from __future__ import annotations

import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread
import pytest

from pool.engines.docker.stream import STDERR, STDOUT, Address, Hijacked, StreamRefused
from tests.engines import docker_daemon
from tests.engines.docker_server import frame

pytestmark = pytest.mark.asyncio

UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\n\r\n"


@asynccontextmanager
async def serving(tmp_path: Path, serve: Callable[[anyio.abc.SocketStream], Awaitable[None]]) -> AsyncIterator[Address]:
    path = tmp_path / "socket"

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with suppress(anyio.BrokenResourceError):
                await serve(stream)

    async with await anyio.create_unix_listener(path) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        yield Address(path=str(path))
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def saying(tmp_path: Path, *pieces: bytes) -> AsyncIterator[Address]:
    """Somebody who says these pieces, each by itself, whatever is asked, and then ends."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        await stream.receive()
        for piece in pieces:
            await stream.send(piece)
            await anyio.sleep(0.001)  # sockets join what comes at once

    async with serving(tmp_path, serve) as address:
        yield address


@asynccontextmanager
async def hijacked(tmp_path: Path, *pieces: bytes) -> AsyncIterator[Hijacked]:
    """A connection on which these pieces come."""
    async with saying(tmp_path, *pieces) as address:
        connection = await Hijacked.open(address, "/attach")
        try:
            yield connection
        finally:
            await connection.aclose()


async def everything(connection: Hijacked) -> dict[int, bytes]:
    got = {STDOUT: b"", STDERR: b""}
    with suppress(anyio.EndOfStream):
        while True:
            channel, data = await connection.receive()
            got[channel] += data
    return got


@pytest.mark.parametrize("size", [1, 3, 8, 1000])
async def test_frames_come_whole_however_they_are_cut(tmp_path: Path, size: int) -> None:
    """P14"""
    said = UPGRADED + frame(STDOUT, b"one ") + frame(STDERR, b"oh") + frame(STDOUT, b"") + frame(STDOUT, b"two")
    pieces = [said[at : at + size] for at in range(0, len(said), size)]
    async with hijacked(tmp_path, *pieces) as connection:
        assert await everything(connection) == {STDOUT: b"one two", STDERR: b"oh"}


async def test_small_frames_are_taken_together_and_no_more_than_is_asked_for(tmp_path: Path) -> None:
    """P14"""
    async with hijacked(tmp_path, UPGRADED + frame(STDOUT, b"abc") * 3 + frame(STDERR, b"x")) as connection:
        assert await connection.receive(2) == (STDOUT, b"ab")
        assert await connection.receive(5) == (STDOUT, b"cabca")
        assert await connection.receive() == (STDOUT, b"bc")
        assert await connection.receive() == (STDERR, b"x")


@pytest.mark.parametrize(
    "broken", [frame(STDOUT, b"cut off")[:-2], frame(STDOUT, b"")[:5], b"\x03\0\0\0\0\0\0\1x", b"no frame at all"]
)
async def test_what_is_no_frame_breaks_the_connection(tmp_path: Path, broken: bytes) -> None:
    """P14"""
    async with hijacked(tmp_path, UPGRADED, frame(STDOUT, b"ok"), broken) as connection:
        with pytest.raises(anyio.BrokenResourceError):
            assert await everything(connection) is None


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (
            b'HTTP/1.1 404 Not Found\r\nContent-Length: 31\r\n\r\n{"message":"No such \\"thing\\""}\n',
            404,
            'No such "thing"',
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", 200, "hello"),
        (b"HTTP/1.1 500 x\r\n\r\n" + b"x" * 100_000, 500, "xxxx"),
    ],
)
async def test_a_refusal_is_told_in_the_daemons_words(tmp_path: Path, answer: bytes, status: int, words: str) -> None:
    """P14"""
    async with saying(tmp_path, answer) as address:
        with pytest.raises(StreamRefused) as caught:
            await Hijacked.open(address, "/attach")
    assert caught.value.status == status
    assert words in caught.value.message


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101", b"SSH-2.0-OpenSSH\r\n\r\n", b"y" * 20_000])
async def test_what_is_no_daemon_is_an_error_of_the_connection(tmp_path: Path, answer: bytes) -> None:
    """P14"""
    async with saying(tmp_path, answer) as address:
        with pytest.raises(OSError, match="the daemon"):
            await Hijacked.open(address, "/attach")


async def test_the_end_of_stdin_leaves_the_output_open(tmp_path: Path) -> None:
    """P14"""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        await stream.receive()
        await stream.send(UPGRADED)
        heard = b""
        with suppress(anyio.EndOfStream):
            while True:
                heard += await stream.receive()
        await stream.send(frame(STDOUT, heard * 1000))

    async with serving(tmp_path, serve) as address:
        connection = await Hijacked.open(address, "/attach")
        await connection.send(b"heard")
        await connection.send_eof()
        assert (await everything(connection))[STDOUT] == b"heard" * 1000
        await connection.aclose()


# --- TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return docker_daemon.certificate(tmp_path_factory.mktemp("tls"))


class TlsServer:
    """Hears everything until the client's farewell, and then answers: as a daemon written in Go does."""

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        import socket

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._context = context
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        raw, _ = self._listener.accept()
        raw.settimeout(60)
        with suppress(OSError), self._context.wrap_socket(raw, server_side=True) as stream:
            stream.recv(65536)
            stream.sendall(UPGRADED)
            heard = 0
            while data := stream.recv(65536):
                heard += len(data)
            stream.sendall(frame(STDOUT, str(heard).encode()) + frame(STDOUT, b"z" * 300_000))
            stream.unwrap().close()

    def close(self) -> None:
        self._thread.join(60)
        self._listener.close()


async def test_the_end_of_stdin_leaves_the_output_open_over_tls(certificate: tuple[Path, Path]) -> None:
    """P14"""
    server = TlsServer(certificate)
    address = Address(host="127.0.0.1", port=server.port, tls=ssl.create_default_context(cafile=str(certificate[0])))
    connection = await Hijacked.open(address, "/attach")
    async with anyio.create_task_group() as tasks:
        got: list[dict[int, bytes]] = []

        async def read() -> None:  # while we still write, as an agent's output is read
            got.append(await everything(connection))

        tasks.start_soon(read)
        for _ in range(4):
            await connection.send(b"q" * 100_000)
        await connection.send_eof()
    await connection.aclose()
    await anyio.to_thread.run_sync(server.close)
    assert got[0][STDOUT] == b"400000" + b"z" * 300_000


async def test_a_certificate_that_is_not_the_daemons_is_refused(certificate: tuple[Path, Path]) -> None:
    """P14"""
    server = TlsServer(certificate)
    address = Address(host="127.0.0.1", port=server.port, tls=ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        await Hijacked.open(address, "/attach")
    await anyio.to_thread.run_sync(server.close)
