"""Threads that Weft opened get their agent's title, whenever it comes, and keep the name that a person gave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.model import Outcome
from bot.sandbox import FakeDiscord
from tests.agents import Gate, scenario
from tests.e2e.play import LIMIT, Play, play

pytestmark = pytest.mark.asyncio


def names(discord: FakeDiscord) -> list[str]:
    """The names that Weft has asked for, in order."""
    return [call.body["name"] for call in discord.rest_calls("PATCH", "/channels/") if "name" in (call.body or {})]


async def renamed(game: Play, thread_id: int, name: str) -> None:
    await game.discord.wait_for(lambda fd: fd.thread(thread_id).name == name, timeout=LIMIT)


async def test_a_thread_has_its_agents_title_once_and_the_name_of_a_person_for_good(tmp_path: Path) -> None:
    """S5: in the drain as claude has it, or after that; and whatever the agent calls it later."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(
        tmp_path,
        words={
            "soon": [{"text": "yes"}, {"title": "# Look at `@everyone` <@1>", "late": 0.01}],
            "late": [{"text": "yes"}, {"title": "Late " + "x" * 200, "late": 0.5}],
            "mine": [gate.step, {"title": "Not yours"}, {"text": "yes"}],
            "again": [{"title": "Something else"}, {"text": "yes"}],
        },
    )
    async with play(tmp_path, agent) as game:
        threads = [await game.mention(word) for word in ("soon", "late", "mine")]
        soon, late, mine = threads
        await game.discord.wait_for(lambda fd: mine in {one.id for one in fd.threads()}, timeout=LIMIT)
        await game.discord.rename(game.owner, mine, "Ours")
        gate.open()
        assert [await game.outcome(thread_id) for thread_id in threads] == [Outcome.ANSWERED] * 3
        await renamed(game, soon, "Look at @everyone")
        await renamed(game, late, "Late " + "x" * 94 + "…")
        assert await game.outcome(await game.say(soon, "again")) is Outcome.ANSWERED
        assert len(names(game.discord)) == 2
