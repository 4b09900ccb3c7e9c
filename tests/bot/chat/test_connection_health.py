"""Whether the connection hangs, and how often it may log in."""

from __future__ import annotations

from functools import partial

import anyio
import pytest
from structlog.testing import capture_logs

from bot.chat.authorize import Policy
from bot.chat.connection_health import LOGIN_WINDOW, MOST_LOGINS, STUCK_AFTER, Logins, LoginsSpent, Progress, Step
from bot.sandbox import FakeDiscord
from bot.service.unit import STARTS_PER_HOUR
from tests.bot.chat.harness import running_chat


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
    async with FakeDiscord() as fd, running_chat(fd, Policy()) as chat:
        gateway = chat.gateway
        assert (gateway.connected, gateway.stuck()) == (True, None)
        async with fd.gateway.outage():
            with anyio.fail_after(30):
                while gateway.connected:  # noqa: ASYNC110  the socket's end is discord.py's to notice
                    await anyio.sleep(0.01)
            assert gateway.stuck() is None
    assert (gateway.connected, gateway.stuck()) == (False, "the connection's task has ended")


DAY = 86_400.0
DISCORDS_LIMIT = 1000


def test_a_day_of_logins_and_starts_stays_below_what_costs_the_token() -> None:
    """R3: connections that end at once, for a whole day, and as many starts as the unit allows."""
    now = 0.0
    logins, count = Logins(lambda: now), 0
    while now < DAY:
        logins.take()
        count += 1
        now += max(1.0, logins.wait())
    assert count <= (DAY / LOGIN_WINDOW + 1) * MOST_LOGINS
    assert count + 24 * STARTS_PER_HOUR < DISCORDS_LIMIT


def test_one_too_many_is_refused_until_the_oldest_is_long_enough_ago() -> None:
    """R3"""
    now = 5.0
    logins = Logins(lambda: now, most=2, window=100.0)
    logins.take()
    now = 25.0
    logins.take()
    with pytest.raises(LoginsSpent, match="2 logins of late: the next one in 80 s"):
        logins.take()
    now = 105.0
    assert logins.wait() == 0.0
    logins.take()
    assert logins.wait() == 20.0


@pytest.mark.parametrize("fault", ["malformed ready", "invalid session"])
@pytest.mark.asyncio
async def test_a_connection_that_ends_after_each_login_is_slowed_down(fault: str) -> None:
    """R3: also where discord.py would log in again by itself."""
    async with FakeDiscord() as fd, running_chat(fd, Policy(), most_logins=1) as chat:
        harm = {
            "malformed ready": partial(fd.gateway.dispatch_raw, "READY", {}),
            "invalid session": partial(fd.gateway.invalidate, resumable=False),
        }[fault]
        with capture_logs() as logs, anyio.fail_after(30):
            await harm()
            while not (lost := [entry for entry in logs if entry["event"] == "gateway.lost"]):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert LOGIN_WINDOW / 2 < lost[0]["pause"] <= LOGIN_WINDOW
        assert fd.gateway.identifies == 1
        assert chat.gateway.stuck() is None
