"""Which agent a thread has: settled by its first message, and kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from acp.turn import TurnLimits
from bot.agents.model import AgentProfile, Agents, only
from bot.work.assignments import Assignments
from bot.work.choices import Choices
from bot.work.task_tracker import TaskTracker
from tests.bot.work.samples import inbound
from tests.pool.memory import MemoryStore

THREAD, CHANNEL = 100, 200


def agents(*names: str, **fields: object) -> Agents:
    profiles = {name: AgentProfile(name, (name,), "/srv") for name in names}
    return Agents(profiles, names[0], **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def assigning(store: MemoryStore, known: Agents) -> AsyncIterator[Assignments]:
    async with anyio.create_task_group() as tasks:
        choices = Choices(TaskTracker(tasks), store)
        assignments = Assignments(choices, known)
        await choices.load()
        assignments.load()
        yield assignments


@pytest.mark.asyncio
async def test_a_choice_counts_before_the_channel_and_the_channel_before_the_default() -> None:
    """P12"""
    known = agents("red", "blue", "green", channels={CHANNEL: "blue"})
    async with assigning(MemoryStore(), known) as assignments:
        opening = replace(inbound(1), channel_id=CHANNEL, opens_thread=True)
        in_thread = replace(inbound(2, thread_id=101), parent_id=CHANNEL)
        for message in (opening, in_thread, inbound(3, thread_id=102)):
            assert assignments.settle(message) is None
        assert [assignments.of(thread) for thread in (THREAD, 101, 102)] == ["blue", "blue", "red"]
        assignments.assign(103, "green")
        assignments.settle(replace(inbound(4, thread_id=103), parent_id=CHANNEL))
        assert assignments.of(103) == "green"


@pytest.mark.asyncio
async def test_a_later_mapping_moves_no_thread() -> None:
    """P12: its session is with the agent that made it."""
    store, message = MemoryStore(), replace(inbound(1), parent_id=CHANNEL)
    async with assigning(store, agents("red", "blue", channels={CHANNEL: "blue"})) as assignments:
        assignments.settle(message)
    async with assigning(store, agents("red", "blue", channels={CHANNEL: "red"})) as assignments:
        assert assignments.settle(message) is None
        assert assignments.of(THREAD) == "blue"


@pytest.mark.asyncio
async def test_an_agent_that_is_gone_is_told_once_and_replaced_by_the_default() -> None:
    """P8, P12"""
    store = MemoryStore()
    async with assigning(store, agents("red", "blue")) as assignments:
        assignments.assign(THREAD, "blue")
    async with assigning(store, agents("red", "green")) as assignments:
        assert assignments.of(THREAD) == "red"
        assert assignments.settle(inbound(1)) == "blue"
        assert assignments.settle(inbound(2)) is None
        assert assignments.of(THREAD) == "red"
    async with assigning(store, agents("green", "red")) as assignments:
        assert assignments.of(THREAD) == "red"


@pytest.mark.asyncio
async def test_where_there_is_no_choice_nothing_is_kept() -> None:
    """P12: without a file everything is as it was."""
    store = MemoryStore()
    await store.bind(THREAD, options='{"agent": "blue"}')
    async with assigning(store, only(("agent",), "/srv")) as assignments:
        assert assignments.settle(inbound(1)) is None
        assert (assignments.of(THREAD), assignments.shown(THREAD)) == ("default", None)
        assignments.settle(inbound(2, thread_id=101))
    assert await store.choices() == {THREAD: '{"agent": "blue"}'}


@pytest.mark.asyncio
@pytest.mark.parametrize("options", ["{}", "no json", '{"agent": 3}', '{"queue_mode": "steer"}'])
async def test_what_can_not_be_understood_is_no_agent(options: str) -> None:
    """R2"""
    store = MemoryStore()
    await store.bind(THREAD, options=options)
    async with assigning(store, agents("red", "blue")) as assignments:
        assert assignments.settle(inbound(1)) is None
        assert assignments.of(THREAD) == "red"


@pytest.mark.asyncio
async def test_the_agent_and_the_queue_mode_are_kept_side_by_side() -> None:
    """R2, Q2"""
    store = MemoryStore()
    await store.bind(THREAD, options='{"queue_mode": "steer"}')
    async with assigning(store, agents("red", "blue")) as assignments:
        assignments.assign(THREAD, "blue")
    assert await store.choices() == {THREAD: '{"queue_mode":"steer","agent":"blue"}'}


@pytest.mark.asyncio
async def test_a_turn_may_last_as_long_as_its_agent_says() -> None:
    """T2, P12: what the agent does not say holds as for all."""
    slow = AgentProfile("slow", ("slow",), "/srv", hard_timeout=7200.0)
    known = Agents({"red": AgentProfile("red", ("red",), "/srv"), "slow": slow}, "red")
    async with assigning(MemoryStore(), known) as assignments:
        usual = TurnLimits(hard_timeout=60.0, cancel_grace=3.0)
        assert assignments.turn_limits(THREAD, usual) == usual
        assignments.assign(THREAD, "slow")
        assert assignments.turn_limits(THREAD, usual) == TurnLimits(hard_timeout=7200.0, cancel_grace=3.0)
    assert known.longest_turn(60.0) == 7200.0
    assert known.longest_turn(9000.0) == 9000.0


@pytest.mark.asyncio
async def test_an_agent_that_is_not_there_is_refused_with_those_that_are() -> None:
    """Q8"""
    async with assigning(MemoryStore(), agents("red", "blue")) as assignments:
        refusal = assignments.renew(THREAD, "`green`")
        assert refusal is not None
        assert (refusal.text, refusal.accepted) == ("There is no agent `green`, only `red`, `blue`.", False)
        assert assignments.of(THREAD) == "red"
        assert assignments.renew(THREAD, "blue") is None
        assert assignments.of(THREAD) == "blue"
