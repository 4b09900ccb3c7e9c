"""Extra turns of one thread: side by side on forked sessions, or one after the other, and said so (Q9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.model import Outcome
from tests.agents import Gate, Step, scenario
from tests.e2e.play import LIMIT, Play, play

pytestmark = pytest.mark.asyncio

TWO: dict[str, Any] = {"max_concurrent": 2}


def first_and_second(directory: Path) -> tuple[Gate, dict[str, list[Step]]]:
    """A turn that waits for the gate, and one that is answered at once."""
    gate = Gate(directory / "gate")
    return gate, {"first": [{"text": "one "}, gate.step, {"text": "more"}], "second": [{"text": "two"}]}


async def until_answered(game: Play, thread_id: int, text: str) -> None:
    await game.discord.wait_for(
        lambda _: any(text in reply.content and "\n-# " in reply.content for reply in game.replies(thread_id)),
        timeout=LIMIT,
    )


async def test_an_agent_that_can_fork_works_on_two_requests_of_a_thread_at_once(tmp_path: Path) -> None:
    """Q9: each reply stands under its own message, and the thread's session stays what it was."""
    gate, words = first_and_second(tmp_path)
    agent = scenario(tmp_path, words=words, fork=True, close=True)
    async with play(tmp_path, agent, **TWO) as game:
        thread_id = await game.mention("first")
        await game.until_shown(thread_id, "one")
        second = await game.say(thread_id, "second")
        assert await game.outcome(second) is Outcome.ANSWERED
        assert thread_id not in game.on_stage.outcomes
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        replies = game.replies(thread_id)
        (extra,) = [reply for reply in replies if reply.content.startswith("two")]
        (main,) = [reply for reply in replies if "one more" in reply.content]
        assert extra.reference_id == second
        assert main.id < extra.id
        assert len(agent.pids()) == 1
        forked = agent.received("session/fork")
        assert len(forked) == 1
        sessions = [message["params"]["sessionId"] for message in agent.received("session/prompt")]
        assert sessions[0] == forked[0]["params"]["sessionId"] != sessions[1]
        third = await game.say(thread_id, "second again")
        assert await game.outcome(third) is Outcome.ANSWERED
        assert [m["params"]["sessionId"] for m in agent.received("session/prompt")][2] == sessions[0]


@pytest.mark.parametrize("offers", [{}, {"fork": "fails"}], ids=["it can't fork", "its fork fails"])
async def test_an_agent_that_can_not_fork_works_on_one_after_the_other_and_the_thread_is_told_once(
    tmp_path: Path, offers: dict[str, Any]
) -> None:
    """Q9, O1: nothing is lost, and nothing is answered twice."""
    gate, words = first_and_second(tmp_path)
    agent = scenario(tmp_path, words=words, **offers)
    async with play(tmp_path, agent, **TWO) as game:
        thread_id = await game.mention("first")
        await game.until_shown(thread_id, "one")
        second, third = await game.say(thread_id, "second"), await game.say(thread_id, "second again")
        await game.until_shown(thread_id, "one after the other")
        gate.open()
        for message_id in (thread_id, second, third):
            assert await game.outcome(message_id) is Outcome.ANSWERED
        assert agent.prompts() == ["first", "second", "second again"]
        assert game.shown(thread_id).count("one after the other") == 1
        assert len([reply for reply in game.replies(thread_id) if reply.content.startswith("two")]) == 2


async def test_stop_ends_the_older_of_two_turns_and_leaves_the_other(tmp_path: Path) -> None:
    """Q7, Q9"""
    gate, words = first_and_second(tmp_path)
    agent = scenario(
        tmp_path, words={"first": words["first"], "second": [{"text": "two "}, gate.step, {"text": "end"}]}, fork=True
    )
    async with play(tmp_path, agent, **TWO) as game:
        thread_id = await game.mention("first")
        await game.until_shown(thread_id, "one")
        second = await game.say(thread_id, "second")
        await game.until_shown(thread_id, "two")
        assert await game.stop(thread_id) == "Stopping."
        assert await game.outcome(thread_id) is Outcome.STOPPED
        gate.open()
        assert await game.outcome(second) is Outcome.ANSWERED
        await until_answered(game, thread_id, "two end")
