"""Whose a connection within this machine is."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from bot.sandbox import FakeDiscord, guard
from bot.sandbox.peers import user_of_peer

pytestmark = pytest.mark.asyncio

WITHOUT = pytest.mark.skipif(not Path("/proc/net/tcp6").exists(), reason="without IPv6")
PEERS = [(socket.AF_INET, "127.0.0.1"), pytest.param(socket.AF_INET6, "::ffff:127.0.0.1", marks=WITHOUT)]


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells")
@pytest.mark.parametrize(("family", "host"), PEERS)
async def test_the_other_end_of_a_connection_belongs_to_somebody(family: int, host: str) -> None:
    found: list[int | None] = []

    async def note(request: web.Request) -> web.Response:
        found.append(user_of_peer(request))
        return web.Response()

    app = web.Application()
    app.router.add_get("/", note)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        with socket.socket(family, socket.SOCK_STREAM) as peer:
            peer.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(peer, (host, port))
            await loop.sock_sendall(peer, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await loop.sock_recv(peer, 100)).startswith(b"HTTP/1.1 200")
    finally:
        await runner.cleanup()
    assert found == [os.geteuid()]


async def test_the_key_is_worth_nothing_to_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's address, with the key, stands in the list of processes while the browser runs."""
    async with FakeDiscord() as fd, aiohttp.ClientSession(headers=fd.key_header) as session:
        statuses = []
        for user in (os.geteuid(), 0, None, 4711):
            monkeypatch.setattr(guard, "user_of_peer", lambda _request, user=user: user)
            statuses.append((await session.get(fd.url + "/_sandbox/session")).status)
    assert statuses == [200, 200, 200, 403]
