"""What the watchdog looks at in a running bot, and how long its end may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from bot.config import Settings
from bot.ops.notify import Supervisor
from bot.supervised import longest_stop, supervised
from bot.wiring import desk_limits, pool_limits
from pool.model import PoolCounts, PoolLimits
from tests.bot.ops.supervisor import ear

PERIOD = 0.02


@dataclass
class FakeBot:
    """A bot whose parts say what the test wants; it is its own desk, pool and gateway."""

    last_pass: float = field(default_factory=anyio.current_time)
    hangs: str | None = None
    running: int = 2
    connected: bool = True
    ready: anyio.Event = field(default_factory=anyio.Event)

    @property
    def gateway(self) -> FakeBot:
        return self

    desk = pool = gateway

    def stuck(self) -> str | None:
        return self.hangs

    def counts(self) -> PoolCounts:
        return PoolCounts(live=1, starting=1, closing=1, limit=12, busy=2)


def fed(lines: list[str]) -> int:
    return lines.count("WATCHDOG=1")


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", ["gateway", "pool"])
async def test_the_watchdog_starves_with_any_part_and_is_fed_to_the_end_of_a_stop(tmp_path: Path, fault: str) -> None:
    """R3: at the end the parts go one by one, and that is no fault."""
    bot = FakeBot()
    bot.ready.set()
    with ear(tmp_path / "notify") as supervisor, anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            told = Supervisor(supervisor.notifier, PERIOD)
            herald = supervised(tasks, cast("Any", bot), PoolLimits(maintenance=30.0), told)
            await supervisor.until(lambda lines: fed(lines) >= 2)
            bot.hangs = "it hangs" if fault == "gateway" else None
            bot.last_pass -= 1000.0 if fault == "pool" else 0.0
            before = fed(supervisor.lines())
            with anyio.move_on_after(PERIOD * 5):
                await supervisor.until(lambda lines: fed(lines) > before)
            assert fed(supervisor.lines()) == before
            herald.stopping(within=1.0)
            await supervisor.until(lambda lines: fed(lines) > before)
            tasks.cancel_scope.cancel()
        assert "STATUS=connected: 2 turns running, 3 of 12 agents" in supervisor.lines()


@pytest.mark.asyncio
async def test_without_a_watchdog_none_is_fed(tmp_path: Path) -> None:
    """R3"""
    bot = FakeBot()
    bot.ready.set()
    with ear(tmp_path / "notify") as supervisor, anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            supervised(tasks, cast("Any", bot), PoolLimits(), Supervisor(supervisor.notifier))
            await supervisor.until(lambda lines: "READY=1" in lines)
            tasks.cancel_scope.cancel()
        assert fed(supervisor.lines()) == 0


@pytest.mark.parametrize("grace", [0, 30, 600])
def test_time_is_asked_for_as_long_as_a_stop_can_take(grace: float) -> None:
    """R3, R1: the unit's own time is for those who change nothing."""
    settings = Settings(_env_file=None, stop_grace=grace, cancel_grace=10)
    desk, pool = desk_limits(settings), pool_limits(settings)
    assert longest_stop(desk, pool) >= grace + 11 + 5 + pool.close_bound
