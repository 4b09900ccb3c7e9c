"""Copies of a session that become other threads' own (S2), and sessions that change their thread (S1)."""

from __future__ import annotations

import anyio
import pytest

from acp.errors import AgentSpawnError, ForkFailed
from acp.schema import AgentCapabilities, InitializeResult, SessionCapabilities
from pool.copies import MOST_COPIES, SessionCopy
from pool.model import PoolLimits
from tests.pool.fakes import PoolUnderTest, hold_session, make_pool, make_shared_pool, settle, use

pytestmark = pytest.mark.asyncio


def can_resume(at: PoolUnderTest) -> None:
    """Let all agents that run say that they can resume sessions."""
    capabilities = AgentCapabilities(session_capabilities=SessionCapabilities(resume={}))
    for connection in at.agents.connections:
        connection.agent = InitializeResult(protocol_version=1, agent_capabilities=capabilities)


async def copied(at: PoolUnderTest, to: int) -> SessionCopy:
    """Copy the session of thread 1 for another one, which has not opened it yet."""
    copy = await at.pool.copy_session(1)
    await at.store.bind(to, session_id=copy.session.id, cwd=copy.cwd)
    at.pool.copies.give(to, copy)
    return copy


async def test_a_copy_is_made_beside_a_turn_and_opened_in_the_other_threads_own_process() -> None:
    """S2, P2: not before it is closed where it was made."""
    at = make_pool()
    with anyio.fail_after(30):
        async with at.pool, anyio.create_task_group() as tasks:
            leave = anyio.Event()
            tasks.start_soon(hold_session, at.pool, 1, leave)
            await settle()
            can_resume(at)
            copy = await copied(at, 2)
            assert (copy.origin, copy.session.id, copy.cwd) == ("session-100", "session-100-fork-1", "1")
            known = [(one.thread_id, one.copy) for one in await at.store.known_sessions([copy.session.id])]
            assert known == [(1, True), (2, False)], "who may not see the original's thread may not see the copy"
            assert await use(at.pool, 2) == "resumed"
            assert at.agents.connections[0].ended == [copy.session.id]
            assert at.agents.connections[1].asked_for == copy.session.id
            leave.set()
    assert at.agents.starts == ["1", "2"]


async def test_where_threads_share_a_process_the_copy_is_taken_over_in_it() -> None:
    """S2, P11: also by an agent that has no other way to a session."""
    at = make_shared_pool()
    with anyio.fail_after(30):
        async with at.pool:
            await use(at.pool, 1)
            copy = await copied(at, 2)
            async with at.pool.session(2) as lease:
                assert (lease.how, lease.lost, lease.session) == ("copied", False, copy.session)
            assert await use(at.pool, 2) == "live"
            assert at.agents.connections[0].ended == []


async def test_a_copy_that_its_agent_has_not_kept_is_made_again_from_the_original() -> None:
    """S2: some write down what was prompted only."""
    at = make_pool()
    with anyio.fail_after(30):
        async with at.pool:
            await use(at.pool, 1)
            can_resume(at)
            copy = await copied(at, 2)
            at.agents.unknown.add(copy.session.id)
            async with at.pool.session(2) as lease:
                assert (lease.how, lease.lost, lease.session.id) == ("copied", False, "session-100-fork-1")
            assert at.agents.connections[1].forked == [("session-100", "2")]


async def test_what_cannot_be_copied_says_why_and_holds_nothing() -> None:
    """S2, P4"""
    at = make_pool(PoolLimits(max_agents=1))
    with anyio.fail_after(30):
        async with at.pool:
            await use(at.pool, 1)
            with pytest.raises(ForkFailed, match="another process"):
                await at.pool.copy_session(1)
            at.agents.connections[0].can_fork = False
            with pytest.raises(ForkFailed, match="can't copy"):
                await at.pool.copy_session(1)
            async with at.pool.session(2):
                with pytest.raises(AgentSpawnError, match="places"):
                    await at.pool.copy_session(1)
            at.agents.start_errors["1"] = ForkFailed("broken")
            with pytest.raises(AgentSpawnError, match="broken"):
                await at.pool.copy_session(1)
            assert at.pool.counts().busy == 0


async def test_copies_that_nobody_opens_are_closed_and_so_is_one_that_its_thread_wants_no_more() -> None:
    """S2: memory is bounded, and a reset forgets the copy."""
    at = make_shared_pool()
    with anyio.fail_after(30):
        async with at.pool:
            await use(at.pool, 1)
            first = await copied(at, 2)
            for number in range(MOST_COPIES):
                await copied(at, 100 + number)
            assert at.agents.connections[0].closed == [first.session.id]
            at.pool.copies.drop(await at.pool.copy_session(1))
            assert len(at.agents.connections[0].closed) == 2
            await copied(at, 3)
            at.pool.reset(3)
            assert await use(at.pool, 3) == "new"
            assert len(at.agents.connections[0].ended) == 1


async def test_a_session_that_was_given_up_is_opened_once_it_has_ended_in_its_old_thread() -> None:
    """S1: never in two threads at once, not even for the moment in which it ends."""
    at = make_pool()
    at.agents.stop_gates["1"] = gate = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool, anyio.create_task_group() as tasks:
            await use(at.pool, 1)
            at.pool.reset(1)
            await at.store.bind(2, session_id="session-100")
            hows: list[str] = []

            async def other() -> None:
                hows.append(await use(at.pool, 2))

            tasks.start_soon(other)
            await settle()
            assert (hows, at.agents.connections[1].asked_for) == ([], None)
            gate.set()
            await settle()
            assert hows == ["resumed"]


async def test_a_session_whose_opening_a_reset_cut_off_waits_for_the_end_of_that_process() -> None:
    """S1: its agent may have opened it all the same."""
    at = make_pool()
    at.agents.session_gates["1"], at.agents.stop_gates["1"] = anyio.Event(), anyio.Event()
    with anyio.fail_after(30):
        async with at.pool, anyio.create_task_group() as tasks:
            await at.store.bind(1, session_id="old")
            tasks.start_soon(use, at.pool, 1)
            await settle()
            assert at.agents.connections[0].asked_for == "old"
            at.pool.reset(1)
            await at.store.bind(2, session_id="old")
            tasks.start_soon(use, at.pool, 2)
            await settle()
            assert at.agents.connections[1].asked_for is None
            at.agents.session_gates["1"].set()
            at.agents.stop_gates["1"].set()
            await settle()
            assert at.agents.connections[1].asked_for == "old"


async def test_a_session_that_is_open_in_another_thread_is_not_opened() -> None:
    """S1: whatever the store says."""
    at = make_pool()
    with anyio.fail_after(30):
        async with at.pool, at.pool.session(1) as lease:
            await at.store.bind(2, session_id=lease.session.id)
            with pytest.raises(AgentSpawnError, match="another thread"):
                await use(at.pool, 2)
