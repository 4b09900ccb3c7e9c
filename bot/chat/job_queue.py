"""A queue of small jobs that an event handler can't wait for: one after the other, in order, each with a time limit.

The owner runs `JobQueue.run` in its task group. What does not fit is refused, not queued.
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
CAPACITY = 500  # jobs

Job = Callable[[], Awaitable[None]]


class JobQueue:
    """The only mutable state is the queue itself."""

    def __init__(self, name: str, *, capacity: int = CAPACITY, job_limit: float = JOB_LIMIT) -> None:
        self._name, self._job_limit = name, job_limit
        self._send, self._receive = anyio.create_memory_object_stream[Job](capacity)

    def post(self, job: Callable[..., Awaitable[None]], *args: object) -> bool:
        """Put a job at the end; False, and a warning, when the queue is full. Never waits."""
        try:
            self._send.send_nowait(functools.partial(job, *args))
        except anyio.WouldBlock:
            log.warning("errand.refused", line=self._name)
            return False
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            # Nobody runs the queue any more: the bot is shutting down, which needs no warning.
            return False
        return True

    async def run(self) -> None:
        """Do the jobs until cancelled; one that fails does not affect the next."""
        with self._send, self._receive:
            async for job in self._receive:
                await contain(self._name, job, self._job_limit)


async def contain(name: str, job: Job, limit: float = JOB_LIMIT) -> None:
    """Do a job within ``limit`` seconds; whatever goes wrong ends in the log and reaches no task group."""
    try:
        with anyio.fail_after(limit):
            await job()
    except (discord.DiscordException, aiohttp.ClientError, OSError, PortError) as exc:
        # The network's fault or Discord's: a traceback of our code would say nothing. TimeoutError is an OSError.
        log.warning("errand.failed", line=name, error=repr(exc))
    except Exception:
        log.exception("errand.failed", line=name)
