"""Reactions on messages: what each shows as it goes, and what it shows in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from bot.model import Outcome
from bot.sandbox import delay
from tests.agents import Gate, Step, scenario
from tests.e2e.busy import BUSY, begun, held
from tests.e2e.play import LIMIT, Play, play, until_marked

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("no_notices")]

SEEN, WAITING, RUNNING, DONE, STOPPED, FAILED = "👀", "⏳", "⚙️", "✅", "⏹️", "❌"


def bears(game: Play, message_id: int) -> list[str]:
    """The reactions of Weft that a message bears now."""
    bot = game.discord.bot_user.id
    return [emoji for emoji, users in game.discord.message(message_id).reactions.items() if bot in users]


def was_given(game: Play, message_id: int) -> list[str]:
    """The reactions that Weft has set on a message, in order."""
    calls = game.discord.rest_calls("PUT", f"/messages/{message_id}/reactions/")
    return [unquote(call.path).split("/reactions/")[1].split("/")[0] for call in calls if call.status < 300]


async def until_bears(game: Play, message_id: int, *emoji: str) -> None:
    try:
        await game.discord.wait_for(lambda _: bears(game, message_id) == list(emoji), timeout=LIMIT)
    except TimeoutError:
        given = was_given(game, message_id)
        raise AssertionError(f"it bears {bears(game, message_id)} and was given {given}, not {emoji}") from None


async def test_a_message_shows_that_it_waits_that_it_runs_and_that_it_is_done(tmp_path: Path) -> None:
    """D3, Q5: one sign at a time."""
    gate, other = Gate(tmp_path / "gate"), Gate(tmp_path / "other")
    agent = scenario(tmp_path, words={"first": held(gate), "second": held(other)})
    async with play(tmp_path, agent, reactions=True) as game:
        thread_id = await begun(game)
        await until_bears(game, thread_id, RUNNING)
        second = await game.say(thread_id, "second")
        await until_bears(game, second, WAITING)
        gate.open()
        await until_bears(game, thread_id, DONE)
        await until_bears(game, second, RUNNING)
        other.open()
        await until_bears(game, second, DONE)
        assert was_given(game, thread_id) == [SEEN, RUNNING, DONE]
        assert was_given(game, second) == [SEEN, WAITING, RUNNING, DONE]


@pytest.mark.parametrize(
    ("steps", "settings", "outcome"),
    [
        ([{"error": {"code": -32603, "message": "no"}}], {}, Outcome.FAILED),
        ([{"exit": 3}], {}, Outcome.AGENT_DIED),
        ([{"text": "x", "repeat": -1, "delay": 0.01}], {"hard_timeout": 0.3}, Outcome.TIMED_OUT),
    ],
)
async def test_a_message_whose_turn_went_wrong_shows_it(
    tmp_path: Path, steps: list[Step], settings: dict[str, Any], outcome: Outcome
) -> None:
    """D3, O1"""
    agent = scenario(tmp_path, steps)
    async with play(tmp_path, agent, reactions=True, **settings) as game:
        thread_id, ended = await game.ask("go")
        assert ended is outcome
        await until_bears(game, thread_id, FAILED)


async def test_messages_that_never_ran_and_those_that_were_stopped_show_it(tmp_path: Path) -> None:
    """D3, O1: removed, dropped, stopped."""
    agent = scenario(tmp_path, words={"first": BUSY})
    async with play(tmp_path, agent, reactions=True, queue_cap=1) as game:
        thread_id = await begun(game)
        dropped, removed = [await game.say(thread_id, text) for text in ("m0", "m1")]
        assert await game.outcome(dropped) is Outcome.DROPPED
        await game.owner.slash(thread_id, "queue clear")
        assert await game.outcome(removed) is Outcome.REMOVED
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        for message_id, emoji in ((dropped, FAILED), (removed, STOPPED), (thread_id, STOPPED)):
            await until_bears(game, message_id, emoji)


async def test_a_turn_that_is_over_before_its_message_was_marked_as_seen_shows_its_end_alone(
    tmp_path: Path,
) -> None:
    """D3: Discord may take its time for the first reaction."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent, reactions=True) as game:
        thread_id, _ = await game.ask("hello")
        await until_bears(game, thread_id, DONE)
        game.discord.faults.next("PUT", r"/reactions/", delay(0.6))
        quick = await game.say(thread_id, "quick")
        assert await game.outcome(quick) is Outcome.ANSWERED
        await game.discord.wait_for(lambda _: SEEN in was_given(game, quick), timeout=LIMIT)
        await until_bears(game, quick, DONE)


async def test_all_messages_of_a_followup_show_how_it_fares(tmp_path: Path) -> None:
    """D3, Q2"""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent, reactions=True, queue_mode="followup") as game:
        thread_id = await begun(game)
        waiting = [await game.say(thread_id, text) for text in ("m0", "m1")]
        for message_id in waiting:
            await until_bears(game, message_id, WAITING)
        gate.open()
        for message_id in (thread_id, *waiting):
            await until_bears(game, message_id, DONE)


async def test_a_message_that_was_deleted_is_not_reacted_to(tmp_path: Path) -> None:
    """D3, Q5: what is gone is let go, and the others are marked all the same."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent, reactions=True, clean=False) as game:
        thread_id = await begun(game)
        second, third = [await game.say(thread_id, text) for text in ("second", "third")]
        await until_marked(game.discord, second, third)
        await game.owner.delete(second)
        assert await game.outcome(second) is Outcome.REMOVED
        gate.open()
        await until_bears(game, third, DONE)
        refused = [call for call in game.discord.rest_calls(None, "/reactions/") if call.status == 404]
        assert len(refused) <= 3
        game.discord.assert_clean(allow=(404,))


async def test_without_reactions_a_message_is_marked_as_seen_and_no_more(tmp_path: Path) -> None:
    """D3, O2: WEFT_REACTIONS=false"""
    agent = scenario(tmp_path, words={"first": BUSY})
    async with play(tmp_path, agent, reactions=False) as game:
        thread_id = await begun(game)
        second = await game.say(thread_id, "second")
        await until_marked(game.discord, second)
        await game.stop(thread_id)
        assert [await game.outcome(one) for one in (thread_id, second)] == [Outcome.STOPPED, Outcome.ANSWERED]
        assert [was_given(game, one) for one in (thread_id, second)] == [[SEEN], [SEEN]]
        assert [bears(game, one) for one in (thread_id, second)] == [[SEEN], [SEEN]]
