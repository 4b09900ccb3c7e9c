"""The streams of a process over a websocket, as a cluster's API carries them: each frame begins with its channel."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import anyio
import anyio.abc
from aiohttp import WSMsgType, web

SUCCESS: Final[dict[str, Any]] = {"status": "Success"}
_ENDS = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError)
_FRAME = 32 * 1024

Reached = Callable[[], Awaitable[None]]
"""Waits while nothing gets through."""


async def carry(
    websocket: web.WebSocketResponse,
    process: anyio.abc.Process,
    reached: Reached,
    status: dict[str, Any] | None = None,
) -> None:
    """Carry the streams until the process has ended; the end of the websocket is the end of its input.

    Args:
        status: what the last channel says; None: how the process ended.
    """
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_input, websocket, process, reached, tasks.cancel_scope)
            async with anyio.create_task_group() as outputs:
                outputs.start_soon(_output, websocket, process.stdout, 1, reached)
                outputs.start_soon(_output, websocket, process.stderr, 2, reached)
            code = await process.wait()
            await reached()
            await websocket.send_bytes(b"\x03" + json.dumps(status or _exit(code)).encode())
            await websocket.close()
            tasks.cancel_scope.cancel()
    except* ConnectionError:
        pass
    finally:
        if process.stdin is not None:
            with suppress(*_ENDS), anyio.move_on_after(1, shield=True):
                await process.stdin.aclose()


async def _input(
    websocket: web.WebSocketResponse, process: anyio.abc.Process, reached: Reached, scope: anyio.CancelScope
) -> None:
    while True:
        await reached()
        message = await websocket.receive()
        if message.type is not WSMsgType.BINARY:
            break
        if process.stdin is None:
            continue
        with suppress(*_ENDS):
            if message.data == b"\xff\x00":
                await process.stdin.aclose()
            elif message.data[0] == 0 and len(message.data) > 1:
                # While it is not taken, nothing else is read of the websocket, pings included: so does the server.
                await process.stdin.send(message.data[1:])
    scope.cancel()


async def _output(
    websocket: web.WebSocketResponse, pipe: anyio.abc.ByteReceiveStream | None, channel: int, reached: Reached
) -> None:
    assert pipe is not None
    with suppress(*_ENDS):
        while True:
            data = await pipe.receive(_FRAME)
            await reached()
            await websocket.send_bytes(bytes([channel]) + data)


def _exit(code: int) -> dict[str, Any]:
    if code == 0:
        return SUCCESS
    causes = [{"reason": "ExitCode", "message": str(code if code > 0 else 128 - code)}]
    return {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}
