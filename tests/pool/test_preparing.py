"""Threads whose directories take a while to be made: what waits for that, what does not, and what ends it."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from acp.errors import AgentSpawnError, SpawnFailure
from pool.model import PoolLimits, SlotState
from tests.pool.fakes import PoolUnderTest, hold_session, make_pool, make_shared_pool, settle, slot_state, until, use

BAD = AgentSpawnError("its repository is gone", failure=SpawnFailure.BAD_DIRECTORY)


def gated(at: PoolUnderTest, thread_id: int = 1) -> anyio.Event:
    at.launcher.gates[thread_id] = anyio.Event()
    return at.launcher.gates[thread_id]


@pytest.mark.asyncio
async def test_an_agent_starts_once_its_directory_is_ready() -> None:
    """W2"""
    at = make_pool()
    gate = gated(at)
    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            tasks.start_soon(use, pool, 1)
            await until(lambda: at.launcher.preparing == {1})
            await settle()
            assert at.agents.starts == []
            gate.set()
            await until(lambda: at.agents.starts == ["1"])


@pytest.mark.asyncio
async def test_a_session_in_a_shared_process_waits_for_its_own_directory_alone() -> None:
    """W2, O4: the process starts, and the others in it open theirs."""
    at = make_shared_pool()
    gate = gated(at)
    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            tasks.start_soon(use, pool, 1)
            await until(lambda: at.launcher.preparing == {1})
            assert await use(pool, 2) == "new"
            assert (slot_state(pool, 1), at.agents.starts) == (SlotState.STARTING, ["shared"])
            gate.set()
            await until(lambda: slot_state(pool, 1) is SlotState.READY)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.asyncio
async def test_a_stop_ends_the_preparation_and_the_next_turn_begins_it_anew(shared: bool) -> None:
    """W2, Q8"""
    at = make_shared_pool() if shared else make_pool()
    gate, leave = gated(at), anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            tasks.start_soon(hold_session, pool, 2, leave)
            await until(lambda: slot_state(pool, 2) is SlotState.READY)
            pool.warm(1)
            await until(lambda: at.launcher.preparing == {1})
            pool.evict(1)
            await until(lambda: slot_state(pool, 1) is None)
            assert at.launcher.preparing == set()
            gate.set()
            assert await use(pool, 1) == "new"
            assert slot_state(pool, 2) is SlotState.READY
            leave.set()


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.asyncio
async def test_a_directory_that_can_not_be_prepared_fails_that_thread_and_is_tried_again(shared: bool) -> None:
    """W2, P7: people have to mend it, so it is not held back as a crash loop is."""
    at = make_shared_pool(PoolLimits(max_agents=1)) if shared else make_pool()

    async def refuse(thread_id: int) -> None:
        await anyio.lowlevel.checkpoint()
        if thread_id == 1:
            raise BAD

    at.launcher.prepare = refuse  # type: ignore[method-assign]
    with anyio.fail_after(30):
        async with at.pool as pool:
            for _ in range(4):
                with pytest.raises(AgentSpawnError, match="its repository is gone") as caught:
                    await use(pool, 1)
                assert caught.value.failure is SpawnFailure.BAD_DIRECTORY
            assert await use(pool, 2) == "new"


@pytest.mark.asyncio
async def test_the_end_of_the_pool_ends_a_preparation() -> None:
    """R1, W2"""
    at = make_pool()
    gated(at)
    with anyio.fail_after(30):
        async with at.pool as pool:
            pool.warm(1)
            await until(lambda: at.launcher.preparing == {1})
        assert at.launcher.preparing == set()
