"""The pool on real processes: what only the operating system can show."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import psutil
import pytest

from acp.connection import ConnectionLimits
from acp.elicitation import ElicitationRequest
from acp.errors import AgentSpawnError, SpawnFailure
from acp.permission_request import PermissionRequest
from acp.schema import text_block
from acp.shutdown import StopLimits
from acp.snapshot import Ending
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from acp.turn_runner import run_turn
from pool.launcher import LocalLauncher
from pool.model import PoolLimits
from pool.pool import ConnectionPool, SessionLease
from tests.agents import Gate, ScriptedAgent, scenario
from tests.pool.fakes import until, use
from tests.pool.memory import MemoryStore

AGENT = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    result = {"protocolVersion": 1} if message["method"] == "initialize" else {"sessionId": "s"}
    if message["method"] == "initialize":
        result["agentInfo"] = {"name": "tiny", "version": "1"}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


def real_pool(tmp_path: Path, script: str, *, max_agents: int = 2) -> ConnectionPool:
    return pool_of((sys.executable, "-c", script), f"{tmp_path}/{{thread_id}}", max_agents=max_agents)


def scripted_pool(tmp_path: Path, agent: ScriptedAgent) -> ConnectionPool:
    return pool_of(agent.argv, str(tmp_path), max_agents=1)


def pool_of(argv: tuple[str, ...], workspace: str, *, max_agents: int) -> ConnectionPool:
    launcher = LocalLauncher(argv, workspace, env={})
    limits = ConnectionLimits(start=20.0, stop=StopLimits(eof=2.0, term=0.5, kill=0.5))
    return ConnectionPool(
        launcher,
        MemoryStore(),
        PoolLimits(max_agents=max_agents),
        limits,
        on_change=lambda: None,
        on_cut_off=lambda _: None,
    )


class Silent:
    """Shows nothing of a turn."""

    def changed(self) -> None:
        pass

    def permission(self, request: PermissionRequest) -> None:
        request.cancel()

    def question(self, request: ElicitationRequest) -> None:
        request.cancel()


@pytest.mark.asyncio
async def test_threads_get_processes_of_their_own_and_none_is_left_behind(tmp_path: Path) -> None:
    """P1, P4, P9"""
    with anyio.fail_after(30):
        async with real_pool(tmp_path, AGENT) as pool:
            pids = []
            for thread in (1, 2, 3):
                async with pool.session(thread) as lease:
                    assert (lease.how, lease.session.id, lease.slot.agent) == ("new", "s", "tiny")
                    assert lease.slot.pid is not None
                    pids.append(lease.slot.pid)
            assert pool.status(1) is None
            assert [psutil.pid_exists(pid) for pid in pids] == [False, True, True]
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []


@pytest.mark.asyncio
async def test_a_killed_process_is_noticed_and_replaced(tmp_path: Path) -> None:
    """P8, T1: noticed by itself, between turns."""
    with anyio.fail_after(30):
        async with real_pool(tmp_path, AGENT) as pool:
            async with pool.session(1) as lease:
                first = lease.slot
            assert first.pid is not None
            psutil.Process(first.pid).kill()
            await until(lambda: pool.status(1) is None)
            async with pool.session(1) as lease:
                assert lease.slot.pid != first.pid
                assert lease.lost


@pytest.mark.asyncio
async def test_a_process_that_ends_in_its_start_says_why(tmp_path: Path) -> None:
    """P7, P10, O1"""
    with anyio.fail_after(30):
        async with real_pool(tmp_path, "import sys; sys.exit('no licence')", max_agents=1) as pool:
            with pytest.raises(AgentSpawnError) as caught:
                await use(pool, 1)
            assert caught.value.failure is SpawnFailure.EXITED
            assert caught.value.exit is not None
            assert (caught.value.exit.returncode, caught.value.exit.stderr_tail.strip()) == (1, "no licence")
            assert pool.counts().starting == 0


@pytest.mark.asyncio
async def test_two_turns_of_a_thread_run_side_by_side_in_one_process(tmp_path: Path) -> None:
    """Q9: the second on a copy, which is let go at its end; the thread's session stays what it was."""
    gate = Gate(tmp_path / "gate")
    words = {"slow": [{"text": "slow "}, gate.step, {"text": "done"}]}
    agent = scenario(tmp_path, words=words, fork="replay", close=True)
    ends: list[tuple[str, str]] = []

    async def turn(lease: SessionLease, prompt: str) -> None:
        turn = Turn(TurnLimits(drain_quiet=0.0), anyio.current_time())
        snapshot = await run_turn(lease.connection, lease.session, turn, [text_block(prompt)], Silent())
        ends.append((lease.how, snapshot.text))

    with anyio.fail_after(30):
        async with scripted_pool(tmp_path, agent) as pool:
            async with pool.session(1) as first, anyio.create_task_group() as tasks:
                tasks.start_soon(turn, first, "slow")
                await agent.heard("session/prompt")
                extra = pool.try_reserve_extra(1)
                assert extra is not None
                async with pool.extra_session(extra) as second:
                    await turn(second, "quick")
                gate.open()
            await agent.heard("session/close")
            async with pool.session(1) as again:
                assert (again.how, again.session.id) == ("live", first.session.id)
    assert ends == [("forked", "quick"), ("new", "slow done")]
    assert len(agent.pids()) == 1


@pytest.mark.asyncio
async def test_text_is_put_into_the_running_turn_of_a_thread(tmp_path: Path) -> None:
    """Q2: one turn, one answer, in which both are answered."""
    agent = scenario(tmp_path, words={"slow": [{"text": "slow "}, {"hang": True}]}, steering=True)
    steered = []

    async def steer(lease: SessionLease, turn: Turn) -> None:
        await agent.heard("session/prompt")
        steered.append(await lease.session.steer(turn, [text_block("and this")]))

    with anyio.fail_after(30):
        async with (
            scripted_pool(tmp_path, agent) as pool,
            pool.session(1) as lease,
            anyio.create_task_group() as tasks,
        ):
            turn = Turn(TurnLimits(), anyio.current_time())
            tasks.start_soon(steer, lease, turn)
            snapshot = await run_turn(lease.connection, lease.session, turn, [text_block("slow")], Silent())
    assert (steered, snapshot.ending) == ([True], Ending.ANSWERED)
    assert snapshot.text.endswith("and this")
    assert agent.prompts() == ["slow"]
