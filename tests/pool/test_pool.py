"""One agent for a thread, its successors, and the end of all; nothing of one thread in the way of another."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from acp.errors import AgentSpawnError
from pool.model import PoolLimits, SlotState
from pool.storage.durable import open_store
from pool.store import ThreadRecord
from tests.pool.fakes import make_pool, settle, until, use
from tests.pool.memory import MemoryStore


@pytest.mark.asyncio
async def test_twenty_first_turns_at_once_make_one_agent() -> None:
    """P1"""
    at = make_pool()
    at.agents.start_gates["1"] = anyio.Event()
    done: list[str] = []

    async def turn() -> None:
        done.append(await use(at.pool, 1))

    with anyio.fail_after(30):
        async with at.pool, anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(turn)
            await at.agents.waiting.wait()
            await settle()
            at.agents.start_gates["1"].set()
            await until(lambda: len(done) == 20)
    assert at.agents.starts == ["1"]
    assert sorted(done) == ["live"] * 19 + ["new"]


@pytest.mark.asyncio
async def test_a_start_that_hangs_delays_no_other_thread() -> None:
    """P1, O4"""
    at = make_pool()
    at.agents.start_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            tasks.start_soon(use, pool, 1)
            await at.agents.waiting.wait()
            assert await use(pool, 2) == "new"
            assert pool.status(1) is not None
            at.agents.start_gates["1"].set()


@pytest.mark.asyncio
async def test_a_busy_slot_is_never_evicted_for_a_newcomer() -> None:
    """P4: the newcomer waits."""
    at = make_pool(PoolLimits(max_agents=1))
    came: list[str] = []

    async def newcomer() -> None:
        came.append(await use(at.pool, 2))

    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            async with pool.session(1) as lease:
                tasks.start_soon(newcomer)
                await settle()
                assert (came, lease.slot.state) == ([], SlotState.READY)
            await until(lambda: came == ["new"])
    assert at.agents.peak == 1


@pytest.mark.asyncio
async def test_status_eviction_and_counts_answer_while_a_turn_runs() -> None:
    """P2, P6: nobody takes the lock for that."""
    at = make_pool()
    with anyio.fail_after(30):
        async with at.pool as pool, pool.session(1):
            status = pool.status(1)
            assert status
            assert (status.state, status.busy, status.pid, status.agent) == (SlotState.READY, True, 100, "fake")
            assert (pool.counts().live, pool.counts().busy) == (1, 1)
            assert (pool.evict(1), pool.evict(1)) == (True, False)
            await until(lambda: pool.status(1) is None)
            assert not at.agents.connections[0].alive()


@pytest.mark.asyncio
async def test_a_thread_without_a_slot_has_no_status_and_nothing_to_evict() -> None:
    """P2"""
    at = make_pool()
    async with at.pool as pool:
        assert (pool.status(1), pool.evict(1), pool.reset(1)) == (None, False, False)


@pytest.mark.asyncio
async def test_an_evicted_busy_slot_returns_its_place_although_its_turn_never_ends() -> None:
    """P6"""
    at = make_pool(PoolLimits(max_agents=1))
    with anyio.fail_after(30):
        async with at.pool as pool, pool.session(1):
            pool.evict(1)
            assert await use(pool, 2) == "new"


@pytest.mark.asyncio
async def test_a_successor_starts_only_after_its_predecessor_is_gone() -> None:
    """P5"""
    at = make_pool(PoolLimits(max_agents=5))
    at.agents.stop_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            await use(pool, 1)
            pool.evict(1)
            tasks.start_soon(use, pool, 1)
            await settle()
            assert at.agents.starts == ["1"]
            at.agents.stop_gates["1"].set()
            await until(lambda: at.agents.starts == ["1", "1"])
    assert at.agents.doubles == 0


@pytest.mark.asyncio
async def test_rapid_evictions_never_make_two_agents_of_a_thread() -> None:
    """P5: also when a successor is evicted while it waits for its predecessor."""
    at = make_pool(PoolLimits(max_agents=5))
    at.agents.stop_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 1)
            for _ in range(6):
                pool.evict(1)
                assert pool.warm(1) or pool.try_reserve(1) is not None
                await settle()
            assert (at.agents.starts, at.agents.doubles) == (["1"], 0)
            at.agents.stop_gates["1"].set()
            await until(lambda: pool.counts().closing == 0)
    assert at.agents.doubles == 0


@pytest.mark.asyncio
async def test_the_newcomer_starts_only_after_the_victim_is_gone() -> None:
    """P4: live + starting + closing never exceed the limit."""
    at = make_pool(PoolLimits(max_agents=1))
    at.agents.stop_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            await use(pool, 1)
            tasks.start_soon(use, pool, 2)
            await settle()
            assert (at.agents.running, pool.counts().closing, pool.counts().starting) == (["1"], 1, 0)
            at.agents.stop_gates["1"].set()
            await until(lambda: "2" in at.agents.starts)
    assert at.agents.peak == 1


@pytest.mark.asyncio
async def test_a_reset_forgets_the_session_but_remembers_which_it_was() -> None:
    """Q8, P8"""
    at = make_pool()
    with anyio.fail_after(30):
        async with at.pool as pool:
            async with pool.session(1) as lease:
                old, generation = lease.session.id, lease.slot.generation
            assert pool.reset(1)
            async with pool.session(1) as lease:
                assert lease.how == "new"
                assert lease.slot.generation > generation
                record = await at.store.thread(1)
                assert record
                assert (record.session_id, record.previous_session_id) == (lease.session.id, old)


class SlowStore(MemoryStore):
    gate: anyio.Event

    async def bind(self, thread_id: int, **fields: Any) -> None:
        if fields.get("session_id", "") is None:
            await self.gate.wait()
        await super().bind(thread_id, **fields)


@pytest.mark.asyncio
async def test_the_session_after_a_reset_waits_until_the_old_one_is_forgotten() -> None:
    """Q8: or it would resume what is being forgotten, and be forgotten in its place."""
    store = SlowStore()
    store.gate = anyio.Event()
    at = make_pool(store=store)
    came: list[str] = []

    async def turn() -> None:
        came.append(await use(at.pool, 1))

    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            await use(pool, 1)
            assert (pool.reset(1), pool.reset(1)) == (True, False)
            tasks.start_soon(turn)
            await until(lambda: len(at.agents.connections) == 2)
            await settle()
            assert came == []
            store.gate.set()
            await until(lambda: came == ["new"])
        record = await store.thread(1)
        assert record
        assert record.session_id == "session-101"


@pytest.mark.asyncio
async def test_a_reset_holds_although_the_disk_stalls_until_after_the_pool_was_left(tmp_path: Path) -> None:
    """Q8, R6: it is handed in at once, and written before anything that comes later."""
    stall, path = threading.Event(), tmp_path / "state.db"
    stall.set()

    class Disk(sqlite3.Connection):
        def execute(self, *args: Any) -> sqlite3.Cursor:
            stall.wait(5)
            return super().execute(*args)

        def cursor(self, *args: Any) -> Any:
            stall.wait(5)
            return super().cursor(*args)

    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Disk)

    with anyio.fail_after(30):
        async with open_store(path, connect=connect) as store:
            at = make_pool(store=cast("MemoryStore", store))
            async with at.pool as pool:
                await use(pool, 1)
                stall.clear()
                pool.reset(1)
            stall.set()
        async with open_store(path) as store:
            record = await store.thread(1)
    assert record
    assert (record.session_id, record.previous_session_id) == (None, "session-100")


@pytest.mark.asyncio
async def test_a_start_does_not_wait_for_a_store_that_hangs_for_ever() -> None:
    """T6, P7: and a session that can't be kept yet is used all the same."""

    class Hanging(MemoryStore):
        async def thread(self, thread_id: int) -> ThreadRecord | None:
            if thread_id == 1:
                await anyio.sleep_forever()
            return await super().thread(thread_id)

        async def bind(self, thread_id: int, **fields: Any) -> None:
            await anyio.sleep_forever()

    at = make_pool(PoolLimits(max_agents=2, store_bound=0.01), store=Hanging())
    with anyio.fail_after(30):
        async with at.pool as pool:
            with pytest.raises(AgentSpawnError, match="the state file did not answer"):
                await use(pool, 1)
            assert await use(pool, 2) == "new"


@pytest.mark.asyncio
async def test_a_store_that_fails_to_forget_harms_no_other_thread() -> None:
    """O4"""

    class Broken(MemoryStore):
        async def bind(self, thread_id: int, **fields: Any) -> None:
            if thread_id == 1:
                raise OSError("disk full")
            await super().bind(thread_id, **fields)

    at = make_pool(store=Broken())
    with anyio.fail_after(30):
        async with at.pool as pool:
            pool.reset(1)
            await settle()
            assert await use(pool, 2) == "new"


@pytest.mark.asyncio
async def test_a_reset_thread_stays_reset_when_no_message_follows() -> None:
    """Q8: the store forgets too."""
    at = make_pool()
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 1)
            pool.reset(1)
        record = await at.store.thread(1)
        assert record
        assert record.session_id is None


@pytest.mark.asyncio
async def test_closing_ends_every_agent_also_the_busy_and_the_hanging() -> None:
    """R1"""
    at = make_pool(PoolLimits(max_agents=3))
    at.agents.start_gates["3"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 1)
            assert pool.warm(3)
            await at.agents.waiting.wait()
            async with pool.session(2):
                await pool.close()
                assert (at.agents.running, pool.counts().live) == ([], 0)
            assert pool.try_reserve(4) is None
            with pytest.raises(AgentSpawnError, match="closing"):
                await use(pool, 4)


@pytest.mark.asyncio
async def test_closing_wakes_who_waits_for_a_place() -> None:
    """P10, R1"""
    at = make_pool(PoolLimits(max_agents=1))
    told: list[str] = []

    async def turn() -> None:
        with pytest.raises(AgentSpawnError) as caught:
            await use(at.pool, 2)
        told.append(str(caught.value))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks, at.pool as pool, pool.session(1):
            tasks.start_soon(turn)
            await settle()
            await pool.close()
            await until(lambda: told == ["the pool is closing"])


@pytest.mark.asyncio
async def test_closing_does_not_wait_for_ever() -> None:
    """R1: an agent that outlives its escalation holds nobody up beyond the bound."""
    at = make_pool(PoolLimits(close_bound=0.01))
    at.agents.stop_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool:
            await use(pool, 1)
            await pool.close()
            assert at.agents.running == ["1"]
            at.agents.stop_gates["1"].set()


@pytest.mark.asyncio
async def test_a_cancelled_pool_ends_its_agents_too() -> None:
    """R1: shields hold against the root scope."""
    at = make_pool()
    at.agents.stop_gates["1"] = anyio.Event()
    at.agents.stop_gates["1"].set()
    with anyio.fail_after(30), anyio.CancelScope() as root:
        async with at.pool as pool, pool.session(1):
            root.cancel()
            await anyio.sleep_forever()
    assert at.agents.running == []
    assert not at.agents.connections[0].alive()
