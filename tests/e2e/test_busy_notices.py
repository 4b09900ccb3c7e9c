"""Notices below messages that wait: when they come, what their buttons do, and when those go."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.outcome import Outcome
from tests.agents import Gate, scenario
from tests.e2e.busy import (
    BUSY,
    answers,
    assert_one_prompt_at_a_time,
    begun,
    held,
    hurry_notices,
    notice_of,
    taken,
)
from tests.e2e.play import LIMIT, Play, hurry_discord, play

pytestmark = pytest.mark.asyncio

PATIENCE = 1.5
"""Seconds after which a message is told that it waits; on this promise the clock is the test."""


async def until_bare(game: Play, notice: int) -> None:
    """Wait until a notice has lost its buttons."""
    await game.discord.wait_for(lambda fd: not fd.message(notice).components, timeout=LIMIT)


async def test_a_message_that_waits_is_told_its_place_after_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q5: with the two buttons, below the message itself; one that starts at once is told nothing."""
    hurry_discord(monkeypatch)
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        waiting = [await game.say(thread_id, text) for text in ("second", "third")]
        for place, message_id in enumerate(waiting, 1):
            notice = await notice_of(game, thread_id, message_id)
            assert f"number {place} in line" in notice.content
            labels = [button["label"] for row in notice.components for button in row["components"]]
            assert labels == ["Send now", "Remove"]
            (posted, _), (told, _) = (game.discord.timeline(one)[0] for one in (message_id, notice.id))
            assert told - posted >= PATIENCE - 0.1
        gate.open()
        assert await game.outcome(waiting[1]) is Outcome.ANSWERED
        assert await game.outcome(await game.say(thread_id, "fourth")) is Outcome.ANSWERED
        assert game.shown(thread_id).count("⏳") == 2


async def test_send_now_cancels_what_runs_and_runs_the_message_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q5, T6: the others keep their places."""
    hurry_notices(monkeypatch)
    agent = scenario(tmp_path, words={"first": BUSY})
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        second, third, fourth = [await game.say(thread_id, text) for text in ("second", "third", "fourth")]
        notice = await notice_of(game, thread_id, fourth)
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
        notice = await notice_of(game, thread_id, second)
        pressed = await game.owner.click(notice, f"weft:drop:{thread_id}:{second}")
        assert await pressed.told() == "Removed."
        assert await game.outcome(second) is Outcome.REMOVED
        assert thread_id not in game.on_stage.outcomes
        gate.open()
        assert [await game.outcome(one) for one in (thread_id, third)] == [Outcome.ANSWERED] * 2
        assert agent.prompts() == ["first", "third"]
        (told,) = [one for one in game.replies(thread_id) if "**removed**" in one.content]
        assert told.reference_id == second
        assert "`owner`" in told.content


async def test_the_buttons_go_when_the_message_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Q5"""
    hurry_notices(monkeypatch)
    gate, other = Gate(tmp_path / "gate"), Gate(tmp_path / "other")
    agent = scenario(tmp_path, words={"first": held(gate), "second": held(other)})
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        second, third = [await game.say(thread_id, text) for text in ("second", "third")]
        notices = [(await notice_of(game, thread_id, one)).id for one in (second, third)]
        gate.open()
        await until_bare(game, notices[0])
        assert second not in game.on_stage.outcomes
        assert game.discord.message(notices[1]).components
        other.open()
        await until_bare(game, notices[1])
        assert await game.outcome(third) is Outcome.ANSWERED


@pytest.mark.parametrize(("first", "then"), [("drop", "now"), ("now", "drop"), ("drop", "drop"), ("now", "now")])
async def test_a_press_that_comes_too_late_is_answered_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, then: str
) -> None:
    """Q5, O1: two people press at the same moment; the first one wins."""
    hurry_notices(monkeypatch)
    agent = scenario(tmp_path, words={"first": BUSY})
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        second = await game.say(thread_id, "second")
        notice = await notice_of(game, thread_id, second)
        presses = [game.owner.begin_click(notice, f"weft:{kind}:{thread_id}:{second}") for kind in (first, then)]
        told = [await pressed.told() for pressed in presses]
        assert told[0] == {"drop": "Removed.", "now": "It is next."}[first]
        if first == "drop":
            assert told[1] == "It does not wait any more."
            assert await game.outcome(second) is Outcome.REMOVED
            assert agent.prompts() == ["first"]
            await game.stop(thread_id)
            assert await game.outcome(thread_id) is Outcome.STOPPED
        else:
            # Until the old turn has ended it still waits, and may still be taken out.
            assert told[1] in ("It is next.", "Removed.", "It does not wait any more.")
            expected = Outcome.REMOVED if told[1] == "Removed." else Outcome.ANSWERED
            assert await game.outcome(second) is expected
            assert await game.outcome(thread_id) is Outcome.SUPERSEDED
            assert len(agent.received("session/cancel")) == 1
        await until_bare(game, notice.id)


async def test_a_waiting_message_whose_author_deletes_it_leaves_no_button_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q5"""
    hurry_notices(monkeypatch)
    agent = scenario(tmp_path, words={"first": BUSY})
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        second = await game.say(thread_id, "second")
        notice = await notice_of(game, thread_id, second)
        await game.owner.delete(second)
        assert await game.outcome(second) is Outcome.REMOVED
        await until_bare(game, notice.id)
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert agent.prompts() == ["first"]


async def test_stop_all_takes_the_buttons_of_everything_that_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q5, Q7"""
    hurry_notices(monkeypatch)
    agent = scenario(tmp_path, words={"first": BUSY})
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        waiting = [await game.say(thread_id, text) for text in ("second", "third")]
        await taken(game, *waiting)
        notices = [(await notice_of(game, thread_id, one)).id for one in waiting]
        await game.owner.slash(thread_id, "stop", what="all")
        assert [await game.outcome(one) for one in (thread_id, *waiting)] == [Outcome.STOPPED] * 3
        for notice in notices:
            await until_bare(game, notice)
