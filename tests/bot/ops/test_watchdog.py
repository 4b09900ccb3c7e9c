"""The watchdog is fed while all parts get on, and not a moment longer."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from bot.ops.watchdog import Watchdog

from .supervisor import ear


@pytest.mark.asyncio
async def test_signs_of_life_come_twice_in_a_period(tmp_path: Path) -> None:
    """R3"""
    with ear(tmp_path / "notify") as supervisor:
        watchdog = Watchdog(supervisor.notifier, 0.2, lambda: None)
        begun = anyio.current_time()
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watchdog.run)
                await supervisor.until(lambda lines: len(lines) >= 3)
                tasks.cancel_scope.cancel()
        assert set(supervisor.lines()) == {"WATCHDOG=1"}
        assert anyio.current_time() - begun >= 0.2


def test_a_fault_withholds_them_and_is_logged_once(tmp_path: Path) -> None:
    """R3"""
    found: list[str | None] = [None]
    with ear(tmp_path / "notify") as supervisor, capture_logs() as logs:
        watchdog = Watchdog(supervisor.notifier, 60.0, lambda: found[0])
        for found[0] in (None, "stuck", "stuck", None, None):
            watchdog.once()
        assert supervisor.lines() == ["WATCHDOG=1"] * 3
    assert [entry["event"] for entry in logs] == ["watchdog.withheld", "watchdog.resumed"]
    assert logs[0]["reason"] == "stuck"
