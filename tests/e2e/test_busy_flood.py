"""Many messages at once in one thread: each has one end, everybody is told, and nothing else is held up."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.model import Outcome
from bot.sandbox import RateLimits
from tests.agents import scenario
from tests.e2e import play as stage_limits
from tests.e2e.busy import assert_one_prompt_at_a_time, friends
from tests.e2e.play import Play, hurry_discord, play

pytestmark = pytest.mark.asyncio

PEOPLE = [f"user{number}" for number in range(20)]
MESSAGES = 200
TOLD_WITHIN = 60.0
"""Seconds after the flood in which everybody has been told; with Discord's real limits."""

MOST_LAG = 1.0
"""Seconds that the loop may once compute before it looks at its clock again; Discord itself runs on it here, too."""


class Lag:
    """How long the loop computed at most without a look at its clock; what other processes took from it is no lag."""

    def __init__(self) -> None:
        self.most = 0.0

    async def watch(self) -> None:
        while True:
            before = time.thread_time()
            await anyio.sleep(0.01)
            self.most = max(self.most, time.thread_time() - before)


async def flood(game: Play, thread_id: int, seconds: float) -> list[int]:
    """Post all messages, everybody in turn, spread over so many seconds."""
    people = [game.discord.user(name) for name in PEOPLE]
    begin, posted = anyio.current_time(), []
    for number in range(MESSAGES):
        posted.append(await game.say(thread_id, f"m{number}", people[number % len(people)]))
        await anyio.sleep(max(0.0, begin + (number + 1) * seconds / MESSAGES - anyio.current_time()))
    return posted


def told(game: Play, thread_id: int) -> Counter[str]:
    """How many notices say of whom that messages were dropped."""
    authors = {message.id: message.author_id for message in game.discord.messages(thread_id)}
    names = {game.discord.user(name).id: name for name in PEOPLE}
    dropped = [one for one in game.replies(thread_id) if "**Not run:**" in one.content]
    return Counter(names[authors[one.reference_id or 0]] for one in dropped)


async def flooded(
    directory: Path, seconds: float, within: float, pause: float = 0.0, **settings: Any
) -> tuple[Counter[str], Lag]:
    """Flood a thread; check what holds whatever the limits are; return who was told how often, and the lag."""
    agent = scenario(directory, words={"m": [{"pause": pause}, {"echo": True}]})
    lag = Lag()
    inviting = friends(*PEOPLE, clean=False, **settings)
    async with play(directory, agent, **inviting) as game, anyio.create_task_group() as tasks:
        tasks.start_soon(lag.watch)
        thread_id, _ = await game.ask("hello")
        posted = await flood(game, thread_id, seconds)
        elsewhere, outcome = await game.ask("and here?")
        assert outcome is Outcome.ANSWERED
        assert elsewhere != thread_id
        with anyio.fail_after(within):
            outcomes = {one: await game.outcome(one) for one in posted}
        assert set(outcomes.values()) <= {Outcome.ANSWERED, Outcome.DROPPED}
        asked = [int(text[1:]) for text in agent.prompts() if text.startswith("m")]
        assert asked == sorted(asked)
        answered = [number for number, one in enumerate(posted) if outcomes[one] is Outcome.ANSWERED]
        assert answered == asked
        assert answered[-1] == MESSAGES - 1
        assert_one_prompt_at_a_time(agent)
        counted = told(game, thread_id)
        silent = {PEOPLE[number % len(PEOPLE)] for number in range(MESSAGES) if number not in asked} - set(counted)
        assert silent == set()
        tasks.cancel_scope.cancel()
        game.discord.assert_clean()
    return counted, lag


@pytest.mark.soak
async def test_two_hundred_messages_at_once_have_one_end_each_and_everybody_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q3, O1, O4: nobody waits for more than the cap; what is dropped is told once to each author."""
    hurry_discord(monkeypatch)
    counted, lag = await flooded(tmp_path, 0.5, 30.0)
    assert max(counted.values()) <= 2
    assert lag.most <= MOST_LAG


@pytest.mark.long(110)
@pytest.mark.soak
@pytest.mark.timeout(180)
async def test_two_hundred_messages_in_five_seconds_are_all_told_within_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q3, O1, D3: with Discord's real limits, and with reactions."""
    monkeypatch.setattr(stage_limits, "LIMIT", 150.0)
    real: dict[str, Any] = {"edit_interval": 1.25, "reactions": True, "rate_limits": RateLimits.REAL}
    counted, lag = await flooded(tmp_path, 5.0, TOLD_WITHIN, 1.0, **real)
    assert sum(counted.values()) <= 3 * len(PEOPLE)
    assert lag.most <= MOST_LAG
