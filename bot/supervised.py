"""Connects a running bot to its service supervisor: what it is told, and what the watchdog looks at (R3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio.abc import TaskGroup

from bot.ops.health import problems
from bot.ops.herald import Figures, Herald
from bot.ops.look import vitals
from bot.ops.notify import Supervisor
from bot.ops.watchdog import Watchdog
from bot.work.limits import DeskLimits
from pool.model import PoolLimits

if TYPE_CHECKING:
    from bot.app import Bot

CONNECTION_CLOSE = 15.0
"""Seconds that Discord's connection and the store have for their ends, and a little."""


def supervised(tasks: TaskGroup, bot: Bot, limits: PoolLimits, supervisor: Supervisor) -> Herald:
    """Tell the supervisor how the bot fares from now on, and that it lives, where that is wanted."""

    def look() -> str | None:
        return "; ".join(problems(vitals(bot.gateway, bot.pool, limits.maintenance))) or None

    herald = Herald(supervisor.notifier, lambda: _figures(bot), look)
    tasks.start_soon(herald.run, bot.ready, name="herald")
    if supervisor.watchdog is not None:
        # At the end the parts go one by one; what bounds them is the time that the supervisor gives to the stop.
        watchdog = Watchdog(supervisor.notifier, supervisor.watchdog, lambda: None if herald.stops else look())
        tasks.start_soon(watchdog.run, name="watchdog")
    return herald


def _figures(bot: Bot) -> Figures:
    pool = bot.pool.counts()
    return Figures(bot.gateway.connected, pool.live + pool.starting + pool.closing, pool.limit, bot.desk.running)


def longest_stop(desk: DeskLimits, pool: PoolLimits) -> float:
    """Return how many seconds the orderly end takes at most (R1)."""
    return desk.stop_grace + desk.stop_bound + desk.flush_bound + pool.close_bound + CONNECTION_CLOSE
