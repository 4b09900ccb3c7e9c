"""Forum posts as sessions, on the whole bot: the first message is the prompt, the tags say what is going on."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from bot.model import Outcome
from bot.sandbox import ChannelType, FakeDiscord
from bot.work.outside import headers
from tests.agents import Gate, scenario
from tests.e2e.play import LIMIT, play
from tests.e2e.process import connected, run, until_shown

pytestmark = pytest.mark.asyncio

TAGS = ("bug", "Working", "needs you", "Done")


async def tagged(discord: FakeDiscord, thread_id: int, *names: str) -> None:
    await discord.wait_for(lambda fd: set(fd.tags(thread_id)) == set(names), timeout=LIMIT)


async def test_a_post_shows_that_it_works_needs_somebody_and_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S6: after its first message nobody has to mention Weft; what people tag stays; the title is in the prompt."""
    monkeypatch.setattr(headers, "SETTLE", 0.05)
    monkeypatch.setattr(headers, "SPACING", 0.2)
    gate = Gate(tmp_path / "gate")
    options = [{"optionId": "y", "name": "Allow", "kind": "allow_once"}]
    ask = {"permission": {"tool": {"id": "t", "title": "rm"}, "options": options}, "then": {"y": [{"text": "gone"}]}}
    agent = scenario(tmp_path, words={"slow": [gate.step, ask], "more": [{"text": "yes"}]})

    def invite(discord: FakeDiscord) -> dict[str, Any]:
        return {"forums": (discord.add_channel("asks", ChannelType.FORUM, tags=TAGS),)}

    async with play(tmp_path, agent, invite=invite, clean=False) as game:
        discord = game.discord
        (forum,) = game.on_stage.settings.forums
        talk = await discord.start_post(discord.user("alice"), forum, "Among us", "not for Weft, and from a stranger")
        post = await discord.start_post(discord.owner, forum, "Clean up", "a slow one", tags=["bug"])
        await tagged(discord, post.id, "bug", "Working")
        await discord.tag(post.id, "Working")
        gate.open()
        await game.card(post.id)
        await tagged(discord, post.id, "needs you")
        await game.press(post.id, "Allow")
        assert await game.outcome(post.id) is Outcome.ANSWERED
        await tagged(discord, post.id, "Done")
        assert "The title of the post" in agent.prompts()[0]
        assert "Clean up" in agent.prompts()[0]
        assert await game.outcome(await game.say(post.id, "more")) is Outcome.ANSWERED
        await game.say(post.id, "// an aside")
        assert agent.prompts()[1:] == ["more"]
        assert discord.tags(talk.id) == []
        # Nobody may change tags there any more: the turns go on.
        discord.deny("manage_threads", forum)
        await discord.tag(post.id, "bug")
        assert await game.outcome(await game.say(post.id, "more")) is Outcome.ANSWERED
        await discord.wait_for(lambda fd: any(call.status == 403 for call in fd.rest_calls("PATCH")), timeout=LIMIT)
        assert discord.tags(post.id) == ["bug"]
        discord.assert_clean(allow=[403])


async def test_after_a_kill_a_post_says_that_it_needs_somebody_and_goes_on(tmp_path: Path) -> None:
    """S6, R2, O2: it is Weft's as before; a post that was opened meanwhile is found."""
    agent = scenario(tmp_path, words={"hang": [{"text": "begun"}, {"hang": True}], "more": [{"text": "yes"}]})
    async with connected(tmp_path, agent) as (discord, bot):
        forum = discord.add_channel("asks", ChannelType.FORUM, tags=TAGS)
        mention = f"<@{discord.bot_user.id}>"
        post = await discord.start_post(discord.owner, forum, "Clean up", f"{mention} hang")
        await until_shown(discord, post.id, "begun")
        await tagged(discord, post.id, "Working")
        await bot.signalled(signal.SIGKILL)
        other = await discord.start_post(discord.owner, forum, "Meanwhile", f"{mention} more")
        async with run(tmp_path, discord.api_url, discord.token, agent):
            await tagged(discord, post.id, "needs you")
            await until_shown(discord, other.id, "yes")
            await discord.owner.say(post.id, "more")
            await until_shown(discord, post.id, "yes")
