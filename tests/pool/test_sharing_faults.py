"""Threads that share a process: what goes wrong for one of them, and for all of them together."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from acp.errors import AgentExit, AgentSpawnError, RequestTimeout, SpawnFailure
from pool.launcher import Sharing
from pool.model import PoolLimits, SlotState
from pool.store import ThreadRecord
from tests.pool.fakes import (
    hold_session,
    make_pool,
    make_shared_pool,
    settle,
    shared_process,
    slot_state,
    until,
    use,
)
from tests.pool.memory import MemoryStore

CRASH = AgentSpawnError("exited during start", failure=SpawnFailure.EXITED, exit=AgentExit(3))


@pytest.mark.asyncio
async def test_the_death_of_a_process_moves_all_its_threads_to_one_successor() -> None:
    """P5, P8, O4"""
    at = make_shared_pool(PoolLimits(max_agents=2), threads=(1, 2, 3))
    with anyio.fail_after(30):
        async with at.pool as pool:
            for thread in (1, 2, 3, 7):
                await use(pool, thread)
            shared_process(at).die(1)
            assert [await use(pool, thread) for thread in (1, 2, 3, 7)] == [*["resumed"] * 3, "live"]
    assert (at.agents.starts, at.agents.peak) == (["shared", "7", "shared"], 2)


@pytest.mark.asyncio
async def test_a_start_that_fails_is_told_to_all_who_wait_for_it() -> None:
    """P7, P10: and counts for each of them."""
    at = make_shared_pool()
    at.agents.start_errors["shared"] = CRASH
    told: list[str] = []

    async def turn(thread: int) -> None:
        with pytest.raises(AgentSpawnError) as caught:
            await use(at.pool, thread)
        told.append(str(caught.value))

    with anyio.fail_after(30):
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
    at = make_shared_pool()
    at.agents.session_gates = {"1": anyio.Event(), "2": anyio.Event()}
    exits: list[AgentExit | None] = []

    async def turn(thread: int) -> None:
        with pytest.raises(AgentSpawnError) as caught:
            await use(at.pool, thread)
        exits.append(caught.value.exit)

    with anyio.fail_after(30):
        async with at.pool, anyio.create_task_group() as tasks:
            tasks.start_soon(turn, 1)
            tasks.start_soon(turn, 2)
            await until(lambda: bool(at.agents.connections))
            await settle()
            shared_process(at).die(3)
    assert exits == [AgentExit(3)] * 2


@pytest.mark.asyncio
async def test_a_thread_without_a_directory_is_alone_in_failing() -> None:
    """P7, O4: also when it is the one for which the process is to be started."""
    at = make_shared_pool()
    at.launcher.errors[1] = AgentSpawnError("no directory", failure=SpawnFailure.BAD_DIRECTORY)
    with anyio.fail_after(30):
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
    at = make_shared_pool()
    at.agents.session_errors["1"] = AgentSpawnError("log in", failure=SpawnFailure.AUTH_REQUIRED)
    with anyio.fail_after(30):
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
    with anyio.fail_after(30):
        async with at.pool as pool, pool.session(2) as neighbour:
            with pytest.raises(AgentSpawnError, match="OSError"):
                await use(pool, 1)
            assert neighbour.slot.state is SlotState.READY


@pytest.mark.asyncio
async def test_a_process_that_did_not_open_a_session_in_time_is_joined_by_nobody() -> None:
    """P1, P10: the next one would wait as long; those who are in it go on."""
    at = make_shared_pool(PoolLimits(max_agents=2))
    at.agents.session_errors["1"] = RequestTimeout("session/new", 60)
    with anyio.fail_after(30):
        async with at.pool as pool, pool.session(2) as neighbour:
            with pytest.raises(AgentSpawnError, match="60 s"):
                await use(pool, 1)
            await use(pool, 3)
            assert neighbour.slot.state is SlotState.READY
    assert at.agents.starts == ["shared"] * 2


@pytest.mark.asyncio
async def test_a_process_that_does_not_end_a_session_in_time_is_joined_by_nobody() -> None:
    """P5: a session that may still be open there is not opened there again."""
    at = make_shared_pool(PoolLimits(max_agents=2))
    at.agents.end_errors["session-100"] = RequestTimeout("session/close", 10)
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 1)
            async with pool.session(2) as neighbour:
                pool.evict(1)
                await until(lambda: pool.status(1) is None)
                shared_process(at).open.clear()
                await use(pool, 1)
                assert neighbour.slot.state is SlotState.READY
    assert at.agents.starts == ["shared"] * 2


@pytest.mark.asyncio
async def test_a_prompt_that_stays_open_after_its_cancel_costs_the_process() -> None:
    """T6: as for any cancel that is not obeyed."""
    at = make_shared_pool(PoolLimits(max_agents=2))
    at.agents.end_errors["session-100"] = RequestTimeout("session/prompt", 10)
    with anyio.fail_after(30):
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
    at = make_shared_pool(PoolLimits(max_agents=1, hung_after=100), threads=(1, 2))
    with anyio.fail_after(30):
        async with at.pool as pool, pool.session(1) as hung:
            at.clock.now += 100
            await use(pool, 2)
            pool.maintain()
            assert hung.slot.state is SlotState.CLOSING
            assert await use(pool, 7) == "new"


@pytest.mark.asyncio
async def test_a_successor_does_not_wait_longer_than_the_bound_for_its_predecessors_session() -> None:
    """P5: it goes elsewhere, as does everybody else."""
    at = make_shared_pool(PoolLimits(max_agents=2, stop_bound=5))
    leave = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks, pool.session(2):
            tasks.start_soon(hold_session, pool, 1, leave)
            await until(lambda: slot_state(pool, 1) is SlotState.READY)
            await settle()
            pool.evict(1)
            await settle()
            at.clock.now += 5
            pool.maintain()
            shared_process(at).open.discard("session-100-2")
            assert await use(pool, 1) == "resumed"
            assert at.agents.starts == ["shared"] * 2
            leave.set()


@pytest.mark.asyncio
async def test_closing_the_pool_ends_shared_processes_with_all_their_sessions() -> None:
    """R1"""
    at = make_shared_pool()
    with anyio.fail_after(30):
        async with at.pool as pool, pool.session(1), pool.session(2):
            assert pool.warm(3)
            await pool.close()
            assert (at.agents.running, pool.counts().live) == ([], 0)
    assert shared_process(at).ended == []


@pytest.mark.asyncio
async def test_a_copy_of_a_session_runs_in_the_shared_process() -> None:
    """Q9"""
    at = make_shared_pool()
    with anyio.fail_after(30):
        async with at.pool as pool, pool.session(1), pool.session(2) as second:
            reservation = pool.try_reserve_extra(2)
            assert reservation
            async with pool.extra_session(reservation) as copy:
                assert copy.slot.pid == second.slot.pid
                assert shared_process(at).forked == [(second.session.id, "2")]
    assert at.agents.starts == ["shared"]


@pytest.mark.asyncio
async def test_a_process_that_hung_up_under_its_threads_is_replaced_for_all() -> None:
    """P5, O2"""
    at = make_shared_pool(PoolLimits(max_agents=1))
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 1)
            await use(pool, 2)
            shared_process(at).hung_up = True
            assert [await use(pool, thread) for thread in (1, 2)] == ["resumed"] * 2
    assert (at.agents.starts, at.agents.peak) == (["shared"] * 2, 1)


@pytest.mark.asyncio
async def test_a_death_that_a_newcomer_notices_first_is_told_to_each_as_it_concerns_them() -> None:
    """P10, O1, O2: who had a session goes on to the next process; whose was still to be opened hears why it is not."""
    at = make_shared_pool(PoolLimits(max_agents=2))
    at.agents.session_gates["2"] = anyio.Event()
    exits: list[AgentExit | None] = []
    came: list[str] = []

    async def opening() -> None:
        with pytest.raises(AgentSpawnError) as caught:
            await use(at.pool, 2)
        exits.append(caught.value.exit)

    async def second() -> None:
        came.append(await use(at.pool, 1))

    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks, pool.session(1):
            tasks.start_soon(opening)
            tasks.start_soon(second)
            await settle()
            reserved = pool.try_reserve(1)
            shared_process(at).die(3)
            newcomer = pool.try_reserve(1)
            assert newcomer
            newcomer.release()
            async with pool.session(1, reserved) as lease:
                came.append(lease.how)
            await until(lambda: (exits, sorted(came)) == ([AgentExit(3)], ["live", "resumed"]))


@pytest.mark.asyncio
async def test_a_thread_that_was_never_prompted_is_not_held_back_for_its_neighbours_deaths() -> None:
    """P7: a loop is what dies before any turn."""
    at = make_shared_pool()
    with anyio.fail_after(30):
        async with at.pool as pool:
            for _ in range(4):
                await use(pool, 1)
                assert pool.warm(2)
                await until(lambda: slot_state(pool, 2) is SlotState.READY)
                shared_process(at).die(1)
                await until(lambda: pool.status(2) is None)
            assert await use(pool, 2) == "resumed"


@pytest.mark.asyncio
async def test_who_waits_for_a_session_in_a_process_that_a_neighbour_hung_goes_on_in_the_next_one() -> None:
    """O4, P6, P11: its prompt was not sent yet, and its own start has not failed."""
    at = make_shared_pool(PoolLimits(max_agents=1, hung_after=10))
    leave, used = anyio.Event(), anyio.Event()

    async def waits() -> None:
        await use(at.pool, 2)
        used.set()

    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            tasks.start_soon(hold_session, pool, 1, leave)
            await until(lambda: slot_state(pool, 1) is SlotState.READY)
            gate = at.agents.session_gates["2"] = anyio.Event()
            tasks.start_soon(waits)
            await settle()
            at.clock.now += 10
            pool.maintain()
            gate.set()
            await used.wait()
            assert at.agents.starts == ["shared", "shared"]
            leave.set()
