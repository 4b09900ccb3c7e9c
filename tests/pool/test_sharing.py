"""Threads that share a process: who joins it, who leaves it alone, and who makes room."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from acp.schema import AgentCapabilities, InitializeResult
from pool.launcher import Sharing
from pool.model import PoolLimits, SlotState
from pool.store import ThreadRecord
from tests.pool.fakes import (
    hold_session,
    make_shared_pool,
    settle,
    shared_process,
    slot_pid,
    slot_state,
    until,
    use,
)

# Joining


@pytest.mark.asyncio
async def test_threads_of_an_equal_key_have_a_session_each_in_one_process() -> None:
    """P1, P4: their turns run at the same time, each behind its own lock."""
    at = make_shared_pool()
    with anyio.fail_after(30):
        async with at.pool as pool, pool.session(1) as one, pool.session(2) as two:
            assert (one.slot.pid, one.session.id) == (two.slot.pid, "session-100")
            assert two.session.id == "session-100-2"
            assert (pool.counts().live, pool.counts().busy) == (1, 1)
            record = await at.store.thread(2)
            assert record
            assert (record.session_id, record.cwd) == (two.session.id, "2")
    assert at.agents.starts == ["shared"]


@pytest.mark.asyncio
async def test_a_full_process_is_joined_by_nobody_and_the_next_one_needs_a_place() -> None:
    """P4: capacity counts processes."""
    at = make_shared_pool(PoolLimits(max_agents=2), sessions=2)
    async with at.pool as pool:
        claims = [pool.try_reserve(thread) for thread in range(1, 6)]
        assert [claim is not None for claim in claims] == [True] * 4 + [False]
        assert pool.counts().starting == 2


@pytest.mark.asyncio
async def test_at_capacity_a_thread_that_may_join_a_process_stops_nobody() -> None:
    """P4"""
    at = make_shared_pool(PoolLimits(max_agents=2), threads=(1, 2, 3))
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 1)
            await use(pool, 7)
            assert await use(pool, 2) == "new"
            assert pool.warm(3)
            assert (slot_state(pool, 1), slot_state(pool, 7), pool.counts().live) == (
                SlotState.READY,
                SlotState.READY,
                2,
            )


@pytest.mark.asyncio
async def test_a_thread_of_another_key_is_put_into_a_process_of_its_own() -> None:
    """R5, O4: another agent, environment, launcher or owner of the workspace."""
    at = make_shared_pool(PoolLimits(max_agents=3), threads=(1, 2))
    at.launcher.shared[3] = Sharing("others", 20)
    with anyio.fail_after(30):
        async with at.pool as pool:
            for thread in (1, 2, 3, 4):
                await use(pool, thread)
    assert at.agents.starts == ["shared", "others", "4"]


@pytest.mark.asyncio
async def test_a_thread_does_not_wait_for_a_hanging_start_while_another_process_has_room() -> None:
    """P1: the one that serves is joined before one that starts, and the fuller before the emptier."""
    at = make_shared_pool(PoolLimits(max_agents=2), sessions=3)
    with anyio.fail_after(30):
        async with at.pool as pool:
            for thread in (1, 2, 3):
                await use(pool, thread)
            at.agents.start_gates["shared"] = anyio.Event()
            assert pool.warm(4)
            await at.agents.waiting.wait()
            pool.evict(1)
            await until(lambda: slot_state(pool, 1) is None)
            assert await use(pool, 5) == "new"
            at.agents.start_gates["shared"].set()


@pytest.mark.asyncio
async def test_a_session_that_hangs_while_it_is_opened_delays_no_other() -> None:
    """P1, O4"""
    at = make_shared_pool()
    at.agents.session_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool:
            assert pool.warm(1)
            assert await use(pool, 2) == "new"
            assert slot_state(pool, 1) is SlotState.STARTING
            at.agents.session_gates["1"].set()
            await until(lambda: slot_state(pool, 1) is SlotState.READY)


@pytest.mark.asyncio
async def test_a_reservation_that_is_given_back_leaves_the_process_alone() -> None:
    """P4, Q6: also the one for which the process was to be started."""
    at = make_shared_pool()
    with anyio.fail_after(30):
        async with at.pool as pool:
            founder, other = pool.try_reserve(1), pool.try_reserve(2)
            assert founder
            founder.release()
            assert (pool.status(1), pool.counts().starting) == (None, 1)
            async with pool.session(2, other):
                third = pool.try_reserve(3)
                assert third
                third.release()
                assert (pool.status(3), slot_state(pool, 2)) == (None, SlotState.READY)
    assert at.agents.starts == ["shared"]


# Leaving


@pytest.mark.asyncio
async def test_an_idle_thread_leaves_its_process_and_comes_back_to_it() -> None:
    """P3: idle clean-up is by thread; the session is ended and can be resumed."""
    at = make_shared_pool(PoolLimits(max_agents=1, idle_ttl=100))
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 1)
            at.clock.now += 60
            await use(pool, 2)
            at.clock.now += 60
            pool.maintain()
            await until(lambda: pool.status(1) is None)
            assert (shared_process(at).ended, slot_state(pool, 2)) == (["session-100"], SlotState.READY)
            assert await use(pool, 1) == "resumed"
    assert at.agents.starts == ["shared"]


@pytest.mark.asyncio
async def test_the_last_one_to_leave_ends_the_process() -> None:
    """P3, P4"""
    at = make_shared_pool(PoolLimits(max_agents=1, idle_ttl=100))
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 1)
            await use(pool, 2)
            pool.evict(1)
            await until(lambda: pool.status(1) is None)
            assert at.agents.running == ["shared"]
            pool.evict(2)
            await until(lambda: at.agents.running == [])
            assert (shared_process(at).ended, pool.counts().closing) == (["session-100"], 0)


@pytest.mark.asyncio
async def test_room_is_given_back_when_a_session_is_ended_and_not_before() -> None:
    """P4"""
    at = make_shared_pool(sessions=2)
    with anyio.fail_after(30):
        async with at.pool as pool, pool.session(2):
            await use(pool, 1)
            at.agents.end_gates["session-100-2"] = anyio.Event()
            pool.evict(1)
            await settle()
            assert pool.try_reserve(3) is None
            at.agents.end_gates["session-100-2"].set()
            await until(lambda: pool.status(1) is None)
            assert pool.try_reserve(3) is not None


@pytest.mark.asyncio
async def test_a_successor_opens_its_session_after_its_predecessors_was_ended() -> None:
    """P5: or one session would be open twice in one process."""
    at = make_shared_pool()
    at.agents.end_gates["session-100"] = anyio.Event()
    came: list[str] = []

    async def turn() -> None:
        came.append(await use(at.pool, 1))

    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            await use(pool, 1)
            await use(pool, 2)
            pool.evict(1)
            tasks.start_soon(turn)
            await settle()
            assert came == []
            at.agents.end_gates["session-100"].set()
            await until(lambda: came == ["resumed"])
    assert at.agents.starts == ["shared"]


@pytest.mark.asyncio
async def test_a_busy_thread_that_is_told_to_stop_is_cancelled_and_ended_when_its_turn_is_over() -> None:
    """P5, T6, O4: its neighbour's turn goes on."""
    at = make_shared_pool()
    leave = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks, pool.session(2) as neighbour:
            tasks.start_soon(hold_session, pool, 1, leave)
            await until(lambda: slot_state(pool, 1) is SlotState.READY)
            await settle()
            session = pool._registry.slots[1].session
            pool.evict(1)
            await settle()
            assert (session.cancels, shared_process(at).ended) == (1, [])  # type: ignore[union-attr]
            leave.set()
            await until(lambda: shared_process(at).ended == ["session-100-2"])
            assert neighbour.slot.state is SlotState.READY


@pytest.mark.asyncio
async def test_a_reset_ends_the_threads_session_only_and_the_next_one_is_new_in_the_same_process() -> None:
    """Q8, O4"""
    at = make_shared_pool()
    with anyio.fail_after(30):
        async with at.pool as pool, pool.session(2) as neighbour:
            await use(pool, 1)
            assert pool.reset(1)
            assert await use(pool, 1) == "new"
            assert (neighbour.slot.state, len(shared_process(at).ended)) == (SlotState.READY, 1)
    assert at.agents.starts == ["shared"]


@pytest.mark.asyncio
async def test_a_session_that_was_reset_while_it_was_opened_is_not_remembered() -> None:
    """Q8, P5: it is ended as soon as it is there."""
    at = make_shared_pool()
    at.agents.session_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 2)
            assert pool.warm(1)
            await settle()
            assert pool.reset(1)
            await settle()
            at.agents.session_gates["1"].set()
            await until(lambda: pool.status(1) is None)
            assert shared_process(at).ended == ["session-100-2"]
            assert await at.store.thread(1) == ThreadRecord(1)


@pytest.mark.asyncio
async def test_two_internal_errors_in_a_row_move_the_thread_and_leave_the_process_to_the_others() -> None:
    """P8, O4: what is dead inside may be dead for all, so nobody else joins them."""
    at = make_shared_pool(PoolLimits(max_agents=2))
    with anyio.fail_after(30):
        async with at.pool as pool, pool.session(2) as neighbour:
            await use(pool, 1)
            capabilities = AgentCapabilities(load_session=True)
            shared_process(at).agent = InitializeResult(protocol_version=1, agent_capabilities=capabilities)
            for _ in range(2):
                async with pool.session(1) as lease:
                    lease.served(internal_error=True)
            assert await use(pool, 1) == "resumed"
            assert await use(pool, 3) == "new"
            assert neighbour.slot.state is SlotState.READY
            assert slot_pid(pool, 1) == slot_pid(pool, 3) != neighbour.slot.pid
    assert at.agents.starts == ["shared"] * 2


# Victims


@pytest.mark.asyncio
async def test_a_process_is_a_victim_only_when_none_of_its_threads_has_a_turn() -> None:
    """P4"""
    at = make_shared_pool(threads=(1, 2))
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 1)
            async with pool.session(2):
                assert pool.try_reserve(7) is None
            assert pool.try_reserve(7) is not None
            assert {slot_state(pool, 1), slot_state(pool, 2)} == {SlotState.CLOSING}


@pytest.mark.asyncio
async def test_the_victim_is_the_process_whose_last_turn_was_longest_ago() -> None:
    """P4: not the one with the thread that idles longest."""
    at = make_shared_pool(PoolLimits(max_agents=2), threads=(1, 2))
    with anyio.fail_after(30):
        async with at.pool as pool:
            for thread in (1, 7, 2):
                at.clock.now += 1
                await use(pool, thread)
            assert pool.try_reserve(8) is not None
            assert (slot_state(pool, 1), slot_state(pool, 2), slot_state(pool, 7)) == (
                *[SlotState.READY] * 2,
                SlotState.CLOSING,
            )


# Room in a process that is never idle


@pytest.mark.asyncio
async def test_in_a_full_process_that_is_busy_the_longest_idle_session_makes_room() -> None:
    """P4: nobody waits for a process to be idle as a whole; and its limit holds."""
    at = make_shared_pool(sessions=3)
    with anyio.fail_after(30):
        async with at.pool as pool:
            for thread in (2, 3):
                at.clock.now += 1
                await use(pool, thread)
            async with pool.session(1):
                assert await use(pool, 4) == "new"
                assert (slot_state(pool, 2), slot_state(pool, 3)) == (None, SlotState.READY)
                assert await use(pool, 2) == "resumed"
                assert slot_state(pool, 3) is None
            assert shared_process(at).most == 3
            assert at.agents.starts == ["shared"]


@pytest.mark.asyncio
async def test_no_session_with_a_turn_makes_room_and_none_that_is_warmed_ahead_takes_it() -> None:
    """P4, Q6"""
    at = make_shared_pool(sessions=2)
    with anyio.fail_after(30):
        async with at.pool as pool, pool.session(1):
            async with pool.session(2):
                assert pool.try_reserve(3) is None
            assert not pool.warm(3)
            assert slot_state(pool, 2) is SlotState.READY
            assert pool.try_reserve(3) is not None
            assert slot_state(pool, 2) is SlotState.CLOSING


@pytest.mark.asyncio
async def test_a_process_that_is_always_busy_is_kept_free_for_a_thread_that_waits_for_longer() -> None:
    """P4, Q6: newer turns stay away from the process that is nearest to being idle, and from no other."""
    at = make_shared_pool(PoolLimits(max_agents=2), threads=(1, 2, 3, 4))
    at.launcher.shared |= dict.fromkeys((5, 6), Sharing("other", 20))
    with anyio.fail_after(30):
        async with at.pool as pool, pool.session(5), pool.session(6):
            await use(pool, 2)
            async with pool.session(1):
                assert pool.try_reserve(9) is None
                assert pool.try_reserve(2, behind=True) is None, "not even who is in it"
                assert pool.try_reserve(3, behind=True) is None
                assert pool.try_reserve_extra(1, behind=True) is None
                assert pool.try_reserve_extra(5, behind=True) is not None
                assert pool.try_reserve(3) is not None, "who waits for longer is not held up"
            assert pool.try_reserve(9) is None
