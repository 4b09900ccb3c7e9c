"""Puts health and metrics around a bot where they are wanted (`WEFT_HEALTH`); without them nothing is measured.

What is judged stands in `bot.ops.health`, what is counted in `bot.ops.metrics`, how it is asked in `bot.ops.listener`.
`LoopLag` measures how late the event loop comes round. The mutable state is the parts that are looked at, once the bot
has them, and the loop's last and worst lateness.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio
import structlog

from bot import version
from bot.ops.address import parse_address
from bot.ops.health import Health, LoopHealth, StandbyHealth, Status, problems
from bot.ops.snapshot import Watched, collect_snapshot, vitals
from bot.work.observer import Observer

if TYPE_CHECKING:
    from bot.ops.metrics import Metrics

log = structlog.get_logger(__name__)

TICK = 0.25
"""Seconds between two looks: four wake-ups a second cost less than 0.1 % of a CPU."""

WINDOW = 30.0
"""Seconds for which the worst lateness is kept at least; it is forgotten after twice as long."""


class LoopLag:
    """Measures the loop it runs on.

    Args:
        observe: told each lateness, in seconds.
    """

    def __init__(
        self,
        observe: Callable[[float], None],
        *,
        tick: float = TICK,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._observe, self._tick, self._clock = observe, tick, clock
        self.last = 0.0
        self._worst = self._worst_before = 0.0
        self._window = self._ticked = clock()

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = self._clock() + self._tick
            # By the time that was meant, so that lateness does not add up.
            await anyio.sleep_until(due)
            self.note(max(0.0, self._clock() - due))

    def note(self, late: float) -> None:
        """Take a lateness in."""
        now = self._clock()
        # First, or the lateness would be counted to the window that is over.
        self._turn(now)
        self.last, self._worst, self._ticked = late, max(self._worst, late), now
        self._observe(late)

    @property
    def worst(self) -> float:
        """The worst lateness of the last half minute or minute, in seconds."""
        self._turn(self._clock())
        return max(self._worst, self._worst_before)

    @property
    def silent(self) -> float:
        """Seconds since the last look at the clock."""
        return self._clock() - self._ticked

    def _turn(self, now: float) -> None:
        """Begin a new window when the one under way is over; what lies two windows back is forgotten."""
        passed = now - self._window
        if passed >= WINDOW:
            # Two windows, so that the worst is never forgotten as soon as it was measured.
            self._worst_before = self._worst if passed < 2 * WINDOW else 0.0
            self._worst, self._window = 0.0, now


class Watch:
    """Watches nothing.

    Attributes:
        observer: to be told what happens.
        address: where to ask how the bot is; None where nobody may.
    """

    observer: Observer = Observer()
    address: str | None = None

    def stand_by(self, standby: StandbyHealth | None) -> None:
        """Say that the bot waits to take over, or, None, that it does no more."""

    def begin(self, watched: Watched) -> None:
        """Look at the parts of a bot from now on."""


class LiveWatch(Watch):
    """Counts and measures, and says how the bot is.

    Args:
        redact: takes secrets out of texts.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        from bot.ops.metrics import Metrics  # not needed by a bot that nobody watches

        self.metrics: Metrics = Metrics(self.look)
        self.observer = self.metrics
        self.lag = LoopLag(self.metrics.loop_late)
        self._redact = redact
        self._watched: Watched | None = None
        self._standby: StandbyHealth | None = None
        # Both clocks: people read the one, and how long it has been up must not jump with it.
        self._started, self._began = datetime.now(UTC), anyio.current_time()

    def stand_by(self, standby: StandbyHealth | None) -> None:
        self._standby = standby and StandbyHealth(leader=standby.leader, trouble=self._redact(standby.trouble))

    def begin(self, watched: Watched) -> None:
        """Look at the parts of a bot from now on, and have it tell what happens."""
        self._watched = watched
        watched.store.observe = self.observer.stored

    async def renew(self) -> None:
        """Have the next look tell of other machines as they are now; bounded."""
        if self._watched is not None:
            await self._watched.pool.renew_nodes()

    def look(self) -> Health:
        """Return how the bot is at this moment."""
        status, found, parts = Status.STARTING, tuple[str, ...](), None
        if self._standby is not None:
            status = Status.STANDBY
        if (watched := self._watched) is not None:
            found = problems(vitals(watched.gateway, watched.pool, watched.pass_interval, self.lag.silent))
            status = Status.FAILING if found else Status.OK
            loop = LoopHealth(lag_seconds=self.lag.last, worst_lag_seconds=self.lag.worst)
            parts = collect_snapshot(watched, loop, self.metrics.outcomes, self._redact)
        return Health(
            status=status,
            problems=tuple(self._redact(problem) for problem in found),
            version=version.full(),
            started=self._started,
            uptime_seconds=anyio.current_time() - self._began,
            parts=parts,
            standby=self._standby,
        )


@asynccontextmanager
async def watching(address: str | None, redact: Callable[[str], str]) -> AsyncIterator[Watch]:
    """Answer at an address while the body runs; without one, watch nothing.

    Raises:
        AddressUnusable: the address can't be listened on.
    """
    # Nothing is measured then, and the library of the metrics is not even imported.
    if address is None:
        yield Watch()
        return
    from bot.ops.listener import listening

    watch = LiveWatch(redact)
    where = listening(parse_address(address), watch.look, watch.metrics.exposition, renew=watch.renew)
    async with where as found, anyio.create_task_group() as tasks:
        tasks.start_soon(watch.lag.run, name="loop lag")
        watch.address = str(found)
        log.info("health.opened", address=watch.address)
        yield watch
        tasks.cancel_scope.cancel()
