"""Time that passes at once, for tests in which something has to happen within a limit, and then the limit to pass.

A limit that is short enough to be waited for is one that a slow machine outlasts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

_AHEAD = "tests_ahead"


def _now(loop: asyncio.BaseEventLoop, /) -> float:
    ahead: float = getattr(loop, _AHEAD, 0.0)
    return time.monotonic() + ahead


# Of all loops, as long as the process lives: there are callers that have asked a loop for its method before.
setattr(asyncio.BaseEventLoop, "time", _now)  # noqa: B010  a plain assignment would need an exception for mypy


def let_pass(seconds: float) -> None:
    """Put the clock of the running event loop forward: what sleeps or waits wakes so much sooner.

    Nets of the test itself wake sooner, too: let less pass than those have left. The loop of the next test goes by the
    machine's clock again, by which agents note when they did something.
    """
    loop = asyncio.get_running_loop()
    setattr(loop, _AHEAD, getattr(loop, _AHEAD, 0.0) + seconds)


@asynccontextmanager
async def passing(seconds: float, when: Callable[[], object]) -> AsyncIterator[None]:
    """Let time pass beside the body, once, as soon as the condition holds."""

    async def wait() -> None:
        while not when():  # noqa: ASYNC110  what it is about sends no event
            await anyio.sleep(0.01)
        let_pass(seconds)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        yield
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def flying(seconds: float) -> AsyncIterator[None]:
    """Let time pass beside the body, again and again: limits of that length end soon, whenever they begin."""

    async def fly() -> None:
        while True:
            await anyio.sleep(0.01)
            let_pass(seconds)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fly)
        yield
        tasks.cancel_scope.cancel()
