"""Threads that share an agent process (P11): their turns side by side, and one that leaves the others alone.

What hits all threads of a process: test_shared_faults.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.model import Outcome
from tests.agents import Gate, ScriptedAgent, Step, alive, scenario
from tests.e2e.play import LIMIT, Play, play

pytestmark = pytest.mark.asyncio

THREADS = 40
TEXT = "Grüße aus Strang {number}: “ü漢字🧵{number}” — " + "line {number} of many; " * 12 + "end {number}."


def closed(agent: ScriptedAgent) -> list[str]:
    return [message["params"]["sessionId"] for message in agent.received("session/close")]


def session_of(agent: ScriptedAgent, word: str) -> str:
    prompts = agent.received("session/prompt")
    return str(next(prompt["params"]["sessionId"] for prompt in prompts if word in str(prompt)))


async def suspended(game: Play, thread_id: int) -> None:
    """Run the pool's clean-up until the thread has no session any more."""
    with anyio.fail_after(LIMIT):
        while game.on_stage.bot.pool.status(thread_id) is not None:
            game.on_stage.bot.pool.maintain()
            await anyio.sleep(0.01)


async def test_forty_threads_stream_through_one_process_and_each_gets_its_own_text(tmp_path: Path) -> None:
    """P11, O3, O4: every turn is open at once, their chunks interleave, and nothing is lost, doubled or mixed up."""
    gate = Gate(tmp_path / "gate")
    steps: list[Step] = [{"mark": "begun"}, gate.step, {"echo": True, "chunks": 20, "delay": 0.005}]
    agent = scenario(tmp_path, steps)
    room: dict[str, Any] = {
        "max_agents": 1,
        "sessions_per_process": THREADS + 1,
        "lane_main": THREADS,
        "lane_background": 1,
    }
    async with play(tmp_path, agent, **room) as game:
        texts = [TEXT.format(number=number) for number in range(THREADS)]
        threads = [await game.mention(text) for text in texts]
        await agent.seen("mark", THREADS)
        gate.open()
        outcomes = [await game.outcome(thread_id) for thread_id in threads]
        assert Counter(outcomes) == {Outcome.ANSWERED: THREADS}
        for thread_id, text in zip(threads, texts, strict=True):
            (reply,) = game.replies(thread_id)
            assert reply.content.partition("\n-# ")[0] == text
        assert len(agent.pids()) == 1
        assert len({message["params"]["sessionId"] for message in agent.received("session/prompt")}) == THREADS


async def test_a_process_starts_in_the_common_part_and_each_session_works_in_its_threads_own(tmp_path: Path) -> None:
    """P11, R5"""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent, sessions_per_process=2, workspace=f"{tmp_path}/workspace/{{thread_id}}") as game:
        threads = [(await game.ask(f"t{number}"))[0] for number in range(2)]
        (start,) = agent.events("start")
        assert start["cwd"] == f"{tmp_path}/workspace"
        where = [message["params"]["cwd"] for message in agent.received("session/new")]
        assert where == [f"{tmp_path}/workspace/{thread_id}" for thread_id in threads]


async def test_a_full_process_is_followed_by_another_and_never_more_than_allowed(tmp_path: Path) -> None:
    """P4, P11: processes are what counts; who finds neither room nor place waits, visibly."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, [{"mark": "begun"}, gate.step, {"echo": True}])
    async with play(tmp_path, agent, max_agents=2, sessions_per_process=2) as game:
        threads = [await game.mention(f"t{number}") for number in range(5)]
        await agent.seen("mark", 4)
        await game.until_shown(threads[4], "Waiting for a free agent")
        assert len(agent.pids()) == 2
        gate.open()
        assert [await game.outcome(thread_id) for thread_id in threads] == [Outcome.ANSWERED] * 5
        assert sum(alive(pid) for pid in agent.pids()) <= 2


async def test_a_stop_ends_one_turn_and_leaves_the_neighbours_running(tmp_path: Path) -> None:
    """T6, O4, P11: the stopped thread goes on in its session."""
    gate = Gate(tmp_path / "gate")
    words: dict[str, list[Step]] = {
        "long": [{"text": "long, "}, {"hang": True}],
        "near": [{"text": "near "}, gate.step, {"text": "by", "chunks": 2}],
    }
    agent = scenario(tmp_path, words=words)
    async with play(tmp_path, agent, sessions_per_process=4) as game:
        stopped, neighbour = await game.mention("long"), await game.mention("near")
        for thread_id, text in ((stopped, "long,"), (neighbour, "near")):
            await game.until_shown(thread_id, text)
        await game.stop(stopped)
        assert await game.outcome(stopped) is Outcome.STOPPED
        assert await game.outcome(await game.say(stopped, "on")) is Outcome.ANSWERED
        assert neighbour not in game.on_stage.outcomes
        gate.open()
        assert await game.outcome(neighbour) is Outcome.ANSWERED
        assert game.shown(neighbour).startswith("near by\n-# ")
        assert session_of(agent, "on") == session_of(agent, "long")
        assert len(agent.pids()) == 1
        cancels = [message["params"]["sessionId"] for message in agent.received("session/cancel")]
        assert set(cancels) == {session_of(agent, "long")}


@pytest.mark.parametrize("close", [True, False], ids=["closes", "can't close"])
async def test_a_reset_ends_one_session_and_leaves_the_neighbours_turn_running(tmp_path: Path, close: bool) -> None:
    """Q8, O4, P11: the next message opens a new session in the same process."""
    gate = Gate(tmp_path / "gate")
    words: dict[str, list[Step]] = {
        "long": [{"text": "long, "}, {"hang": True}],
        "near": [{"text": "near "}, gate.step, {"text": "by"}],
    }
    agent = scenario(tmp_path, words=words, resume=True, close=close)
    async with play(tmp_path, agent, sessions_per_process=4) as game:
        neighbour, reset = await game.mention("near"), await game.mention("long")
        for thread_id, text in ((reset, "long,"), (neighbour, "near")):
            await game.until_shown(thread_id, text)
        await game.owner.slash(reset, "reset")
        assert await game.outcome(reset) is Outcome.STOPPED
        assert await game.outcome(await game.say(reset, "afresh")) is Outcome.ANSWERED
        assert neighbour not in game.on_stage.outcomes
        gate.open()
        assert await game.outcome(neighbour) is Outcome.ANSWERED
        assert game.shown(neighbour).startswith("near by\n-# ")
        assert (len(agent.pids()), len(agent.received("session/new"))) == (1, 3)
        assert session_of(agent, "afresh") not in (session_of(agent, "long"), session_of(agent, "near"))
        assert closed(agent) == ([session_of(agent, "long")] if close else [])


async def test_an_idle_thread_is_suspended_alone_and_the_last_one_ends_the_process(tmp_path: Path) -> None:
    """P3, P8, P11: its session is closed and resumed while a neighbour's turn runs."""
    gate = Gate(tmp_path / "gate")
    words: dict[str, list[Step]] = {"near": [{"text": "near "}, gate.step, {"text": "by"}]}
    agent = scenario(tmp_path, words=words, resume=True, close=True)
    async with play(tmp_path, agent, sessions_per_process=4, idle_ttl=0.05) as game:
        neighbour = await game.mention("near")
        await game.until_shown(neighbour, "near")
        idle, _ = await game.ask("first")
        await suspended(game, idle)
        assert closed(agent) == [session_of(agent, "first")]
        assert await game.outcome(await game.say(idle, "second")) is Outcome.ANSWERED
        assert session_of(agent, "second") == session_of(agent, "first")
        assert (len(agent.pids()), len(agent.received("session/resume"))) == (1, 1)
        gate.open()
        assert await game.outcome(neighbour) is Outcome.ANSWERED
        await suspended(game, idle)
        await suspended(game, neighbour)
        assert not alive(agent.pids()[0])
        assert len(agent.pids()) == 1


async def test_an_overlong_line_costs_its_thread_one_update_and_the_neighbours_nothing(tmp_path: Path) -> None:
    """T9, O4, P11"""
    update = '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"$SESSION","update":'
    long = update + '{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"' + "x" * 100_000 + '"}}}}'
    gate = Gate(tmp_path / "gate")
    words: dict[str, list[Step]] = {
        "long": [{"text": "before "}, {"raw": long}, {"text": "after"}],
        "near": [{"text": "near "}, gate.step, {"text": "by"}],
    }
    agent = scenario(tmp_path, words=words)
    async with play(tmp_path, agent, sessions_per_process=4, max_line=65536) as game:
        neighbour = await game.mention("near")
        await game.until_shown(neighbour, "near")
        thread_id, outcome = await game.ask("long")
        assert outcome is Outcome.ANSWERED
        missing = "-# ⚠️ A message of the agent was too large (100 kB) and is missing here."
        assert game.shown(thread_id).startswith(f"before after\n{missing}\n-# ")
        gate.open()
        assert await game.outcome(neighbour) is Outcome.ANSWERED
        assert game.shown(neighbour).startswith("near by\n-# ")
        assert len(agent.pids()) == 1
