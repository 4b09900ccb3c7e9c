"""The servers that sessions get, and the tokens in them: one for each session, dead with it (M1)."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import cast

import anyio
import pytest

from acp.errors import AgentSpawnError, ForkFailed, SpawnFailure
from acp.session import AgentSession
from pool.model import PoolLimits
from pool.session_servers import Offer, SessionServers
from tests.pool.fakes import PoolUnderTest, hold_session, make_pool, make_shared_pool, settle, tools_for, use
from tests.pool.test_copies import can_resume, copied

pytestmark = pytest.mark.asyncio


def tokens(at: PoolUnderTest) -> list[str]:
    """Return the tokens that agents were given so far, in order."""
    return [server.env["TOKEN"] for given in at.agents.given for server in given]


def known(at: PoolUnderTest) -> list[Offer | None]:
    return [at.servers.find(token) for token in tokens(at)]


async def test_a_token_stands_for_the_session_that_it_was_given_to() -> None:
    """M1: by thread and by session, since turns of one thread may run side by side."""
    at = make_pool()
    with anyio.fail_after(30):
        async with at.pool, at.pool.session(1) as one, at.pool.session(2) as two:
            assert [given[0].name for given in at.agents.given] == ["1", "2"]
            found = [(offer.thread_id, offer.session) for offer in known(at) if offer is not None]
            assert found == [(1, one.session), (2, two.session)]
            assert at.servers.find("") is at.servers.find(tokens(at)[0] + "x") is None
            (reserved,) = [at.pool.try_reserve_extra(1)]
            assert reserved is not None
            async with at.pool.extra_session(reserved) as extra:
                third = at.servers.find(tokens(at)[2])
                assert third is not None
                assert (third.thread_id, third.session, third.ended.is_set()) == (1, extra.session, False)
            assert (at.servers.find(tokens(at)[2]), third.ended.is_set()) == (None, True)
            assert len(set(tokens(at))) == 3
        assert known(at) == [None] * 3
    assert at.servers.count == 0


@pytest.mark.parametrize("end", ["evict", "reset", "dies", "idle"])
async def test_a_token_ends_with_its_session_however_that_ends(end: str) -> None:
    """M1: the next session of the thread has another one."""
    at = make_pool(PoolLimits(max_agents=2, idle_ttl=10))
    with anyio.fail_after(30):
        async with at.pool:
            await use(at.pool, 1)
            (offer,) = known(at)
            assert offer is not None
            match end:
                case "evict":
                    at.pool.evict(1)
                case "reset":
                    at.pool.reset(1)
                case "dies":
                    at.agents.last(1).die(1)
                case _:
                    at.clock.now += 11
                    at.pool.maintain()
            await offer.ended.wait()
            await settle()
            assert (known(at), at.servers.count) == ([None], 0)
            await use(at.pool, 1)
            assert [found and found.thread_id for found in known(at)] == [None, 1]


async def test_a_token_of_a_session_in_a_shared_process_ends_alone() -> None:
    """M1, P11"""
    at = make_shared_pool()
    with anyio.fail_after(30):
        async with at.pool:
            await use(at.pool, 1)
            await use(at.pool, 2)
            at.pool.evict(1)
            await settle()
            assert [found and found.thread_id for found in known(at)] == [None, 2]


async def test_no_token_stays_of_a_session_that_could_not_be_opened() -> None:
    """M1"""
    at = make_pool()
    at.agents.session_errors["1"] = AgentSpawnError("it broke", failure=SpawnFailure.OTHER)
    with anyio.fail_after(30):
        async with at.pool:
            with pytest.raises(AgentSpawnError):
                await use(at.pool, 1)
            await use(at.pool, 2)
            at.agents.fork_errors["2"] = ForkFailed("no")
            async with at.pool.session(2):
                reserved = at.pool.try_reserve_extra(2)
                assert reserved is not None
                with pytest.raises(ForkFailed):
                    async with at.pool.extra_session(reserved):
                        raise AssertionError("there was no copy")
            with pytest.raises(ForkFailed):
                await at.pool.copy_session(2)
            assert [found and found.thread_id for found in known(at)] == [None, 2, *[None] * (len(known(at)) - 2)]
            assert at.servers.count == 1


async def test_a_copys_token_is_that_of_the_thread_that_it_is_given_to() -> None:
    """M1, S2: before that it is nobody's; opened in another process, the session has another token."""
    at = make_shared_pool()
    with anyio.fail_after(30):
        async with at.pool:
            await use(at.pool, 1)
            unused, copy = await at.pool.copy_session(1), await copied(at, 2)
            assert [found and found.thread_id for found in known(at)] == [1, None, 2]
            at.pool.copies.drop(unused)
            async with at.pool.session(2) as lease:
                (offer,) = [found for found in known(at) if found is not None and found.thread_id == 2]
                assert (offer.session, offer.session is lease.session) == (copy.session, True)
            at.pool.evict(2)
            await settle()
            assert ([found and found.thread_id for found in known(at)], at.servers.count) == ([1, None, None], 1)


async def test_a_copy_that_is_opened_elsewhere_gets_a_new_token() -> None:
    """M1, S2"""
    at = make_pool()
    with anyio.fail_after(30):
        async with at.pool, anyio.create_task_group() as tasks:
            leave = anyio.Event()
            tasks.start_soon(hold_session, at.pool, 1, leave)
            await settle()
            can_resume(at)
            await copied(at, 2)
            await use(at.pool, 2)
            assert [found and found.thread_id for found in known(at)] == [1, None, 2]
            leave.set()


async def test_nothing_is_kept_where_no_server_is_offered() -> None:
    """M1: as by an agent for which that is switched off."""
    servers = SessionServers(lambda thread_id, token: () if thread_id == 1 else tools_for(thread_id, token), "key")
    assert (servers.offer(1).servers, servers.count) == ((), 0)
    (server,) = servers.offer(2).servers
    assert server.env["TOKEN"].startswith("key")
    assert server.env["TOKEN"] not in repr(server), "it must not get into a log"
    assert servers.count == 1


async def test_a_token_is_worth_nothing_to_the_agent_of_another_session() -> None:
    """M1: however it came by it; a process of the session's own agent, or of none, is let in."""
    servers = SessionServers(tools_for)
    own_agent, other_agent = [await anyio.open_process([sys.executable, "-c", "input()"]) for _ in range(2)]
    try:
        offers = [servers.offer(thread_id) for thread_id in (1, 2)]
        (token,) = (server.env["TOKEN"] for server in offers[0].servers)
        assert servers.find(token, other_agent.pid) is offers[0], "no session is open yet"
        for offer, agent in zip(offers, (own_agent, other_agent), strict=True):
            offer.session = cast("AgentSession", SimpleNamespace(pid=agent.pid))
        assert servers.find(token, own_agent.pid) is offers[0]
        assert servers.find(token, other_agent.pid) is None
        assert servers.find(token, os.getpid()) is offers[0], "as in a container, where nothing tells whose it is"
    finally:
        for agent in (own_agent, other_agent):
            agent.kill()
            await agent.aclose()
