"""`weft run` under a supervisor of the test's own: what it is told, in which order and by whom (R3)."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import pytest

from bot.sandbox import FakeDiscord, Fault
from tests.agents import alive, scenario
from tests.bot.ops.ear import ear
from tests.e2e.play import LIMIT
from tests.e2e.process import HANG, mention, run, until_shown

pytestmark = pytest.mark.asyncio

REFUSED = 4004  # the token


@pytest.mark.usefixtures("cold_start")
async def test_a_supervisor_hears_of_start_turns_reload_and_stop(tmp_path: Path) -> None:
    """R3, R1, R5: all of it from the bot's own process; agents can't reach the socket."""
    agent = scenario(tmp_path, words={"work": HANG, "env": [{"text": "x"}]}, resume=True)
    with ear(tmp_path / "notify") as supervisor:
        told = {"NOTIFY_SOCKET": supervisor.address, "WATCHDOG_USEC": "200000"}
        async with FakeDiscord() as discord, run(tmp_path, discord.api_url, discord.token, agent, **told) as bot:
            with anyio.fail_after(LIMIT):
                await supervisor.until(lambda lines: "READY=1" in lines)
                assert discord.ready.is_set()
                await until_shown(discord, await mention(discord, "work"), "so far")
                await supervisor.until(lambda lines: "STATUS=connected: 1 turn running, 1 of 12 agents" in lines)
                bot.process.send_signal(signal.SIGHUP)
                await supervisor.until(lambda lines: lines.count("READY=1") == 2)
                bot.process.send_signal(signal.SIGTERM)
                assert await bot.process.wait() == 0
            lines = supervisor.lines()
            assert supervisor.senders == {bot.process.pid}
        order = ["STATUS=waiting for Discord", "READY=1", "RELOADING=1", "STOPPING=1"]
        assert sorted(order, key=lines.index) == order
        assert lines.count("WATCHDOG=1") >= 2
        assert "WATCHDOG=1" in lines[lines.index("STOPPING=1") :]
        assert "STATUS=draining: 1 turn to end, 1 of 12 agents" in lines
        assert [pid for pid in agent.pids() if alive(pid)] == []


async def test_a_start_waits_for_discord_and_asks_for_time_meanwhile(tmp_path: Path) -> None:
    """R3: one start, whatever an outage takes."""
    agent = scenario(tmp_path)
    with ear(tmp_path / "notify") as supervisor:
        told = {"NOTIFY_SOCKET": supervisor.address}
        async with FakeDiscord() as discord:
            discord.faults.next("GET", "/gateway", Fault.status(503), times=2)
            async with run(tmp_path, discord.api_url, discord.token, agent, **told) as bot:
                with anyio.fail_after(LIMIT):
                    await supervisor.until(lambda lines: "READY=1" in lines)
                lines = supervisor.lines()
                assert lines[: lines.index("READY=1")].count("EXTEND_TIMEOUT_USEC=20000000") >= 3
                assert await bot.signalled(signal.SIGTERM) == 0


async def test_what_a_restart_can_not_heal_is_told_in_the_status(tmp_path: Path) -> None:
    """R3: exit 78, and never ready."""
    agent = scenario(tmp_path)
    with ear(tmp_path / "notify") as supervisor:
        told = {"NOTIFY_SOCKET": supervisor.address}
        async with FakeDiscord() as discord, run(tmp_path, discord.api_url, "sandbox.wrong", agent, **told) as bot:
            assert await bot.ended() == 78
        assert "READY=1" not in supervisor.lines()
        assert supervisor.lines()[-1].startswith("STATUS=Discord does not accept the token")


async def test_the_end_after_a_refusal_in_the_middle_is_told_and_has_its_time(tmp_path: Path) -> None:
    """R3, R1: the token was reset; the watchdog does not bite while turns and agents end."""
    agent = scenario(tmp_path, words={"work": HANG})
    with ear(tmp_path / "notify") as supervisor:
        told = {"NOTIFY_SOCKET": supervisor.address}
        async with FakeDiscord() as discord, run(tmp_path, discord.api_url, discord.token, agent, **told) as bot:
            with anyio.fail_after(LIMIT):
                await supervisor.until(lambda lines: "READY=1" in lines)
                await until_shown(discord, await mention(discord, "work"), "so far")
                await supervisor.until(lambda lines: "STATUS=connected: 1 turn running, 1 of 12 agents" in lines)
                await discord.gateway.close(REFUSED)
            assert await bot.ended() == 78
        lines = supervisor.lines()
        end = lines[lines.index("STOPPING=1") :]
        assert "EXTEND_TIMEOUT_USEC=20000000" in end
        assert end[-1].startswith("STATUS=Discord does not accept the token")


async def test_a_start_that_waits_for_discord_can_be_reloaded_and_stopped(tmp_path: Path) -> None:
    """R3, R1: a reload does not make it ready, the stop is told, and the exit code is 0."""
    agent = scenario(tmp_path)
    with ear(tmp_path / "notify") as supervisor:
        told = {"NOTIFY_SOCKET": supervisor.address}
        nowhere = "http://127.0.0.1:9/api/v10"
        async with run(tmp_path, nowhere, "sandbox-token", agent, **told) as bot:
            with anyio.fail_after(LIMIT):
                await bot.logged("gateway.lost")
                bot.process.send_signal(signal.SIGHUP)
                await bot.logged("settings.reloaded")
            assert await bot.signalled(signal.SIGTERM) == 0
        lines = supervisor.lines()
        assert {"READY=1", "RELOADING=1"}.isdisjoint(lines)
        assert "STOPPING=1" in lines
