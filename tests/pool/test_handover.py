"""Places that come free while newcomers wait for them: who was admitted before goes first."""

from __future__ import annotations

import anyio
import pytest

from pool.model import PoolLimits
from pool.pool import ConnectionPool
from pool.slot import Reservation
from tests.pool.fakes import PoolUnderTest, make_pool, settle, until, use


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
    with anyio.fail_after(5):
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
    with anyio.fail_after(5):
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
