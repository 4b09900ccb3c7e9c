"""Who waits for a slot, and who gets its lock for a turn; what the agent behind it may do meanwhile."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest

from acp.errors import AgentSpawnError, SpawnFailure
from acp.schema import AgentCapabilities, InitializeResult
from pool.model import SlotState
from tests.pool.fakes import make_pool, settle, until, use


@pytest.mark.asyncio
async def test_turns_of_a_thread_run_one_after_the_other() -> None:
    """P2: the slot's lock is held for the length of a turn."""
    at = make_pool()
    inside: list[int] = []
    most: list[int] = []

    async def turn() -> None:
        async with at.pool.session(1):
            inside.append(1)
            most.append(len(inside))
            await settle()
            inside.pop()

    with anyio.fail_after(30):
        async with at.pool, anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(turn)
            await until(lambda: len(most) == 5)
            await until(lambda: not inside)
    assert most == [1] * 5


@pytest.mark.asyncio
async def test_a_replaced_slot_survives_the_end_of_the_old_turn() -> None:
    """P5: removal is by identity."""
    at = make_pool()
    with anyio.fail_after(30):
        async with at.pool as pool:
            async with AsyncExitStack() as old_turn:
                old = await old_turn.enter_async_context(pool.session(1))
                assert old.stop()
                assert await use(pool, 1) == "resumed"
                assert not old.stop()
            await settle()
            status = pool.status(1)
            assert status
            assert (status.state, status.generation > old.slot.generation) == (SlotState.READY, True)
            assert at.agents.running == ["1"]


@pytest.mark.asyncio
async def test_a_turn_that_fails_or_is_cancelled_leaves_the_agent_alive() -> None:
    """T6, Q10"""
    at = make_pool()
    with anyio.fail_after(30):
        async with at.pool as pool:
            with pytest.raises(RuntimeError, match="turn"):
                async with pool.session(1):
                    raise RuntimeError("turn")
            with anyio.CancelScope() as turn:
                async with pool.session(1):
                    turn.cancel()
                    await anyio.sleep_forever()
            assert await use(pool, 1) == "live"
    assert at.agents.starts == ["1"]


@pytest.mark.asyncio
async def test_an_agent_that_hung_up_is_replaced_although_its_process_still_lives() -> None:
    """P5, O2: a prompt that waited is not spent on a connection that is over; also one that waited for the lock."""
    at = make_pool()
    came: list[str] = []

    async def second() -> None:
        came.append(await use(at.pool, 1))

    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            async with pool.session(1):
                tasks.start_soon(second)
                await settle()
                at.agents.last(1).hung_up = True
            await until(lambda: came == ["resumed"])
            at.agents.last(1).hung_up = True
            assert await use(pool, 1) == "resumed"
    assert (at.agents.starts, at.agents.peak, at.agents.doubles) == (["1"] * 3, 1, 0)


@pytest.mark.asyncio
async def test_an_agent_that_died_between_turns_is_replaced_and_its_session_resumed() -> None:
    """P8"""
    at = make_pool()
    with anyio.fail_after(30):
        async with at.pool as pool:
            async with pool.session(1) as lease:
                session_id = lease.session.id
            at.agents.last(1).die(1)
            async with pool.session(1) as lease:
                assert (lease.how, lease.lost, lease.session.id) == ("resumed", False, session_id)


@pytest.mark.asyncio
async def test_who_waits_for_the_lock_of_a_dying_agent_moves_on_to_its_successor() -> None:
    """P10: the wait is on ready or closed."""
    at = make_pool()
    came: list[str] = []

    async def second() -> None:
        came.append(await use(at.pool, 1))

    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks, pool.session(1):
            tasks.start_soon(second)
            await settle()
            at.agents.last(1).die(9)
            await until(lambda: came == ["resumed"])


@pytest.mark.asyncio
async def test_a_cancelled_waiter_leaves_the_start_going() -> None:
    """T6: it becomes an idle slot."""
    at = make_pool()
    at.agents.start_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            tasks.start_soon(use, pool, 1)
            await at.agents.waiting.wait()
            tasks.cancel_scope.cancel()
        # The pool was left with the start still hanging: it must have been ended, not abandoned.
        assert at.agents.running == []
    at = make_pool()
    at.agents.start_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(use, pool, 1)
                await at.agents.waiting.wait()
                tasks.cancel_scope.cancel()
            at.agents.start_gates["1"].set()
            await until(lambda: pool.counts().live == 1)
            assert pool.counts().busy == 0
            assert await use(pool, 1) == "new"
    assert at.agents.starts == ["1"]


@pytest.mark.asyncio
async def test_everyone_who_waits_for_a_start_that_fails_is_told_why() -> None:
    """P10"""
    at = make_pool()
    at.agents.start_gates["1"] = anyio.Event()
    at.agents.start_errors["1"] = AgentSpawnError("no such program", failure=SpawnFailure.NOT_FOUND)
    told: list[BaseException] = []

    async def turn() -> None:
        with pytest.raises(AgentSpawnError, match="no such program") as caught:
            await use(at.pool, 1)
        told.append(caught.value)

    with anyio.fail_after(30):
        async with at.pool, anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(turn)
            await at.agents.waiting.wait()
            await settle()
            at.agents.start_gates["1"].set()
            await until(lambda: len(told) == 3)
    assert len({id(error) for error in told}) == 3


@pytest.mark.asyncio
async def test_a_hanging_start_that_is_evicted_wakes_its_waiters() -> None:
    """P10"""
    at = make_pool()
    at.agents.start_gates["1"] = anyio.Event()
    told: list[str] = []

    async def turn() -> None:
        with pytest.raises(AgentSpawnError) as caught:
            await use(at.pool, 1)
        told.append(str(caught.value))

    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            tasks.start_soon(turn)
            await at.agents.waiting.wait()
            assert pool.evict(1)
            await until(lambda: told == ["the agent was stopped while it was starting"])
            await until(lambda: at.agents.running == [])


async def ended_badly(*turns: bool, can_load: bool = True) -> list[SlotState | None]:
    """Tell of the ends of turns, internal errors or not; return the slot's state after each."""
    at = make_pool()
    states: list[SlotState | None] = []
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 1)
            capabilities = AgentCapabilities(load_session=can_load)
            at.agents.connections[0].agent = InitializeResult(protocol_version=1, agent_capabilities=capabilities)
            for internal_error in turns:
                async with pool.session(1) as lease:
                    lease.served(internal_error=internal_error)
                    states.append(lease.slot.state)
    return states


@pytest.mark.asyncio
async def test_an_agent_with_two_internal_errors_in_a_row_is_stopped() -> None:
    """P8"""
    assert await ended_badly(True, False, True, True) == [*[SlotState.READY] * 3, SlotState.CLOSING]


@pytest.mark.asyncio
async def test_an_agent_whose_session_could_not_be_had_again_is_kept_in_spite_of_internal_errors() -> None:
    """P8"""
    assert await ended_badly(True, True, True, can_load=False) == [SlotState.READY] * 3


@pytest.mark.asyncio
async def test_a_turn_that_waits_for_a_start_goes_on_afresh_after_a_reset() -> None:
    """Q8, P10: whom the reset was to cancel is cancelled by whoever asked for it."""
    at = make_pool()
    how: list[str] = []

    async def waits() -> None:
        how.append(await use(at.pool, 1))

    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            at.agents.start_gates["1"] = anyio.Event()
            tasks.start_soon(waits)
            await at.agents.waiting.wait()
            del at.agents.start_gates["1"]
            pool.reset(1)
            await until(lambda: how == ["new"])
            assert at.agents.starts == ["1", "1"]
