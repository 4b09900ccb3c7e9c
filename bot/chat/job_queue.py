"""Queues of small jobs that an event handler can't wait for: one after the other, in order, each with a time limit.

The owner runs `JobQueue.run` or `PlaceQueues.run` in its task group. What does not fit is refused, not queued.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Awaitable, Callable
from math import inf

import aiohttp
import anyio
import discord
import structlog

from bot.reply.port import PortError
from pool.store import StoreClosed

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


class PlaceQueues:
    """A queue for each place: jobs of one are done in order, and those of another do not wait for them.

    Each task in `run` works on one place at a time. The mutable state is the jobs of each place.
    """

    def __init__(self, name: str) -> None:
        # Without a limit: a place takes as long as its jobs, of which each has its own.
        self._name, self._places = name, JobQueue(name, job_limit=inf)
        self._waiting: dict[int, deque[Job]] = {}

    def __contains__(self, place_id: int) -> bool:
        return place_id in self._waiting

    def post(self, place_id: int, job: Job) -> None:
        """Put a job behind those of its place; a warning is logged if it does not fit. Never waits."""
        waiting = self._waiting.get(place_id)
        if waiting is None:
            # Only if it is taken: a place that nobody works on would hold its messages back for ever.
            if self._places.post(self._work, place_id):
                self._waiting[place_id] = deque([job])
        elif len(waiting) < CAPACITY:
            waiting.append(job)
        else:
            log.warning("errand.refused", line=self._name, place=place_id)

    async def run(self) -> None:
        """Do the jobs of one place after the other until cancelled."""
        await self._places.run()

    async def _work(self, place_id: int) -> None:
        waiting = self._waiting[place_id]
        try:
            while waiting:
                await contain(self._name, waiting[0])
                # Not before: as long as it is in the queue, newer messages wait behind it.
                waiting.popleft()
        finally:
            del self._waiting[place_id]


async def contain(name: str, job: Job, limit: float = JOB_LIMIT) -> None:
    """Do a job within ``limit`` seconds; whatever goes wrong ends in the log and reaches no task group."""
    try:
        with anyio.fail_after(limit):
            await job()
    except (discord.DiscordException, aiohttp.ClientError, OSError, PortError, StoreClosed) as exc:
        # The network's fault, Discord's, or that of a lease that was lost: a traceback of our code would say nothing.
        # TimeoutError is an OSError.
        log.warning("errand.failed", line=name, error=repr(exc))
    except Exception:
        log.exception("errand.failed", line=name)
