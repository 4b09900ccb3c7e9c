"""Claims on slots, places that come free, the maintenance pass, and what is counted: what the registry decides."""

from __future__ import annotations

from collections import Counter
from typing import cast

import anyio
import anyio.lowlevel
import pytest

from acp.engine import Engine
from acp.errors import AgentExit, AgentSpawnError, SpawnFailure
from pool.model import PoolLimits, Reason, SlotState
from pool.pool import ConnectionPool
from pool.slot import Reservation
from tests.pool.fakes import PoolUnderTest, make_pool, settle, until, use


@pytest.mark.asyncio
async def test_a_free_place_is_reserved_without_starting_anything() -> None:
    """P4, Q6"""
    at = make_pool()
    async with at.pool as pool:
        assert pool.try_reserve(1) is not None
        await settle()
        assert (pool.counts().starting, at.agents.starts) == (1, [])


@pytest.mark.asyncio
async def test_reservations_stop_at_the_limit() -> None:
    """P4: a reservation is a place already."""
    at = make_pool()
    async with at.pool as pool:
        assert [pool.try_reserve(thread) is not None for thread in (1, 2, 3)] == [True, True, False]


@pytest.mark.asyncio
async def test_a_released_reservation_gives_its_place_back_once() -> None:
    """P4, Q6"""
    at = make_pool(PoolLimits(max_agents=1))
    async with at.pool as pool:
        first = pool.try_reserve(1)
        assert first
        first.release()
        second = pool.try_reserve(2)
        assert second
        first.release()
        assert pool.try_reserve(3) is None


@pytest.mark.asyncio
async def test_two_reservations_of_a_thread_share_its_slot() -> None:
    """P1"""
    at = make_pool(PoolLimits(max_agents=1))
    async with at.pool as pool:
        first, second = pool.try_reserve(1), pool.try_reserve(1)
        assert first
        assert second
        first.release()
        assert pool.try_reserve(2) is None
        second.release()
        assert pool.try_reserve(2) is not None


@pytest.mark.asyncio
async def test_a_victim_is_told_to_stop_in_the_step_that_reserves() -> None:
    """P4"""
    at = make_pool(PoolLimits(max_agents=1))
    async with at.pool as pool:
        await use(pool, 1)
        assert pool.try_reserve(2) is not None
        status = pool.status(1)
        assert status
        assert status.state is SlotState.CLOSING
        assert pool.counts().closing == 1


@pytest.mark.asyncio
async def test_the_longest_idle_slot_is_the_victim() -> None:
    """P4"""
    at = make_pool()
    async with at.pool as pool:
        for thread in (1, 2, 1):
            at.clock.now += 1
            await use(pool, thread)
        assert pool.try_reserve(3) is not None
        await until(lambda: pool.status(2) is None)
        assert pool.status(1) is not None


@pytest.mark.asyncio
async def test_a_reserved_slot_is_no_victim() -> None:
    """P4: admission protects, from the step in which it happens."""
    at = make_pool(PoolLimits(max_agents=1))
    async with at.pool as pool:
        await use(pool, 1)
        reservation = pool.try_reserve(1)
        assert reservation
        assert pool.try_reserve(2) is None
        reservation.release()
        assert pool.try_reserve(2) is not None


@pytest.mark.asyncio
async def test_releasing_after_the_victim_was_told_frees_the_victims_place_when_it_is_gone() -> None:
    """P4: the victim goes all the same; its place is nobody's then."""
    at = make_pool(PoolLimits(max_agents=1))
    at.agents.stop_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 1)
            reservation = pool.try_reserve(2)
            assert reservation
            reservation.release()
            assert (pool.status(2), pool.counts().closing) == (None, 1)
            at.agents.stop_gates["1"].set()
            await until(lambda: pool.counts().closing == 0)
            assert at.agents.starts == ["1"]
            assert pool.try_reserve(3) is not None


@pytest.mark.asyncio
async def test_who_ends_anyway_is_inherited_before_a_victim_is_chosen() -> None:
    """P4"""
    at = make_pool()
    at.agents.stop_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 1)
            await use(pool, 2)
            pool.evict(1)
            assert pool.try_reserve(3) is not None
            assert pool.status(2) is not None
            assert pool.status(2).state is SlotState.READY  # type: ignore[union-attr]
            at.agents.stop_gates["1"].set()


@pytest.mark.asyncio
async def test_a_newcomer_takes_the_place_that_an_unclaimed_newcomer_waited_for() -> None:
    """P4, T6: a start that nobody waits for any more is a victim even before its own victim is gone."""
    at = make_pool(PoolLimits(max_agents=1))
    at.agents.stop_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            await use(pool, 1)
            with anyio.CancelScope() as gives_up:
                gives_up.cancel()
                await use(pool, 2)
            tasks.start_soon(use, pool, 3)
            await settle()
            assert (pool.status(2), at.agents.running) == (None, ["1"])
            at.agents.stop_gates["1"].set()
            await until(lambda: at.agents.starts == ["1", "3"])
    assert at.agents.peak == 1


@pytest.mark.asyncio
async def test_a_change_is_reported_when_a_turn_ends_and_when_an_agent_is_gone() -> None:
    """P4, Q6: what waits is looked at again."""
    granted: list[bool] = []
    at = make_pool(PoolLimits(max_agents=1), on_change=lambda: granted.append(reserve()))

    def reserve() -> bool:
        if any(granted):
            return False
        return at.pool.try_reserve(2) is not None

    with anyio.fail_after(30):
        async with at.pool as pool:
            async with pool.session(1):
                granted.clear()
                await settle()
                assert not any(granted)
            assert any(granted)


@pytest.mark.asyncio
async def test_a_listener_that_fails_harms_nobody() -> None:
    """O4"""

    def broken() -> None:
        raise RuntimeError("listener")

    at = make_pool(on_change=broken)
    with anyio.fail_after(30):
        async with at.pool as pool:
            assert await use(pool, 1) == "new"


@pytest.mark.asyncio
async def test_a_reservation_serves_its_own_thread_only() -> None:
    at = make_pool()
    async with at.pool as pool:
        reservation = pool.try_reserve(1)
        with pytest.raises(ValueError, match="thread 1, not 2"):
            async with pool.session(2, reservation):
                pass


@pytest.mark.asyncio
async def test_warming_takes_a_free_place_only() -> None:
    """Q6: a pre-spawn suspends nobody, and is suspended for a turn."""
    at = make_pool(PoolLimits(max_agents=1))
    with anyio.fail_after(30):
        async with at.pool as pool:
            assert pool.warm(1)
            await until(lambda: pool.counts().live == 1)
            assert (pool.warm(1), pool.warm(2)) == (False, False)
            assert await use(pool, 2) == "new"
            assert pool.status(1) is None


@pytest.mark.asyncio
async def test_a_dead_agents_slot_is_not_reserved_although_nobody_has_noticed_yet() -> None:
    """P8: the reservation is for its successor."""
    at = make_pool(PoolLimits(max_agents=1))
    async with at.pool as pool:
        await use(pool, 1)
        at.agents.last(1).die(1)
        assert pool.try_reserve(1) is not None
        status = pool.status(1)
        assert status
        assert (status.state, status.generation) == (SlotState.STARTING, 2)


class Newcomers:
    """A scheduler with somebody who takes whatever it can get."""

    def __init__(self) -> None:
        self.at: PoolUnderTest = make_pool(PoolLimits(max_agents=1, stop_bound=8), on_change=self.admit)
        self.wanted: list[int] = []
        self.claims: list[Reservation] = []

    def admit(self) -> None:
        for thread in list(self.wanted):
            claim = self.at.pool.try_reserve(thread)
            if claim is not None:
                self.wanted.remove(thread)
                self.claims.append(claim)


async def takes_its_turn(pool: ConnectionPool, claim: Reservation) -> None:
    async with pool.session(claim.thread_id, claim):
        await settle()


@pytest.mark.asyncio
async def test_a_turn_whose_agent_died_has_the_place_of_it_before_any_newcomer() -> None:
    """P4, P5, Q6: it was admitted, and holds its thread and lane while it waits."""
    newcomers = Newcomers()
    at = newcomers.at
    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            await use(pool, 1)
            claim = pool.try_reserve(1)
            assert claim is not None
            gate = at.agents.stop_gates["1"] = anyio.Event()
            at.agents.last(1).die(1)
            await settle()
            newcomers.wanted = [7]
            tasks.start_soon(takes_its_turn, pool, claim)
            await settle()
            gate.set()
            await until(lambda: len(newcomers.claims) == 1)
            assert at.agents.starts == ["1", "1"]


@pytest.mark.asyncio
async def test_a_process_whose_promised_place_leaked_has_the_next_one_before_any_newcomer() -> None:
    """P4, P5: the turn that waits for it was admitted long ago."""
    newcomers = Newcomers()
    at = newcomers.at
    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            await use(pool, 1)
            gate = at.agents.stop_gates["1"] = anyio.Event()
            tasks.start_soon(use, pool, 2)
            await settle()
            at.clock.now += 8
            pool.maintain()
            newcomers.wanted = [7]
            gate.set()
            await until(lambda: "2" in at.agents.starts)
            await until(lambda: len(newcomers.claims) == 1)


CRASH = AgentSpawnError("exited during start", failure=SpawnFailure.EXITED, exit=AgentExit(3, "boom"))


@pytest.mark.asyncio
async def test_sessions_and_what_ended_them_are_counted_by_how_and_why() -> None:
    """P3, P8"""
    at = make_pool(PoolLimits(max_agents=1))
    at.agents.unknown.add("old")
    await at.store.bind(1, session_id="old")
    with anyio.fail_after(30):
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
    with anyio.fail_after(30):
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
async def test_an_agent_that_outlives_its_shutdown_escalation_is_counted_once() -> None:
    """P5"""
    at = make_pool()
    at.agents.stop_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 1)
            pool.evict(1)
            for _ in range(2):
                at.clock.now += 60
                pool.maintain()
            assert pool.stats.leaked == 1
            at.agents.stop_gates["1"].set()


@pytest.mark.asyncio
async def test_an_idle_slot_is_suspended_and_its_session_kept() -> None:
    """P3"""
    at = make_pool(PoolLimits(idle_ttl=100))
    with anyio.fail_after(30):
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
    with anyio.fail_after(30):
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
    with anyio.fail_after(30):
        async with at.pool as pool:
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
            assert at.cut_off == []
            at.clock.now += 52
            session.heard = at.clock.now
            pool.maintain()
            assert at.cut_off == [1]
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
    with anyio.fail_after(30):
        async with at.pool as pool, pool.session(1) as lease:
            at.clock.now += 100
            pool.maintain()
            assert lease.slot.state is not SlotState.READY
            assert await use(pool, 2) == "new"


@pytest.mark.asyncio
async def test_the_net_under_a_hung_turn_is_widened_while_it_runs_and_never_narrowed() -> None:
    """P6, R1: a reload may allow longer turns; one that runs keeps what it was given."""
    at = make_pool(PoolLimits(max_agents=1, hung_after=100))
    with anyio.fail_after(30):
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
    with anyio.fail_after(30):
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
    with anyio.fail_after(30):
        async with at.pool:
            await until(lambda: len(calls) > 2)


@pytest.mark.asyncio
async def test_where_one_machine_is_full_only_an_agent_on_it_gives_way() -> None:
    """P4, P14: a place elsewhere would not help a thread whose files are there."""
    at = make_pool(PoolLimits(max_agents=9))
    async with at.pool as pool:
        engine = cast("Engine", object())
        for thread, node in ((1, "one"), (2, "two"), (3, "two")):
            await use(pool, thread)
            at.agents.last(thread).node = node
            pool._registry.slots[thread].agent.engine = engine
            at.clock.now += 1
        assert pool._registry.give_way(engine, ("three",)) is None
        assert pool._registry.give_way(engine, ("two",)) is not None
        await until(lambda: pool.status(2) is None)
        assert [pool.status(thread) is None for thread in (1, 2, 3)] == [False, True, False]
