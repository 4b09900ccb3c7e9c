"""Runs other programs for a moment, such as git, and leaves nothing of them behind. Agents are started elsewhere."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.abc

_REAP = 5.0  # seconds


@asynccontextmanager
async def running(command: Sequence[str], *, patience: float = 0.0, **options: Any) -> AsyncIterator[anyio.abc.Process]:
    """Start a program in a process group of its own, which is killed when left, at a good end, too.

    Args:
        patience: seconds for it to end by itself at SIGTERM, if it has not by then.
        options: as `anyio.open_process` takes them.

    Raises:
        OSError: it could not be started.
    """
    # Cut short, a start would leave a process that nobody knows.
    with anyio.CancelScope(shield=True):
        process = await anyio.open_process(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        if patience and process.returncode is None:
            _signal(process, signal.SIGTERM)
            with anyio.move_on_after(patience, shield=True):
                await process.wait()
        # A helper that it has left in the background is not wanted either.
        _signal(process, signal.SIGKILL)
        with anyio.move_on_after(_REAP, shield=True):
            await process.aclose()


def _signal(process: anyio.abc.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # all of it has just ended by itself
        os.killpg(process.pid, number)
