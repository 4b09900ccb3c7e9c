"""`/inbox` in Discord: what waits, what failed and what ended unread, and how it is read."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import pytest

from bot.chat.commands.inbox import ALL_QUIET, MOST_LOOKED_AT
from bot.model import Actor, Inbound, Outcome
from tests.agents import Step, scenario
from tests.e2e.play import Play, play

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("quick_discord")]


async def button(game: Play, message_id: int, label: str) -> str:
    """Return the id of a button."""
    rows = game.discord.message(message_id).components
    return next(str(one["custom_id"]) for row in rows for one in row["components"] if one["label"] == label)


async def test_the_inbox_lists_what_waits_what_failed_and_what_ended_unread(tmp_path: Path) -> None:
    """A2: for whoever asks alone; who writes, presses or reacts in a thread has read it, and Clear reads all."""
    ask: Step = {"permission": {"tool": {"title": "make", "kind": "execute"}}, "then": {}}
    words: dict[str, list[Step]] = {
        "fail": [{"error": {"code": -32000, "message": "no"}}],
        "ask": [ask],
        "well": [{"text": "done"}],
    }
    async with play(tmp_path, scenario(tmp_path, words=words)) as game:
        channel, link = game.discord.channel_id, f"https://discord.com/channels/{game.discord.guild_id}"

        async def inbox(where: int = channel) -> list[str]:
            answer = await game.owner.slash(where, "inbox")
            assert answer.ephemeral
            lines = (await answer.told()).replace(link, "").splitlines()
            return [re.sub(r"^- \d+ s", "- 0 s", line) for line in lines]

        assert await inbox() == [ALL_QUIET]
        failed, _ = await game.ask("fail")
        well, _ = await game.ask("well")
        third, _ = await game.ask("well, too")
        asking = await game.mention("ask")
        card, _ = await game.card(asking)
        dispatcher, guild_id = game.on_stage.bot.dispatcher, game.discord.guild_id
        while not all(one.message_id for one in dispatcher.permissions.waiting()):  # noqa: ASYNC110  nothing changes there
            await anyio.sleep(0.01)
        assert await inbox() == [
            "**Waiting for your answer**",
            f"- 0 s: `make` /{asking}/{card}",
            "**Failed or not run**",
            f"- 0 s ago: `fail` /{failed}",
            "**Finished since you were last there**",
            f"- 0 s ago: `well` /{well}",
            f"- 0 s ago: `well, too` /{third}",
        ]
        await game.owner.react(game.replies(well)[-1], "👍")
        while len(dispatcher.inbox.unread(game.owner.id, guild_id)) > 2:  # noqa: ASYNC110  as above
            await anyio.sleep(0.01)
        await game.say(third, "// thanks")
        await game.press(asking, "Reject")
        assert await game.outcome(asking) is Outcome.ANSWERED
        assert await inbox() == [
            "**Failed or not run**",
            f"- 0 s ago: `fail` /{failed}",
            "**Finished since you were last there**",
            f"- 0 s ago: `ask` /{asking}",
        ]
        # A command that takes longer to answer is one, too.
        await (await game.owner.slash(asking, "diff")).filled()
        assert await inbox() == ["**Failed or not run**", f"- 0 s ago: `fail` /{failed}"]
        # In place of an older answer, made before the last end.
        helped = await game.owner.slash(channel, "help")
        await game.ask("well")
        listed = await game.owner.click(helped.original_id or 0, f"weft:do:{channel}:inbox")
        assert (await listed.told()).count("\n- ") == 2
        clear = await button(game, helped.original_id or 0, "Clear")
        cleared = await game.owner.click(helped.original_id or 0, clear)
        assert await cleared.told() == "Cleared."
        assert await inbox() == [ALL_QUIET]


async def test_ends_in_threads_that_are_gone_or_were_never_opened_hide_no_others(tmp_path: Path) -> None:
    """A2: only 25 are looked at, those that wait longest."""
    async with play(tmp_path, scenario(tmp_path), clean=False) as game:
        dispatcher, channel, owner = game.on_stage.bot.dispatcher, game.discord.channel_id, game.owner
        for number in range(1, MOST_LOOKED_AT + 6):
            one = Inbound(
                number,
                channel,
                number,
                game.discord.guild_id,
                Actor(owner.id, "owner"),
                "x",
                True,
                "x",
                parent_id=channel,
            )
            dispatcher.inbox.ended(one, Outcome.DROPPED)
        thread_id, _ = await game.ask("well")
        for _ in range(2):
            lines = (await (await owner.slash(channel, "inbox")).told()).splitlines()
            assert [line.rpartition("/")[2] for line in lines[1:]] == [str(thread_id)]
        assert len(dispatcher.inbox.unread(owner.id, game.discord.guild_id)) == 1
