"""Processes that flood the bot's socket as fast as they can: the others' calls are answered, in bounded memory (M1)."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import psutil
import pytest

from bot.mcp.listener import ListenerLimits
from tests.repeat import long_run

from .host import OTHER, Host, call_line, serving

MIB = 1024 * 1024
ROOM = 48 * MIB
"""More than 64 connections can hold that have said who they are, and not what they want."""

# Each opens connections again and again, keeps the latest 200 and says something; what is not taken is not waited for.
FLOOD = """
import resource, socket, sys, time
path, manner = sys.argv[1:]
said = sys.stdin.buffer.read()
open_ones, told = [], False
while True:
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(5)
    try:
        one.connect(path)
        one.sendall(said)
        if manner == "listen":
            one.recv(1000)
    except OSError:
        pass
    open_ones.append(one)
    if manner != "keep" or len(open_ones) > 200:
        open_ones.pop(0).close()
    if not told:
        told = print("begun", flush=True) or True
"""


@asynccontextmanager
async def flooded(host: Host, manner: str, said: bytes) -> AsyncIterator[None]:
    """Have another process flood the socket while the body runs."""
    async with await anyio.open_process([sys.executable, "-I", "-c", FLOOD, str(host.path), manner]) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            await process.stdin.send(said)
            await process.stdin.aclose()
            assert await process.stdout.receive() == b"begun\n"
            yield
        finally:
            process.kill()


def what_is_said(host: Host, said: str) -> bytes:
    hello = host.hello(OTHER)
    return {
        "nothing": b"",
        "a long line": b"x" * MIB,
        "half a call": hello + b'{"tool":"' + b"x" * 250_000,
        "a call": hello + call_line("set_title", title="x"),
        "a question": hello + call_line("ask", question="x"),
        "a long answer": hello + call_line("read_thread", limit=50),
    }[said]


FLOODS = [
    ("close", "a long line"),
    ("keep", "half a call"),
    ("listen", "a call"),
    ("keep", "a long answer"),
]
MORE_FLOODS = [("keep", "nothing"), ("close", "nothing"), ("keep", "a question")]


async def others_are_served(manner: str, said: str, calls: int) -> None:
    """Have one thread's calls answered while another one's process floods, and look at what that takes."""
    async with serving(ListenerLimits(calls=100_000)) as host:
        gc.collect()
        before = psutil.Process().memory_info().rss
        async with flooded(host, manner, what_is_said(host, said)):
            for _ in range(calls):
                with anyio.fail_after(20):
                    assert not (await host.title()).error
            assert psutil.Process().memory_info().rss - before < ROOM


@pytest.mark.parametrize(("manner", "said"), FLOODS)
@pytest.mark.asyncio
async def test_whoever_floods_is_alone_with_it(manner: str, said: str) -> None:
    """M1"""
    await others_are_served(manner, said, 2)


@pytest.mark.soak
@pytest.mark.parametrize(("manner", "said"), FLOODS + MORE_FLOODS)
@pytest.mark.asyncio
async def test_whoever_floods_for_long_is_alone_with_it(manner: str, said: str) -> None:
    """M1"""
    await others_are_served(manner, said, long_run(40, 3))
