"""Several agents by name: which one a thread gets, that it keeps it, and what /new does."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bot.agents.model import AgentProfile, Agents
from bot.model import Outcome
from bot.sandbox import FakeDiscord, Interaction
from tests.agents import Gate, ScriptedAgent, scenario
from tests.e2e.play import LIMIT, Play, play
from tests.e2e.process import Run, connected, mention, run, shown, until_answered

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("quick_notices")]


def two(directory: Path) -> tuple[ScriptedAgent, ScriptedAgent]:
    """Return two agents that say who they are before they repeat what they were asked."""
    return scenario(directory, [{"text": "red "}, {"echo": True}]), scenario(
        directory, [{"text": "blue "}, {"echo": True}]
    )


def named(
    red: ScriptedAgent, blue: ScriptedAgent, channels: Callable[[FakeDiscord], Mapping[int, str]] = lambda _: {}
) -> Callable[[FakeDiscord, str], Agents]:
    def make(discord: FakeDiscord, workspace: str) -> Agents:
        profiles = {
            "red": AgentProfile("red", red.argv, workspace, fixed={"RED_MODE": "1"}),
            "blue": AgentProfile("blue", blue.argv, workspace, fixed={"BLUE_MODE": "1"}),
        }
        return Agents(profiles, "red", channels(discord))

    return make


@asynccontextmanager
async def two_agents(directory: Path, **more: Any) -> AsyncIterator[tuple[Play, ScriptedAgent, ScriptedAgent]]:
    red, blue = two(directory)
    async with play(directory, red, agents=named(red, blue), **more) as game:
        yield game, red, blue


async def test_a_channel_has_its_agent_and_the_others_have_the_default(tmp_path: Path) -> None:
    """P12: a thread counts as its channel, also one that somebody else opened."""
    red, blue = two(tmp_path)
    places: dict[str, int] = {}

    def channels(discord: FakeDiscord) -> Mapping[int, str]:
        places["blue"] = discord.add_channel("blue")
        return {places["blue"]: "blue"}

    async with play(tmp_path, red, agents=named(red, blue, channels)) as game:
        in_default, _ = await game.ask("one")
        asked = await game.owner.say(places["blue"], "two", mention_bot=True)
        assert await game.outcome(asked.id) is Outcome.ANSWERED
        topic = await game.owner.say(places["blue"], "topic")
        theirs = await game.discord.start_thread(game.owner, topic, "topic")
        third = await game.owner.say(theirs.id, "three", mention_bot=True)
        assert await game.outcome(third.id) is Outcome.ANSWERED
        assert [text.split()[0] for text in (game.shown(in_default), game.shown(asked.id), game.shown(theirs.id))] == [
            "red",
            "blue",
            "blue",
        ]
        assert (red.prompts(), blue.prompts()) == (["one"], ["two", "three"])


async def test_the_line_of_a_turn_names_the_agent_as_the_settings_do(tmp_path: Path) -> None:
    """R7, P12: also where two of them are the same program."""
    with capture_logs() as logs:
        async with two_agents(tmp_path) as (game, _red, _blue):
            await game.ask("one")
            await answered(game, await game.owner.slash(game.discord.channel_id, "new", agent="blue", prompt="two"))
    assert [line["agent"] for line in logs if line["event"] == "turn.finished"] == ["red", "blue"]


async def test_each_agent_has_an_environment_of_its_own(tmp_path: Path) -> None:
    """R5: no agent sees what another one was given."""
    async with two_agents(tmp_path) as (game, red, blue):
        await game.ask("one")
        await answered(game, await game.owner.slash(game.discord.channel_id, "new", agent="blue", prompt="two"))
        names = [agent.events("start")[0]["environment"]["names"] for agent in (red, blue)]
        assert [("RED_MODE" in one, "BLUE_MODE" in one) for one in names] == [(True, False), (False, True)]


async def answered(game: Play, command: Interaction) -> int:
    """Wait for the answer to what a command asked; return its message, which is the thread's id if it opened one."""
    assert not command.ephemeral
    assert command.original_id is not None
    assert await game.outcome(command.original_id) is Outcome.ANSWERED
    return command.original_id


async def test_new_in_a_channel_asks_the_agent_of_ones_choice_in_a_thread_of_its_own(tmp_path: Path) -> None:
    """O1, O2, P12, Q8: the conversation goes on there like any other, with the same session."""
    async with two_agents(tmp_path) as (game, red, blue):
        command = await game.owner.slash(game.discord.channel_id, "new", agent="blue", prompt="what now?")
        thread_id = await answered(game, command)
        assert [(thread.id, thread.name) for thread in game.discord.threads()] == [(thread_id, "what now?")]
        assert game.discord.message(thread_id).content == "A new conversation with `blue`.\n>>> what now?"
        assert set(game.discord.message(thread_id).reactions) == {"👀"}
        follow_up = await game.say(thread_id, "and then?")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert (red.prompts(), blue.prompts()) == ([], ["what now?", "and then?"])
        assert len(blue.received("session/new")) == 1


async def test_new_without_a_prompt_opens_a_thread_for_the_agent(tmp_path: Path) -> None:
    """P12, Q8"""
    async with two_agents(tmp_path) as (game, red, blue):
        command = await game.owner.slash(game.discord.channel_id, "new", agent="blue")
        thread_id = command.original_id or 0
        await game.discord.wait_for(lambda _: game.opened(thread_id), timeout=LIMIT)
        asked = await game.say(thread_id, "hello")
        assert await game.outcome(asked) is Outcome.ANSWERED
        assert (red.prompts(), blue.prompts()) == ([], ["hello"])


async def test_new_in_a_thread_goes_on_there_with_the_other_agent(tmp_path: Path) -> None:
    """Q8: the old agent ends, and what waits goes on with the new one."""
    red, blue = scenario(tmp_path, [{"text": "so far "}, {"hang": True}]), two(tmp_path)[1]
    async with play(tmp_path, red, agents=named(red, blue)) as game:
        thread_id = await game.mention("first")
        await game.until_shown(thread_id, "so far")
        waiting = await game.say(thread_id, "second")
        command = await game.owner.slash(thread_id, "new", agent="blue", prompt="third")
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert await game.outcome(waiting) is Outcome.ANSWERED
        asked = await answered(game, command)
        assert (red.prompts(), blue.prompts()) == (["first"], ["second", "third"])
        assert "blue third" in game.shown(thread_id)
        assert [reply.reference_id for reply in game.replies(thread_id) if reply.content.startswith("blue third")] == [
            asked
        ]
        await game.agents_gone()


async def test_new_in_a_thread_leaves_an_agent_behind_that_does_not_get_through_its_start(tmp_path: Path) -> None:
    """Q8, P5: the one that was told to end starts nothing any more, and the next prompt is the other one's."""
    red, blue = scenario(tmp_path, start={"hang": "initialize"}), two(tmp_path)[1]
    async with play(tmp_path, red, agents=named(red, blue)) as game:
        thread_id = await game.mention("first")
        await red.heard("initialize")
        # The agent may start before the thread is there, and the turn only then.
        await game.discord.wait_for(lambda fd: fd.rest_calls("POST", f"/{thread_id}/typing"))
        asked = await answered(game, await game.owner.slash(thread_id, "new", agent="blue", prompt="second"))
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert (red.prompts(), blue.prompts()) == ([], ["second"])
        assert asked != thread_id


async def test_a_turn_lasts_as_long_as_its_own_agent_may(tmp_path: Path) -> None:
    """T2, P12"""
    gate = Gate(tmp_path / "gate")
    red, blue = (
        scenario(tmp_path, [gate.step, {"text": "red at last"}]),
        scenario(tmp_path, [{"text": "blue "}, {"hang": True}]),
    )

    def agents(discord: FakeDiscord, workspace: str) -> Agents:
        known = named(red, blue)(discord, workspace)
        return replace(known, profiles={**known.profiles, "blue": replace(known.profiles["blue"], hard_timeout=0.3)})

    async with play(tmp_path, red, agents=agents) as game:
        patient = await game.mention("wait")
        command = await game.owner.slash(game.discord.channel_id, "new", agent="blue", prompt="go")
        assert await game.outcome(command.original_id or 0) is Outcome.TIMED_OUT
        gate.open()
        assert await game.outcome(patient) is Outcome.ANSWERED


async def test_new_with_the_same_agent_starts_afresh_without_a_word_lost(tmp_path: Path) -> None:
    """Q8, P8"""
    async with two_agents(tmp_path) as (game, red, _):
        thread_id, _ = await game.ask("one")
        await answered(game, await game.owner.slash(thread_id, "new", prompt="two"))
        assert (red.prompts(), len(red.received("session/new"))) == (["one", "two"], 2)
        assert "afresh" not in game.shown(thread_id)


async def test_an_agent_that_there_is_not_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    """Q8: the running conversation is left alone."""
    async with two_agents(tmp_path) as (game, red, _):
        thread_id, _ = await game.ask("one")
        for place in (thread_id, game.discord.channel_id):
            command = await game.owner.slash(place, "new", agent="green", prompt="two")
            assert command.ephemeral
            assert await command.told() == "There is no agent `green`, only `red`, `blue`."
        follow_up = await game.say(thread_id, "three")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert (red.prompts(), len(red.received("session/new"))) == (["one", "three"], 1)


async def test_status_names_the_threads_agent(tmp_path: Path) -> None:
    """Q11: before it runs, too."""
    async with two_agents(tmp_path) as (game, _, _blue):
        thread_id = await answered(
            game, await game.owner.slash(game.discord.channel_id, "new", agent="blue", prompt="one")
        )
        told = await (await game.owner.slash(thread_id, "status")).told()
        assert "Agent: `blue` (`scripted" in told, told
        await game.owner.slash(thread_id, "reset")
        await game.agents_gone()
        told = await (await game.owner.slash(thread_id, "status")).told()
        assert "Agent: `blue`" in told


# --- over restarts -----------------------------------------------------------------------------------------------


def write(directory: Path, default: str, *, channel: str = "", **agents: ScriptedAgent) -> None:
    tables = [f"[agents.{name}]\ncommand = {list(agent.argv)!r}" for name, agent in agents.items()]
    (directory / "weft.toml").write_text("\n".join([f"default = '{default}'", *tables, channel]))


@asynccontextmanager
async def restarted(directory: Path, discord: FakeDiscord, agent: ScriptedAgent) -> AsyncIterator[Run]:
    async with run(directory, discord.api_url, discord.token, agent, WEFT_AGENT_COMMAND="") as bot:
        await bot.logged("gateway.ready")
        yield bot


async def test_a_thread_keeps_its_agent_and_session_when_the_file_says_otherwise_for_new_ones(tmp_path: Path) -> None:
    """P8, P12, R2: also one that the channel gave it."""
    red, blue = (scenario(tmp_path, [{"text": f"{name} "}, {"echo": True}], resume=True) for name in ("red", "blue"))
    write(tmp_path, "red", red=red, blue=blue)
    async with connected(tmp_path, red, WEFT_AGENT_COMMAND="") as (discord, bot):
        thread_id = await mention(discord, "one")
        await until_answered(discord, thread_id, "red one")
        assert await bot.signalled(signal.SIGTERM) == 0
        write(tmp_path, "blue", red=red, blue=blue, channel=f"[channels]\n'{discord.channel_id}' = 'blue'")
        async with restarted(tmp_path, discord, red) as other_bot:
            await discord.owner.say(thread_id, "two")
            await until_answered(discord, thread_id, "red two")
            other = await mention(discord, "three")
            await until_answered(discord, other, "blue three")
            assert await other_bot.signalled(signal.SIGTERM) == 0
        assert [message["params"]["sessionId"] for message in red.received("session/resume")] == [
            red.received("session/prompt")[0]["params"]["sessionId"]
        ]


async def test_a_thread_whose_agent_is_gone_says_so_once_and_starts_afresh_with_the_default(tmp_path: Path) -> None:
    """P8, P12"""
    red, blue = (scenario(tmp_path, [{"text": f"{name} "}, {"echo": True}], resume=True) for name in ("red", "blue"))
    write(tmp_path, "red", red=red, blue=blue)
    async with connected(tmp_path, red, WEFT_AGENT_COMMAND="") as (discord, bot):
        thread_id = await mention(discord, "one")
        await until_answered(discord, thread_id, "red one")
        assert await bot.signalled(signal.SIGTERM) == 0
        write(tmp_path, "blue", blue=blue)
        async with restarted(tmp_path, discord, blue) as other_bot:
            for text in ("two", "three"):
                await discord.owner.say(thread_id, text)
                await until_answered(discord, thread_id, f"blue {text}")
            assert await other_bot.signalled(signal.SIGTERM) == 0
        gone = "-# The agent `red` is gone: `blue` takes over, and starts afresh."
        assert shown(discord, thread_id).count(gone) == 1
        assert "no longer knew" not in shown(discord, thread_id)
        assert blue.received("session/resume") == []
