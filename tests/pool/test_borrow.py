"""Connections for requests without a session."""

from __future__ import annotations

import anyio
import pytest

from acp.errors import AgentSpawnError, SpawnFailure
from pool import pool as pool_module
from pool.model import PoolLimits
from tests.pool.fakes import hold_session, make_pool, settle, slot_pid, use

pytestmark = pytest.mark.asyncio


async def test_a_living_process_of_the_agent_is_lent_beside_its_turn_and_not_suspended() -> None:
    """P4, P2, K4."""
    at = make_pool(PoolLimits(max_agents=1))
    with anyio.fail_after(30):
        async with at.pool, anyio.create_task_group() as tasks:
            leave = anyio.Event()
            tasks.start_soon(hold_session, at.pool, 1, leave)
            await settle()
            async with at.pool.borrow(2) as connection:
                assert connection.pid == slot_pid(at.pool, 1)
                leave.set()
                await settle()
                # The turn is over: only the loan protects the process now.
                assert at.pool.try_reserve(101) is None
            claim = at.pool.try_reserve(101)
            assert claim is not None
            claim.release()
    assert at.agents.starts == ["1"]


async def test_without_a_living_process_one_is_started_and_has_a_place_as_long_as_it_is_needed() -> None:
    """P4, K4: an idle agent of another kind gives way to it, as to any newcomer; after it, the place is free."""
    at = make_pool(PoolLimits(max_agents=1))
    with anyio.fail_after(30):
        async with at.pool:
            await use(at.pool, 1)
            async with at.pool.borrow(101) as connection:
                assert (at.agents.running, connection.alive(), at.pool.counts().live) == (["101"], True, 1)
                assert at.pool.try_reserve(1) is None
            assert at.agents.running == []
            assert await use(at.pool, 1) == "resumed"
    assert at.agents.peak == 1


async def test_an_errand_that_gets_no_place_or_does_not_start_says_so_and_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """P4, P10."""
    at = make_pool(PoolLimits(max_agents=1))
    at.launcher.errors[101] = AgentSpawnError("no such directory", failure=SpawnFailure.BAD_DIRECTORY)
    with anyio.fail_after(30):
        async with at.pool:
            with monkeypatch.context() as patch:
                patch.setattr(pool_module, "PLACE_LIMIT", 0.05)
                async with at.pool.session(1):
                    with pytest.raises(AgentSpawnError, match="taken"):
                        async with at.pool.borrow(101):
                            pass
            at.pool.evict(1)
            with pytest.raises(AgentSpawnError, match="no such directory"):
                async with at.pool.borrow(101):
                    pass
            assert at.pool.counts().live + at.pool.counts().starting == 0
            await use(at.pool, 2)


async def test_closing_the_pool_ends_an_errand() -> None:
    """P9, R1."""
    at = make_pool()
    refused: list[str] = []

    async def ask() -> None:
        try:
            async with at.pool.borrow(1):
                await anyio.sleep_forever()
        except AgentSpawnError as exc:
            refused.append(str(exc))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks, at.pool:
            tasks.start_soon(ask)
            await settle()
            assert at.agents.running == ["1"]
            await at.pool.close()
            assert at.agents.running == []
            with pytest.raises(AgentSpawnError):
                async with at.pool.borrow(1):
                    pass
    assert refused == ["the pool is closing"]
