"""What is put around a bot, and that nothing is where nobody asks."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

from bot.ops.address import AddressUnusable, UnixSocket
from bot.ops.health import Health, StandbyHealth, Status
from bot.ops.status import ask
from bot.ops.watch import WINDOW, LiveWatch, LoopLag, watching
from bot.work.observer import Observer

LOADED = "import bot.app, sys; print('prometheus_client' in sys.modules)"


@pytest.mark.soak
def test_a_bot_that_nobody_watches_does_not_even_load_what_it_takes() -> None:
    """R7: off by default, and free."""
    done = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


@pytest.mark.asyncio
async def test_without_an_address_nothing_is_measured() -> None:
    """R7"""
    async with watching(None, str) as watch:
        assert type(watch.observer) is Observer
        assert watch.address is None


@pytest.mark.asyncio
async def test_a_bot_that_has_not_begun_says_that_it_starts_or_stands_by(tmp_path: Path) -> None:
    """R7, R10"""
    address = UnixSocket(tmp_path / "health.sock")
    with anyio.fail_after(30):
        async with watching(str(address), lambda text: text.replace("word", "***")) as watch:
            assert watch.address == str(address)
            told: Health = await ask(address)
            watch.stand_by(StandbyHealth(leader="one", trouble="word is wrong"))
            waits: Health = await ask(address)
            assert isinstance(watch, LiveWatch)
            metrics = watch.metrics.exposition("")[0].decode()
            watch.stand_by(None)
            begins: Health = await ask(address)
    assert (told.status, told.problems, told.parts) == (Status.STARTING, (), None)
    assert told.uptime_seconds >= 0
    assert (waits.status, waits.standby) == (Status.STANDBY, StandbyHealth(leader="one", trouble="*** is wrong"))
    assert {"weft_healthy 1.0", "weft_leader 0.0"} <= set(metrics.splitlines())
    assert begins.status is Status.STARTING


@pytest.mark.asyncio
async def test_an_address_in_use_is_told_before_anything_is_begun(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/health.sock"
    with anyio.fail_after(30):
        async with watching(address, str):
            with pytest.raises(AddressUnusable, match="Address already in use"):
                async with watching(address, str):
                    pytest.fail("two at one address")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_worst_is_kept_for_a_window_at_least_and_for_two_at_most() -> None:
    clock, seen = Clock(), list[float]()
    lag = LoopLag(seen.append, clock=clock)
    lag.note(0.5)
    clock.now += WINDOW - 1
    lag.note(0.1)
    assert (lag.last, lag.worst) == (0.1, 0.5)
    clock.now += 2
    lag.note(0.2)
    assert lag.worst == 0.5
    clock.now += WINDOW
    assert lag.worst == 0.2
    clock.now += 2 * WINDOW
    assert lag.worst == 0.0
    assert seen == [0.5, 0.1, 0.2]


def test_silence_is_counted_from_the_last_look() -> None:
    clock = Clock()
    lag = LoopLag(lambda _late: None, clock=clock)
    clock.now += 3
    assert lag.silent == 3
    lag.note(0.0)
    assert lag.silent == 0


@pytest.mark.asyncio
async def test_a_loop_that_is_held_up_is_seen_to_be_late() -> None:
    seen, blocked = list[float](), anyio.Event()

    def note(late: float) -> None:
        seen.append(late)
        if late > 0.05:
            blocked.set()

    lag = LoopLag(note, tick=0.01)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lag.run)
            tasks.start_soon(hold_up_once, seen)
            await blocked.wait()
            tasks.cancel_scope.cancel()
    assert lag.worst > 0.05


async def hold_up_once(seen: list[float]) -> None:
    while not seen:  # noqa: ASYNC110  the measure under test is what tells
        await anyio.sleep(0.001)
    time.sleep(0.2)  # noqa: ASYNC251  holds the loop up, which is what is measured
