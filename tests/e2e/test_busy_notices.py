"""The notice of what waits in a thread: when it comes, what its buttons do, and when it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.model import Outcome
from bot.sandbox import Message, status
from tests.agents import Gate, scenario
from tests.e2e.busy import (
    BUSY,
    answers,
    assert_one_prompt_at_a_time,
    begun,
    held,
    hurry_notices,
    notice_of,
    until_gone,
)
from tests.e2e.play import hurry_discord, play, until_marked
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

PATIENCE = 1.5
"""Seconds after which a message is told that it waits; on this promise the clock is the test."""


def labels(notice: Message) -> list[list[str]]:
    return [[button["label"] for button in row["components"]] for row in notice.components]


async def test_what_waits_is_told_in_one_notice_after_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Q5: kept up to date, with two buttons for each; one that starts at once is told nothing."""
    hurry_discord(monkeypatch)
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        second = await game.say(thread_id, "second")
        notice = await notice_of(game, thread_id, "second")
        assert notice.reference_id == second
        assert labels(notice) == [["Send now", "Remove"]]
        (posted, _), (told, _) = (game.discord.timeline(one)[0] for one in (second, notice.id))
        assert told - posted >= PATIENCE - 0.1
        third = await game.say(thread_id, "third")
        both = await notice_of(game, thread_id, "second", "third")
        assert both.id == notice.id
        assert labels(both) == [["Send 1 now", "Send 2 now"], ["Remove 1", "Remove 2"]]
        gate.open()
        assert await game.outcome(third) is Outcome.ANSWERED
        await until_gone(game, notice.id)
        assert await game.outcome(await game.say(thread_id, "fourth")) is Outcome.ANSWERED
        assert "⏳" not in game.shown(thread_id)


async def test_send_now_cancels_what_runs_and_runs_the_message_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q5, T6: the others keep their places."""
    hurry_notices(monkeypatch)
    agent = scenario(tmp_path, words={"first": BUSY})
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        second, third, fourth = [await game.say(thread_id, text) for text in ("second", "third", "fourth")]
        notice = await notice_of(game, thread_id, "second", "third", "fourth")
        pressed = await game.owner.click(notice, f"weft:now:{thread_id}:{fourth}")
        assert await pressed.told() == "It is next."
        assert await game.outcome(thread_id) is Outcome.SUPERSEDED
        assert [await game.outcome(one) for one in (fourth, second, third)] == [Outcome.ANSWERED] * 3
        assert agent.prompts() == ["first", "fourth", "second", "third"]
        assert [text for _, text in answers(game, thread_id)][-3:] == ["fourth", "second", "third"]
        assert_one_prompt_at_a_time(agent)


async def test_remove_takes_one_message_out_and_tells_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Q5, O1: the others keep their places, and what runs goes on."""
    hurry_notices(monkeypatch)
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        second, third = [await game.say(thread_id, text) for text in ("second", "third")]
        notice = await notice_of(game, thread_id, "second", "third")
        pressed = await game.owner.click(notice, f"weft:drop:{thread_id}:{second}")
        assert await pressed.told() == "Removed."
        assert await game.outcome(second) is Outcome.REMOVED
        assert labels(await notice_of(game, thread_id, "third")) == [["Send now", "Remove"]]
        assert thread_id not in game.on_stage.outcomes
        gate.open()
        assert [await game.outcome(one) for one in (thread_id, third)] == [Outcome.ANSWERED] * 2
        assert agent.prompts() == ["first", "third"]
        (told,) = [one for one in game.replies(thread_id) if "**Removed**" in one.content]
        assert told.reference_id == second
        assert "`owner`" in told.content


async def test_clearing_the_queue_takes_the_notice_of_all_that_waited_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q5: at any time there is one; it lists the first of many and counts the others, and follows their edits."""
    hurry_notices(monkeypatch)
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent, queue_cap=12) as game:
        thread_id = await begun(game)
        waiting = [await game.say(thread_id, f"m{number}") for number in range(12)]
        await until_marked(game.discord, *waiting)
        notice = await notice_of(game, thread_id, *(f"m{number}" for number in range(5)))
        await game.until_shown(thread_id, "-# and 7 more: `/queue show`")
        await game.owner.edit(waiting[0], "better")
        await notice_of(game, thread_id, "better", "m1", "m2", "m3", "m4")
        await game.owner.slash(thread_id, "queue clear")
        await until_gone(game, notice.id)
        assert [await game.outcome(one) for one in waiting] == [Outcome.REMOVED] * 12
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        posted = {one.id for one in game.replies(thread_id) if "aiting" in one.content}
        assert posted == set()


@pytest.mark.parametrize(
    ("first", "then"), [("drop", "now"), *in_soak([("now", "drop"), ("drop", "drop"), ("now", "now")])]
)
async def test_a_press_that_comes_too_late_is_answered_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, then: str
) -> None:
    """Q5, O1: two people press at the same moment; the first one wins."""
    hurry_notices(monkeypatch)
    agent = scenario(tmp_path, words={"first": BUSY})
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        second = await game.say(thread_id, "second")
        notice = await notice_of(game, thread_id, "second")
        presses = [game.owner.begin_click(notice, f"weft:{kind}:{thread_id}:{second}") for kind in (first, then)]
        told = [await pressed.told() for pressed in presses]
        assert told[0] == {"drop": "Removed.", "now": "It is next."}[first]
        if first == "drop":
            assert told[1] == "This message is no longer waiting."
            assert await game.outcome(second) is Outcome.REMOVED
            assert agent.prompts() == ["first"]
            await game.stop(thread_id)
            assert await game.outcome(thread_id) is Outcome.STOPPED
        else:
            # Until the old turn has ended it still waits, and may still be taken out.
            assert told[1] in ("It is next.", "Removed.", "This message is no longer waiting.")
            expected = Outcome.REMOVED if told[1] == "Removed." else Outcome.ANSWERED
            assert await game.outcome(second) is expected
            assert await game.outcome(thread_id) is Outcome.SUPERSEDED
            assert len(agent.received("session/cancel")) == 1
        await until_gone(game, notice.id)


async def test_a_waiting_message_whose_author_deletes_it_leaves_no_button_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q5"""
    hurry_notices(monkeypatch)
    agent = scenario(tmp_path, words={"first": BUSY})
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        second = await game.say(thread_id, "second")
        notice = await notice_of(game, thread_id, "second")
        await game.owner.delete(second)
        assert await game.outcome(second) is Outcome.REMOVED
        await until_gone(game, notice.id)
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert agent.prompts() == ["first"]


async def test_a_notice_that_may_not_be_deleted_says_that_nothing_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q5, Q7"""
    hurry_notices(monkeypatch)
    agent = scenario(tmp_path, words={"first": BUSY})
    async with play(tmp_path, agent, clean=False) as game:
        thread_id = await begun(game)
        waiting = [await game.say(thread_id, text) for text in ("second", "third")]
        notice = await notice_of(game, thread_id, "second", "third")
        game.discord.faults.next("DELETE", rf"/messages/{notice.id}$", status(403, 50013))
        await game.owner.slash(thread_id, "stop", what="all")
        assert [await game.outcome(one) for one in (thread_id, *waiting)] == [Outcome.STOPPED] * 3
        await game.until_shown(thread_id, "Nothing is waiting here any more.")
        assert not game.discord.message(notice.id).components
