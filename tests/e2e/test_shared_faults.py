"""What hits all threads that share a process, and nobody else (P11): each is told with its own end and text.

A witness in a process of its own streams through each of them (O4): with two threads a process, the one that fills up
the witness's process says nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.model import Outcome
from tests.agents import ScriptedAgent, Step, alive, scenario
from tests.e2e.play import Play
from tests.e2e.witness import witnessed, words

pytestmark = pytest.mark.asyncio

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


async def test_a_death_is_told_to_each_thread_of_the_process_with_its_own_text(tmp_path: Path) -> None:
    """P11, O1, O4, P8"""
    dying: list[Step] = [{"text": "so far"}, {"stderr": "out of memory\n"}, {"kill": 9}]
    async with pair(tmp_path, dying) as (game, agent, neighbour):
        thread_id = await game.mention("fault")
        assert [await game.outcome(one) for one in (thread_id, neighbour)] == [Outcome.AGENT_DIED] * 2
        line = "\n⚠️ **agent_died**: signal 9 (SIGKILL), last said `out of memory`\n-# "
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
        assert game.shown(neighbour).startswith("near so far\n⚠️ **agent_died**: ")
        await go_on(game, agent, thread_id, neighbour)


async def test_a_start_that_fails_is_told_to_each_thread_that_waits_for_it(tmp_path: Path) -> None:
    """P10, P11, O1"""
    agent = scenario(tmp_path, words=words(tmp_path), start={"after": 1, "delay": 0.2, "protocolVersion": 99})
    async with witnessed(tmp_path, agent, sessions_per_process=2) as game:
        await game.ask("fills up")
        threads = [await game.mention(f"t{number}") for number in range(2)]
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
