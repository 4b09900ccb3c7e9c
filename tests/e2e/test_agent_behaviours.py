"""Agents that behave like four real ones: a reader notices none of their oddities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.model import Outcome
from tests.agents import scenario
from tests.agents.behaviours import claude_turn, codex_turn, gemini_turn, opencode_turn, retried_text
from tests.agents.scenario import text_update, usage_update
from tests.e2e.play import play
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

Turn = Callable[..., list[dict[str, Any]]]
BEHAVIOURS = [
    ("claude", claude_turn, "allow-once"),
    ("gemini", gemini_turn, "proceed_once"),
    ("opencode", opencode_turn, "once"),
    ("codex", codex_turn, "allow_once"),
]
FOUR = pytest.mark.parametrize(
    ("behaviour", "turn", "allow"),
    [*BEHAVIOURS[:2], *in_soak(BEHAVIOURS[2:])],
    ids=[name for name, _, _ in BEHAVIOURS],
)


@FOUR
async def test_a_turn_with_a_permission_reads_the_same_with_each_agent(
    tmp_path: Path, behaviour: str, turn: Turn, allow: str
) -> None:
    """T5, T8, D6: also fs/write_text_file unasked, and a permission for a tool call that was never announced."""
    agent = scenario(tmp_path, turn(), behaviour=behaviour)
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("list")
        await game.press(thread_id, allow)
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert "Two entries." in game.shown(thread_id)
        assert "1 tool" in game.replies(thread_id)[-1].content


@FOUR
async def test_tools_without_text_are_shown_with_what_each_agent_tells_of_them(
    tmp_path: Path, behaviour: str, turn: Turn, allow: str
) -> None:
    """T4: output in content, only in `_meta`, as rawOutput, or nowhere."""
    agent = scenario(tmp_path, turn(text=None), behaviour=behaviour)
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("list")
        await game.press(thread_id, allow)
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert "ls -1" in game.shown(thread_id)
        assert ("one\ntwo" in game.shown(thread_id)) is (behaviour != "gemini")


@FOUR
async def test_a_second_message_while_one_runs_waits_for_its_end_with_each_agent(
    tmp_path: Path, behaviour: str, turn: Turn, allow: str
) -> None:
    """Q1: left to themselves, one queues, one merges, one cancels the first."""
    agent = scenario(tmp_path, turn(), [{"echo": True}], behaviour=behaviour)
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("list")
        await game.card(thread_id)
        second = await game.say(thread_id, "second")
        await game.discord.wait_for(lambda _: "👀" in game.discord.message(second).reactions)
        assert agent.prompts() == ["list"]
        await game.press(thread_id, allow)
        assert [await game.outcome(message) for message in (thread_id, second)] == [Outcome.ANSWERED] * 2
        assert agent.prompts() == ["list", "second"]


@FOUR
async def test_a_stop_while_each_agent_asks_leaves_the_session_usable(
    tmp_path: Path, behaviour: str, turn: Turn, allow: str
) -> None:
    """T6: one waits for our answer, two withdraw, one ends without."""
    agent = scenario(tmp_path, turn(), [{"echo": True}], behaviour=behaviour)
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("list")
        await game.card(thread_id)
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        second = await game.say(thread_id, "second")
        assert await game.outcome(second) is Outcome.ANSWERED
        assert len(agent.pids()) == 1


async def test_metadata_after_the_response_belongs_to_the_turn_that_is_over(tmp_path: Path) -> None:
    """T3, O3: the cost comes 6 ms after the response and stands in the footer."""
    late = {"late": [[0.006, usage_update(used=50, size=100, cost=0.25)]]}
    agent = scenario(tmp_path, [late, {"text": "done", "id": "m1"}], behaviour="claude")
    async with play(tmp_path, agent, drain=1.0) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.ANSWERED
        assert "50% of context · $0.25" in game.shown(thread_id)


async def test_a_text_that_is_repeated_under_a_new_message_id_is_shown_once(tmp_path: Path) -> None:
    """T8: codex sends the text again when its stream broke."""
    agent = scenario(tmp_path, retried_text(), behaviour="codex")
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("count")
        assert outcome is Outcome.ANSWERED
        assert game.shown(thread_id).startswith("d0 d1 d2\n-#")


async def test_text_after_the_drain_is_shown_as_output_outside_a_turn_and_not_in_the_next(tmp_path: Path) -> None:
    """O3, T3: the late chunk has the message id of the first turn."""
    late = {"late": [[1.0, text_update("late words", "m1")]]}
    agent = scenario(tmp_path, [late, {"text": "first", "id": "m1"}], [{"echo": True}])
    async with play(tmp_path, agent, drain=0.02) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.ANSWERED
        second = await game.say(thread_id, "second")
        assert await game.outcome(second) is Outcome.ANSWERED
        await game.until_shown(thread_id, "late words")
        reply = next(one for one in game.replies(thread_id) if "late words" in one.content)
        assert reply.content.startswith("-# Output outside a turn")
        assert [one for one in game.replies(thread_id) if "second" in one.content and "late" in one.content] == []


async def test_a_shell_command_in_a_session_of_its_own_ends_with_its_agent(tmp_path: Path) -> None:
    """P9: `play` waits for the agent; the command is looked at here."""
    from tests.agents import alive

    agent = scenario(tmp_path, [{"spawn_shell": "sleep 600"}, {"text": "started"}])
    async with play(tmp_path, agent) as game:
        _, outcome = await game.ask("go")
        assert outcome is Outcome.ANSWERED
        (spawned,) = agent.events("spawned")
        assert alive(spawned["child"])
    assert not alive(spawned["child"])
