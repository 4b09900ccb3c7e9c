"""A bot that leads no more sends nothing to Discord (R10)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import anyio
import discord
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from discord.backoff import ExponentialBackoff

from bot.chat.fence import NotLeading, fence_requests
from bot.reply.port import Body, Unavailable
from bot.sandbox import FakeDiscord
from tests.bot.chat.harness import FakeDispatcher, RunningChat, running_chat

pytestmark = pytest.mark.asyncio


class Leave:
    """May send so many times more, and then no more."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.refused = 0

    def __call__(self) -> bool:
        if self.left is None:
            return True
        self.left -= 1
        self.refused += self.left < 0
        return self.left >= 0


def client_of(chat: RunningChat) -> discord.Client:
    return chat.gateway.current()


async def test_nothing_is_sent_any_more_not_even_what_has_its_connection_already() -> None:
    """R10: looked at before anything is tried, when a request begins, and before its first byte."""
    leave = Leave()
    async with FakeDiscord() as fd, running_chat(fd, may_send=leave) as chat:
        thread, client = chat.gateway.chat.thread(fd.channel_id), client_of(chat)
        await thread.send(Body("while it led"), nonce="n1")
        before = len(fd.rest_calls())
        leave.left = 0
        with pytest.raises(Unavailable, match="does not lead"):
            await thread.send(Body("later"), nonce="n2")
        for looks in (0, 1):
            leave.left = looks
            with pytest.raises(NotLeading):
                await client.http.send_message(
                    fd.channel_id, params=discord.http.handle_message_parameters(content="later")
                )
        leave.left = 2
        with pytest.raises(Unavailable, match="does not lead"):
            await thread.send(Body("later"), nonce="n3")
        assert len(fd.rest_calls()) == before
        assert [message.content for message in fd.messages(fd.channel_id)] == ["while it led"]
        assert chat.observer.answers.count(("POST", "messages", 0)) == 0


async def test_a_file_that_is_half_way_does_not_arrive() -> None:
    """R10: a process that stands still amid an upload must not end it when it goes on."""
    arrived, half = [], anyio.Event()

    async def take(request: web.Request) -> web.Response:
        async for data in request.content.iter_chunked(64 * 1024):
            arrived.append(len(data))
            half.set()
        arrived.append(-1)
        return web.Response()

    def body() -> AsyncIterator[bytes]:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"x" * 256 * 1024
            await half.wait()
            leave.left = 0
            yield b"x"

        return pieces()

    leave, trace = Leave(), aiohttp.TraceConfig()
    fence_requests(trace, leave)
    application = web.Application()
    application.router.add_post("/", take)
    async with TestServer(application) as server, aiohttp.ClientSession(trace_configs=[trace]) as session:
        with anyio.fail_after(30), pytest.raises(aiohttp.ClientError):
            await session.post(server.make_url("/"), data=body())
    assert arrived
    assert -1 not in arrived


async def test_no_session_of_the_gateway_is_resumed_or_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """R10: also not by a bot that stood still after the greeting."""
    monkeypatch.setattr(ExponentialBackoff, "delay", lambda _self: 0.02)
    leave = Leave()
    async with FakeDiscord() as fd, running_chat(fd, may_send=leave) as chat:
        # 1. Before it connects. 2. Between the connection and the RESUME.
        for looks in (0, 2):
            refused, leave.left = leave.refused, looks
            await fd.gateway.reconnect()
            with anyio.fail_after(30):
                while leave.refused < refused + 2:  # noqa: ASYNC110  discord.py tells nobody
                    await anyio.sleep(0.01)
        assert (fd.gateway.identifies, fd.gateway.resumes) == (1, 0)
        # 3. A new client.
        assert isinstance(chat.dispatcher, FakeDispatcher)
        with pytest.raises(NotLeading):
            await chat.gateway._log_in(chat.dispatcher)
        leave.left = None
