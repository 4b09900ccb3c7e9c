"""Threads that share an agent process (P11): turns side by side, one that leaves the others alone, what hits all."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.model import Outcome
from tests.agents import Gate, ScriptedAgent, Step, alive, scenario
from tests.agents.scenario import prompt_text
from tests.e2e.play import LIMIT, Play, play
from tests.e2e.witness import witnessed, words

pytestmark = pytest.mark.asyncio

THREADS = 40
TEXT = "Grüße aus Strang {number}: “ü漢字🧵{number}” — " + "line {number} of many; " * 12 + "end {number}."


def closed(agent: ScriptedAgent) -> list[str]:
    return [message["params"]["sessionId"] for message in agent.received("session/close")]


def session_of(agent: ScriptedAgent, word: str) -> str:
    prompts = agent.received("session/prompt")
    return str(next(prompt["params"]["sessionId"] for prompt in prompts if word in prompt_text(prompt)))


async def suspended(game: Play, thread_id: int) -> None:
    """Run the pool's clean-up until the thread has no session any more."""
    with anyio.fail_after(LIMIT):
        while game.on_stage.bot.pool.status(thread_id) is not None:
            game.on_stage.bot.pool.maintain()
            await anyio.sleep(0.01)


NEAR: list[Step] = [{"text": "near so far"}, {"mark": "near"}, {"hang": True}]


@asynccontextmanager
async def pair(tmp_path: Path, steps: list[Step], **more: Any) -> AsyncIterator[tuple[Play, ScriptedAgent, int]]:
    """Run the bot with a thread that hangs in the second process, in which there is room for one more."""
    agent = scenario(tmp_path, words=words(tmp_path, near=NEAR, fault=steps), resume=True, close=True)
    async with witnessed(tmp_path, agent, sessions_per_process=2, **more) as game:
        await game.ask("fills up")
        neighbour = await game.mention("near")
        await game.until_shown(neighbour, "near so far")
        assert len(agent.pids()) == 2
        yield game, agent, neighbour


async def go_on(game: Play, agent: ScriptedAgent, *threads: int) -> None:
    """Each thread has its session again, all of them in one process."""
    for thread_id in threads:
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED
        assert game.replies(thread_id)[-1].content.startswith("again\n-# ")
    assert [alive(pid) for pid in agent.pids()] == [True, False, True]
    assert len(agent.received("session/resume")) == len(threads)


@pytest.mark.soak
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
        # Where one had to wait for a while, its thread said so, and that is taken away after the answer.
        await game.discord.wait_for(lambda _: all(len(game.replies(thread_id)) == 1 for thread_id in threads))
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
        # Which four were first is Discord's affair: each thread has to be opened.
        (waiting,) = (thread for number, thread in enumerate(threads) if f"t{number}" not in agent.prompts())
        await game.until_shown(waiting, "Waiting for a free agent")
        assert sum(alive(pid) for pid in agent.pids()) == 2
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


# --- faults --------------------------------------------------------------------------------------------------------


async def test_a_death_is_told_to_each_thread_of_the_process_with_its_own_text(tmp_path: Path) -> None:
    """P11, O1, O4, P8"""
    dying: list[Step] = [{"text": "so far"}, {"stderr": "out of memory\n"}, {"kill": 9}]
    async with pair(tmp_path, dying) as (game, agent, neighbour):
        thread_id = await game.mention("fault")
        assert [await game.outcome(one) for one in (thread_id, neighbour)] == [Outcome.AGENT_DIED] * 2
        line = "\n⚠️ **The agent crashed:** signal 9 (SIGKILL), last said `out of memory`. Write again to go on.\n-# "
        assert game.shown(thread_id).startswith(f"so far{line}")
        assert game.shown(neighbour).startswith(f"near so far{line}")
        await go_on(game, agent, thread_id, neighbour)


async def test_a_cancel_that_is_not_obeyed_kills_the_process_and_the_neighbours_are_told(tmp_path: Path) -> None:
    """T6, P11: it was stopped, they were not."""
    deaf: list[Step] = [{"text": "so far"}, {"hang": True, "ignore_cancel": True}]
    async with pair(tmp_path, deaf, cancel_grace=0.1) as (game, agent, neighbour):
        thread_id = await game.mention("fault")
        await game.until_shown(thread_id, "so far")
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert await game.outcome(neighbour) is Outcome.AGENT_DIED
        assert game.shown(neighbour).startswith("near so far\n⚠️ **The agent crashed:** ")
        await go_on(game, agent, thread_id, neighbour)


async def test_a_start_that_fails_is_told_to_each_thread_that_waits_for_it(tmp_path: Path) -> None:
    """P10, P11, O1"""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words=words(tmp_path), start={"after": 1, "protocolVersion": 99, **gate.start})
    async with witnessed(tmp_path, agent, sessions_per_process=2) as game:
        await game.ask("fills up")
        threads = [await game.mention(f"t{number}") for number in range(2)]
        for thread_id in threads:
            await game.until_begun(thread_id)
        gate.open()
        assert [await game.outcome(thread_id) for thread_id in threads] == [Outcome.COULD_NOT_START] * 2
        for thread_id in threads:
            assert "protocol version 99" in game.shown(thread_id)
        assert len(agent.pids()) == 2


async def test_a_thread_that_is_reset_while_it_ignores_its_cancel_costs_the_process(tmp_path: Path) -> None:
    """Q8, T6, P11: the grace is the same; what comes next is a new session in a new process."""
    deaf: list[Step] = [{"text": "so far"}, {"hang": True, "ignore_cancel": True}]
    async with pair(tmp_path, deaf, cancel_grace=0.1) as (game, agent, neighbour):
        thread_id = await game.mention("fault")
        await game.until_shown(thread_id, "so far")
        await game.owner.slash(thread_id, "reset")
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert await game.outcome(neighbour) is Outcome.AGENT_DIED
        assert await game.outcome(await game.say(thread_id, "afresh")) is Outcome.ANSWERED
        assert (len(agent.pids()), len(agent.received("session/resume"))) == (3, 0)
