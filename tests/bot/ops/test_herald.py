"""What the service supervisor hears from the bot's start to its end."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from bot.ops.herald import Figures, Herald, Phase, status
from bot.ops.notify import EXTENSION

from .supervisor import Ear, ear

MORE_TIME = f"EXTEND_TIMEOUT_USEC={EXTENSION * 1e6:.0f}"
IDLE = Figures(connected=True, agents=0, max_agents=12, turns=0)


class Bot:
    """What a herald speaks for."""

    def __init__(self, supervisor: Ear) -> None:
        self.figures = IDLE
        self.fault: str | None = None
        self.herald = Herald(supervisor.notifier, lambda: self.figures, lambda: self.fault)


@pytest.mark.parametrize(
    ("phase", "figures", "line"),
    [
        (Phase.STARTING, IDLE, "waiting for Discord"),
        (Phase.RUNNING, IDLE, "connected: 0 turns running, 0 of 12 agents"),
        (Phase.RUNNING, Figures(False, 3, 12, 1), "disconnected: 1 turn running, 3 of 12 agents"),
        (Phase.STOPPING, Figures(True, 3, 12, 2), "draining: 2 turns to end, 3 of 12 agents"),
    ],
)
def test_the_status_is_one_line(phase: Phase, figures: Figures, line: str) -> None:
    """R3"""
    assert status(phase, figures) == line


def test_a_start_asks_for_time_until_discord_is_there(tmp_path: Path) -> None:
    """R3: an outage of Discord uses up no starts."""
    with ear(tmp_path / "notify") as supervisor:
        bot = Bot(supervisor)
        for _ in range(2):
            bot.herald.look(ready=False)
        bot.herald.look(ready=True)
        bot.herald.look(ready=True)
        connected = "STATUS=connected: 0 turns running, 0 of 12 agents"
        assert supervisor.listen() == [
            [MORE_TIME],
            ["STATUS=waiting for Discord"],
            [MORE_TIME],
            ["READY=1", connected],
        ]


def test_a_start_that_hangs_is_given_no_more_time(tmp_path: Path) -> None:
    """R3"""
    with ear(tmp_path / "notify") as supervisor:
        bot = Bot(supervisor)
        bot.fault = "the connection's task has ended"
        bot.herald.look(ready=False)
        assert supervisor.lines() == ["STATUS=waiting for Discord"]


def test_a_status_is_told_when_it_changes_only(tmp_path: Path) -> None:
    """R3"""
    with ear(tmp_path / "notify") as supervisor:
        bot = Bot(supervisor)
        bot.herald.look(ready=True)
        before = len(supervisor.lines())
        bot.herald.look(ready=True)
        assert len(supervisor.lines()) == before
        bot.figures = Figures(connected=False, agents=1, max_agents=12, turns=1)
        bot.herald.look(ready=True)
        assert supervisor.lines()[before:] == ["STATUS=disconnected: 1 turn running, 1 of 12 agents"]


@pytest.mark.asyncio
async def test_ready_is_told_at_once(tmp_path: Path) -> None:
    """R3: who waits for the service waits for this."""
    ready = anyio.Event()
    with ear(tmp_path / "notify") as supervisor, anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Bot(supervisor).herald.run, ready)
            await supervisor.until(lambda lines: "STATUS=waiting for Discord" in lines)
            ready.set()
            await supervisor.until(lambda lines: "READY=1" in lines)
            tasks.cancel_scope.cancel()


def test_a_reload_is_told_around_it(tmp_path: Path) -> None:
    """R3"""
    with ear(tmp_path / "notify") as supervisor:
        herald = Bot(supervisor).herald
        herald.look(ready=True)
        before = len(supervisor.listen())
        herald.reload(lambda: None)
        (begun, _clock), *rest = supervisor.listen()[before:]
        assert (begun, rest) == ("RELOADING=1", [["READY=1"]])


def test_a_reload_before_the_bot_is_ready_does_not_make_it_ready(tmp_path: Path) -> None:
    """R3"""
    done: list[str] = []
    with ear(tmp_path / "notify") as supervisor:
        Bot(supervisor).herald.reload(lambda: done.append("reloaded"))
        assert (done, supervisor.lines()) == (["reloaded"], [])


@pytest.mark.asyncio
async def test_a_stop_asks_for_time_as_long_as_it_may_take(tmp_path: Path) -> None:
    """R3, R1: afterwards the supervisor ends what hangs."""
    with ear(tmp_path / "notify") as supervisor:
        herald = Bot(supervisor).herald
        herald.look(ready=True)
        before = len(supervisor.lines())
        herald.stopping(within=60)
        assert supervisor.lines()[before:] == [
            "STOPPING=1",
            MORE_TIME,
            "STATUS=draining: 0 turns to end, 0 of 12 agents",
        ]
        assert herald.stops
        herald.stopping(within=0)
        before = len(supervisor.lines())
        herald.look(ready=True)
        assert supervisor.lines()[before:] == []
