"""Threads and messages that vanish or close under a running turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.model import Outcome
from bot.sandbox import status
from tests.agents import Gate, scenario
from tests.e2e.play import Play, play

pytestmark = pytest.mark.asyncio


async def running(game: Play) -> int:
    thread_id = await game.mention("go")
    await game.until_shown(thread_id, "first half")
    return thread_id


async def test_a_deleted_thread_cancels_its_turn_and_lets_the_agent_go(tmp_path: Path) -> None:
    """D10."""
    agent = scenario(tmp_path, [{"text": "first half"}, {"hang": True}])
    async with play(tmp_path, agent, clean=False) as game:
        thread_id = await running(game)
        await game.discord.delete_channel(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        await game.agents_gone()
        assert len(agent.received("session/cancel")) == 1
        game.discord.assert_clean(allow=[404])


async def test_a_thread_archived_in_the_middle_gets_the_rest_as_one_new_message(tmp_path: Path) -> None:
    """D10: no edit any more; the turn goes on."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, [{"text": "first half. "}, gate.step, {"text": "second half."}])
    async with play(tmp_path, agent, clean=False) as game:
        thread_id = await running(game)
        before = len(game.replies(thread_id))
        await game.discord.archive(thread_id)
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        fresh = game.replies(thread_id)[before:]
        assert len(fresh) == 1
        assert "second half." in fresh[0].content
        assert "first half" not in fresh[0].content
        edits = game.discord.rest_calls("PATCH", f"/channels/{thread_id}/messages/")
        assert len([call for call in edits if call.status == 400]) <= 3
        assert game.discord.thread(thread_id).archived is False


async def test_a_locked_thread_cancels_its_turn(tmp_path: Path) -> None:
    """D10."""
    agent = scenario(tmp_path, [{"text": "first half"}, {"hang": True}])
    async with play(tmp_path, agent, clean=False) as game:
        thread_id = await running(game)
        await game.discord.archive(thread_id, locked=True)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        await game.agents_gone()


async def test_a_reply_that_somebody_deleted_is_posted_anew_once(tmp_path: Path) -> None:
    """D10."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, [{"text": "first half. "}, gate.step, {"text": "second half."}])
    async with play(tmp_path, agent, clean=False) as game:
        thread_id = await running(game)
        (reply,) = game.replies(thread_id)
        await game.discord.delete_message(reply.id)
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        (reply,) = game.replies(thread_id)
        assert "first half. second half." in reply.content


async def test_a_missing_permission_to_open_threads_is_told_where_the_mention_was(tmp_path: Path) -> None:
    """O1, D10."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent, clean=False) as game:
        game.discord.deny("create_public_threads", game.discord.channel_id)
        message_id, outcome = await game.ask("go")
        assert outcome is Outcome.FAILED
        (reply,) = game.replies(game.discord.channel_id)
        assert reply.reference_id == message_id
        assert "thread could not be opened" in reply.content
        assert agent.pids() == []


async def test_a_failing_discord_delays_the_answer_and_loses_nothing(tmp_path: Path) -> None:
    """O2, D3: 503 twice, then a reset after the message was taken; it is there once."""
    from bot.sandbox import Fault

    agent = scenario(tmp_path, [{"text": "the answer"}])
    async with play(tmp_path, agent, clean=False) as game:
        game.discord.faults.next("POST", r"/messages$", status(503), times=2)
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.ANSWERED
        assert [one.content.split("\n")[0] for one in game.replies(thread_id)] == ["the answer"]
        game.discord.faults.next("POST", r"/messages$", Fault.RESET_AFTER)
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert [one.content.split("\n")[0] for one in game.replies(thread_id)] == ["the answer"] * 2
