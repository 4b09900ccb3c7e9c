"""Puts health and metrics around a bot where they are wanted (`WEFT_HEALTH`); without them nothing is measured.

What is judged stands in `bot.ops.health`, what is counted in `bot.ops.metrics`, how it is asked in `bot.ops.listener`.
The mutable state is the parts that are looked at, once the bot has them.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio
import structlog

from bot.observer import Observer
from bot.ops.address import parse_address
from bot.ops.health import Health, Status, problems
from bot.ops.lag import LoopLag
from bot.ops.look import Watched, look_at, vitals

if TYPE_CHECKING:
    from bot.ops.metrics import Metrics

log = structlog.get_logger(__name__)


class Watch:
    """Watches nothing.

    Attributes:
        observer: to be told what happens.
        address: where to ask how the bot is; None where nobody may.
    """

    observer: Observer = Observer()
    address: str | None = None

    def begin(self, watched: Watched) -> None:
        """Look at the parts of a bot from now on."""


class LiveWatch(Watch):
    """Counts and measures, and says how the bot is.

    Args:
        redact: takes secrets out of what is told in words.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        from bot.ops.metrics import Metrics  # not needed by a bot that nobody watches

        self.metrics: Metrics = Metrics(self.look)
        self.observer = self.metrics
        self.lag = LoopLag(self.metrics.loop_late)
        self._redact = redact
        self._watched: Watched | None = None
        self._started, self._began = datetime.now(UTC), anyio.current_time()

    def begin(self, watched: Watched) -> None:
        """Look at the parts of a bot from now on, and have it tell what happens."""
        self._watched = watched
        watched.desk.observe(self.observer)
        watched.store.observe(self.observer.stored)

    def look(self) -> Health:
        """Return how the bot is at this moment."""
        watched = self._watched
        found = self._problems(watched) if watched is not None else ()
        well = Status.OK if watched is not None else Status.STARTING
        return Health(
            status=Status.FAILING if found else well,
            problems=tuple(self._redact(problem) for problem in found),
            version=importlib.metadata.version("weft"),
            started=self._started,
            uptime_seconds=anyio.current_time() - self._began,
            parts=None if watched is None else look_at(watched, self.lag, self.metrics.outcomes, self._redact),
        )

    def _problems(self, watched: Watched) -> tuple[str, ...]:
        return problems(vitals(watched.gateway, watched.pool, watched.pass_interval, self.lag.silent))


@asynccontextmanager
async def watching(address: str | None, redact: Callable[[str], str]) -> AsyncIterator[Watch]:
    """Answer at an address while the body runs; without one, watch nothing.

    Raises:
        AddressUnusable: the address can't be listened on.
    """
    if address is None:
        yield Watch()
        return
    from bot.ops.listener import listening

    watch = LiveWatch(redact)
    where = listening(parse_address(address), watch.look, watch.metrics.exposition)
    async with where as found, anyio.create_task_group() as tasks:
        tasks.start_soon(watch.lag.run, name="loop lag")
        watch.address = str(found)
        log.info("health.opened", address=watch.address)
        yield watch
        tasks.cancel_scope.cancel()
