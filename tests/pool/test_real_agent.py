"""The pool on real processes: what only the operating system can show."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import psutil
import pytest

from acp.connection import ConnectionLimits
from acp.errors import AgentSpawnError, SpawnFailure
from acp.process import StopLimits
from pool.launcher import LocalLauncher
from pool.memory import MemoryStore
from pool.model import PoolLimits
from pool.pool import ConnectionPool
from tests.pool.fakes import until, use

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
    launcher = LocalLauncher((sys.executable, "-c", script), f"{tmp_path}/{{thread_id}}", env={})
    limits = ConnectionLimits(start=20.0, stop=StopLimits(eof=2.0, term=0.5, kill=0.5))
    return ConnectionPool(launcher, MemoryStore(), PoolLimits(max_agents=max_agents), limits)


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
