"""A line of small jobs that an event handler may not wait for: done one after the other, in order, each with a bound.

The owner runs `Errands.run` in its task group. What does not fit in the line any more is refused, not queued.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

import aiohttp
import anyio
import discord
import structlog

from bot.reply.port import PortError

log = structlog.get_logger(__name__)

JOB_LIMIT = 60.0  # seconds
LINE_LIMIT = 500  # jobs

Job = Callable[[], Awaitable[None]]


class Errands:
    """The mutable state is the line itself."""

    def __init__(self, name: str, *, line_limit: int = LINE_LIMIT, job_limit: float = JOB_LIMIT) -> None:
        self._name, self._job_limit = name, job_limit
        self._send, self._receive = anyio.create_memory_object_stream[Job](line_limit)

    def post(self, job: Callable[..., Awaitable[None]], *args: object) -> bool:
        """Put a job at the end of the line; False, and a warning, when the line is full. Never waits."""
        try:
            self._send.send_nowait(functools.partial(job, *args))
        except anyio.WouldBlock:
            log.warning("errand.refused", line=self._name)
            return False
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return False
        return True

    async def run(self) -> None:
        """Do the jobs until cancelled; one that fails harms no other."""
        with self._send, self._receive:
            async for job in self._receive:
                await contain(self._name, job, self._job_limit)


async def contain(name: str, job: Job, limit: float = JOB_LIMIT) -> None:
    """Do a job within ``limit`` seconds; whatever goes wrong ends in the log and reaches no task group."""
    try:
        with anyio.fail_after(limit):
            await job()
    except (discord.DiscordException, aiohttp.ClientError, OSError, PortError) as exc:
        log.warning("errand.failed", line=name, error=repr(exc))
    except Exception:
        log.exception("errand.failed", line=name)
