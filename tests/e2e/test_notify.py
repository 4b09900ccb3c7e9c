"""Pings in Discord: whom a message names and may notify, and how people choose."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.model import Outcome
from tests.agents import Step, scenario
from tests.e2e.play import play

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("quick_discord")]


async def test_a_failure_pings_whoever_asked_until_they_want_no_pings(tmp_path: Path) -> None:
    """A1, D9: in one new message below what was said, by their choice for a thread or for the server."""
    fails: list[Step] = [{"text": "so far"}, {"error": {"code": -32000, "message": "no"}}]
    agent = scenario(tmp_path, fails, fails, fails)
    async with play(tmp_path, agent, pings=True) as game:
        owner = game.owner.id
        thread_id, outcome = await game.ask("first")
        assert outcome is Outcome.FAILED
        text, end = game.replies(thread_id)
        assert (text.content, text.mentions) == ("so far", ())
        assert end.content.startswith(f"<@{owner}>\n⚠️ **Failed:**")
        assert end.mentions == (owner,)

        async def again(pinged: bool) -> None:
            shown = len(game.replies(thread_id))
            assert await game.outcome(await game.say(thread_id, "again")) is Outcome.FAILED
            mentions = {one for message in game.replies(thread_id)[shown:] for one in message.mentions}
            assert mentions == ({owner} if pinged else set())

        everywhere = await game.owner.slash(game.discord.channel_id, "notify", when="never", everywhere=True)
        assert "not even when an agent waits for your answer" in await everywhere.told()
        await again(pinged=False)
        await game.owner.slash(thread_id, "notify", when="always")
        await again(pinged=True)
