"""What the service supervisor hears of the bot, and that nothing goes wrong where there is none."""

from __future__ import annotations

import os
import socket
import time
import uuid
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from bot.ops.supervisor import (
    EXTENSION,
    Figures,
    Notifier,
    Phase,
    Supervisor,
    SupervisorNotifier,
    Watchdog,
    status,
    take_supervisor,
)

from .ear import Ear, ear

MORE_TIME = f"EXTEND_TIMEOUT_USEC={EXTENSION * 1e6:.0f}"
IDLE = Figures(connected=True, agents=0, max_agents=12, turns=0)


class Bot:
    """What a notifier speaks for."""

    def __init__(self, supervisor: Ear) -> None:
        self.figures = IDLE
        self.fault: str | None = None
        self.notifier = SupervisorNotifier(supervisor.notifier, lambda: self.figures, lambda: self.fault)


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
            bot.notifier.look(ready=False)
        bot.notifier.look(ready=True)
        bot.notifier.look(ready=True)
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
        bot.notifier.look(ready=False)
        assert supervisor.lines() == ["STATUS=waiting for Discord"]


def test_a_status_is_told_when_it_changes_only(tmp_path: Path) -> None:
    """R3"""
    with ear(tmp_path / "notify") as supervisor:
        bot = Bot(supervisor)
        bot.notifier.look(ready=True)
        before = len(supervisor.lines())
        bot.notifier.look(ready=True)
        assert len(supervisor.lines()) == before
        bot.figures = Figures(connected=False, agents=1, max_agents=12, turns=1)
        bot.notifier.look(ready=True)
        assert supervisor.lines()[before:] == ["STATUS=disconnected: 1 turn running, 1 of 12 agents"]


@pytest.mark.asyncio
async def test_ready_is_told_at_once(tmp_path: Path) -> None:
    """R3: who waits for the service waits for this."""
    ready = anyio.Event()
    with ear(tmp_path / "notify") as supervisor, anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Bot(supervisor).notifier.run, ready)
            await supervisor.until(lambda lines: "STATUS=waiting for Discord" in lines)
            ready.set()
            await supervisor.until(lambda lines: "READY=1" in lines)
            tasks.cancel_scope.cancel()


def test_a_reload_is_told_around_it(tmp_path: Path) -> None:
    """R3"""
    with ear(tmp_path / "notify") as supervisor:
        notifier = Bot(supervisor).notifier
        notifier.look(ready=True)
        before = len(supervisor.listen())
        with notifier.reloading():
            pass
        (begun, _clock), *rest = supervisor.listen()[before:]
        assert (begun, rest) == ("RELOADING=1", [["READY=1"]])


def test_a_reload_before_the_bot_is_ready_does_not_make_it_ready(tmp_path: Path) -> None:
    """R3"""
    done: list[str] = []
    with ear(tmp_path / "notify") as supervisor:
        with Bot(supervisor).notifier.reloading():
            done.append("reloaded")
        assert (done, supervisor.lines()) == (["reloaded"], [])


@pytest.mark.asyncio
async def test_a_stop_asks_for_time_as_long_as_it_may_take(tmp_path: Path) -> None:
    """R3, R1: afterwards the supervisor ends what hangs."""
    with ear(tmp_path / "notify") as supervisor:
        notifier = Bot(supervisor).notifier
        notifier.look(ready=True)
        before = len(supervisor.lines())
        notifier.stopping(within=60)
        assert supervisor.lines()[before:] == [
            "STOPPING=1",
            MORE_TIME,
            "STATUS=draining: 0 turns to end, 0 of 12 agents",
        ]
        assert notifier.stops
        notifier.stopping(within=0)
        before = len(supervisor.lines())
        notifier.look(ready=True)
        assert supervisor.lines()[before:] == []


def test_messages_come_in_order_and_from_this_process(tmp_path: Path) -> None:
    """R3"""
    with ear(tmp_path / "notify") as supervisor:
        notifier = supervisor.notifier
        assert notifier.ready("connected")
        assert notifier.extend()
        assert notifier.send("STOPPING=1")
        assert supervisor.listen() == [
            ["READY=1", "STATUS=connected"],
            ["EXTEND_TIMEOUT_USEC=20000000"],
            ["STOPPING=1"],
        ]
        assert supervisor.senders == {os.getpid()}


def test_an_address_may_be_an_abstract_name() -> None:
    """R3"""
    with ear(f"@weft-test-{uuid.uuid4()}") as supervisor:
        assert supervisor.notifier.send("READY=1")
        assert supervisor.lines() == ["READY=1"]


def test_a_value_can_not_add_a_line(tmp_path: Path) -> None:
    """R3: agents' words may be in a status."""
    with ear(tmp_path / "notify") as supervisor:
        supervisor.notifier.send("STATUS=one\nSTOPPING=1")
        assert supervisor.lines() == ["STATUS=one STOPPING=1"]


def test_a_reload_carries_the_clock_that_it_is_matched_by(tmp_path: Path) -> None:
    """R3"""
    before = time.monotonic_ns() // 1000
    with ear(tmp_path / "notify") as supervisor:
        supervisor.notifier.reloading()
        begun, clock = supervisor.lines()
    assert begun == "RELOADING=1"
    assert before <= int(clock.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_without_a_supervisor_nothing_is_sent() -> None:
    """R3"""
    assert not Notifier().send("READY=1")
    assert not Notifier()


def test_a_supervisor_that_is_gone_or_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    """R3"""
    assert not Notifier(str(tmp_path / "nobody")).send("READY=1")
    with ear(tmp_path / "notify") as supervisor:
        supervisor.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        notifier, tries = supervisor.notifier, 0
        while notifier.send("STATUS=" + "x" * 1000):
            tries += 1
            assert tries < 10_000


def test_what_the_supervisor_said_is_taken_out_of_the_environment() -> None:
    """R3, R5: no child may have it."""
    environ = {"NOTIFY_SOCKET": "/run/s", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7", "HOME": "/home/x"}
    assert take_supervisor(environ, pid=7) == Supervisor(Notifier("/run/s"), 3.0)
    assert environ == {"HOME": "/home/x"}


@pytest.mark.parametrize(
    ("variables", "period"),
    [
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_PID": "7"}, None),
    ],
)
def test_a_watchdog_is_fed_if_it_watches_this_process(variables: dict[str, str], period: float | None) -> None:
    """R3"""
    assert take_supervisor(dict(variables), pid=7).watchdog == period


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative"])
def test_an_address_of_another_kind_is_none(address: str) -> None:
    """R3"""
    assert not take_supervisor({"NOTIFY_SOCKET": address}).notifier


@pytest.mark.asyncio
async def test_signs_of_life_come_twice_in_a_period(tmp_path: Path) -> None:
    """R3"""
    with ear(tmp_path / "notify") as supervisor:
        watchdog = Watchdog(supervisor.notifier, 0.2, lambda: None)
        begun = anyio.current_time()
        with anyio.fail_after(30):
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
