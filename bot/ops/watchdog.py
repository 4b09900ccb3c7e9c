"""Feeds the supervisor's watchdog while the bot gets on with its work, and only then (R3).

That this runs shows that the loop does; what else has to be seen is judged from outside. A bot that is not fed for is
killed and started again by its supervisor. The mutable state is why the last sign of life was withheld.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anyio
import structlog

from bot.ops.notify import Notifier

log = structlog.get_logger(__name__)

MISSED_PASSES = 4
"""Maintenance passes that may be missing before the pool counts as stuck: one that fails is logged and made up for."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What the parts of the bot show of themselves.

    Attributes:
        gateway: why the connection's task counts as stuck; being disconnected is no reason.
        since_pass: seconds since the pool's last maintenance pass.
        pass_interval: seconds from one pass to the next.
    """

    gateway: str | None
    since_pass: float
    pass_interval: float


def fault(signs: Signs) -> str | None:
    """Say what no longer gets on, or nothing."""
    if signs.gateway is not None:
        return signs.gateway
    if signs.since_pass > MISSED_PASSES * signs.pass_interval:
        return f"the pool's last maintenance pass was {signs.since_pass:.0f} s ago"
    return None


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
