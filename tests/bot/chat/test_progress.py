"""Whether the connection's task gets on: an outage is no fault, a step that hangs is one."""

from __future__ import annotations

import anyio
import pytest

from bot.chat.authorize import Policy
from bot.chat.progress import STUCK_AFTER, Progress, Step
from bot.sandbox import FakeDiscord

from .harness import office


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("step", [step for step in Step if step is not Step.ENDED])
def test_a_step_is_stuck_after_its_time_only(clock: Clock, step: Step) -> None:
    """R3"""
    progress = Progress(clock)
    progress.enter(step)
    clock.now += STUCK_AFTER[step]
    assert progress.stuck() is None
    clock.now += 1
    assert progress.stuck() == f"the connection's task hangs: {step.value} for {STUCK_AFTER[step] + 1:.0f} s"


def test_every_step_has_a_time() -> None:
    assert set(STUCK_AFTER) == set(Step)


def test_a_task_that_ended_is_a_fault_at_once(clock: Clock) -> None:
    """R3"""
    progress = Progress(clock)
    progress.enter(Step.ENDED)
    assert progress.stuck() == "the connection's task has ended"
    progress.socket(0.0)
    progress.lost()
    assert progress.step is Step.ENDED


def test_an_outage_of_a_day_is_no_fault_while_tries_go_on(clock: Clock) -> None:
    """R3"""
    progress = Progress(clock)
    progress.enter(Step.CONNECTING)
    progress.socket(1.0)
    for _ in range(24 * 4):
        clock.now += 900
        progress.socket(None)
        assert progress.stuck() is None
        progress.lost()


def test_a_connection_of_a_day_that_breaks_counts_from_the_break(clock: Clock) -> None:
    """R3"""
    progress = Progress(clock)
    progress.enter(Step.CONNECTING)
    progress.socket(1.0)
    clock.now += 86_400
    progress.socket(20.0)
    assert progress.stuck() is None
    clock.now += 30
    progress.socket(None)
    assert (progress.step, progress.stuck()) == (Step.CONNECTING, None)


def test_an_open_socket_on_which_nothing_comes_is_a_fault(clock: Clock) -> None:
    """R3: discord.py would have hung up long before."""
    progress = Progress(clock)
    progress.enter(Step.CONNECTING)
    progress.socket(301.0)
    assert progress.stuck() == "the connection's task hangs: listening for 301 s"


@pytest.mark.asyncio
async def test_a_gateway_without_discord_gets_on_and_one_that_ended_does_not() -> None:
    """R3"""
    async with FakeDiscord() as fd, office(fd, Policy()) as chat:
        gateway = chat.gateway
        assert (gateway.connected, gateway.stuck()) == (True, None)
        async with fd.gateway.outage():
            with anyio.fail_after(5):
                while gateway.connected:  # noqa: ASYNC110  the socket's end is discord.py's to notice
                    await anyio.sleep(0.01)
            assert gateway.stuck() is None
    assert (gateway.connected, gateway.stuck()) == (False, "the connection's task has ended")
