"""The server of a session's tools is gone when its agent is, however that ended (M1, P9)."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

import anyio
import psutil
import pytest

from bot.sandbox import FakeDiscord
from tests.agents import Step, alive, scenario
from tests.e2e.play import LIMIT
from tests.e2e.process import END_LIMIT, connected, mention, run, until_answered, until_shown

pytestmark = pytest.mark.asyncio

STARTED: Step = {"call": {}, "then": {"ok": [{"text": "tools are there"}]}}


def server_of(pid: int) -> int:
    """Return the process of the server that an agent has started."""
    servers = []
    for one in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # one that has just ended
            servers += [one.pid] if one.cmdline()[-1:] == ["mcp"] else []
    (server,) = servers
    return server


async def until_gone(*pids: int) -> None:
    with anyio.fail_after(END_LIMIT):
        while any(alive(pid) for pid in pids):  # noqa: ASYNC110  the kernel sends no event
            await anyio.sleep(0.01)


async def test_each_session_has_a_server_of_its_own_which_ends_with_it(tmp_path: Path) -> None:
    """M1, P9: with an agent that is ended, and with one that was killed by somebody else."""
    agent = scenario(tmp_path, [STARTED])
    async with connected(tmp_path, agent) as (discord, bot):
        threads = []
        for _ in range(2):  # one after the other: which process is whose goes by the order of their starts
            threads.append(await mention(discord, "go"))
            await until_answered(discord, threads[-1], "tools are there")
        first, second = (server_of(pid) for pid in agent.pids())
        assert first != second
        assert await (await discord.owner.slash(threads[0], "reset")).told()
        psutil.Process(agent.pids()[1]).kill()
        await until_gone(first, second)
        assert await bot.signalled(signal.SIGTERM) == 0
    given = [request["params"]["mcpServers"][0] for request in agent.received("session/new")]
    secrets = [one["value"] for server in given for one in server["env"] if one["name"] == "WEFT_MCP_TOKEN"]
    assert len(set(secrets)) == 2
    assert not [secret for secret in secrets if secret in bot.said], "tokens are in no log"


async def test_no_server_outlives_a_kill_of_the_bot_by_more_than_its_next_start(tmp_path: Path) -> None:
    """M1, P9: of an agent that does not care that nobody listens any more."""
    agent = scenario(tmp_path, [STARTED], start={"ignore_eof": True})
    async with FakeDiscord() as discord:
        async with run(tmp_path, discord.api_url, discord.token, agent) as bot:
            with anyio.fail_after(LIMIT):
                await discord.ready.wait()
            await until_shown(discord, await mention(discord, "go"), "tools are there")
            left = [agent.pids()[0], server_of(agent.pids()[0])]
            bot.process.kill()
            await bot.process.wait()
        assert [alive(pid) for pid in left] == [True, True]
        async with run(tmp_path, discord.api_url, discord.token, agent) as bot:
            await until_gone(*left)
            assert await bot.signalled(signal.SIGTERM) == 0
