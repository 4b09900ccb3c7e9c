"""Stopping a turn, in each of its phases: by the button, by the command, and what it leaves."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from bot.model import Outcome
from tests.agents import Gate, Step, alive, scenario
from tests.clock import let_pass
from tests.e2e.play import play

pytestmark = pytest.mark.asyncio

FOREVER: list[Step] = [{"text": "word ", "id": "m1"}, {"hang": True}]


async def test_the_stop_button_ends_a_running_turn_and_keeps_what_was_said(tmp_path: Path) -> None:
    """T6: running; the session survives."""
    agent = scenario(tmp_path, FOREVER, [{"echo": True}])
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("go")
        await game.until_shown(thread_id, "word")
        (reply,) = game.replies(thread_id)
        answer = await game.owner.click(reply.id, f"weft:stop:{thread_id}:{thread_id}")
        assert answer.ephemeral
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert "word" in game.shown(thread_id)
        assert "**Stopped** by `owner`." in game.shown(thread_id)
        assert game.replies(thread_id)[-1].components == []
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert len(agent.pids()) == 1
        assert len(agent.received("session/cancel")) == 1


async def test_the_stop_command_goes_on_with_what_waits(tmp_path: Path) -> None:
    """Q7, T6: the waiting prompt starts by itself, after the stopped one has ended."""
    agent = scenario(tmp_path, FOREVER, [{"echo": True}])
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("go")
        await game.until_shown(thread_id, "word")
        waiting = await game.say(thread_id, "next")
        assert await game.stop(thread_id) == "Stopping."
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert await game.outcome(waiting) is Outcome.ANSWERED
        turns = [entry["event"] for entry in agent.log() if entry["event"] in ("turn", "received")]
        assert turns.index("turn") < len(turns) - 1 - turns[::-1].index("received")


async def test_a_stop_while_the_agent_starts_leaves_the_start_going(tmp_path: Path) -> None:
    """T6: spawning; the agent becomes an idle slot that the next message uses."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, [{"echo": True}], start=gate.start)
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("go")
        await game.until_begun(thread_id)
        assert await game.stop(thread_id) == "Stopping."
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert "**Stopped** by `owner`." in game.shown(thread_id)
        follow_up = await game.say(thread_id, "again")
        gate.open()
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert agent.prompts() == ["again"]
        assert len(agent.pids()) == 1


async def test_a_stop_while_waiting_for_a_free_agent_takes_the_message_out(tmp_path: Path) -> None:
    """T6, P4: waiting for capacity."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"busy": [gate.step, {"text": "done"}]})
    async with play(tmp_path, agent, max_agents=1) as game:
        busy = await game.mention("busy")
        await agent.heard("session/prompt")
        newcomer = await game.mention("newcomer")
        await game.until_shown(newcomer, "Waiting for a free agent")
        assert await game.stop(newcomer) == "Stopped before it began."
        assert await game.outcome(newcomer) is Outcome.STOPPED
        gate.open()
        assert await game.outcome(busy) is Outcome.ANSWERED
        assert agent.prompts() == ["busy"]


async def test_a_stop_while_a_permission_is_open_answers_it_cancelled(tmp_path: Path) -> None:
    """T6, D6: waiting for a person; the request is answered before the agent is told to cancel."""
    agent = scenario(tmp_path, [{"permission": {}, "then": {"cancelled": [{"mark": "cancelled"}]}}])
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("go")
        await game.card(thread_id)
        assert await game.stop(thread_id) == "Stopping."
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert "Cancelled" in game.shown(thread_id)
        heard = [entry["message"] for entry in agent.events("received")]
        answers = [message for message in heard if "result" in message]
        assert [answer["result"] for answer in answers] == [{"outcome": {"outcome": "cancelled"}}]
        cancel = next(message for message in heard if message.get("method") == "session/cancel")
        assert heard.index(answers[0]) < heard.index(cancel)


async def test_a_stop_after_the_response_is_told_that_the_turn_is_over(tmp_path: Path) -> None:
    """T6, T3: draining."""
    late: Step = {"text": "it"}  # is shown only once the response before it was read
    agent = scenario(tmp_path, [{"text": "all of "}, {"respond": {"stopReason": "end_turn"}}, late])
    async with play(tmp_path, agent, drain=2.0) as game:
        thread_id = await game.mention("go")
        await game.until_shown(thread_id, "all of it")
        assert await game.stop(thread_id) == "Already finished."
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert agent.received("session/cancel") == []


async def test_a_stop_with_nothing_running_starts_nothing(tmp_path: Path) -> None:
    """Q7."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("hello")
        assert await game.stop(thread_id) == "There is nothing to stop."
        assert agent.received("session/cancel") == []


async def test_an_agent_that_ignores_the_cancel_is_ended_and_the_next_message_gets_a_new_one(tmp_path: Path) -> None:
    """T6, P9: forced after the grace, and nothing of it is left."""
    hold: list[Step] = [{"spawn_shell": "sleep 600"}, {"ignore_cancel": True}, {"text": "word "}, {"hang": True}]
    agent = scenario(tmp_path, hold, [{"echo": True}], counter="log")
    async with play(tmp_path, agent, cancel_grace=0.2) as game:
        thread_id = await game.mention("go")
        await game.until_shown(thread_id, "word")
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        first, second = agent.pids()
        (shell,) = agent.events("spawned")
        assert (alive(first), alive(shell["child"]), alive(second)) == (False, False, True)


async def test_an_agent_that_answers_end_turn_to_a_cancel_was_stopped_all_the_same(tmp_path: Path) -> None:
    """T6: we remember that we cancelled."""
    agent = scenario(tmp_path, [{"on_cancel": {"stopReason": "end_turn"}}, *FOREVER])
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("go")
        await game.until_shown(thread_id, "word")
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED


async def test_the_hard_timeout_ends_an_agent_that_chats_for_ever(tmp_path: Path) -> None:
    """T2: an absolute deadline."""
    agent = scenario(tmp_path, [{"text": "and ", "repeat": -1, "delay": 0.01}])
    async with play(tmp_path, agent, hard_timeout=10) as game:
        thread_id = await game.mention("go")
        await game.until_shown(thread_id, "and and")
        let_pass(10)
        assert await game.outcome(thread_id) is Outcome.TIMED_OUT
        assert "and and" in game.shown(thread_id)
        assert "Timed out" in game.shown(thread_id)


async def test_reset_ends_the_agent_and_the_next_message_starts_a_new_session(tmp_path: Path) -> None:
    """Q8."""
    agent = scenario(tmp_path, resume=True)
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("hello")
        answer = await game.owner.slash(thread_id, "reset")
        assert answer.ephemeral
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert len(agent.received("session/new")) == 2
        assert agent.received("session/resume") == []


async def test_a_reset_while_the_agent_starts_stops_the_turn_and_starts_afresh(tmp_path: Path) -> None:
    """Q8, T6: nobody is left waiting for the start that was called off, and what waited runs in a new session."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, [{"echo": True}], start={"first": 1, **gate.start})
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("go")
        await game.until_begun(thread_id)
        waiting = await game.say(thread_id, "next")
        await game.owner.slash(thread_id, "reset")
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        gate.open()
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


async def test_status_tells_what_a_busy_thread_does(tmp_path: Path) -> None:
    """Q11: phase, elapsed time, tool, queue, context and cost, while the turn runs."""
    tool = {"id": "t1", "title": "make all", "status": "in_progress"}
    usage = {"sessionUpdate": "usage_update", "used": 41, "size": 100, "cost": {"amount": 0.5, "currency": "USD"}}
    agent = scenario(tmp_path, [{"tool": tool}, {"update": usage}, {"text": "x"}, {"hang": True}])
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("go")
        await game.until_shown(thread_id, "x")
        await game.say(thread_id, "next")
        await game.discord.wait_for(lambda _: len(game.discord.messages(thread_id)) > 1)
        answer = await game.owner.slash(thread_id, "status")
        said = str((answer.response or {}).get("content"))
        for part in ("Working for", "make all", "Queue: 1 waiting", "41%", "$0.50"):
            assert part in said
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        await game.stop(thread_id)
