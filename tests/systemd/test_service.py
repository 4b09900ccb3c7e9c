"""The bot under a real systemd: start, stop, reload, deaths, hangs, and what is not to be restarted (R3)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.sandbox import FakeDiscord, Fault
from bot.service.unit import NAME
from tests.agents import ScriptedAgent, Step, scenario
from tests.e2e.process import HANG, mention, until_answered, until_shown
from tests.systemd.machine import ROOT, Machine
from tests.systemd.service import LIMIT, WEFT, Service, installed, place

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(900)]

MANY = 20
ALLOWED = 30
"""Seconds that the unit gives a start: a busy machine needs some until the bot can ask for more."""
SOCKET = "/run/weft/health.sock"
WIDE: dict[str, Any] = {"WEFT_MAX_AGENTS": str(MANY + 2), "WEFT_LANE_MAIN": str(MANY)}


@asynccontextmanager
async def scene(
    machine: Machine, *options: str, faults: int = 0, unit: str = "", token: str | None = None, **more: str
) -> AsyncIterator[tuple[Service, ScriptedAgent]]:
    """Install the service with an agent that hangs on `work` and else echoes; nothing may be left of it.

    Discord's first ``faults`` answers are errors.
    """
    with place(machine) as directory:
        agent = scenario(directory / "work", words={"work": HANG}, resume=True)
        async with FakeDiscord() as discord:
            discord.faults.next("GET", "/gateway", Fault.status(503), times=faults)
            wanted = installed(machine, discord, directory, agent, *options, unit=unit, token=token, **more)
            async with wanted as service:
                with anyio.fail_after(LIMIT):
                    yield service, agent
        assert left(machine, agent) == []


def left(machine: Machine, agent: ScriptedAgent) -> list[int]:
    return [pid for pid in agent.pids() if machine.alive(pid)]


async def working(service: Service, count: int) -> list[int]:
    """Have turns run that hang; return their threads."""
    threads = [await mention(service.discord, f"work {number}") for number in range(count)]
    for thread_id in threads:
        await until_shown(service.discord, thread_id, "so far")
    return threads


async def test_it_is_active_when_it_is_connected_and_says_how_it_fares(machine: Machine) -> None:
    """R3: `install --now` to `stop`, with a reload on the way."""
    async with scene(machine, "--now") as (service, _agent):
        await machine.until(ActiveState="active", StatusText="connected: 0 turns running, 0 of 12 agents")
        assert service.discord.gateway.identifies == 1
        await working(service, 1)
        await machine.until(StatusText="connected: 1 turn running, 1 of 12 agents")
        pid = await service.pid()
        await service.start("reload")
        await service.logged("settings.reloaded")
        await machine.until(ActiveState="active", MainPID=str(pid))
        await service.start("stop")
        await machine.until(ActiveState="inactive", Result="success", ExecMainStatus="0")


@pytest.mark.soak
async def test_it_says_how_it_is_at_a_socket_in_its_own_directory(machine: Machine) -> None:
    """R3, R7: as docs/operations.md names it; the rest of /run can't be written to."""
    async with scene(machine, "--now", "--strict", WEFT_HEALTH=f"unix:{SOCKET}") as (service, _agent):
        await machine.until(ActiveState="active")
        ask = ["env", f"PYTHONPATH={ROOT}", *WEFT, "status", "--env-file", str(service.directory / "env")]
        assert "is healthy" in await machine.run(*ask)
        assert (await machine.run("stat", "-c", "%U %a", SOCKET, str(Path(SOCKET).parent))).split("\n")[:2] == [
            "weft 600",
            "weft 700",
        ]
        await service.start("stop")
        assert "no bot at" in await machine.run(*ask, check=False)


@pytest.mark.soak
async def test_a_restart_in_the_middle_of_twenty_turns_leaves_no_agent_and_tells_each_thread(machine: Machine) -> None:
    """R3, R1: turns get their grace, although the unit's own stop time is shorter."""
    async with scene(machine, "--now", unit="TimeoutStopSec=10", WEFT_STOP_GRACE="12", **WIDE) as (service, agent):
        await machine.until(ActiveState="active")
        threads = await working(service, MANY)
        before = agent.pids()
        assert [machine.alive(pid) for pid in before] == [True] * MANY
        begun = anyio.current_time()
        await service.start("restart")
        assert anyio.current_time() - begun > 12
        assert left(machine, agent) == []
        assert '"event": "bot.stopping"' in service.log
        assert await machine.run("systemctl", "show", "--value", "-p", "Result,NRestarts", NAME) == "success\n0\n"
        for thread_id in threads:
            await until_shown(service.discord, thread_id, "**Interrupted:**")
            said = [str(call.body) for call in service.discord.rest_calls("POST", f"/{thread_id}/messages")]
            assert sum("Weft is about to restart" in text for text in said) == 1
            await until_shown(service.discord, thread_id, "✓ Weft was restarted.")  # the new start puts it right


@pytest.mark.soak
async def test_a_bot_that_dies_comes_back_without_its_old_agents(machine: Machine) -> None:
    """R3, R2, P9: threads are told; the bot answers again."""
    async with scene(machine, "--now") as (service, agent):
        await machine.until(ActiveState="active")
        (thread_id,) = await working(service, 1)
        await machine.run("kill", "-KILL", str(await service.pid()))
        await machine.until(ActiveState="active", NRestarts="1")
        assert left(machine, agent) == []
        await until_shown(service.discord, thread_id, "**Interrupted:**")
        await service.discord.owner.say(thread_id, "still there")
        await until_answered(service.discord, thread_id, "still there")
        # An agent runs as the same user, so it can send SIGTERM as well; the exit code is 0 then.
        await machine.run("kill", "-TERM", str(await service.pid()))
        await machine.until(ActiveState="active", NRestarts="2")


@pytest.mark.soak
async def test_a_loop_that_hangs_is_killed_by_the_watchdog_and_comes_back(machine: Machine) -> None:
    """R3: the log shows where it hung."""
    start = f"{sys.executable} {Path(__file__).with_name('hanging.py')} run --env-file {{env_file}} --token-stdin"
    # Its result is to be seen until the restart, which is a moment; so it is written down.
    end = "sh -c 'echo $$SERVICE_RESULT >>{work}/results'"
    unit = f"WatchdogSec=10\nExecStart=\nExecStart={start}\nExecStopPost={end}"
    async with scene(machine, "--now", unit=unit) as (service, agent):
        await machine.until(ActiveState="active")
        (thread_id,) = await working(service, 1)
        await machine.run("kill", "-USR1", str(await service.pid()))
        await machine.until(ActiveState="active", Result="success", NRestarts="1")
        assert (service.directory / "work" / "results").read_text() == "watchdog\n"
        assert "hanging.py" in service.log.partition("Fatal Python error: Aborted")[2]
        assert left(machine, agent) == []
        await until_shown(service.discord, thread_id, "**Interrupted:**")


LOOK = """
bot=$(cut -d" " -f4 /proc/$PPID/stat)
for path in /proc/$PPID/environ /proc/$bot/environ /proc/$bot/mem /proc/$bot/fd/0 {token} /run/credentials/*/*; do
    (: <"$path") 2>/dev/null && echo "$path" | sed "s/$PPID/AGENT/; s/$bot/BOT/"
done >found.part
mv found.part found
"""


async def test_an_agent_can_not_get_at_the_token(machine: Machine) -> None:
    """R5: not by the bot's first environment, its memory, its open files, or the file that it came from."""
    with place(machine) as directory:
        found, look = directory / "work" / "found", LOOK.format(token=directory / "token")
        agent = scenario(directory / "work", [{"spawn_shell": look}, {"text": "looked"}])
        async with FakeDiscord() as discord, installed(machine, discord, directory, agent, "--now") as service:
            with anyio.fail_after(LIMIT):
                await machine.until(ActiveState="active")
                await until_answered(discord, await mention(discord, "look"), "looked")
                while not found.exists():  # noqa: ASYNC110  another process writes it
                    await anyio.sleep(0.01)
            assert found.read_text() == "/proc/AGENT/environ\n"
            everything = await machine.run(
                "sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; true"
            )
            assert "WEFT_AGENT" in everything
            assert discord.token not in everything + service.log


NODE = """node -e "
new Function('return 1')(); console.log(os.cpus().length > 0, Object.keys(os.networkInterfaces()).length > 0)
" >found 2>&1"""


async def test_agents_run_under_the_strict_drop_in(machine: Machine) -> None:
    """R3: those on Node as well, if it is there."""
    with place(machine) as directory:
        node = shutil.which("node")
        steps: list[Step] = [{"spawn_shell": NODE if node else "echo true true >found"}, {"text": "done"}]
        agent = scenario(directory / "work", steps)
        async with FakeDiscord() as discord, installed(machine, discord, directory, agent, "--strict", "--now"):
            with anyio.fail_after(LIMIT):
                await machine.until(ActiveState="active", PrivateUsers="yes")
                await until_answered(discord, await mention(discord, "go"), "done")
                found = directory / "work" / "found"
                while not found.exists() or not found.read_text():  # noqa: ASYNC110  another process writes it
                    await anyio.sleep(0.01)
            assert found.read_text() == "true true\n"


@pytest.mark.soak
async def test_a_wrong_token_is_not_tried_again(machine: Machine) -> None:
    """R3: exit 78; what has to be mended is in the status."""
    async with scene(machine, "--now", token="sandbox.wrong") as (service, _agent):
        await machine.until(ActiveState="failed", Result="exit-code", ExecMainStatus="78", NRestarts="0")
        assert (await machine.property("StatusText")).startswith("Discord does not accept the token")
        assert "sandbox.wrong" not in service.log
        assert len(service.discord.rest_calls("GET", "/users/@me")) == 1


@pytest.mark.soak
async def test_a_start_waits_for_discord_longer_than_the_unit_allows(machine: Machine) -> None:
    """R3: one start, however long Discord is away; it uses up no login."""
    async with scene(machine, "--now", faults=10_000, unit=f"TimeoutStartSec={ALLOWED}") as (service, _agent):
        await machine.until(ActiveState="activating", StatusText="waiting for Discord")
        while await service.age() < ALLOWED + 1:  # noqa: ASYNC110  systemd sends no event
            await anyio.sleep(0.2)
        service.discord.faults.clear()
        await machine.until(ActiveState="active", NRestarts="0")
        assert service.discord.gateway.identifies == 1
