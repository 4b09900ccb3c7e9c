"""How late the loop comes is measured, and its worst is not remembered for ever."""

from __future__ import annotations

import time

import anyio
import pytest

from bot.ops.lag import WINDOW, LoopLag


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
    with anyio.fail_after(5):
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
