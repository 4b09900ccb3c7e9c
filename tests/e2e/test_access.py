"""Who may speak: closed by default, one short refusal, nothing started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.model import Outcome
from bot.sandbox import FakeDiscord
from tests.agents import scenario
from tests.e2e.play import play

pytestmark = pytest.mark.asyncio


async def test_a_stranger_gets_one_short_reply_and_starts_nothing(tmp_path: Path) -> None:
    """D2."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent) as game:
        mallory = game.discord.user("mallory")
        first = await game.mention("run this", mallory)
        await game.mention("run that", mallory)
        await game.ask("hello")
        refusals = [one for one in game.replies(game.discord.channel_id) if one.reference_id is not None]
        assert [one.reference_id for one in refusals] == [first]
        assert [thread.name for thread in game.discord.threads()] == ["hello"]
        assert agent.prompts() == ["hello"]


async def test_a_stranger_in_wefts_thread_is_not_heard(tmp_path: Path) -> None:
    """D1, D2."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("hello")
        await game.say(thread_id, "and delete everything", game.discord.user("mallory"))
        follow_up = await game.say(thread_id, "second")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert agent.prompts() == ["hello", "second"]


async def test_a_stranger_may_not_stop_a_turn(tmp_path: Path) -> None:
    """D2: one function decides for messages, buttons and commands."""
    agent = scenario(tmp_path, [{"text": "word"}, {"hang": True}])
    async with play(tmp_path, agent) as game:
        mallory = game.discord.user("mallory")
        thread_id = await game.mention("go")
        await game.until_shown(thread_id, "word")
        (reply,) = game.replies(thread_id)
        pressed = await mallory.click(reply.id, f"weft:stop:{thread_id}:{thread_id}")
        typed = await mallory.slash(thread_id, "stop")
        assert (pressed.ephemeral, typed.ephemeral) == (True, True)
        assert agent.received("session/cancel") == []
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED


async def test_a_listed_user_and_a_listed_role_may_speak(tmp_path: Path) -> None:
    """D2."""

    def invite(discord: FakeDiscord) -> dict[str, Any]:
        role = discord.add_role("devs")
        discord.user("bob", roles=[role])
        return {"allowed_users": (discord.user("alice").id,), "allowed_roles": (role,)}

    agent = scenario(tmp_path)
    async with play(tmp_path, agent, invite=invite) as game:
        for name in ("alice", "bob"):
            message = await game.mention(f"hello from {name}", game.discord.user(name))
            assert await game.outcome(message) is Outcome.ANSWERED
        await game.mention("and me", game.discord.user("mallory"))
        await game.ask("the owner")
        assert agent.prompts() == ["hello from alice", "hello from bob", "the owner"]


async def test_a_listed_channel_keeps_the_others_closed(tmp_path: Path) -> None:
    """D2: for those who are listed; a thread counts as its channel."""

    def invite(discord: FakeDiscord) -> dict[str, Any]:
        return {"allowed_users": (discord.user("alice").id,), "allowed_channels": (discord.channel_id,)}

    agent = scenario(tmp_path)
    async with play(tmp_path, agent, invite=invite) as game:
        alice, other = game.discord.user("alice"), game.discord.add_channel("other")
        await alice.say(other, "elsewhere", mention_bot=True)
        thread_id = await game.mention("here", alice)
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        follow_up = await game.say(thread_id, "in the thread", alice)
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert agent.prompts() == ["here", "in the thread"]


async def test_talk_among_people_in_wefts_thread_is_left_alone(tmp_path: Path) -> None:
    """D1: a message that mentions somebody else, and one that begins with //."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent) as game:
        alice = game.discord.user("alice")
        thread_id, _ = await game.ask("hello")
        await game.say(thread_id, f"<@{alice.id}> what do you think?")
        await game.say(thread_id, "// a note")
        follow_up = await game.say(thread_id, "second")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert agent.prompts() == ["hello", "second"]


async def test_a_mention_without_words_gets_a_help_line(tmp_path: Path) -> None:
    """D1."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent) as game:
        message_id = await game.mention("")
        channel = game.discord.channel_id
        await game.discord.wait_for(lambda _: game.replies(channel))
        assert game.replies(channel)[0].reference_id == message_id
        assert game.discord.threads() == []


async def test_agent_text_pings_nobody(tmp_path: Path) -> None:
    """D9: `assert_clean` also checks that every body says so."""
    agent = scenario(tmp_path, [{"text": "@everyone <@&1> look"}])
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("shout")
        assert outcome is Outcome.ANSWERED
        (reply,) = game.replies(thread_id)
        assert (reply.mention_everyone, reply.mentions, reply.mention_roles) == (False, (), ())
