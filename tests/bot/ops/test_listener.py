"""Health and metrics over HTTP: who may ask, with which words, and what is left afterwards."""

from __future__ import annotations

import socket
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import anyio
import anyio.abc
import anyio.lowlevel
import psutil
import pytest

from bot.ops.address import Address, AddressUnusable, Loopback, UnixSocket, parse_address
from bot.ops.health import Status
from bot.ops.listener import bound, is_local, listening
from bot.ops.status import NoAnswer, ask
from tests.clock import flying

from .samples import health, parts

MANY, WAVES = 64, 5
ANYWHERE = Loopback("127.0.0.1", 0)


@asynccontextmanager
async def answering(
    address: Address = ANYWHERE, status: Status = Status.OK, lifetime: float = 10.0
) -> AsyncIterator[Address]:
    with anyio.fail_after(30):
        told = (lambda: health(status, parts())), (lambda _: (b"m 1\n", "text/plain"))
        async with listening(address, *told, lifetime) as found:
            yield found


async def call(address: Address, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    url = f"http://{address}{path}"
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:0"])
@pytest.mark.asyncio
async def test_the_bot_is_asked_on_a_port_and_the_port_is_free_afterwards(text: str) -> None:
    """R7"""
    if text.startswith("[") and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with answering(parse_address(text)) as address:
        assert await ask(address) == health(Status.OK, parts())
        assert await call(address, "/metrics") == (200, "m 1\n")
    with pytest.raises(NoAnswer, match="no bot at"):
        await ask(address)
    async with answering(address):
        pass


@pytest.mark.asyncio
async def test_a_person_is_told_of_other_machines_as_they_are_now() -> None:
    """R7, P14: what looks at the bot every few seconds makes it ask nobody."""
    renewed: list[str] = []

    async def renew() -> None:
        await anyio.lowlevel.checkpoint()
        renewed.append("machines")

    told = (lambda: health(Status.OK, parts())), (lambda _: (b"m 1\n", "text/plain"))
    async with listening(ANYWHERE, *told, renew=renew) as address:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await call(address, path))[0] == 200
        assert renewed == []
        await ask(address)
        assert renewed == ["machines"]


@pytest.mark.asyncio
async def test_the_bot_is_asked_at_a_socket_that_is_its_owners_only_and_goes(tmp_path: Path) -> None:
    """R7"""
    address = UnixSocket(tmp_path / "health.sock")
    async with answering(address):
        mode = address.path.stat().st_mode
        assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
        assert (await ask(address)).status is Status.OK
    assert not address.path.exists()


@pytest.mark.parametrize(
    ("status", "code", "ready"),
    [
        (Status.OK, 200, 200),
        (Status.STANDBY, 200, 503),
        (Status.FAILING, 503, 503),
        (Status.STARTING, 503, 503),
    ],
)
@pytest.mark.asyncio
async def test_only_a_bot_that_is_well_says_200(status: Status, code: int, ready: int) -> None:
    """R7, R10: one that stands by is well, but does no work yet."""
    async with answering(status=status) as address:
        assert (await call(address, "/healthz"))[0] == code
        assert (await call(address, "/readyz"))[0] == ready
        assert (await ask(address)).status is status


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9464", "10.0.0.1", "[", "127.0.0.1.evil.example"])
@pytest.mark.asyncio
async def test_a_page_in_somebodys_browser_gets_nothing(host: str) -> None:
    """R7: a name that leads here by somebody else's will."""
    async with answering() as address:
        for path in ("/healthz", "/metrics", "/"):
            code, text = await call(address, path, Host=host)
            assert (code, "1.2.3" in text) == (421, False)


@pytest.mark.parametrize("host", ["localhost", "localhost:9464", "127.0.0.1", "[::1]:1"])
@pytest.mark.asyncio
async def test_the_names_of_this_machine_are_answered(host: str) -> None:
    async with answering() as address:
        assert (await call(address, "/healthz", Host=host))[0] == 200


def test_a_request_without_a_host_is_for_nobody() -> None:
    assert not is_local(None, ANYWHERE)
    assert not is_local("", ANYWHERE)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.asyncio
async def test_it_can_only_be_read(method: str) -> None:
    """R7"""
    async with answering() as address:
        assert (await call(address, "/healthz", method))[0] == 405
        assert (await call(address, "/other"))[0] == 404
        assert await call(address, "/healthz", "HEAD") == (200, "")


@pytest.mark.asyncio
async def test_a_stale_socket_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    """R7"""
    path = tmp_path / "health.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with answering(UnixSocket(path)) as address:
        with pytest.raises(AddressUnusable, match="can't be listened on"), bound(address):
            pytest.fail("two listen on one socket")
        assert (await ask(address)).status is Status.OK


@pytest.mark.parametrize("kind", ["file", "link", "directory", "nowhere"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    """R7"""
    path = tmp_path / "place" / "health.sock"
    if kind != "nowhere":
        path.parent.mkdir()
    if kind == "file":
        path.write_text("mine")
    elif kind == "link":
        path.symlink_to("/nonexistent")
    elif kind == "directory":
        path.mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(AddressUnusable, match="can't be listened on"), bound(UnixSocket(path)):
        pytest.fail("bound")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_port_in_use_is_refused_in_words() -> None:
    refused = pytest.raises(AddressUnusable, match=r"127\.0\.0\.1:\d+ can't be listened on: Address already in use")
    with bound(ANYWHERE) as listener, refused, bound(Loopback("127.0.0.1", listener.getsockname()[1])):
        pytest.fail("bound twice")


def test_a_successors_socket_is_not_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "health.sock"
    with bound(UnixSocket(path)):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"


@pytest.mark.asyncio
async def test_who_opens_many_connections_does_not_use_up_the_files_of_the_bot() -> None:
    """R7: an agent may do it, also one in a sandbox that shares the network."""
    async with answering() as address, AsyncExitStack() as stack:
        assert isinstance(address, Loopback)
        before = psutil.Process().num_fds()
        for number in range(WAVES * MANY):
            stream = await stack.enter_async_context(await anyio.connect_tcp(address.host, address.port))
            if number % MANY == 0:
                await stream.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                    await stream.receive()
        ours = psutil.Process().num_fds() - before - WAVES * MANY
        assert 0 < ours < 2 * MANY


@pytest.mark.asyncio
async def test_a_connection_ends_however_slowly_it_asks() -> None:
    """R7"""
    async with answering(lifetime=10) as address:
        assert isinstance(address, Loopback)
        async with await anyio.connect_tcp(address.host, address.port) as stream:
            await stream.send(b"GET /healthz HTTP/1.1\r\nHost: ")
            async with flying(10):
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await stream.receive()
        assert (await ask(address)).status is Status.OK


@pytest.mark.asyncio
async def test_who_never_answers_and_who_is_no_weft_are_told_apart() -> None:
    """R7"""
    with bound(ANYWHERE) as listener, pytest.raises(NoAnswer, match=r"no answer from .* within 0\.05 s"):
        await ask(Loopback("127.0.0.1", listener.getsockname()[1]), 0.05)
    async with strange() as address:
        with pytest.raises(NoAnswer, match="is not a Weft"):
            await ask(address)


@asynccontextmanager
async def strange() -> AsyncIterator[Loopback]:
    """Answer as something else does that listens on the port."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:

        async def answer(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await stream.receive()
                await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        tasks.start_soon(listener.serve, answer)
        yield Loopback("127.0.0.1", listener.extra(anyio.abc.SocketAttribute.local_port))
        tasks.cancel_scope.cancel()
