"""The fence at the exit to Discord: a bot that leads no more sends nothing (R10).

Each request is looked at before it waits for a connection, right before its first byte, and before each further piece
of its body; and so is each frame to the gateway, IDENTIFY and RESUME among them. What is received, and hanging up,
needs no leave.
"""

from __future__ import annotations

from collections.abc import Callable

import aiohttp
import anyio
import discord

MaySend = Callable[[], bool]

CLOSE_LIMIT = 2.0
"""Seconds that Discord may take to answer when we hang up."""


class NotLeading(aiohttp.ClientError):
    """It was not sent: another bot may lead by now."""

    def __init__(self) -> None:
        super().__init__("this bot does not lead any more, and sends nothing")


def always() -> bool:
    """Let everything out: this bot is alone."""
    return True


def check_leave(may_send: MaySend) -> None:
    """Let something out, or not.

    Raises:
        NotLeading: it must not be sent.
    """
    if not may_send():
        raise NotLeading


def fence_requests(config: aiohttp.TraceConfig, may_send: MaySend) -> None:
    """Have an HTTP session ask for leave for each request; one that is refused fails with `NotLeading`."""

    async def look(*_: object) -> None:
        check_leave(may_send)

    config.on_request_start.append(look)
    # aiohttp calls this before it writes them: a process may have stood still while it waited for the connection.
    config.on_request_headers_sent.append(look)
    # And this before each piece of a body: it may stand still amid a file, too, and a request without its end is none.
    config.on_request_chunk_sent.append(look)


def fence_gateway(client: discord.Client, may_send: MaySend) -> None:
    """Have the client ask for leave for each frame that it sends to the gateway."""
    connect = client.http.ws_connect

    async def fenced(url: str, *, compress: int = 0) -> aiohttp.ClientWebSocketResponse:
        websocket = await connect(url, compress=compress)
        send = websocket.send_str

        async def send_str(data: str, compress: int | None = None) -> None:
            if not may_send():
                # discord.py forgets a socket whose first frame fails, and would leave it open.
                with anyio.move_on_after(CLOSE_LIMIT):
                    await websocket.close(code=1000)
                raise NotLeading
            await send(data, compress)

        # discord.py sends everything by this, and has no hook before it.
        websocket.send_str = send_str  # type: ignore[method-assign]
        return websocket

    client.http.ws_connect = fenced  # type: ignore[method-assign]
