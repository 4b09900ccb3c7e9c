"""The server of tools that each session gets, with the running bot: the way of a call, and what becomes of it (M1)."""

from __future__ import annotations

import json
import signal
import stat
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.mcp.listener import NO_ACCESS
from bot.mcp.protocol import SOCKET_VARIABLE, TOKEN_VARIABLE, Answer
from bot.mcp.server import Bot
from bot.mcp.tools import TOOLS
from bot.sandbox import FakeDiscord
from tests.agents import Gate, ScriptedAgent, Step, scenario
from tests.e2e.play import LIMIT
from tests.e2e.process import connected, mention, run, until_answered, until_shown

pytestmark = pytest.mark.asyncio

SAID = {"*": [{"text": "[{result}] "}]}
NAMES: Step = {"call": {}, "then": SAID}
READ: Step = {"call": {"tool": "read_thread", "arguments": {"limit": 10}}, "then": SAID}
THROUGH_THE_SERVER: Step = {"call": {"tool": "read_thread", "arguments": {"limit": 10}, "sdk": True}, "then": SAID}
ASK: Step = {"call": {"tool": "ask", "arguments": {"question": "Which colour?"}}, "then": SAID}


def given(agent: ScriptedAgent, number: int = -1) -> dict[str, str]:
    """The environment of the server that a session was opened with."""
    opened: list[dict[str, Any]] = [
        message for method in ("session/new", "session/load", "session/resume") for message in agent.received(method)
    ]
    (server,) = opened[number]["params"]["mcpServers"]
    return {pair["name"]: pair["value"] for pair in server["env"]}


def modes(*paths: Path) -> list[int]:
    return [stat.S_IMODE(path.stat().st_mode) for path in paths]


async def test_an_agent_lists_and_calls_tools_also_after_a_reload(tmp_path: Path) -> None:
    """M1, R1"""
    agent = scenario(tmp_path, [NAMES, THROUGH_THE_SERVER, {"text": "done"}])
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "go")
        await until_answered(discord, thread_id, "done")
        bot.process.send_signal(signal.SIGHUP)
        await bot.logged("settings.reloaded")
        await discord.owner.say(thread_id, "again")
        await discord.wait_for(lambda _: len(agent.events("tool_answer")) == 4, timeout=LIMIT)
        names, first, _, second = agent.events("tool_answer")
        assert names["text"].split() == list(TOOLS)
        assert (first["error"], second["error"], "again" in second["text"]) == (False, False, True)
        assert await bot.signalled(signal.SIGTERM) == 0
        called = [event for event in bot.events() if event["event"] == "tool.called"]
        assert [(each["tool"], each["thread"], each["outcome"]) for each in called] == [
            ("read_thread", thread_id, "done")
        ] * 2
        # R5: neither the token nor what was said is in the log.
        environment = given(agent)
        assert environment[TOKEN_VARIABLE] not in bot.said
        socket = Path(environment[SOCKET_VARIABLE])
        assert not socket.parent.exists()


async def test_a_token_is_worth_nothing_but_to_its_session_while_that_lasts(tmp_path: Path) -> None:
    """M1: of another session, of an ended one, of none: all get the same answer; and a session has its limit."""
    found, gate = tmp_path / "found", Gate(tmp_path / "gate")
    steal: Step = {"call": {"tool": "read_thread", "servers": str(found)}, "then": SAID}
    agent = scenario(tmp_path, words={"hold": [{"text": "held"}, gate.step], "steal": [steal]})
    async with connected(tmp_path, agent) as (discord, bot):
        held = await mention(discord, "hold")
        await until_shown(discord, held, "held")
        environment = given(agent)
        found.write_text(json.dumps(agent.received("session/new")[0]["params"]["mcpServers"]))
        socket = Path(environment[SOCKET_VARIABLE])
        assert modes(socket, socket.parent) == [0o600, 0o700]
        await until_shown(discord, await mention(discord, "steal"), NO_ACCESS)

        async def read(token: str) -> Answer:
            return await Bot(str(socket), token).call("read_thread", {})

        own = environment[TOKEN_VARIABLE]
        for token in ("none", own[:-1], f"{own}x", "x" * 64):
            assert await read(token) == Answer(text=NO_ACCESS, error=True)
        assert [(await read(own)).error for _ in range(20)] == [False] * 20
        with anyio.fail_after(LIMIT):
            while not (refused := await read(own)).error:
                pass  # on a slow machine the first ones are long enough ago
        assert "again in" in refused.text
        assert await (await discord.owner.slash(held, "reset")).told()
        gate.open()
        with anyio.fail_after(LIMIT):
            while (answer := await read(own)).text != NO_ACCESS:
                assert answer.error
        assert await bot.signalled(signal.SIGTERM) == 0


async def test_a_call_under_way_does_not_hold_up_the_end_of_the_bot(tmp_path: Path) -> None:
    """M1, R1"""
    agent = scenario(tmp_path, [ASK])
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "go")
        await until_shown(discord, thread_id, "Which colour?")
        assert await bot.signalled(signal.SIGTERM) == 0
        called = [event for event in bot.events() if event["event"] == "tool.called"]
        assert [each["tool"] for each in called] == ["ask"]
        assert [event["outcome"] for event in bot.events() if event["event"] == "turn.finished"] == ["interrupted"]


async def test_a_bot_that_follows_a_killed_one_serves_at_its_socket(tmp_path: Path) -> None:
    """M1, R2: what was left there is replaced, and a token of before is worth nothing"""
    agent, next_agent = scenario(tmp_path, [ASK]), scenario(tmp_path, [READ, {"text": "done"}])
    async with FakeDiscord() as discord:
        async with run(tmp_path, discord.api_url, discord.token, agent) as bot:
            await discord.ready.wait()
            thread_id = await mention(discord, "go")
            await until_shown(discord, thread_id, "Which colour?")
            assert await bot.signalled(signal.SIGKILL) == -signal.SIGKILL
        before = given(agent)
        assert Path(before[SOCKET_VARIABLE]).is_socket()  # noqa: ASYNC240  at once
        async with run(tmp_path, discord.api_url, discord.token, next_agent) as again:
            await again.logged("catch_up.finished")
            await discord.owner.say(thread_id, "more")
            await until_answered(discord, thread_id, "done")
            (answer,) = next_agent.events("tool_answer")
            assert (answer["error"], "more" in answer["text"]) == (False, True)
            old = await Bot(before[SOCKET_VARIABLE], before[TOKEN_VARIABLE]).call("read_thread", {})
            assert old == Answer(text=NO_ACCESS, error=True)
            assert await again.signalled(signal.SIGTERM) == 0
