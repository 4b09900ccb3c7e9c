"""What an agent says after its response: with the turn it belongs to, once, and never in the next one (T3, O3).

    fault                                    test
    chunks within the drain                  test_chunks_within_the_drain_belong_to_the_turn
    chunks around the drain's end            test_a_chunk_around_the_drains_end_is_shown_once_and_not_in_the_next_turn
    chunks in the next turn                  test_a_chunk_a_second_late_puts_nothing_into_the_turn_that_runs_by_then
    a tool's end in the next turn            test_a_tool_that_ends_in_the_next_turn_is_not_one_of_its_tools

A witness streams through each of them (O4). An agent that gives no ids can't be told apart: ``docs/limits.md``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.model import Outcome
from tests.agents import Gate, Step, scenario
from tests.agents.scenario import text_update
from tests.e2e.witness import witnessed, words
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio


async def test_chunks_within_the_drain_belong_to_the_turn(tmp_path: Path) -> None:
    """T3"""
    chunks = [[at, text_update(f"{at} ", "m1")] for at in (0.01, 0.15, 0.2, 0.25)]
    agent = scenario(tmp_path, words=words(tmp_path, early=[{"text": "first ", "id": "m1"}, {"late": chunks}]))
    async with witnessed(tmp_path, agent, drain=1.5) as game:
        thread_id, outcome = await game.ask("early")
        assert outcome is Outcome.ANSWERED
        assert game.shown(thread_id).startswith("first 0.01 0.15 0.2 0.25 \n-# ")


@pytest.mark.parametrize("at", [0.199, *in_soak([0.01, 0.15, 0.25])])
async def test_a_chunk_around_the_drains_end_is_shown_once_and_not_in_the_next_turn(tmp_path: Path, at: float) -> None:
    """T3, O3: with the drain's usual length; on which side of its end a chunk comes is the machine's affair."""
    early: list[Step] = [{"text": "first ", "id": "m1"}, {"late": [[at, text_update("late words", "m1")]]}]
    agent = scenario(tmp_path, words=words(tmp_path, early=early))
    async with witnessed(tmp_path, agent, drain=0.2) as game:
        thread_id, outcome = await game.ask("early")
        assert outcome is Outcome.ANSWERED
        assert await game.outcome(await game.say(thread_id, "second")) is Outcome.ANSWERED
        await game.until_shown(thread_id, "late words")
        said = [reply.content.partition("\n-# ")[0] for reply in game.replies(thread_id)]
        outside = ["first ", "second", "-# Output outside a turn:\nlate words"]
        assert said in (["first late words", "second"], outside)


async def test_a_late_chunk_puts_nothing_into_the_turn_that_runs_by_then(tmp_path: Path) -> None:
    """O3: zero foreign bytes; the words are shown, in a message of their own."""
    gate, late_gate = Gate(tmp_path / "gate"), Gate(tmp_path / "late")
    late: Step = {"update": text_update("late words", "m1")}
    one: list[Step] = [{"text": "first", "id": "m1"}, {"respond": {"stopReason": "end_turn"}}, late_gate.step, late]
    two: list[Step] = [{"text": "second ", "id": "m2"}, gate.step, {"text": "answer", "id": "m2"}]
    agent = scenario(tmp_path, words=words(tmp_path, one=one, two=two))
    async with witnessed(tmp_path, agent) as game:
        thread_id, _ = await game.ask("one")
        running = await game.say(thread_id, "two")
        await game.until_shown(thread_id, "second")
        late_gate.open()
        await game.until_shown(thread_id, "late words")
        assert running not in game.on_stage.outcomes
        gate.open()
        assert await game.outcome(running) is Outcome.ANSWERED
        first, second, outside = (reply.content for reply in game.replies(thread_id))
        assert first.startswith("first\n-# ")
        assert second.startswith("second answer\n-# ")
        assert outside == "-# Output outside a turn:\nlate words"


async def test_a_tool_that_ends_in_the_next_turn_is_not_one_of_its_tools(tmp_path: Path) -> None:
    """O3, T8: shown with title and output, outside the turn."""
    gate = Gate(tmp_path / "gate")
    call = {"sessionUpdate": "tool_call", "toolCallId": "t1", "title": "make", "status": "in_progress"}
    content = [{"type": "content", "content": {"type": "text", "text": "built"}}]
    end = {"sessionUpdate": "tool_call_update", "toolCallId": "t1", "title": "make", "status": "completed"}
    one: list[Step] = [{"update": call}, {"text": "first"}]
    two: list[Step] = [{"text": "second"}, {"update": {**end, "content": content}}, gate.step]
    agent = scenario(tmp_path, words=words(tmp_path, one=one, two=two))
    async with witnessed(tmp_path, agent) as game:
        thread_id, _ = await game.ask("one")
        running = await game.say(thread_id, "two")
        await game.until_shown(thread_id, "-# Output outside a turn:\n")
        gate.open()
        assert await game.outcome(running) is Outcome.ANSWERED
        _, second, late = (reply.content for reply in game.replies(thread_id))
        assert second.startswith("second\n-# ")
        assert "tool" not in second
        assert late.rstrip() == "-# Output outside a turn:\n\n✓ `make`\n```\nbuilt\n```"
