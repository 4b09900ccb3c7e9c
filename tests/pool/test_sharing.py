"""Threads that share a process: who joins it, who leaves it alone, and what happens to all of them together."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import anyio.lowlevel
import pytest

from acp.errors import AgentExit, AgentSpawnError, RequestTimeout, SpawnFailure
from acp.schema import AgentCapabilities, InitializeResult
from pool.launcher import Sharing
from pool.model import PoolLimits, SlotState
from pool.pool import ConnectionPool
from pool.store import ThreadRecord
from tests.pool.fakes import FakeConnection, PoolUnderTest, make_pool, settle, until, use
from tests.pool.memory import MemoryStore

CRASH = AgentSpawnError("exited during start", failure=SpawnFailure.EXITED, exit=AgentExit(3))


def sharing(
    limits: PoolLimits | None = None, *, threads: Iterable[int] = range(1, 10), sessions: int = 20
) -> PoolUnderTest:
    """Return a pool whose threads share processes, one at most unless told otherwise."""
    at = make_pool(limits or PoolLimits(max_agents=1))
    at.launcher.shared = dict.fromkeys(threads, Sharing("shared", sessions))
    return at


def process(at: PoolUnderTest) -> FakeConnection:
    return at.agents.last("shared")


def state(pool: ConnectionPool, thread_id: int) -> SlotState | None:
    status = pool.status(thread_id)
    return status.state if status else None


def pid(pool: ConnectionPool, thread_id: int) -> int | None:
    status = pool.status(thread_id)
    return status.pid if status else None


async def stays_in(pool: ConnectionPool, thread_id: int, leave: anyio.Event) -> None:
    async with pool.session(thread_id):
        await leave.wait()


# Joining


@pytest.mark.asyncio
async def test_threads_of_an_equal_key_have_a_session_each_in_one_process() -> None:
    """P1, P4: their turns run at the same time, each behind its own lock."""
    at = sharing()
    with anyio.fail_after(5):
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
    at = sharing(PoolLimits(max_agents=2), sessions=2)
    async with at.pool as pool:
        claims = [pool.try_reserve(thread) for thread in range(1, 6)]
        assert [claim is not None for claim in claims] == [True] * 4 + [False]
        assert pool.counts().starting == 2


@pytest.mark.asyncio
async def test_at_capacity_a_thread_that_may_join_a_process_stops_nobody() -> None:
    """P4"""
    at = sharing(PoolLimits(max_agents=2), threads=(1, 2, 3))
    with anyio.fail_after(5):
        async with at.pool as pool:
            await use(pool, 1)
            await use(pool, 7)
            assert await use(pool, 2) == "new"
            assert pool.warm(3)
            assert (state(pool, 1), state(pool, 7), pool.counts().live) == (SlotState.READY, SlotState.READY, 2)


@pytest.mark.asyncio
async def test_a_thread_of_another_key_is_put_into_a_process_of_its_own() -> None:
    """R5, O4: another agent, environment, launcher or owner of the workspace."""
    at = sharing(PoolLimits(max_agents=3), threads=(1, 2))
    at.launcher.shared[3] = Sharing("others", 20)
    with anyio.fail_after(5):
        async with at.pool as pool:
            for thread in (1, 2, 3, 4):
                await use(pool, thread)
    assert at.agents.starts == ["shared", "others", "4"]


@pytest.mark.asyncio
async def test_a_thread_does_not_wait_for_a_hanging_start_while_another_process_has_room() -> None:
    """P1: the one that serves is joined before one that starts, and the fuller before the emptier."""
    at = sharing(PoolLimits(max_agents=2), sessions=3)
    with anyio.fail_after(5):
        async with at.pool as pool:
            for thread in (1, 2, 3):
                await use(pool, thread)
            at.agents.start_gates["shared"] = anyio.Event()
            assert pool.warm(4)
            await at.agents.waiting.wait()
            pool.evict(1)
            await until(lambda: state(pool, 1) is None)
            assert await use(pool, 5) == "new"
            at.agents.start_gates["shared"].set()


@pytest.mark.asyncio
async def test_a_session_that_hangs_while_it_is_opened_delays_no_other() -> None:
    """P1, O4"""
    at = sharing()
    at.agents.session_gates["1"] = anyio.Event()
    with anyio.fail_after(5):
        async with at.pool as pool:
            assert pool.warm(1)
            assert await use(pool, 2) == "new"
            assert state(pool, 1) is SlotState.STARTING
            at.agents.session_gates["1"].set()
            await until(lambda: state(pool, 1) is SlotState.READY)


@pytest.mark.asyncio
async def test_a_reservation_that_is_given_back_leaves_the_process_alone() -> None:
    """P4, Q6: also the one for which the process was to be started."""
    at = sharing()
    with anyio.fail_after(5):
        async with at.pool as pool:
            founder, other = pool.try_reserve(1), pool.try_reserve(2)
            assert founder
            founder.release()
            assert (pool.status(1), pool.counts().starting) == (None, 1)
            async with pool.session(2, other):
                third = pool.try_reserve(3)
                assert third
                third.release()
                assert (pool.status(3), state(pool, 2)) == (None, SlotState.READY)
    assert at.agents.starts == ["shared"]


# Leaving


@pytest.mark.asyncio
async def test_an_idle_thread_leaves_its_process_and_comes_back_to_it() -> None:
    """P3: idle clean-up is by thread; the session is ended and can be resumed."""
    at = sharing(PoolLimits(max_agents=1, idle_ttl=100))
    with anyio.fail_after(5):
        async with at.pool as pool:
            await use(pool, 1)
            at.clock.now += 60
            await use(pool, 2)
            at.clock.now += 60
            pool.maintain()
            await until(lambda: pool.status(1) is None)
            assert (process(at).ended, state(pool, 2)) == (["session-100"], SlotState.READY)
            assert await use(pool, 1) == "resumed"
    assert at.agents.starts == ["shared"]


@pytest.mark.asyncio
async def test_the_last_one_to_leave_ends_the_process() -> None:
    """P3, P4"""
    at = sharing(PoolLimits(max_agents=1, idle_ttl=100))
    with anyio.fail_after(5):
        async with at.pool as pool:
            await use(pool, 1)
            await use(pool, 2)
            pool.evict(1)
            await until(lambda: pool.status(1) is None)
            assert at.agents.running == ["shared"]
            pool.evict(2)
            await until(lambda: at.agents.running == [])
            assert (process(at).ended, pool.counts().closing) == (["session-100"], 0)


@pytest.mark.asyncio
async def test_room_is_given_back_when_a_session_is_ended_and_not_before() -> None:
    """P4"""
    at = sharing(sessions=2)
    with anyio.fail_after(5):
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
    at = sharing()
    at.agents.end_gates["session-100"] = anyio.Event()
    came: list[str] = []

    async def turn() -> None:
        came.append(await use(at.pool, 1))

    with anyio.fail_after(5):
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
    at = sharing()
    leave = anyio.Event()
    with anyio.fail_after(5):
        async with at.pool as pool, anyio.create_task_group() as tasks, pool.session(2) as neighbour:
            tasks.start_soon(stays_in, pool, 1, leave)
            await until(lambda: state(pool, 1) is SlotState.READY)
            await settle()
            session = pool._registry.slots[1].session
            pool.evict(1)
            await settle()
            assert (session.cancels, process(at).ended) == (1, [])  # type: ignore[union-attr]
            leave.set()
            await until(lambda: process(at).ended == ["session-100-2"])
            assert neighbour.slot.state is SlotState.READY


@pytest.mark.asyncio
async def test_a_reset_ends_the_threads_session_only_and_the_next_one_is_new_in_the_same_process() -> None:
    """Q8, O4"""
    at = sharing()
    with anyio.fail_after(5):
        async with at.pool as pool, pool.session(2) as neighbour:
            await use(pool, 1)
            assert pool.reset(1)
            assert await use(pool, 1) == "new"
            assert (neighbour.slot.state, len(process(at).ended)) == (SlotState.READY, 1)
    assert at.agents.starts == ["shared"]


@pytest.mark.asyncio
async def test_a_session_that_was_reset_while_it_was_opened_is_not_remembered() -> None:
    """Q8, P5: it is ended as soon as it is there."""
    at = sharing()
    at.agents.session_gates["1"] = anyio.Event()
    with anyio.fail_after(5):
        async with at.pool as pool:
            await use(pool, 2)
            assert pool.warm(1)
            await settle()
            assert pool.reset(1)
            await settle()
            at.agents.session_gates["1"].set()
            await until(lambda: pool.status(1) is None)
            assert process(at).ended == ["session-100-2"]
            assert await at.store.thread(1) == ThreadRecord(1)


@pytest.mark.asyncio
async def test_two_internal_errors_in_a_row_move_the_thread_and_leave_the_process_to_the_others() -> None:
    """P8, O4: what is dead inside may be dead for all, so nobody else joins them."""
    at = sharing(PoolLimits(max_agents=2))
    with anyio.fail_after(5):
        async with at.pool as pool, pool.session(2) as neighbour:
            await use(pool, 1)
            capabilities = AgentCapabilities(load_session=True)
            process(at).agent = InitializeResult(protocol_version=1, agent_capabilities=capabilities)
            for _ in range(2):
                async with pool.session(1) as lease:
                    lease.served(internal_error=True)
            assert await use(pool, 1) == "resumed"
            assert await use(pool, 3) == "new"
            assert neighbour.slot.state is SlotState.READY
            assert pid(pool, 1) == pid(pool, 3) != neighbour.slot.pid
    assert at.agents.starts == ["shared"] * 2


# Victims


@pytest.mark.asyncio
async def test_a_process_is_a_victim_only_when_none_of_its_threads_has_a_turn() -> None:
    """P4"""
    at = sharing(threads=(1, 2))
    with anyio.fail_after(5):
        async with at.pool as pool:
            await use(pool, 1)
            async with pool.session(2):
                assert pool.try_reserve(7) is None
            assert pool.try_reserve(7) is not None
            assert {state(pool, 1), state(pool, 2)} == {SlotState.CLOSING}


@pytest.mark.asyncio
async def test_the_victim_is_the_process_whose_last_turn_was_longest_ago() -> None:
    """P4: not the one with the thread that idles longest."""
    at = sharing(PoolLimits(max_agents=2), threads=(1, 2))
    with anyio.fail_after(5):
        async with at.pool as pool:
            for thread in (1, 7, 2):
                at.clock.now += 1
                await use(pool, thread)
            assert pool.try_reserve(8) is not None
            assert (state(pool, 1), state(pool, 2), state(pool, 7)) == (*[SlotState.READY] * 2, SlotState.CLOSING)


# All of them together


@pytest.mark.asyncio
async def test_the_death_of_a_process_moves_all_its_threads_to_one_successor() -> None:
    """P5, P8, O4"""
    at = sharing(PoolLimits(max_agents=2), threads=(1, 2, 3))
    with anyio.fail_after(5):
        async with at.pool as pool:
            for thread in (1, 2, 3, 7):
                await use(pool, thread)
            process(at).die(1)
            assert [await use(pool, thread) for thread in (1, 2, 3, 7)] == [*["resumed"] * 3, "live"]
    assert (at.agents.starts, at.agents.peak) == (["shared", "7", "shared"], 2)


@pytest.mark.asyncio
async def test_a_start_that_fails_is_told_to_all_who_wait_for_it() -> None:
    """P7, P10: and counts for each of them."""
    at = sharing()
    at.agents.start_errors["shared"] = CRASH
    told: list[str] = []

    async def turn(thread: int) -> None:
        with pytest.raises(AgentSpawnError) as caught:
            await use(at.pool, thread)
        told.append(str(caught.value))

    with anyio.fail_after(5):
        async with at.pool as pool:
            for _ in range(3):
                async with anyio.create_task_group() as tasks:
                    for thread in (1, 2, 3):
                        tasks.start_soon(turn, thread)
            assert told == ["exited during start"] * 9
            await turn(1)
            assert "next try in" in told[-1]
            at.agents.start_errors.clear()
            assert await use(pool, 4) == "new"
    assert at.agents.starts == ["shared"] * 4


@pytest.mark.asyncio
async def test_a_death_while_sessions_are_opened_is_told_with_its_exit() -> None:
    """P10, O1"""
    at = sharing()
    at.agents.session_gates = {"1": anyio.Event(), "2": anyio.Event()}
    exits: list[AgentExit | None] = []

    async def turn(thread: int) -> None:
        with pytest.raises(AgentSpawnError) as caught:
            await use(at.pool, thread)
        exits.append(caught.value.exit)

    with anyio.fail_after(5):
        async with at.pool, anyio.create_task_group() as tasks:
            tasks.start_soon(turn, 1)
            tasks.start_soon(turn, 2)
            await until(lambda: bool(at.agents.connections))
            await settle()
            process(at).die(3)
    assert exits == [AgentExit(3)] * 2


@pytest.mark.asyncio
async def test_a_thread_without_a_directory_is_alone_in_failing() -> None:
    """P7, O4: also when it is the one for which the process is to be started."""
    at = sharing()
    at.launcher.errors[1] = AgentSpawnError("no directory", failure=SpawnFailure.BAD_DIRECTORY)
    with anyio.fail_after(5):
        async with at.pool as pool:
            broken, sound = pool.try_reserve(1), pool.try_reserve(2)
            with pytest.raises(AgentSpawnError, match="no directory"):
                async with pool.session(1, broken):
                    pass
            async with pool.session(2, sound):
                with pytest.raises(AgentSpawnError, match="no directory"):
                    await use(pool, 1)
    assert at.agents.starts == ["shared"]


@pytest.mark.asyncio
async def test_a_session_that_can_not_be_opened_harms_no_neighbour() -> None:
    """O4, P10"""
    at = sharing()
    at.agents.session_errors["1"] = AgentSpawnError("log in", failure=SpawnFailure.AUTH_REQUIRED)
    with anyio.fail_after(5):
        async with at.pool as pool, pool.session(2) as neighbour:
            with pytest.raises(AgentSpawnError, match="log in"):
                await use(pool, 1)
            at.agents.session_errors.clear()
            assert await use(pool, 1) == "new"
            assert neighbour.slot.state is SlotState.READY
    assert at.agents.starts == ["shared"]


@pytest.mark.asyncio
async def test_a_store_that_fails_for_one_thread_harms_no_neighbour() -> None:
    """O4"""

    class Broken(MemoryStore):
        async def thread(self, thread_id: int) -> ThreadRecord | None:
            if thread_id == 1:
                raise OSError("disk full")
            return await super().thread(thread_id)

    at = make_pool(PoolLimits(max_agents=1), store=Broken())
    at.launcher.shared = dict.fromkeys((1, 2), Sharing("shared", 2))
    with anyio.fail_after(5):
        async with at.pool as pool, pool.session(2) as neighbour:
            with pytest.raises(AgentSpawnError, match="OSError"):
                await use(pool, 1)
            assert neighbour.slot.state is SlotState.READY


@pytest.mark.asyncio
async def test_a_process_that_did_not_open_a_session_in_time_is_joined_by_nobody() -> None:
    """P1, P10: the next one would wait as long; those who are in it go on."""
    at = sharing(PoolLimits(max_agents=2))
    at.agents.session_errors["1"] = RequestTimeout("session/new", 60)
    with anyio.fail_after(5):
        async with at.pool as pool, pool.session(2) as neighbour:
            with pytest.raises(AgentSpawnError, match="60 s"):
                await use(pool, 1)
            await use(pool, 3)
            assert neighbour.slot.state is SlotState.READY
    assert at.agents.starts == ["shared"] * 2


@pytest.mark.asyncio
async def test_a_process_that_does_not_end_a_session_in_time_is_joined_by_nobody() -> None:
    """P5: a session that may still be open there is not opened there again."""
    at = sharing(PoolLimits(max_agents=2))
    at.agents.end_errors["session-100"] = RequestTimeout("session/close", 10)
    with anyio.fail_after(5):
        async with at.pool as pool:
            await use(pool, 1)
            async with pool.session(2) as neighbour:
                pool.evict(1)
                await until(lambda: pool.status(1) is None)
                process(at).open.clear()
                await use(pool, 1)
                assert neighbour.slot.state is SlotState.READY
    assert at.agents.starts == ["shared"] * 2


@pytest.mark.asyncio
async def test_a_prompt_that_stays_open_after_its_cancel_costs_the_process() -> None:
    """T6: as for any cancel that is not obeyed."""
    at = sharing(PoolLimits(max_agents=2))
    at.agents.end_errors["session-100"] = RequestTimeout("session/prompt", 10)
    with anyio.fail_after(5):
        async with at.pool as pool:
            async with pool.session(1) as lease:
                lease.session.is_prompting = True  # type: ignore[misc]
            async with pool.session(2) as neighbour:
                pool.evict(1)
                await until(lambda: neighbour.slot.state is SlotState.CLOSED)
    assert at.agents.starts == ["shared"]


@pytest.mark.asyncio
async def test_a_hung_turn_costs_the_process() -> None:
    """P6: nothing else would end it; its capacity comes back."""
    at = sharing(PoolLimits(max_agents=1, hung_after=100), threads=(1, 2))
    with anyio.fail_after(5):
        async with at.pool as pool, pool.session(1) as hung:
            at.clock.now += 100
            await use(pool, 2)
            pool.maintain()
            assert hung.slot.state is SlotState.CLOSING
            assert await use(pool, 7) == "new"


@pytest.mark.asyncio
async def test_a_successor_does_not_wait_longer_than_the_bound_for_its_predecessors_session() -> None:
    """P5: it goes elsewhere, as does everybody else."""
    at = sharing(PoolLimits(max_agents=2, stop_bound=5))
    leave = anyio.Event()
    with anyio.fail_after(5):
        async with at.pool as pool, anyio.create_task_group() as tasks, pool.session(2):
            tasks.start_soon(stays_in, pool, 1, leave)
            await until(lambda: state(pool, 1) is SlotState.READY)
            await settle()
            pool.evict(1)
            await settle()
            at.clock.now += 5
            pool.maintain()
            process(at).open.discard("session-100-2")
            assert await use(pool, 1) == "resumed"
            assert at.agents.starts == ["shared"] * 2
            leave.set()


@pytest.mark.asyncio
async def test_closing_the_pool_ends_shared_processes_with_all_their_sessions() -> None:
    """R1"""
    at = sharing()
    with anyio.fail_after(5):
        async with at.pool as pool, pool.session(1), pool.session(2):
            assert pool.warm(3)
            await pool.close()
            assert (at.agents.running, pool.counts().live) == ([], 0)
    assert process(at).ended == []


@pytest.mark.asyncio
async def test_a_copy_of_a_session_runs_in_the_shared_process() -> None:
    """Q9"""
    at = sharing()
    with anyio.fail_after(5):
        async with at.pool as pool, pool.session(1), pool.session(2) as second:
            reservation = pool.try_reserve_extra(2)
            assert reservation
            async with pool.extra_session(reservation) as copy:
                assert copy.slot.pid == second.slot.pid
                assert process(at).forked == [(second.session.id, "2")]
    assert at.agents.starts == ["shared"]


@pytest.mark.asyncio
async def test_a_process_that_hung_up_under_its_threads_is_replaced_for_all() -> None:
    """P5, O2"""
    at = sharing(PoolLimits(max_agents=1))
    with anyio.fail_after(5):
        async with at.pool as pool:
            await use(pool, 1)
            await use(pool, 2)
            process(at).hung_up = True
            assert [await use(pool, thread) for thread in (1, 2)] == ["resumed"] * 2
    assert (at.agents.starts, at.agents.peak) == (["shared"] * 2, 1)


@pytest.mark.asyncio
async def test_a_death_that_a_newcomer_notices_first_is_told_to_each_as_it_concerns_them() -> None:
    """P10, O1, O2: who had a session goes on to the next process; whose was still to be opened hears why it is not."""
    at = sharing(PoolLimits(max_agents=2))
    at.agents.session_gates["2"] = anyio.Event()
    exits: list[AgentExit | None] = []
    came: list[str] = []

    async def opening() -> None:
        with pytest.raises(AgentSpawnError) as caught:
            await use(at.pool, 2)
        exits.append(caught.value.exit)

    async def second() -> None:
        came.append(await use(at.pool, 1))

    with anyio.fail_after(5):
        async with at.pool as pool, anyio.create_task_group() as tasks, pool.session(1):
            tasks.start_soon(opening)
            tasks.start_soon(second)
            await settle()
            reserved = pool.try_reserve(1)
            process(at).die(3)
            newcomer = pool.try_reserve(1)
            assert newcomer
            newcomer.release()
            async with pool.session(1, reserved) as lease:
                came.append(lease.how)
            await until(lambda: (exits, sorted(came)) == ([AgentExit(3)], ["live", "resumed"]))


@pytest.mark.asyncio
async def test_a_thread_that_was_never_prompted_is_not_held_back_for_its_neighbours_deaths() -> None:
    """P7: a loop is what dies before any turn."""
    at = sharing()
    with anyio.fail_after(5):
        async with at.pool as pool:
            for _ in range(4):
                await use(pool, 1)
                assert pool.warm(2)
                await until(lambda: state(pool, 2) is SlotState.READY)
                process(at).die(1)
                await until(lambda: pool.status(2) is None)
            assert await use(pool, 2) == "resumed"


# Room in a process that is never idle


@pytest.mark.asyncio
async def test_in_a_full_process_that_is_busy_the_longest_idle_session_makes_room() -> None:
    """P4: nobody waits for a process to be idle as a whole; and its limit holds."""
    at = sharing(sessions=3)
    with anyio.fail_after(5):
        async with at.pool as pool:
            for thread in (2, 3):
                at.clock.now += 1
                await use(pool, thread)
            async with pool.session(1):
                assert await use(pool, 4) == "new"
                assert (state(pool, 2), state(pool, 3)) == (None, SlotState.READY)
                assert await use(pool, 2) == "resumed"
                assert state(pool, 3) is None
            assert process(at).most == 3
            assert at.agents.starts == ["shared"]


@pytest.mark.asyncio
async def test_no_session_with_a_turn_makes_room_and_none_that_is_warmed_ahead_takes_it() -> None:
    """P4, Q6"""
    at = sharing(sessions=2)
    with anyio.fail_after(5):
        async with at.pool as pool, pool.session(1):
            async with pool.session(2):
                assert pool.try_reserve(3) is None
            assert not pool.warm(3)
            assert state(pool, 2) is SlotState.READY
            assert pool.try_reserve(3) is not None
            assert state(pool, 2) is SlotState.CLOSING


@pytest.mark.asyncio
async def test_a_process_that_is_always_busy_is_kept_free_for_a_thread_that_waits_for_longer() -> None:
    """P4, Q6: newer turns stay away from the process that is nearest to being idle, and from no other."""
    at = sharing(PoolLimits(max_agents=2), threads=(1, 2, 3, 4))
    at.launcher.shared |= dict.fromkeys((5, 6), Sharing("other", 20))
    with anyio.fail_after(5):
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


@pytest.mark.asyncio
async def test_who_waits_for_a_session_in_a_process_that_a_neighbour_hung_goes_on_in_the_next_one() -> None:
    """O4, P6, P11: its prompt was not sent yet, and its own start has not failed."""
    at = sharing(PoolLimits(max_agents=1, hung_after=10))
    leave, used = anyio.Event(), anyio.Event()

    async def waits() -> None:
        await use(at.pool, 2)
        used.set()

    with anyio.fail_after(5):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            tasks.start_soon(stays_in, pool, 1, leave)
            await until(lambda: state(pool, 1) is SlotState.READY)
            gate = at.agents.session_gates["2"] = anyio.Event()
            tasks.start_soon(waits)
            await settle()
            at.clock.now += 10
            pool.maintain()
            gate.set()
            await used.wait()
            assert at.agents.starts == ["shared", "shared"]
            leave.set()
