"""Feeds the supervisor's watchdog while the bot gets on with its work, and only then (R3).

That this runs shows that the loop does; what else has to be seen is judged in `bot.ops.health`. A bot that is not fed
for is killed and started again by its supervisor. The mutable state is why the last sign of life was withheld.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import structlog

from bot.ops.notify import Notifier

log = structlog.get_logger(__name__)


class Watchdog:
    """Sends signs of life, two in each period, for as long as ``look`` names no fault.

    Args:
        period: seconds, as the supervisor wants it.
    """

    def __init__(self, notifier: Notifier, period: float, look: Callable[[], str | None]) -> None:
        self._notifier, self._period, self._look = notifier, period, look
        self._withheld: str | None = None

    async def run(self) -> None:
        """Feed until cancelled."""
        while True:
            self.once()
            await anyio.sleep(self._period / 2)

    def once(self) -> None:
        """Send a sign of life, or withhold it and log why."""
        found = self._look()
        if found is None:
            self._notifier.send("WATCHDOG=1")
        if found is not None and self._withheld is None:
            log.error("watchdog.withheld", reason=found, restart_in=self._period)
        elif found is None and self._withheld is not None:
            log.warning("watchdog.resumed", withheld_for=self._withheld)
        self._withheld = found
