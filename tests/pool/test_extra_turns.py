"""Turns beside the one that has the thread's session: on copies, in the same process, protecting it (Q9)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from acp.errors import ForkFailed
from acp.schema import AgentCapabilities, InitializeResult
from pool.model import PoolLimits, SlotState
from pool.pool import ConnectionPool, SessionLease
from pool.slot import ExtraReservation
from tests.pool.fakes import PoolUnderTest, make_pool, settle, until, use

ONE = PoolLimits(max_agents=1, idle_ttl=10, hung_after=100)


@asynccontextmanager
async def busy(at: PoolUnderTest) -> AsyncIterator[tuple[ConnectionPool, SessionLease]]:
    """Enter the pool, with a turn of thread 1 that has its session."""
    with anyio.fail_after(30):
        async with at.pool as pool, pool.session(1) as lease:
            yield pool, lease


def reserved(pool: ConnectionPool, thread_id: int = 1) -> ExtraReservation:
    reservation = pool.try_reserve_extra(thread_id)
    assert reservation is not None
    return reservation


@pytest.mark.asyncio
async def test_an_extra_turn_runs_beside_the_first_in_the_same_process() -> None:
    """Q9, P2: on a copy of the thread's session, without its lock and without a further place."""
    at = make_pool(ONE)
    async with busy(at) as (pool, first):
        assert pool.can_fork(1)
        async with pool.extra_session(reserved(pool)) as extra:
            assert (extra.how, extra.lost, extra.connection) == ("forked", False, first.connection)
            assert extra.session.id != first.session.id
            assert at.agents.connections[0].forked == [(first.session.id, "1")]
            assert (pool.counts().live, pool.counts().busy) == (1, 1)
    assert at.agents.starts == ["1"]


@pytest.mark.asyncio
async def test_several_extra_turns_have_a_copy_each() -> None:
    """Q9"""
    async with (
        busy(make_pool(ONE)) as (pool, first),
        pool.extra_session(reserved(pool)) as one,
        pool.extra_session(reserved(pool)) as two,
    ):
        assert len({first.session.id, one.session.id, two.session.id}) == 3


@pytest.mark.asyncio
async def test_the_copy_is_closed_at_the_end_and_the_thread_keeps_its_own_session() -> None:
    """Q9, P8: what is remembered is the session that the thread began with."""
    at = make_pool(ONE)
    async with busy(at) as (pool, first):
        async with pool.extra_session(reserved(pool)) as extra:
            assert at.agents.connections[0].closed == []
        assert at.agents.connections[0].closed == [extra.session.id]
    record = await at.store.thread(1)
    assert record is not None
    assert record.session_id == first.session.id


@pytest.mark.asyncio
async def test_a_copy_is_closed_when_its_turn_fails_too() -> None:
    """Q9, Q10"""
    at = make_pool(ONE)
    async with busy(at) as (pool, first):
        with pytest.raises(ValueError, match="boom"):
            async with pool.extra_session(reserved(pool)):
                raise ValueError("boom")
        assert len(at.agents.connections[0].closed) == 1
        assert first.slot.state is SlotState.READY
        assert pool._registry.slots[1].turns.keys() == {pool._registry.slots[1].lock}


@pytest.mark.asyncio
async def test_an_agent_that_cannot_fork_says_so_beforehand() -> None:
    """Q9: the caller runs the turns one after the other, and says which."""
    at = make_pool(ONE)
    async with busy(at) as (pool, _):
        at.agents.connections[0].can_fork = False
        assert (pool.can_fork(1), pool.try_reserve_extra(1)) == (False, None)


@pytest.mark.asyncio
async def test_nobody_knows_whether_an_agent_can_fork_before_it_is_ready() -> None:
    """Q9: a turn that is to run beside one that still starts waits; readiness is reported as a change."""
    changes: list[bool | None] = []
    at = make_pool(ONE, on_change=lambda: changes.append(at.pool.can_fork(1)))
    at.agents.start_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            assert (pool.can_fork(1), pool.try_reserve_extra(1)) == (None, None)
            reservation = pool.try_reserve(1)
            assert reservation is not None
            tasks.start_soon(_turn, pool, reservation)
            await at.agents.waiting.wait()
            assert (pool.can_fork(1), pool.try_reserve_extra(1)) == (None, None)
            at.agents.start_gates["1"].set()
            await until(lambda: True in changes)


async def _turn(pool: ConnectionPool, reservation: object) -> None:
    async with pool.session(1, reservation):  # type: ignore[arg-type]
        pass


@pytest.mark.asyncio
async def test_while_no_turn_has_the_session_there_is_nothing_to_run_beside() -> None:
    """Q9: the turn gets the thread's own session, and what is said there is remembered."""
    with anyio.fail_after(30):
        async with make_pool(ONE).pool as pool:
            await use(pool, 1)
            assert (pool.can_fork(1), pool.try_reserve_extra(1)) == (True, None)


@pytest.mark.asyncio
async def test_when_the_first_turn_ends_before_the_extra_one_the_session_is_free_for_the_next() -> None:
    """Q9, P2: a copy holds no lock."""
    with anyio.fail_after(30):
        async with make_pool(ONE).pool as pool:
            async with pool.session(1):
                reservation = reserved(pool)
            async with pool.extra_session(reservation):
                assert pool.try_reserve_extra(1) is None
                assert await use(pool, 1) == "live"


@pytest.mark.asyncio
async def test_an_extra_turn_keeps_its_slot_from_being_a_victim() -> None:
    """Q9, P4: also when the turn beside it has ended, and before it has begun."""
    at = make_pool(ONE)
    with anyio.fail_after(30):
        async with at.pool as pool:
            async with pool.session(1):
                reservation = reserved(pool)
            assert pool.try_reserve(2) is None
            async with pool.extra_session(reservation) as lease:
                assert (pool.try_reserve(2), lease.slot.state) == (None, SlotState.READY)
            newcomer = pool.try_reserve(2)
            assert newcomer is not None
            newcomer.release()


@pytest.mark.asyncio
async def test_an_extra_turn_keeps_its_slot_from_idling() -> None:
    """Q9, P3: and the time without a turn counts from its end."""
    at = make_pool(ONE)
    with anyio.fail_after(30):
        async with at.pool as pool:
            async with pool.session(1):
                reservation = reserved(pool)
            async with pool.extra_session(reservation):
                at.clock.now += 50
                pool.maintain()
                assert pool.status(1) is not None
            pool.maintain()
            status = pool.status(1)
            assert status is not None
            assert (status.state, status.busy, status.last_used) == (SlotState.READY, False, at.clock.now)


@pytest.mark.asyncio
async def test_an_extra_turn_hung_beyond_every_limit_is_stopped_with_its_agent() -> None:
    """Q9, P6: although the turn beside it has only begun."""
    at = make_pool(ONE)
    with anyio.fail_after(30):
        async with at.pool as pool:
            async with pool.session(1):
                reservation = reserved(pool)
            async with pool.extra_session(reservation):
                at.clock.now += 100
                async with pool.session(1) as lease:
                    pool.maintain()
                    assert lease.slot.state is SlotState.CLOSING


@pytest.mark.asyncio
async def test_a_reservation_that_is_given_back_protects_nothing_and_forks_nothing() -> None:
    """Q9, P4: given back once, and a change is reported."""
    changes: list[int] = []
    at = make_pool(ONE, on_change=lambda: changes.append(1))
    async with busy(at) as (pool, _):
        reservation = reserved(pool)
        seen = len(changes)
        reservation.release()
        reservation.release()
        assert len(changes) == seen + 1
        with pytest.raises(ForkFailed):
            async with pool.extra_session(reservation):
                pass
        assert at.agents.connections[0].forked == []


@pytest.mark.asyncio
async def test_a_fork_that_fails_leaves_the_first_turn_and_the_place_as_they_were() -> None:
    """Q9, O4: nothing was prompted; the caller runs it serially."""
    at = make_pool(ONE)
    at.agents.fork_errors["1"] = ForkFailed("the agent would not")
    async with busy(at) as (pool, first):
        reservation = reserved(pool)
        with pytest.raises(ForkFailed, match="would not"):
            async with pool.extra_session(reservation):
                pass
        assert (reservation.slot, first.slot.state, at.agents.connections[0].closed) == (None, SlotState.READY, [])


@pytest.mark.asyncio
@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("how", ["died", "evicted"])
async def test_an_agent_that_ends_before_the_copy_is_there_leaves_the_turn_to_its_successor(
    when: str, how: str
) -> None:
    """Q9, P5, P10: the turn is not begun in a process that ends anyway; no copy is left open."""
    at = make_pool(ONE)
    at.agents.fork_gates["1"] = anyio.Event()
    at.agents.stop_gates["1"] = anyio.Event()
    failed = anyio.Event()

    def end() -> None:
        agent = at.agents.connections[0]
        agent.die(1) if how == "died" else at.pool.evict(1)

    async def beside(pool: ConnectionPool, reservation: ExtraReservation) -> None:
        with pytest.raises(ForkFailed):
            async with pool.extra_session(reservation):
                raise AssertionError("the turn should not have begun")
        failed.set()

    async with busy(at) as (pool, _), anyio.create_task_group() as tasks:
        reservation = reserved(pool)
        if when == "before":
            end()
            await settle()
        tasks.start_soon(beside, pool, reservation)
        if when == "meanwhile":
            await at.agents.waiting.wait()
            end()
        at.agents.fork_gates["1"].set()
        await failed.wait()
        at.agents.stop_gates["1"].set()
    agent = at.agents.connections[0]
    assert len(agent.forked) == len(agent.closed)


@pytest.mark.asyncio
async def test_a_cancelled_turn_that_waits_for_its_copy_protects_nothing_any_more() -> None:
    """Q9, T6: stop works while a session is forked."""
    at = make_pool(ONE)
    at.agents.fork_gates["1"] = anyio.Event()
    async with busy(at) as (pool, _):
        reservation = reserved(pool)
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with pool.extra_session(reservation):
                pass
        assert reservation.slot is None
        assert len(pool._registry.slots[1].turns) == 1


@pytest.mark.asyncio
async def test_an_evicted_agent_takes_no_extra_turn_any_more() -> None:
    """Q9, Q8: neither does the pool that is being closed."""
    at = make_pool(ONE)
    at.agents.stop_gates["1"] = anyio.Event()
    async with busy(at) as (pool, _):
        pool.evict(1)
        assert (pool.can_fork(1), pool.try_reserve_extra(1)) == (None, None)
        at.agents.stop_gates["1"].set()


@pytest.mark.asyncio
async def test_an_agent_with_internal_errors_is_not_stopped_under_a_turn_that_runs_beside() -> None:
    """Q9, P8, O4: only the last one to leave has it replaced."""
    at = make_pool(ONE)
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 1)
            capabilities = AgentCapabilities(load_session=True)
            at.agents.connections[0].agent = InitializeResult(protocol_version=1, agent_capabilities=capabilities)
            states: list[SlotState] = []
            async with pool.session(1) as first:
                async with pool.extra_session(reserved(pool)) as one, pool.extra_session(reserved(pool)) as two:
                    for lease in (one, two):
                        lease.served(internal_error=True)
                        states.append(lease.slot.state)
                first.served(internal_error=True)
                states.append(first.slot.state)
    assert states == [SlotState.READY, SlotState.READY, SlotState.CLOSING]
