"""A restart of the real bot: what was said, asked and promised before it holds after it (R1, R2, P8)."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.sandbox import FakeDiscord
from tests.agents import alive, scenario
from tests.e2e.play import until_marked
from tests.e2e.process import HANG, connected, mention, rows, run, shown, until_answered, until_shown
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

MANY = 20


def replies(discord: FakeDiscord, thread_id: int, text: str) -> list[str]:
    """Return Weft's messages in a thread that have the text in them."""
    bot = discord.bot_user.id
    return [
        message.content
        for message in discord.messages(thread_id)
        if message.author_id == bot and text in message.content
    ]


async def until_running(discord: FakeDiscord, threads: list[int]) -> None:
    for thread_id in threads:
        await until_shown(discord, thread_id, "so far")


@pytest.mark.timeout(180)
async def test_a_stop_with_twenty_turns_in_flight_tells_each_thread_and_keeps_each_session(tmp_path: Path) -> None:
    """R1: no agent left, exit 0 within 45 s; after the start each of them can be gone on with."""
    agent = scenario(tmp_path, words={"cut off": [{"text": "went on"}], "work": HANG}, resume=True)
    wide: dict[str, Any] = {"WEFT_MAX_AGENTS": str(MANY + 2), "WEFT_LANE_MAIN": str(MANY), "WEFT_STOP_GRACE": "1"}
    async with connected(tmp_path, agent, **wide) as (discord, bot):
        threads = [await mention(discord, f"work {number}") for number in range(MANY)]
        await until_running(discord, threads)
        with anyio.fail_after(45):
            bot.process.send_signal(signal.SIGTERM)
            assert await bot.process.wait() == 0
        for thread_id in threads:
            assert len(replies(discord, thread_id, "Weft is about to restart")) == 1
            assert len(replies(discord, thread_id, "**Interrupted:**")) == 1
        assert [pid for pid in agent.pids() if alive(pid)] == []
        assert rows(tmp_path, "select count(*) from threads where session_id is not null") == [(MANY,)]
        async with run(tmp_path, discord.api_url, discord.token, agent, **wide) as again:
            await again.logged("gateway.ready")
            await discord.owner.say(threads[0], "cut off")
            await until_shown(discord, threads[0], "went on")
            assert len(agent.received("session/resume")) == 1
            assert await again.signalled(signal.SIGTERM) == 0


async def test_what_waits_at_a_stop_goes_on_after_the_start(tmp_path: Path) -> None:
    """R1, R2, Q1: told, kept, run in order, each once."""
    agent = scenario(tmp_path, words={"first": HANG}, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "first")
        await until_shown(discord, thread_id, "so far")
        for text in ("second", "third"):
            await until_marked(discord, (await discord.owner.say(thread_id, text)).id)
        assert await bot.signalled(signal.SIGTERM) == 0
        assert "What waits here goes on afterwards" in shown(discord, thread_id)
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await again.logged("gateway.ready")
            await until_answered(discord, thread_id, "third")
            assert agent.prompts() == ["first", "second", "third"]
            assert await again.signalled(signal.SIGTERM) == 0


async def test_what_is_posted_while_the_bot_is_away_is_answered_once(tmp_path: Path) -> None:
    """R2: in known threads, and mentions in channels where one was accepted; other talk is left alone."""
    agent = scenario(tmp_path, resume=True)
    alone: dict[str, Any] = {"WEFT_CONTEXT": "0"}  # the prompts are compared word for word
    async with connected(tmp_path, agent, **alone) as (discord, bot):
        thread_id = await mention(discord, "before")
        await until_answered(discord, thread_id, "before")
        assert await bot.signalled(signal.SIGTERM) == 0
        await discord.owner.say(thread_id, "in the thread")
        await discord.owner.say(thread_id, "// an aside")
        await discord.owner.say(discord.channel_id, "chatter")
        mentioned = await mention(discord, "in the channel")
        for _ in range(2):
            async with run(tmp_path, discord.api_url, discord.token, agent, **alone) as again:
                await again.logged("catch_up.finished")
                await until_answered(discord, thread_id, "in the thread")
                await until_answered(discord, mentioned, "in the channel")
                assert await again.signalled(signal.SIGTERM) == 0
        assert sorted(agent.prompts()) == ["before", "in the channel", "in the thread"]


@pytest.mark.parametrize(
    ("offers", "asked", "lost"),
    [
        ({"load": "replay_after", "history": [["agent", "an old answer"]]}, "session/load", False),
        *in_soak([({"resume": True}, "session/resume", False), ({}, None, True)]),
    ],
    ids=["loads and replays afterwards", "resumes", "can do neither"],
)
async def test_a_turn_that_a_kill_cut_off_is_gone_on_with_by_a_press(
    tmp_path: Path, offers: dict[str, object], asked: str | None, lost: bool
) -> None:
    """R2, P8: as far as the agent can; where the context was lost the thread is told so."""
    agent = scenario(tmp_path, words={"cut off": [{"text": "went on"}], "work": HANG}, **offers)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "work")
        await until_shown(discord, thread_id, "so far")
        bot.process.kill()
        await bot.process.wait()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_shown(discord, thread_id, "**Interrupted:** Weft was restarted in the middle of this.")
            assert [pid for pid in agent.pids() if alive(pid)] == []
            notice = discord.messages(thread_id)[-1]
            pressed = await discord.owner.click(notice, f"weft:go:{thread_id}:{thread_id}")
            assert await pressed.told() == "Going on."
            await until_answered(discord, thread_id, "went on")
            assert agent.prompts()[0] == "work"
            assert agent.prompts()[1].endswith("go on with this request:\n\nwork")
            assert len(agent.prompts()) == 2
            assert [method for method in ("session/resume", "session/load") if agent.received(method)] == (
                [asked] if asked else []
            )
            assert ("no longer knew this conversation" in shown(discord, thread_id)) is lost
            assert "an old answer" not in shown(discord, thread_id)
            assert await again.signalled(signal.SIGTERM) == 0


async def test_a_reload_lets_people_in_without_a_restart(tmp_path: Path) -> None:
    """R1: SIGHUP reads the settings file again; turns go on."""
    agent = scenario(tmp_path, words={"work": HANG})
    async with connected(tmp_path, agent) as (discord, bot):
        guest = discord.user("guest")
        thread_id = await mention(discord, "work")
        await until_shown(discord, thread_id, "so far")
        (tmp_path / ".env").write_text(f"WEFT_ALLOWED_USERS={guest.id}\nWEFT_MAX_AGENTS=3\n")
        bot.process.send_signal(signal.SIGHUP)
        await bot.logged("settings.reloaded")
        (told,) = [event for event in bot.events() if event["event"] == "settings.reloaded"]
        assert (told["changed"], told["need_a_restart"]) == (["allowed_users"], ["max_agents"])
        other = (await guest.say(discord.channel_id, "hello", mention_bot=True)).id
        await until_answered(discord, other, "hello")
        assert replies(discord, thread_id, "Interrupted") == []
        assert await bot.signalled(signal.SIGTERM) == 0


@pytest.mark.timeout(180)
async def test_a_prompt_of_somebody_who_is_no_longer_let_in_does_not_run_after_the_restart(tmp_path: Path) -> None:
    """D2, R2: whoever takes somebody off the list and restarts wants nothing of theirs to run."""
    agent = scenario(tmp_path, words={"work": [{"text": "so far"}, {"hang": True}]}, resume=True)
    async with FakeDiscord() as discord:
        guest = discord.user("guest")
        allowed = {"WEFT_ALLOWED_USERS": str(guest.id)}
        async with run(tmp_path, discord.api_url, discord.token, agent, **allowed) as bot:
            with anyio.fail_after(30):
                await discord.ready.wait()
            thread_id = await mention(discord, "work")
            await until_shown(discord, thread_id, "so far")
            waiting = await guest.say(thread_id, "mine")
            await until_marked(discord, waiting.id)
            bot.process.kill()
            await bot.process.wait()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await again.logged("catch_up.finished")
            await discord.owner.say(thread_id, "last")
            await until_shown(discord, thread_id, "last\n-# ")
            assert await again.signalled(signal.SIGTERM) == 0
        assert agent.prompts() == ["work", "last"]
