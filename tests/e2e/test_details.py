"""What an agent thought and did in a turn, for whoever presses *Details* below it: at once, and after a kill."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from bot.chat.authorize import Reason
from bot.chat.buttons import EXPIRED
from bot.model import Outcome
from bot.sandbox import FakeDiscord, Interaction, Message, Person
from tests.agents import scenario
from tests.e2e.play import LIMIT, Play, play
from tests.e2e.process import mention, rows, run, until_answered

pytestmark = pytest.mark.asyncio

TOOL = {"tool": {"title": "npm test", "kind": "execute", "output": "1 failed\n"}}
WORK: list[dict[str, Any]] = [{"thought": "Which test?"}, TOOL, {"text": "One test fails."}]


def button(thread_id: int, turn_id: int | None = None) -> str:
    return f"weft:details:{thread_id}:{turn_id or thread_id}"


def with_details(discord: FakeDiscord, thread_id: int) -> list[Message]:
    return [one for one in discord.messages(thread_id) if "weft:details:" in repr(one.components)]


async def answer_to(pressed: Interaction, discord: FakeDiscord) -> Message:
    """Return the answer as the person alone sees it."""
    await pressed.filled()
    assert pressed.ephemeral
    return discord.message(pressed.original_id or 0)


async def details(game: Play, thread_id: int, person: Person | None = None) -> Message:
    (reply,) = with_details(game.discord, thread_id)
    return await answer_to(await (person or game.owner).click(reply.id, button(thread_id)), game.discord)


async def test_details_are_below_a_turn_that_did_more_than_answer(tmp_path: Path) -> None:
    """V2, D5: thoughts, tools and outputs; the button comes with the footer, in the edit that takes Stop away."""
    agent = scenario(tmp_path, WORK, [{"text": "Just words."}])
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("test it")
        (reply,) = game.replies(thread_id)
        assert reply.content.startswith("One test fails.\n-# ✓ `npm test`\n-# ")
        assert [one["label"] for row in reply.components for one in row["components"]] == ["Details"]
        told = await details(game, thread_id)
        assert told.content == ("-# What the agent thought:\n```\nWhich test?\n```\n✓ `npm test`\n```\n1 failed\n```")
        follow_up = await game.say(thread_id, "and now?")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert game.replies(thread_id)[-1].components == [], "there is nothing more to show"


async def test_what_is_long_comes_as_a_file_and_what_is_no_turn_of_the_thread_not_at_all(tmp_path: Path) -> None:
    """V2, D2: whoever is let in may look, in the thread that it is about."""

    def invite(discord: FakeDiscord) -> dict[str, Any]:
        return {"allowed_users": (discord.user("alice").id,)}

    output = {"type": "content", "content": {"type": "text", "text": "y" * 300}}
    change = {"type": "diff", "path": "/w/a.txt", "oldText": "one\n", "newText": "```\n# Not a heading\n"}
    tools = [{"tool": {"id": f"t{n}", "title": f"step {n}", "content": [change, output]}} for n in range(9)]
    async with play(tmp_path, scenario(tmp_path, [*tools, {"text": "done"}]), invite=invite) as game:
        thread_id, _ = await game.ask("go")
        told = await details(game, thread_id, game.discord.user("alice"))
        assert told.content.endswith(
            "-# and 5 more\n-# All of it, with thoughts, outputs and changes, is in `details.md`."
        )
        (file,) = told.attachments
        text = file.content.decode()
        assert (file.name, text.count("y" * 300), text.count("````diff\n")) == ("details.md", 9, 9)
        (reply,) = with_details(game.discord, thread_id)
        refused = await game.discord.user("mallory").click(reply.id, button(thread_id))
        assert await refused.told() == Reason.PERSON
        other, _ = await game.ask("go elsewhere")
        # A client can send what no button has: another thread's turn, under either thread's name.
        for custom_id, words in ((button(other), EXPIRED), (button(thread_id, other), "are gone: they are kept")):
            game.discord.state.messages[reply.id].components[0]["components"][0]["custom_id"] = custom_id
            assert words in await (await game.owner.click(reply.id, custom_id)).told()


async def test_a_turn_that_people_have_seen_the_end_of_has_its_details_after_a_kill(tmp_path: Path) -> None:
    """V2, S3, R6: written before it is shown; a turn that the kill cut off is kept with what was asked."""
    agent = scenario(tmp_path, WORK, [{"text": "so far"}, {"hang": True}])
    async with FakeDiscord() as discord:
        async with run(tmp_path, discord.api_url, discord.token, agent) as bot:
            await bot.logged("catch_up.finished")
            thread_id = await mention(discord, "test it")
            await until_answered(discord, thread_id, "One test fails.")
            second = (await discord.owner.say(thread_id, "go on")).id
            await discord.wait_for(lambda fd: "so far" in fd.messages(thread_id)[-1].content, timeout=LIMIT)
            assert await bot.signalled(signal.SIGKILL) == -signal.SIGKILL
        async with run(tmp_path, discord.api_url, discord.token, agent) as bot:
            await discord.wait_for(
                lambda fd: f"weft:go:{thread_id}:{second}" in repr(fd.messages(thread_id)), timeout=LIMIT
            )
            (reply,) = with_details(discord, thread_id)
            told = await answer_to(await discord.owner.click(reply.id, button(thread_id)), discord)
            assert "Which test?" in told.content
            assert "1 failed" in told.content
            await bot.signalled(signal.SIGTERM)
        assert rows(tmp_path, "SELECT turn_id FROM transcripts ORDER BY 1") == [(thread_id,), (second,)]


async def test_where_nothing_is_kept_there_is_no_button(tmp_path: Path) -> None:
    """S3"""
    async with play(tmp_path, scenario(tmp_path, WORK), transcript_days=0) as game:
        thread_id, _ = await game.ask("test it")
        assert game.replies(thread_id)[-1].components == []
