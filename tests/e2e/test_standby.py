"""A standby takes over when the bot that leads is gone, and never before (R10)."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from bot.config import EX_CONFIG, EX_LEASE_LOST
from bot.ops.address import UnixSocket
from bot.ops.health import StandbyHealth, Status
from bot.ops.status import ask
from bot.sandbox import FakeDiscord
from tests import postgres
from tests.agents import Step, alive, scenario
from tests.bot.ops.ear import ear
from tests.e2e.pair import Pair, Side, pair
from tests.e2e.play import LIMIT, until_marked
from tests.e2e.process import HANG, Run, mention, run, until_answered, until_shown
from tests.e2e.test_restart import replies
from tests.repeat import in_soak

pytestmark = [pytest.mark.asyncio, postgres.needed]

TALKS: list[Step] = [{"text": "word ", "repeat": -1, "delay": 0.05}]
"""Says something more all the time, so that its message is edited again and again."""

MARK = "**Interrupted:**"


def told(figure: str) -> None:
    sys.stdout.write(f"{figure}\n")


async def led(bot: Run) -> None:
    with anyio.fail_after(LIMIT):
        await bot.logged("gateway.ready")


async def waiting(bot: Run) -> None:
    with anyio.fail_after(LIMIT):
        await bot.logged("lease.awaited")


async def started(stack: AsyncExitStack, *sides: Side) -> list[Run]:
    """Start bots, of which the first one leads."""
    bots = []
    for side in sides:
        bots.append(await stack.enter_async_context(side.start()))
        await (waiting(bots[-1]) if len(bots) > 1 else led(bots[-1]))
    return bots


async def killed_with(two: Pair, count: int, within: float) -> None:
    """Kill the one that leads with so many turns in flight; its standby has so many seconds."""
    async with AsyncExitStack() as stack:
        (first,) = await started(stack, two.one)
        threads = [await mention(two.discord, f"work {number}") for number in range(count)]
        for thread_id in threads:
            await until_shown(two.discord, thread_id, "so far")
        waits = await two.discord.owner.say(threads[0], "waited")
        await until_marked(two.discord, waits.id)
        second = await stack.enter_async_context(two.two.start())
        await waiting(second)
        assert two.two.relay.sent == []
        first.process.kill()
        await first.process.wait()
        began = anyio.current_time()
        with anyio.fail_after(within):
            await two.discord.wait_for(lambda fd: all(replies(fd, one, MARK) for one in threads), timeout=within)
            told(f"{count} turns marked {anyio.current_time() - began:.1f} s after the kill")
            await until_answered(two.discord, threads[0], "waited")
        two.check()
        assert sorted(two.prompts()) == sorted(["waited", *(f"work {number}" for number in range(count))])
        assert [len(replies(two.discord, one, MARK)) for one in threads] == [1] * count
        # The other way: the end in order is nothing to wait for.
        async with two.one.start() as third:
            await waiting(third)
            assert await second.signalled(signal.SIGTERM) == 0
            began = anyio.current_time()
            await led(third)
            told(f"taken over {anyio.current_time() - began:.1f} s after the end in order")
            thread_id = await mention(two.discord, "and on")
            await until_answered(two.discord, thread_id, "and on")
            assert await third.signalled(signal.SIGTERM) == 0
        assert (two.takings(), two.overlaps) == (3, 0)


async def test_what_a_killed_bot_had_in_flight_is_marked_by_its_standby_and_what_waited_is_run(tmp_path: Path) -> None:
    """R10, R2: nothing is lost, and nothing is run twice."""
    async with pair(tmp_path, {"work": HANG}) as two:
        await killed_with(two, 3, LIMIT)


@pytest.mark.soak
@pytest.mark.timeout(240)
async def test_twenty_turns_of_a_killed_bot_are_marked_within_the_usual_lease(tmp_path: Path) -> None:
    """R10"""
    wide = {"WEFT_MAX_AGENTS": "22", "WEFT_LANE_MAIN": "20"}
    async with pair(tmp_path, {"work": HANG}, None, None, (), **wide) as two:
        await killed_with(two, 20, 60)


async def stop(two: Pair, first: Run) -> None:
    del two
    first.process.send_signal(signal.SIGSTOP)


async def swallow(two: Pair, _first: Run) -> None:
    two.one.database.swallowing = True


async def reset(two: Pair, _first: Run) -> None:
    two.one.database.away = True
    two.one.database.disconnect()


@pytest.mark.parametrize("happens", [swallow, *in_soak([reset, stop])], ids=lambda one: one.__name__)
async def test_a_bot_that_may_have_lost_its_lease_is_silent_before_its_standby_speaks(
    tmp_path: Path, happens: Callable[[Pair, Run], object]
) -> None:
    """R10: the database hears nothing of it, or it stood still; the turn that it ran has one end."""
    async with pair(tmp_path, {"talk": TALKS}) as two, AsyncExitStack() as stack:
        first, second = await started(stack, two.one, two.two)
        threads = [await mention(two.discord, f"talk {number}") for number in range(8 if happens is stop else 1)]
        for thread_id in threads:
            await until_shown(two.discord, thread_id, "word word")
        await happens(two, first)  # type: ignore[misc]
        for thread_id in threads:
            await until_shown(two.discord, thread_id, MARK)
        first.process.send_signal(signal.SIGCONT)
        assert await first.ended() == EX_LEASE_LOST
        assert [pid for pid in two.one.agent.pids() if alive(pid)] == []
        # Whatever it could not write any more is told in plain lines: nobody has a fault to look for.
        assert [event for event in first.events() if "exception" in event] == []
        two.check()
        # To Discord, one that stands still is there; it only sends nothing.
        assert two.overlaps == (happens is stop)
        thread_id = await mention(two.discord, "and on")
        await until_answered(two.discord, thread_id, "and on")
        assert await second.signalled(signal.SIGTERM) == 0
        assert len(replies(two.discord, thread_id, MARK)) == 0
        assert two.takings() == 2


async def test_a_standby_is_well_and_says_for_whom_it_waits(tmp_path: Path) -> None:
    """R10, R3, R7: its start is over, it shows signs of life, and it leaves when it is told to."""
    with ear(tmp_path / "notify") as supervisor:
        address = UnixSocket(tmp_path / "health.sock")
        watched = {"NOTIFY_SOCKET": supervisor.address, "WATCHDOG_USEC": "200000", "WEFT_HEALTH": str(address)}
        async with pair(tmp_path) as two, AsyncExitStack() as stack:
            (first,) = await started(stack, two.one)
            second = await stack.enter_async_context(two.two.start(**watched))
            with anyio.fail_after(LIMIT):
                await supervisor.until(lambda lines: lines.count("WATCHDOG=1") > 2 and "READY=1" in lines)
            leads = StandbyHealth(leader=socket.gethostname())
            with anyio.fail_after(LIMIT):
                # Where the database takes its time for a look, that is told as well.
                while (health := await ask(address)).standby != leads:  # noqa: ASYNC110  asking is the way
                    await anyio.sleep(0.05)
            assert health.status is Status.STANDBY
            second.process.send_signal(signal.SIGHUP)
            with anyio.fail_after(LIMIT):
                await supervisor.until(lambda lines: lines.count("READY=1") > 1)
            two.two.database.away = True
            two.two.database.disconnect()
            with anyio.fail_after(LIMIT):
                await supervisor.until(lambda lines: any("Standby: the database" in line for line in lines))
            assert await second.signalled(signal.SIGTERM) == 0
            lines = supervisor.lines()
            order = ["READY=1", f"STATUS=Standby: {socket.gethostname()} leads", "RELOADING=1", "STOPPING=1"]
            assert sorted(order, key=lines.index) == order
            assert two.two.relay.sent == []
            assert await first.signalled(signal.SIGTERM) == 0


async def test_a_database_that_can_not_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    """R9, R10, R3: nobody waits for what only a person can mend; no time is spent on Discord."""
    agent, nowhere = scenario(tmp_path), postgres.server().url("nowhere")
    async with FakeDiscord() as discord:
        async with run(tmp_path, discord.api_url, discord.token, agent, WEFT_DATABASE_URL=nowhere) as bot:
            assert await bot.ended() == EX_CONFIG
        assert "WEFT_DATABASE_URL: there is no such database" in bot.plain_lines()[-1]
        assert discord.rest_calls() == []


@pytest.mark.soak
@pytest.mark.timeout(240)
async def test_a_database_that_restarts_is_waited_for(tmp_path: Path) -> None:
    """R10: within the lease nobody notices more than that."""
    with postgres.own_server() as own:
        async with pair(tmp_path, {"talk": TALKS}, None, own.server) as two, AsyncExitStack() as stack:
            first, second = await started(stack, two.one, two.two)
            talking = await mention(two.discord, "talk")
            await until_shown(two.discord, talking, "word word")
            own.kill()
            asked = await mention(two.discord, "meanwhile")
            own.start()
            await until_answered(two.discord, asked, "meanwhile")
            assert (two.takings(), two.overlaps, two.two.relay.sent) == (1, 0, [])
            assert replies(two.discord, talking, MARK) == []
            assert await second.signalled(signal.SIGTERM) == 0
            assert await first.signalled(signal.SIGTERM) == 0


@pytest.mark.soak
@pytest.mark.timeout(240)
async def test_a_database_that_is_away_for_longer_than_the_lease_ends_the_bot_until_it_is_back(tmp_path: Path) -> None:
    """R10, R2: what was written meanwhile is answered, once, by whoever leads then."""
    with postgres.own_server() as own:
        async with pair(tmp_path, {"talk": TALKS}, server=own.server) as two, AsyncExitStack() as stack:
            first, second = await started(stack, two.one, two.two)
            thread_id = await mention(two.discord, "talk")
            await until_shown(two.discord, thread_id, "word word")
            await two.known_places()
            own.kill()
            assert await first.ended() == EX_LEASE_LOST
            asked = await mention(two.discord, "meanwhile")
            # As a service is restarted: it waits for the database, with the other one.
            again = await stack.enter_async_context(two.one.start())
            await waiting(again)
            own.start()
            await until_answered(two.discord, asked, "meanwhile")
            await until_shown(two.discord, thread_id, MARK)
            assert sorted(two.prompts()) == ["meanwhile", "talk"]
            assert (two.takings(), two.overlaps) == (2, 0)
            for bot in (again, second):
                assert await bot.signalled(signal.SIGTERM) == 0
