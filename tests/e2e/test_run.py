"""``weft run`` as a process of its own, with a loopback Discord in the test: work, logs, signals, exit codes."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import anyio
import anyio.abc
import pytest

from bot.sandbox import FakeDiscord
from bot.sandbox.model import Intents
from tests.agents import Step, alive, scenario
from tests.e2e.play import LIMIT
from tests.e2e.process import HANG, connected, mention, run, shown, until_shown
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio


@pytest.mark.usefixtures("cold_start")
async def test_a_mention_is_answered_and_the_log_is_json_without_token_or_text(tmp_path: Path) -> None:
    """R5, R1: the process ends with 0 and leaves no agent."""
    steps: list[Step] = [{"stderr": "canary-noise\n"}, {"thought": "canary-thought"}, {"text": "canary-answer"}]
    agent = scenario(tmp_path, steps)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "canary-prompt")
        await until_shown(discord, thread_id, "canary-answer")
        await until_shown(discord, thread_id, "-# ")
        assert await bot.signalled(signal.SIGTERM) == 0
        events = {event["event"]: event for event in bot.events()}
        assert events["turn.finished"]["outcome"] == "answered"
        assert {"agent.spawned", "gateway.ready", "bot.stopping"} <= set(events)
        assert bot.plain_lines() == []
        assert discord.token not in bot.said
        assert "canary" not in bot.said
        assert isinstance(bot.process, anyio.abc.Process)
        assert bot.process.stdout is not None
        with pytest.raises(anyio.EndOfStream):
            await bot.process.stdout.receive()
        assert "canary" not in json.dumps([entry["environment"] for entry in agent.events("start")])
        assert (tmp_path / "state" / "weft").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("number", "steps"),
    [
        (signal.SIGINT, [{"spawn_shell": "sleep 600"}, {"text": "so far"}, {"hang": True, "ignore_cancel": True}]),
        *in_soak([(signal.SIGTERM, [{"spawn_shell": "sleep 600"}, *HANG])]),
    ],
)
async def test_a_signal_in_the_middle_of_a_turn_tells_the_thread_and_ends_the_agent(
    tmp_path: Path, number: signal.Signals, steps: list[Step]
) -> None:
    """R1, O1, P9: with what the agent has started; also when it does not listen."""
    agent = scenario(tmp_path, steps)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "go")
        await until_shown(discord, thread_id, "so far")
        assert await bot.signalled(number) == 0
        assert "so far" in shown(discord, thread_id)
        assert "Interrupted" in shown(discord, thread_id)
        assert len(agent.received("session/cancel")) == 1
        assert [entry for entry in agent.events("spawned") if alive(entry["child"])] == []
        assert [event["outcome"] for event in bot.events() if event["event"] == "turn.finished"] == ["interrupted"]


async def test_every_thread_with_work_is_told_also_the_ones_that_wait(tmp_path: Path) -> None:
    """R1, O1."""
    agent = scenario(tmp_path, HANG)
    async with connected(tmp_path, agent, WEFT_MAX_AGENTS="1") as (discord, bot):
        first = await mention(discord, "one")
        await until_shown(discord, first, "so far")
        second = await mention(discord, "two")
        await until_shown(discord, second, "Waiting for a free agent")
        assert await bot.signalled(signal.SIGTERM) == 0
        assert "Interrupted" in shown(discord, first)
        assert "What waits here goes on afterwards." in shown(discord, second)


async def test_an_open_question_is_answered_cancelled_when_the_bot_stops(tmp_path: Path) -> None:
    """R1, T6."""
    agent = scenario(tmp_path, [{"permission": {}, "then": {"*": []}}])
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "go")
        await until_shown(discord, thread_id, "permission")
        assert await bot.signalled(signal.SIGTERM) == 0
        assert "Interrupted" in shown(discord, thread_id)
        assert [answer["result"] for answer in agent.events("answer")] == [{"outcome": {"outcome": "cancelled"}}]


async def test_a_signal_while_the_agent_starts_tells_the_thread(tmp_path: Path) -> None:
    """R1, P10."""
    agent = scenario(tmp_path, start={"hang": "initialize"})
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "go")
        with anyio.fail_after(LIMIT):
            await agent.heard("initialize")
        # The turn runs; before that the message would only wait, and go on after the restart.
        await discord.wait_for(lambda fd: fd.rest_calls("POST", f"/{thread_id}/typing"), timeout=LIMIT)
        assert await bot.signalled(signal.SIGTERM) == 0
        assert "Interrupted" in shown(discord, thread_id)


async def test_a_second_signal_hurries(tmp_path: Path) -> None:
    """R1, P9: the grace of a turn that does not react is cut short, and its agent is ended all the same."""
    agent = scenario(tmp_path, [{"text": "so far"}, {"hang": True, "ignore_cancel": True}])
    async with connected(tmp_path, agent, WEFT_CANCEL_GRACE="60") as (discord, bot):
        thread_id = await mention(discord, "go")
        await until_shown(discord, thread_id, "so far")
        bot.process.send_signal(signal.SIGTERM)
        await agent.heard("session/cancel")
        assert await bot.signalled(signal.SIGTERM) == 0
        assert "bot.hurried" in [event["event"] for event in bot.events()]


@pytest.mark.soak
@pytest.mark.usefixtures("cold_start")
async def test_a_token_that_discord_refuses_is_one_line_and_78(tmp_path: Path) -> None:
    """Settings and exits."""
    agent = scenario(tmp_path)
    async with FakeDiscord() as discord, run(tmp_path, discord.api_url, "canary.canary.canary", agent) as bot:
        assert await bot.ended() == 78
        (line,) = bot.plain_lines()
        assert line.startswith("weft: Discord does not accept the token")
        assert "canary" not in bot.said
        assert [event for event in bot.events() if "exception" in event] == []
    assert agent.pids() == []


async def test_an_intent_that_is_not_granted_is_named_and_78(tmp_path: Path) -> None:
    """Settings and exits."""
    agent = scenario(tmp_path)
    async with FakeDiscord() as discord:
        discord.granted_intents &= ~Intents.MESSAGE_CONTENT
        async with run(tmp_path, discord.api_url, discord.token, agent) as bot:
            assert await bot.ended() == 78
            (line,) = bot.plain_lines()
            assert "Message Content intent is off" in line
            assert [event for event in bot.events() if "exception" in event] == []


async def test_a_discord_that_can_not_be_reached_is_tried_again_and_a_signal_ends_the_bot(tmp_path: Path) -> None:
    """R1."""
    agent = scenario(tmp_path)
    with socket.socket() as closed:  # bound and not listening: every connection is refused
        closed.bind(("127.0.0.1", 0))
        api = f"http://127.0.0.1:{closed.getsockname()[1]}/api/v10"
        async with run(tmp_path, api, "a.fake.token", agent) as bot:
            with anyio.fail_after(LIMIT):
                while "gateway.lost" not in bot.said:  # noqa: ASYNC110  another process writes the log
                    await anyio.sleep(0.01)
            assert await bot.signalled(signal.SIGTERM) == 0
            assert bot.plain_lines() == []


@pytest.mark.soak
@pytest.mark.usefixtures("cold_start")
async def test_a_second_instance_is_refused_and_leaves_the_first_ones_agents_alone(tmp_path: Path) -> None:
    """R4, P9: the start of a run ends what an earlier one left, so it has to be sure that it is alone."""
    agent = scenario(tmp_path, HANG)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "go")
        await until_shown(discord, thread_id, "so far")
        second = tmp_path / "second"
        second.mkdir()
        state = str(tmp_path / "state" / "weft")
        async with run(second, discord.api_url, discord.token, scenario(second), WEFT_STATE_DIR=state) as other:
            assert await other.ended() == 75
            assert other.plain_lines() == [f"weft: another Weft is running on {state}"]
        assert alive(agent.pids()[0])
        assert await bot.signalled(signal.SIGTERM) == 0


async def test_agents_that_a_killed_bot_left_are_ended_by_the_next_start(tmp_path: Path) -> None:
    """P9: also what ignores end of file and TERM, and a command in a session of its own."""
    steps: list[Step] = [{"spawn_shell": "sleep 600"}, *HANG]
    agent = scenario(tmp_path, steps, start={"ignore_eof": True, "ignore_term": True})
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "go")
        await until_shown(discord, thread_id, "so far")
        bot.process.kill()
        await bot.process.wait()
        left = [agent.pids()[0], agent.events("spawned")[0]["child"]]
        assert [alive(pid) for pid in left] == [True, True]
        # The next bot works beside the old one's files: same state, a log of its own.
        again = tmp_path / "again"
        again.mkdir()
        state = str(tmp_path / "state" / "weft")
        async with run(again, discord.api_url, discord.token, scenario(again), WEFT_STATE_DIR=state) as other:
            await other.logged("gateway.ready")
            answered = await discord.owner.say(discord.channel_id, "hello again", mention_bot=True)
            await until_shown(discord, answered.id, "hello again")
            assert [alive(pid) for pid in left] == [False, False]
            assert [event["stage"] for event in other.events() if event["event"] == "strays.ended"] == ["kill"]
            assert await other.signalled(signal.SIGTERM) == 0
