"""A board on the whole bot: it follows the threads that all may see, over a kill, until somebody deletes it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from bot.model import Outcome
from bot.sandbox import FakeDiscord, Message
from bot.work.outside import boards
from tests.agents import Gate, scenario
from tests.e2e.play import LIMIT, play
from tests.e2e.process import connected, mention, run, until_shown

pytestmark = pytest.mark.asyncio


def board(discord: FakeDiscord) -> list[Message]:
    posted = discord.messages(discord.channel_id)
    return [one for one in posted if one.author_id == discord.bot_user.id and one.content.startswith("**Board**")]


async def until_board(discord: FakeDiscord, *texts: str, without: str = "\0") -> str:
    """Wait until there is one board, which says all this; return it."""

    def right(_: FakeDiscord) -> bool:
        found = [one.content for one in board(discord)]
        return len(found) == 1 and all(text in found[0] for text in texts) and without not in found[0]

    await discord.wait_for(right, timeout=LIMIT)
    return board(discord)[0].content


async def test_a_board_shows_who_needs_somebody_and_what_it_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A3: threads in public channels, not those of private ones; it ends when its message is deleted."""
    monkeypatch.setattr(boards, "PACE", 0.1)
    gate = Gate(tmp_path / "gate")
    ask = {
        "permission": {
            "tool": {"id": "t", "title": "rm"},
            "options": [{"optionId": "y", "name": "Allow", "kind": "allow_once"}],
        },
        "then": {"y": []},
    }
    agent = scenario(
        tmp_path, words={"ask": [ask], "pay": [{"text": "ok"}, {"spend": {"cost": 0.42}}], "wait": [gate.step]}
    )
    async with play(tmp_path, agent) as game:
        discord = game.discord
        await game.owner.slash(discord.channel_id, "board")
        await until_board(discord, "Nothing is going on.")
        secret = discord.add_channel("secret")
        discord.overwrite(secret, discord.guild_id, deny=["view_channel"])
        discord.overwrite(secret, discord.bot_user.id, allow=["view_channel"])
        hidden = (await game.owner.say(secret, "wait", mention_bot=True)).id
        paid = await game.mention("pay")
        asks = await game.mention("ask")
        await game.card(asks)
        assert await game.outcome(paid) is Outcome.ANSWERED
        text = await until_board(discord, "1 needs you, 1 done", f"<#{asks}> **needs you**", f"<#{paid}> done", "$0.42")
        assert text.index(str(asks)) < text.index(str(paid))
        assert str(hidden) not in text
        await game.press(asks, "Allow")
        await until_board(discord, "2 done")
        await discord.delete_message(board(discord)[0].id)
        answer = await game.owner.slash(discord.channel_id, "board", what="off")
        assert answer.response is not None
        assert answer.response["content"] == boards.NONE_HERE.text
        gate.open()
        assert await game.outcome(hidden) is Outcome.ANSWERED
        assert board(discord) == []


@pytest.mark.soak
async def test_a_board_goes_on_after_a_kill(tmp_path: Path) -> None:
    """A3, R6: the same message, right again with the start of the next run."""
    agent = scenario(tmp_path, words={"hang": [{"text": "begun"}, {"hang": True}]})
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "hang")
        await until_shown(discord, thread_id, "begun")
        await discord.owner.slash(discord.channel_id, "board")
        await until_board(discord, f"<#{thread_id}> working")
        (before,) = board(discord)
        await bot.signalled(signal.SIGKILL)
        async with run(tmp_path, discord.api_url, discord.token, agent):
            await until_board(discord, f"<#{thread_id}> **failed**", without="working")
            assert [one.id for one in board(discord)] == [before.id]
            await discord.owner.slash(discord.channel_id, "board", what="off")
            await discord.wait_for(lambda _: not board(discord), timeout=LIMIT)
