"""What the task of an agent does with starts, sessions, failures and leaks."""

from __future__ import annotations

from dataclasses import replace

import anyio
import anyio.lowlevel
import psutil
import pytest
from structlog.contextvars import bound_contextvars, get_contextvars
from structlog.testing import capture_logs

from acp.errors import AgentExit, AgentExited, AgentSpawnError, RequestTimeout, SpawnFailure
from acp.shutdown import StopReport, StopStage
from pool.model import PoolLimits, SlotState
from pool.store import ThreadRecord
from tests.pool.fakes import PoolUnderTest, make_pool, settle, until, use
from tests.pool.memory import MemoryStore

CRASH = AgentSpawnError("exited during start", failure=SpawnFailure.EXITED, exit=AgentExit(3, "boom"))


async def fails(at: PoolUnderTest, thread: int = 1) -> AgentSpawnError:
    with pytest.raises(AgentSpawnError) as caught:
        await use(at.pool, thread)
    return caught.value


@pytest.mark.parametrize(("inside", "cwd"), [(None, "1"), ("/inside", "/inside")])
@pytest.mark.asyncio
async def test_the_opened_session_is_remembered_before_its_first_turn(inside: str | None, cwd: str) -> None:
    """P8, R5: with its directory as the agent sees it; in a container the process starts in another one."""
    at = make_pool()
    spec = at.launcher.spec
    at.launcher.spec = lambda thread_id: replace(spec(thread_id), session_cwd=inside)  # type: ignore[method-assign]
    async with at.pool as pool, pool.session(1) as lease:
        record = await at.store.thread(1)
        assert record
        assert (record.session_id, record.agent, record.cwd) == (lease.session.id, "fake", cwd)


@pytest.mark.asyncio
async def test_a_remembered_session_is_asked_for() -> None:
    """P8"""
    at = make_pool()
    await at.store.bind(1, session_id="old")
    async with at.pool as pool, pool.session(1) as lease:
        assert (at.agents.last(1).asked_for, lease.how, lease.lost) == ("old", "resumed", False)


@pytest.mark.asyncio
async def test_a_suspended_session_is_resumed() -> None:
    """P4, P8: process ended, session id kept."""
    at = make_pool(PoolLimits(max_agents=1))
    with anyio.fail_after(30):
        async with at.pool as pool:
            async with pool.session(1) as lease:
                session_id = lease.session.id
            await use(pool, 2)
            async with pool.session(1) as lease:
                assert (lease.how, lease.session.id) == ("resumed", session_id)


@pytest.mark.asyncio
async def test_an_unknown_session_is_replaced_and_told_to_the_first_turn_only() -> None:
    """P8"""
    at = make_pool()
    at.agents.unknown.add("old")
    await at.store.bind(1, session_id="old")
    async with at.pool as pool:
        async with pool.session(1) as lease:
            assert (lease.how, lease.lost) == ("new", True)
        async with pool.session(1) as lease:
            assert (lease.how, lease.lost) == ("live", False)
        record = await at.store.thread(1)
        assert record
        assert (record.session_id, record.previous_session_id) == (lease.session.id, "old")


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (RequestTimeout("session/resume", 60), SpawnFailure.TIMEOUT),
        (AgentExited(AgentExit(1)), SpawnFailure.EXITED),
        (AgentSpawnError("log in with X", failure=SpawnFailure.AUTH_REQUIRED), SpawnFailure.AUTH_REQUIRED),
        (OSError("a bug"), SpawnFailure.OTHER),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.name,
)
@pytest.mark.asyncio
async def test_a_session_that_can_not_be_opened_is_kept(error: Exception, failure: SpawnFailure) -> None:
    """P8: after a timeout, a death or -32000 the id is kept; the process is ended, and the next try starts anew."""
    at = make_pool()
    await at.store.bind(1, session_id="old")
    at.agents.session_errors["1"] = error
    with anyio.fail_after(30):
        async with at.pool as pool:
            assert (await fails(at)).failure is failure
            await until(lambda: at.agents.running == [])
            record = await at.store.thread(1)
            assert record
            assert record.session_id == "old"
            at.agents.session_errors.clear()
            assert await use(pool, 1) == "resumed"


@pytest.mark.asyncio
async def test_those_who_wait_are_told_before_the_shutdown_escalation_has_run() -> None:
    """P10"""
    at = make_pool()
    at.agents.session_errors["1"] = RequestTimeout("session/new", 60)
    at.agents.stop_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool:
            assert (await fails(at)).failure is SpawnFailure.TIMEOUT
            assert at.agents.running == ["1"]
            at.agents.stop_gates["1"].set()


@pytest.mark.asyncio
async def test_one_threads_failing_start_harms_no_other() -> None:
    """O4"""
    at = make_pool()
    at.agents.start_errors["1"] = OSError("not an error of the protocol")
    with anyio.fail_after(30):
        async with at.pool as pool:
            assert (await fails(at)).failure is SpawnFailure.OTHER
            assert await use(pool, 2) == "new"


@pytest.mark.asyncio
async def test_a_failing_launcher_is_reported_and_returns_the_place() -> None:
    """P7, P10"""
    at = make_pool(PoolLimits(max_agents=1))
    at.launcher.errors[1] = AgentSpawnError("no directory", failure=SpawnFailure.BAD_DIRECTORY)
    with anyio.fail_after(30):
        async with at.pool as pool:
            assert (await fails(at)).failure is SpawnFailure.BAD_DIRECTORY
            assert await use(pool, 2) == "new"


@pytest.mark.asyncio
async def test_a_crash_loop_is_held_back_and_says_for_how_long() -> None:
    """P7"""
    at = make_pool()
    at.agents.start_errors["1"] = CRASH
    with anyio.fail_after(30):
        async with at.pool as pool:
            for _ in range(3):
                assert (await fails(at)).exit == AgentExit(3, "boom")
            at.clock.now += 20
            assert str(await fails(at)) == "the agent failed to start 3 times in a row; next try in 40 s"
            assert len(at.agents.starts) == 3
            at.clock.now += 40
            at.agents.start_errors.clear()
            assert await use(pool, 1) == "new"


@pytest.mark.asyncio
async def test_a_start_that_went_well_begins_the_count_anew() -> None:
    """P7: a loop is what fails several times in a row."""
    at = make_pool()
    with anyio.fail_after(30):
        async with at.pool as pool:
            for how in ("new", "resumed"):
                at.agents.start_errors["1"] = CRASH
                for _ in range(2):
                    assert str(await fails(at)) == "exited during start"
                at.agents.start_errors.clear()
                assert await use(pool, 1) == how
                pool.evict(1)


@pytest.mark.asyncio
async def test_a_held_back_thread_takes_no_place_and_suspends_nobody() -> None:
    """P4, P7"""
    at = make_pool(PoolLimits(max_agents=1))
    at.agents.start_errors["1"] = CRASH
    with anyio.fail_after(30):
        async with at.pool as pool:
            for _ in range(3):
                await fails(at)
            await use(pool, 2)
            reservation = pool.try_reserve(1)
            assert reservation
            with pytest.raises(AgentSpawnError, match="next try in"):
                async with pool.session(1, reservation):
                    pass
            assert not pool.warm(1)
            assert await use(pool, 2) == "live"


@pytest.mark.asyncio
async def test_a_start_that_fails_for_good_is_reported_each_time() -> None:
    """P7: reported at once, and never held back."""
    at = make_pool()
    at.agents.start_errors["1"] = AgentSpawnError("no such program", failure=SpawnFailure.NOT_FOUND)
    with anyio.fail_after(30):
        async with at.pool:
            messages = [str(await fails(at)) for _ in range(5)]
    assert messages == ["no such program"] * 5


@pytest.mark.asyncio
async def test_a_reset_lets_a_held_back_thread_try_at_once() -> None:
    """P7, Q8"""
    at = make_pool()
    at.agents.start_errors["1"] = CRASH
    with anyio.fail_after(30):
        async with at.pool as pool:
            for _ in range(3):
                await fails(at)
            at.agents.start_errors.clear()
            pool.reset(1)
            assert await use(pool, 1) == "new"


@pytest.mark.asyncio
async def test_an_agent_that_always_dies_before_its_first_turn_is_a_crash_loop() -> None:
    """P7: replacing it for ever would keep its thread waiting for ever."""
    at = make_pool()
    with anyio.fail_after(30):
        async with at.pool as pool:
            for _ in range(3):
                assert pool.warm(1)
                await until(lambda: pool.counts().live == 1)
                at.agents.last(1).die(1)
                await until(lambda: pool.counts().closing + pool.counts().live == 0)
            assert "next try in" in str(await fails(at))


class Child(psutil.Process):
    """Something that an agent started."""

    alive = True

    def is_running(self) -> bool:
        return self.alive


@pytest.mark.parametrize("left", ["agent", "child"])
@pytest.mark.asyncio
async def test_a_place_is_returned_once_nothing_is_left_of_the_agent(left: str) -> None:
    """P5, P9: be it the process that outlived its shutdown escalation, or what that one started."""
    at, child = make_pool(PoolLimits(max_agents=1)), Child()
    if left == "agent":
        at.agents.immortal.add("1")
    with anyio.fail_after(30), capture_logs() as logs:
        async with at.pool as pool:
            await use(pool, 1)
            if left == "child":
                at.agents.last(1).stop_report = StopReport(StopStage.KILL, 5.0, (child,))
            pool.evict(1)
            await until(lambda: pool.status(1) is None)
            assert (pool.counts().closing, pool.try_reserve(2)) == (1, None)
            pool.maintain()
            assert pool.try_reserve(2) is None
            child.alive = False
            at.agents.last(1).die(-9)
            pool.maintain()
            assert pool.try_reserve(2) is not None
    events = [entry["event"] for entry in logs]
    assert (events.count("slot.evicted"), events.count("agent.leaked")) == (2, 1)


@pytest.mark.asyncio
async def test_an_agents_events_name_the_thread_and_not_the_turn_that_came_first() -> None:
    """O4: ids are bound once, and an agent outlives its first turn."""
    seen: list[dict[str, object]] = []

    class Listening(MemoryStore):
        async def thread(self, thread_id: int) -> ThreadRecord | None:
            seen.append(get_contextvars())
            return await super().thread(thread_id)

    at = make_pool(store=Listening())
    async with at.pool as pool:
        with bound_contextvars(turn=7):
            await use(pool, 1)
    assert seen == [{"thread_id": 1, "generation": 1}]


@pytest.mark.asyncio
async def test_a_successor_does_not_wait_longer_than_the_bound_of_the_escalation() -> None:
    """P5: past the bound it starts, if there is a place beside the leaked one."""
    at = make_pool(PoolLimits(max_agents=2, stop_bound=5))
    at.agents.stop_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            await use(pool, 1)
            pool.evict(1)
            tasks.start_soon(use, pool, 1)
            await settle()
            assert at.agents.starts == ["1"]
            at.clock.now += 5
            pool.maintain()
            await until(lambda: at.agents.starts == ["1", "1"])
            at.agents.stop_gates["1"].set()


@pytest.mark.asyncio
async def test_a_newcomer_whose_victim_leaks_waits_for_another_place() -> None:
    """P4, P5: the capacity of a leaked process is not returned."""
    at = make_pool(PoolLimits(max_agents=2, stop_bound=5))
    at.agents.stop_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool, anyio.create_task_group() as tasks:
            await use(pool, 1)
            at.clock.now += 1
            async with pool.session(2):
                tasks.start_soon(use, pool, 3)
                await settle()
                at.clock.now += 5
                pool.maintain()
                await settle()
                assert at.agents.starts == ["1", "2"]
            await until(lambda: at.agents.starts == ["1", "2", "3"])
            assert at.agents.running == ["1", "3"]
            at.agents.stop_gates["1"].set()
    assert at.agents.peak == 2


@pytest.mark.asyncio
async def test_told_to_stop_in_the_last_step_of_its_start_a_slot_does_not_get_ready() -> None:
    """P5, P10"""
    at = make_pool()
    at.agents.session_gates["1"] = anyio.Event()
    with anyio.fail_after(30):
        async with at.pool as pool:
            assert pool.warm(1)
            await until(lambda: bool(at.agents.connections))
            await settle()
            at.agents.session_gates["1"].set()
            assert pool.evict(1)
            states = []
            while (status := pool.status(1)) is not None:
                states.append(status.state)
                await anyio.lowlevel.checkpoint()
            assert set(states) == {SlotState.CLOSING}
            assert at.agents.running == []
