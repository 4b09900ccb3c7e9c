"""What once broke the contract, with the whole bot: secrets past the filter, resets in awkward moments."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import pytest

from bot.model import Outcome
from tests.agents import Gate, scenario
from tests.e2e.play import play
from tests.e2e.process import connected, mention, until_shown

pytestmark = pytest.mark.asyncio

KEY = "k3y-0123456789"


async def test_a_secret_that_a_pattern_let_through_is_in_no_message_and_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R5: names with a trailing asterisk give secrets, too, and /status goes past the thread."""
    monkeypatch.setenv("TOOL_KEY", KEY)
    gate = Gate(tmp_path / "gate")
    tool = {"id": "t1", "title": f"curl -u {KEY}", "kind": "execute", "status": "in_progress"}
    agent = scenario(tmp_path, [{"text": f"using {KEY} now ", "id": "m1"}, {"tool": tool}, gate.step])
    async with play(tmp_path, agent, agent_env=["TOOL_*"]) as game:
        thread_id = await game.mention("go")
        await game.until_shown(thread_id, "using")
        await game.until_shown(thread_id, "curl")
        answer = await game.owner.slash(thread_id, "status")
        status = str((answer.response or {}).get("content"))
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert "curl" in status
        assert KEY not in status + game.shown(thread_id)
        assert "[secret]" in game.shown(thread_id)


async def test_a_reset_while_the_agent_starts_stops_the_turn_and_starts_afresh(tmp_path: Path) -> None:
    """Q8, T6: nobody is left waiting for the start that was called off, and what waited runs in a new session."""
    agent = scenario(tmp_path, [{"echo": True}], start={"delay": 0.5, "first": 1})
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("go")
        await agent.seen("start")
        waiting = await game.say(thread_id, "next")
        await game.owner.slash(thread_id, "reset")
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        await game.outcome(waiting)
        last = await game.say(thread_id, "again")
        assert await game.outcome(last) is Outcome.ANSWERED
        assert agent.prompts()[-1] == "again"


async def test_a_reset_while_a_turn_runs_ends_it_once_and_what_waits_goes_on(tmp_path: Path) -> None:
    """Q8, O1: twice in a row, and with a stop in between."""
    agent = scenario(
        tmp_path, words={"hang": [{"text": "word ", "id": "m1"}, {"hang": True}], "next": [{"echo": True}]}
    )
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("hang")
        await game.until_shown(thread_id, "word")
        waiting = await game.say(thread_id, "next")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(game.owner.slash, thread_id, "reset")
            tasks.start_soon(game.owner.slash, thread_id, "stop")
            tasks.start_soon(game.owner.slash, thread_id, "reset")
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert await game.outcome(waiting) in (Outcome.ANSWERED, Outcome.STOPPED)
        last = await game.say(thread_id, "next again")
        assert await game.outcome(last) is Outcome.ANSWERED
        assert agent.received("session/load") + agent.received("session/resume") == []


async def test_the_older_message_gets_the_agent_when_a_turn_ends(tmp_path: Path) -> None:
    """Q6, P4: a younger newcomer does not take a thread's agent from under the message that waits there."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": [gate.step, {"text": "done"}]})
    async with play(tmp_path, agent, max_agents=1) as game:
        thread_id = await game.mention("first")
        await agent.heard("session/prompt")
        older = await game.say(thread_id, "older")
        younger = await game.mention("younger")
        await game.until_shown(younger, "Waiting for a free agent")
        gate.open()
        assert await game.outcome(younger) is Outcome.ANSWERED
        assert await game.outcome(older) is Outcome.ANSWERED
        assert agent.prompts() == ["first", "older", "younger"]


async def test_a_second_signal_hurries(tmp_path: Path) -> None:
    """R1, P9: the grace of a turn that does not react is cut short, and its agent is ended all the same."""
    agent = scenario(tmp_path, [{"text": "so far"}, {"hang": True, "ignore_cancel": True}])
    async with connected(tmp_path, agent, WEFT_CANCEL_GRACE="60") as (discord, bot):
        thread_id = await mention(discord, "go")
        await until_shown(discord, thread_id, "so far")
        bot.process.send_signal(signal.SIGTERM)
        await agent.heard("session/cancel")
        assert await bot.signalled(signal.SIGTERM) == 0
        assert "bot.hurried" in [event["event"] for event in bot.events()]
