"""A service of one's own, under a user's systemd: installed, answering, uninstalled, without root (R3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from bot.sandbox import FakeDiscord
from tests.agents import Step, scenario
from tests.e2e.process import mention, until_answered
from tests.recipes import wrapper
from tests.systemd.machine import ROOT, USER_ID, Machine
from tests.systemd.service import DROP_IN, LIMIT, WEFT, change_unit, place, told, written_settings

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(900)]

HOME = "/var/lib/weft"
RECIPE = "Limits, and systemd-run"
MANAGER = f"user@{USER_ID}.service"


class Account:
    """Somebody who is logged in to the machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def run(self, *words: str, check: bool = True) -> str:
        variables = (f"HOME={HOME}", f"XDG_RUNTIME_DIR=/run/user/{USER_ID}", f"PYTHONPATH={ROOT}")
        become = ("setpriv", f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups")
        return await self._machine.run(*become, "env", "-i", "PATH=/usr/bin:/bin", *variables, *words, check=check)

    async def until(self, state: str, unit: str = "weft") -> None:
        while (found := (await self.run("systemctl", "--user", "is-active", unit, check=False)).strip()) != state:
            assert found != "failed", f"{unit} was to be {state}"
            await anyio.sleep(0.05)


@asynccontextmanager
async def account(machine: Machine, log: Path) -> AsyncIterator[Account]:
    """Log somebody in whose service finds this tree and writes to ``log``."""
    try:
        change_unit(machine, DROP_IN.format(root=ROOT, log=log), f"{HOME}/.config/systemd/user")
        await machine.run("chown", "-R", "weft:weft", HOME)
        await machine.run("systemctl", "start", MANAGER)
        with told(machine, log):
            yield Account(machine)
    finally:
        with anyio.CancelScope(shield=True):
            await machine.run("systemctl", "stop", MANAGER)
            await machine.run("rm", "-rf", HOME)


@pytest.mark.long(15)
async def test_a_service_of_ones_own_answers(machine: Machine) -> None:
    """R3"""
    with place(machine) as directory:
        agent = scenario(directory / "work")
        log = directory / "work" / "log"
        async with FakeDiscord() as discord, account(machine, log) as somebody:
            env_file = written_settings(directory, discord, agent, DISCORD_TOKEN=discord.token)
            with anyio.fail_after(LIMIT):
                await somebody.run(*WEFT, "service", "install", "--user", "--now", "--env-file", str(env_file))
                await somebody.until("active")
                await until_answered(discord, await mention(discord, "hello"), "hello")
                assert 'Status: "connected: ' in await somebody.run(*WEFT, "service", "status", "--user")
                looked = await somebody.run(*WEFT, "doctor", "--offline", "--env-file", str(env_file), check=False)
                assert "weft.service (user) looks for programs in " in looked
                assert "removed" in await somebody.run(*WEFT, "service", "uninstall", "--user")
                await somebody.until("inactive")
        assert [pid for pid in agent.pids() if machine.alive(pid)] == []


NAP = "31536042"
LEAVE = f"setsid sh -c 'sleep {NAP} & echo >left'"
"""A daemon that is nobody's child; a scope alone would not end it, Weft's marker in its environment does (P9)."""


@pytest.mark.soak
async def test_an_agent_in_a_scope_has_its_limits_and_leaves_no_daemon(machine: Machine) -> None:
    """P9, P12: by the recipe of docs/isolation.md, as it is printed there."""
    with place(machine) as directory:
        work = directory / "work"
        words: dict[str, list[Step]] = {
            "leave": [{"spawn_shell": LEAVE}, {"wait_file": f"{work}/left"}, {"text": "left it"}]
        }
        agent = scenario(work, words=words)
        (directory / "weft.toml").write_text(
            f"[agents.scoped]\ncommand = {list(agent.argv)!r}\nworkspace = '{work}'\n"
            f"wrapper = {wrapper(RECIPE, 1)!r}\n[agents.scoped.limits]\nmemory = '4G'\nprocesses = 500\n"
        )
        (directory / "weft.toml").chmod(0o644)
        async with FakeDiscord() as discord, account(machine, work / "log") as somebody:
            more = {"DISCORD_TOKEN": discord.token, "WEFT_AGENT_COMMAND": ""}
            env_file = written_settings(directory, discord, agent, **more)
            with anyio.fail_after(LIMIT):
                await somebody.run(*WEFT, "service", "install", "--user", "--now", "--env-file", str(env_file))
                await somebody.until("active")
                thread_id = await mention(discord, "leave")
                await until_answered(discord, thread_id, "left it")
                (pid,) = [pid for pid in agent.pids() if machine.alive(pid)]
                (daemon,) = (await machine.run("pgrep", "-f", f"sleep {NAP}")).split()
                scope = (await machine.run("cat", f"/proc/{pid}/cgroup")).strip().rpartition("/")[2]
                assert scope.endswith(".scope")
                assert scope in await machine.run("cat", f"/proc/{daemon}/cgroup")
                shown = await somebody.run("systemctl", "--user", "show", "-p", "MemoryMax,TasksMax", scope)
                assert sorted(shown.split()) == [f"MemoryMax={4 * 2**30}", "TasksMax=500"]
                assert await (await discord.owner.slash(thread_id, "reset")).told()
                while machine.alive(pid) or machine.alive(int(daemon)):  # noqa: ASYNC110  the kernel sends no event
                    await anyio.sleep(0.05)
                await somebody.until("inactive", scope)
