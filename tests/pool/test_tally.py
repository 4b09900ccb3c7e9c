"""What has happened in the pool is counted, once each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from acp.errors import AgentExit, AgentSpawnError, SpawnFailure
from pool.model import PoolLimits, Reason
from pool.storage.durable import open_store
from pool.storage.model import StorageLimits
from tests.pool.fakes import make_pool, until, use
from tests.pool.test_storage_durable import lock, prompt

CRASH = AgentSpawnError("exited during start", failure=SpawnFailure.EXITED, exit=AgentExit(3, "boom"))


@pytest.mark.asyncio
async def test_sessions_and_what_ended_them_are_counted_by_how_and_why() -> None:
    """P3, P8"""
    at = make_pool(PoolLimits(max_agents=1))
    at.agents.unknown.add("old")
    await at.store.bind(1, session_id="old")
    with anyio.fail_after(5):
        async with at.pool as pool:
            await use(pool, 1)
            await use(pool, 2)
            await use(pool, 1)
            pool.evict(1)
            await until(lambda: pool.counts().live == 0)
    stats = at.pool.stats
    assert (stats.opened, stats.lost) == (Counter(new=2, resumed=1), 1)
    assert stats.stopped == Counter({Reason.CAPACITY: 2, Reason.ASKED: 1})
    assert (stats.failed, stats.died, stats.leaked) == (Counter(), 0, 0)


@pytest.mark.asyncio
async def test_a_death_and_a_failed_start_are_counted_as_such() -> None:
    """P3, P10"""
    at = make_pool()
    with anyio.fail_after(5):
        async with at.pool as pool:
            await use(pool, 1)
            at.agents.last(1).die()
            await until(lambda: pool.stats.died == 1)
            at.agents.start_errors["2"] = CRASH
            with pytest.raises(AgentSpawnError):
                await use(pool, 2)
    stats = at.pool.stats
    assert stats.failed == Counter({SpawnFailure.EXITED: 1})
    assert stats.stopped == Counter({Reason.DIED: 1, Reason.FAILED: 1})


@pytest.mark.asyncio
async def test_an_agent_that_outlives_its_stop_ladder_is_counted_once() -> None:
    """P5"""
    at = make_pool()
    at.agents.stop_gates["1"] = anyio.Event()
    with anyio.fail_after(5):
        async with at.pool as pool:
            await use(pool, 1)
            pool.evict(1)
            for _ in range(2):
                at.clock.now += 60
                pool.maintain()
            assert pool.stats.leaked == 1
            at.agents.stop_gates["1"].set()


@pytest.mark.asyncio
async def test_the_store_tells_how_long_calls_took_and_how_far_behind_the_file_is(tmp_path: Path) -> None:
    """R6: what a lock keeps from the file is kept in memory, and counted until the file has it."""
    path, took = tmp_path / "state.db", list[float]()
    eager = StorageLimits(busy=0, busy_again=0, retry_pause=0)
    with anyio.fail_after(5):
        async with open_store(path, eager) as store:
            store.observe(took.append)
            await store.accept(prompt(1))
            assert (len(took), store.behind) == (1, 0)
            with lock(path):
                await store.accept(prompt(2))
                assert (bool(store.trouble), store.behind) == (True, 1)
            await store.accept(prompt(3))
            assert (store.trouble, store.behind) == ("", 0)
    assert len(took) == 3
    assert all(seconds >= 0 for seconds in took)
