from __future__ import annotations

import anyio
import pytest

from pool.model import PoolLimits, SlotState
from pool.pool import ConnectionPool
from tests.pool.fakes import make_pool, until, use


@pytest.mark.asyncio
async def test_an_idle_slot_is_suspended_and_its_session_kept() -> None:
    """P3"""
    at = make_pool(PoolLimits(idle_ttl=100))
    with anyio.fail_after(5):
        async with at.pool as pool:
            await use(pool, 1)
            at.clock.now += 100
            pool.maintain()
            await until(lambda: at.agents.running == [])
            assert await use(pool, 1) == "resumed"


@pytest.mark.asyncio
async def test_a_slot_used_lately_is_left_alone() -> None:
    """P3: the time counts from the end of the last turn."""
    at = make_pool(PoolLimits(idle_ttl=100))
    with anyio.fail_after(5):
        async with at.pool as pool:
            async with pool.session(1):
                at.clock.now += 500
            at.clock.now += 99
            pool.maintain()
            assert await use(pool, 1) == "live"


@pytest.mark.asyncio
async def test_what_an_agent_does_after_its_turn_counts_as_use_as_long_as_a_turn_may_take() -> None:
    """P3: and an end amid that is told."""
    at = make_pool(PoolLimits(idle_ttl=100, hung_after=150))
    cut_off: list[int] = []
    with anyio.fail_after(5):
        async with at.pool as pool:
            pool.on_cut_off(cut_off.append)
            async with pool.session(1) as lease:
                session = lease.session
            async with pool.session(2):
                pass
            for _ in range(2):
                at.clock.now += 99
                session.heard = at.clock.now
                pool.maintain()
                assert pool.status(1) is not None
            await until(lambda: pool.status(2) is None)
            assert cut_off == []
            at.clock.now += 52
            session.heard = at.clock.now
            pool.maintain()
            assert cut_off == [1]
            await until(lambda: at.agents.running == [])


@pytest.mark.asyncio
async def test_a_pass_skips_the_busy_and_does_not_wait_for_them() -> None:
    """P2, P3: busy is not idle."""
    at = make_pool(PoolLimits(idle_ttl=100))
    async with at.pool as pool, pool.session(1) as lease:
        at.clock.now += 1000
        pool.maintain()
        assert lease.slot.state is SlotState.READY


@pytest.mark.asyncio
async def test_a_slot_whose_lock_is_held_is_skipped_whatever_its_claims_say() -> None:
    """P3: the pass takes the lock without waiting, or leaves the slot alone."""
    at = make_pool(PoolLimits(idle_ttl=100))
    async with at.pool as pool, pool.session(1) as lease:
        at.clock.now += 1000
        lease._slot.claims.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_maintain, pool)
        assert lease.slot.state is SlotState.READY


async def _maintain(pool: ConnectionPool) -> None:
    pool.maintain()


@pytest.mark.asyncio
async def test_a_slot_hung_beyond_every_limit_is_stopped_although_it_is_busy() -> None:
    """P6: nobody takes its lock for that, and its capacity comes back."""
    at = make_pool(PoolLimits(max_agents=1, hung_after=100))
    with anyio.fail_after(5):
        async with at.pool as pool, pool.session(1) as lease:
            at.clock.now += 100
            pool.maintain()
            assert lease.slot.state is not SlotState.READY
            assert await use(pool, 2) == "new"


@pytest.mark.asyncio
async def test_the_net_under_a_hung_turn_is_widened_while_it_runs_and_never_narrowed() -> None:
    """P6, R1: a reload may allow longer turns; one that runs keeps what it was given."""
    at = make_pool(PoolLimits(max_agents=1, hung_after=100))
    with anyio.fail_after(5):
        async with at.pool as pool, pool.session(1) as lease:
            pool.widen(200)
            pool.widen(50)
            at.clock.now += 199
            pool.maintain()
            assert lease.slot.state is SlotState.READY
            at.clock.now += 1
            pool.maintain()
            assert lease.slot.state is not SlotState.READY


@pytest.mark.asyncio
async def test_passes_follow_each_other_by_themselves() -> None:
    """P3, R3: the last pass is a sign of life."""
    at = make_pool(PoolLimits(idle_ttl=100, maintenance=0.001))
    with anyio.fail_after(5):
        async with at.pool as pool:
            await use(pool, 1)
            at.clock.now += 100
            await until(lambda: pool.last_pass == at.clock.now)
            await until(lambda: at.agents.running == [])


@pytest.mark.asyncio
async def test_a_pass_that_fails_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """O4"""
    at = make_pool(PoolLimits(maintenance=0.001))
    calls: list[int] = []

    def broken() -> None:
        calls.append(1)
        raise RuntimeError("pass")

    monkeypatch.setattr(at.pool._registry, "maintain", broken)
    with anyio.fail_after(5):
        async with at.pool:
            await until(lambda: len(calls) > 2)
