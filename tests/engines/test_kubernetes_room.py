"""A pool on a cluster that has no more room: who gives way, how soon, and for what nobody does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from acp.engine import LaunchSpec
from acp.errors import AgentSpawnError
from pool.model import PoolLimits, SlotState
from pool.pool import ConnectionPool
from tests.engines import matrix
from tests.engines.kube_bed import SHORT, KubernetesBed, bed
from tests.engines.kube_model import Refused
from tests.pool.memory import MemoryStore

pytestmark = pytest.mark.asyncio

LONG = 600.0
"""Seconds that a start may take here: a test that waits for them fails."""


class OnCluster:
    """Starts every thread's agent on the cluster."""

    def __init__(self, one: KubernetesBed) -> None:
        self._bed = one

    async def prepare(self, thread_id: int) -> None:
        del thread_id

    def spec(self, thread_id: int) -> LaunchSpec:
        return matrix.launch(self._bed, (*self._bed.player, json.dumps({})), thread_id)

    def sharing(self, thread_id: int) -> None:
        del thread_id

    def errand(self, place_id: int) -> LaunchSpec:
        return self.spec(place_id)

    def same_agent(self, place_id: int, other: int) -> bool:
        del place_id, other
        return True


@asynccontextmanager
async def pooled(path: Path, room: int, **settings: Any) -> AsyncIterator[tuple[KubernetesBed, ConnectionPool]]:
    """Run a pool on a cluster that has room for so many pods."""
    async with bed(path, start_timeout=LONG, **settings) as one:
        one.api.nodes["node-1"].room, one.api.nodes["node-2"].room = room, 0
        pool = ConnectionPool(
            OnCluster(one),
            MemoryStore(),
            PoolLimits(max_agents=8),
            matrix.LIMITS,
            on_change=lambda: None,
            on_cut_off=lambda _: None,
        )
        async with pool:
            yield one, pool


async def use(pool: ConnectionPool, *threads: int) -> None:
    """Have each thread's agent started, and leave it unused, the first one for the longest time."""
    for thread in threads:
        async with pool.session(thread):
            pass


async def until_it_waits(pool: ConnectionPool, thread: int, words: str) -> None:
    while words not in pool.waits_for(thread):  # noqa: ASYNC110 - nobody is told
        await anyio.sleep(0.01)


def threads(one: KubernetesBed) -> list[str]:
    return sorted(pod.body["metadata"]["labels"]["weft/thread"] for pod in one.api.pods.values())


@pytest.mark.parametrize(
    ("full", "words"),
    [("nodes", "no node has room"), ("quota", "the quota"), ("places", "all 2 places are taken")],
)
async def test_the_longest_unused_agent_gives_way_as_soon_as_there_is_no_room(
    full: str, words: str, tmp_path: Path
) -> None:
    """P4, P14: whether the nodes are full, or the quota of the namespace, or the places of the settings."""
    places = {"places": 2} if full == "places" else {}
    async with pooled(tmp_path, 2 if full == "nodes" else 10, **places) as (one, pool):
        one.api.quota = 2 if full == "quota" else 100
        await use(pool, 1, 2)
        await use(pool, 3)
        assert threads(one) == ["2", "3"]
        # One that works is no choice, though it has been there for longer.
        async with pool.session(2), anyio.create_task_group() as tasks:
            await use(pool, 4)
            assert threads(one) == ["2", "4"]
            # While all of them work the start goes on waiting, and has the place of the first that is done.
            async with pool.session(4):
                tasks.start_soon(use, pool, 5)
                await until_it_waits(pool, 5, words)
                await anyio.sleep(3 * SHORT.events)  # it asks for room as often
                assert [_state(pool, thread) for thread in (2, 4)] == [SlotState.READY, SlotState.READY]
        assert threads(one) == ["2", "5"]


def _state(pool: ConnectionPool, thread: int) -> SlotState | None:
    status = pool.status(thread)
    return status.state if status is not None else None


async def test_nobody_gives_way_where_that_makes_no_room(tmp_path: Path) -> None:
    """P14: labels that no node has, a quota of claims, which outlive their agents, an image that can't be had."""
    volume = {"path": "/work", "new_claim": {"size": "1Gi"}}
    async with pooled(tmp_path, 10, volume=volume) as (one, pool):
        await use(pool, 1)
        one.api.unschedulable = "2 node(s) didn't match Pod's node affinity/selector"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(use, pool, 2)
            await until_it_waits(pool, 2, f"no node takes it: {one.api.unschedulable}")
            await anyio.sleep(3 * SHORT.events)
            tasks.cancel_scope.cancel()
        await pool.end(2)
        one.api.unschedulable = ""
        used_up = Refused(403, "Forbidden", "exceeded quota: weft, requested: persistentvolumeclaims=1")
        one.api.fail("POST .*/persistentvolumeclaims", used_up, times=5)
        await use(pool, 3)
        one.api.images = {"agent:1": ("InvalidImageName", "agent:1")}
        with pytest.raises(AgentSpawnError, match="InvalidImageName"):
            await use(pool, 4)
        assert threads(one) == ["1", "3"]
