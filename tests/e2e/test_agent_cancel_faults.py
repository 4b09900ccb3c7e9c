"""Cancels that go wrong: whatever the agent answers, or doesn't, the turn is stopped and the thread goes on.

    fault                                    test
    ignores the cancel                       test_an_ignored_cancel_is_forced_a_grace_later_and_what_waits_goes_on
    answers it with end_turn                 test_a_cancel_that_is_answered_end_turn_is_a_stop_all_the_same
    answers it with an error                 test_a_cancel_that_is_answered_with_an_error_is_a_stop_all_the_same
    answers it late                          test_the_next_prompt_is_not_written_before_the_cancelled_one_has_ended
    answers it twice, once in the next turn  test_a_second_response_after_a_cancel_does_not_end_the_next_turn
    the session, after a stop                test_a_stop_keeps_the_process_the_session_and_what_was_said

A witness streams through each of them (O4). Elsewhere: stops in each phase (test_stop), a cancel while a permission is
asked (test_agent_permission_faults).
"""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from bot.config import Settings
from bot.model import Outcome
from tests.agents import Gate, Step, alive, scenario
from tests.e2e.witness import witnessed, words

pytestmark = pytest.mark.asyncio

PROMPT_ID = 3
"""The id of a process's first prompt: the handshake and the session came before it."""


async def test_an_ignored_cancel_is_forced_a_grace_later_and_what_waits_goes_on(tmp_path: Path) -> None:
    """T6, O1, P9, Q7: not before the grace is over, which is usually 10 s."""
    grace = 0.5
    assert Settings.model_fields["cancel_grace"].default == 10
    hold: list[Step] = [{"ignore_cancel": True}, {"text": "word "}, {"hang": True}]
    agent = scenario(tmp_path, words=words(tmp_path, hold=hold), resume=True)
    async with witnessed(tmp_path, agent, cancel_grace=grace) as game:
        thread_id = await game.mention("hold")
        await game.until_shown(thread_id, "word")
        waiting = await game.say(thread_id, "next")
        before = anyio.current_time()
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert anyio.current_time() - before >= grace
        line = "word \n⏹ **Stopped** by `owner`. The agent did not react, so it was ended.\n-# "
        assert game.replies(thread_id)[0].content.startswith(line)
        assert await game.outcome(waiting) is Outcome.ANSWERED
        assert len(agent.received("session/cancel")) == 1
        _, first, second = agent.pids()
        assert (alive(first), alive(second)) == (False, True)


async def test_a_cancel_that_is_answered_end_turn_is_a_stop_all_the_same(tmp_path: Path) -> None:
    """T6, O1: we remember that we cancelled."""
    slow: list[Step] = [{"on_cancel": {"stopReason": "end_turn"}}, {"text": "word"}, {"hang": True}]
    agent = scenario(tmp_path, words=words(tmp_path, slow=slow))
    async with witnessed(tmp_path, agent) as game:
        thread_id = await game.mention("slow")
        await game.until_shown(thread_id, "word")
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert game.shown(thread_id).startswith("word\n⏹ **Stopped** by `owner`.\n-# ")


async def test_a_cancel_that_is_answered_with_an_error_is_a_stop_all_the_same(tmp_path: Path) -> None:
    """T6, O1: -32800, as the protocol forbids and agents do."""
    gate = Gate(tmp_path / "gate")
    error = {"code": -32800, "message": "Request cancelled"}
    slow: list[Step] = [{"ignore_cancel": True}, {"text": "word"}, gate.step, {"error": error}]
    agent = scenario(tmp_path, words=words(tmp_path, slow=slow))
    async with witnessed(tmp_path, agent, cancel_grace=10) as game:
        thread_id = await game.mention("slow")
        await game.until_shown(thread_id, "word")
        await game.stop(thread_id)
        gate.open()
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert game.shown(thread_id).startswith("word\n⏹ **Stopped** by `owner`.\n-# ")
        assert await game.outcome(await game.say(thread_id, "next")) is Outcome.ANSWERED
        assert len(agent.pids()) == 2


async def test_the_next_prompt_is_not_written_before_the_cancelled_one_has_ended(tmp_path: Path) -> None:
    """Q1, T6, O3: else the cancel could hit it; what the agent still says belongs to the turn that was cancelled."""
    gate = Gate(tmp_path / "gate")
    slow: list[Step] = [{"ignore_cancel": True}, {"text": "word ", "id": "m"}, gate.step, {"text": "end", "id": "m"}]
    agent = scenario(tmp_path, words=words(tmp_path, slow=slow))
    async with witnessed(tmp_path, agent, cancel_grace=10) as game:
        thread_id = await game.mention("slow")
        await game.until_shown(thread_id, "word")
        await game.stop(thread_id)
        await agent.heard("session/cancel")
        waiting = await game.say(thread_id, "next")
        await game.discord.wait_for(lambda _: "👀" in game.discord.message(waiting).reactions)
        assert "next" not in agent.prompts()
        gate.open()
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert await game.outcome(waiting) is Outcome.ANSWERED
        first, second = (reply.content for reply in game.replies(thread_id))
        assert first.startswith("word end\n⏹ **Stopped** by `owner`.\n-# ")
        assert second.startswith("next\n-# ")


async def test_a_second_response_after_a_cancel_does_not_end_the_next_turn(tmp_path: Path) -> None:
    """T6, T5: the stop reason of a cancelled turn comes once more, with the next prompt."""
    late: list[Step] = [
        {"respond": {"stopReason": "cancelled"}, "id": PROMPT_ID},
        {"text": "the answer"},
        {"respond": {"stopReason": "end_turn"}},
    ]
    agent = scenario(tmp_path, words=words(tmp_path, slow=[{"text": "x"}, {"hang": True}], next=late))
    async with witnessed(tmp_path, agent) as game:
        thread_id = await game.mention("slow")
        await game.until_shown(thread_id, "x")
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert await game.outcome(await game.say(thread_id, "next")) is Outcome.ANSWERED
        assert game.replies(thread_id)[-1].content.startswith("the answer\n-# ")


async def test_a_stop_keeps_the_process_the_session_and_what_was_said(tmp_path: Path) -> None:
    """T6, P8: the next message goes to the same session in the same process."""
    agent = scenario(tmp_path, words=words(tmp_path, slow=[{"text": "word"}, {"hang": True}]), resume=True)
    async with witnessed(tmp_path, agent) as game:
        thread_id = await game.mention("slow")
        await game.until_shown(thread_id, "word")
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert await game.outcome(await game.say(thread_id, "next")) is Outcome.ANSWERED
        first, second = (reply.content for reply in game.replies(thread_id))
        assert first.startswith("word\n⏹ **Stopped** by `owner`.\n-# ")
        assert second.startswith("next\n-# ")
        _, stopped, after = (prompt["params"]["sessionId"] for prompt in agent.received("session/prompt"))
        assert stopped == after
        assert len(agent.pids()) == 2
        assert len(agent.received("session/new")) == 2
