"""What the start of a pod waits for is told; what can't be is told apart; nothing is left of a start that failed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from acp.errors import AgentSpawnError, SpawnFailure
from tests.clock import passing
from tests.engines.kube_bed import SHORT, KubernetesBed, bed
from tests.engines.kube_model import Refused

PODS = "POST /api/v1/namespaces/weft/pods"


@asynccontextmanager
async def starting(one: KubernetesBed, *argv: str) -> AsyncIterator[list[Any]]:
    """Start an agent beside the body; afterwards it has run, and is gone."""
    agents: list[Any] = []

    async def start() -> None:
        agents.append(await one.start(*argv))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start)
        yield agents
    await agents[0].stop()
    assert await one.running() == []


async def refused(one: KubernetesBed, *argv: str) -> AgentSpawnError:
    """Return why a start failed; nothing is left of it."""
    with pytest.raises(AgentSpawnError) as caught:
        await one.start(*argv)
    assert await one.running() == []
    return caught.value


def set_room(one: KubernetesBed, room: int) -> None:
    for node in one.api.nodes.values():
        node.room = room
    one.api.wake()


@pytest.mark.asyncio
async def test_a_full_cluster_is_waited_for_and_told(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path) as one:
        set_room(one, 0)
        async with starting(one):
            await one.until_told("no node has room for it: 2 Insufficient memory")
            set_room(one, 5)
        assert one.told.count("no node has room for it: 2 Insufficient memory") == 1
        # The quota of the namespace, by the same words of the API as those of a right that is missing.
        one.api.quota = 0
        async with starting(one):
            await one.until_told("the quota of the namespace is used up")
            one.api.quota = 5
        # A volume that can't be mounted is told in the events alone.
        one.api.volumes = "Multi-Attach error for volume pvc-1"
        async with starting(one):
            await one.until_told("FailedMount: Multi-Attach error for volume pvc-1")
            one.api.volumes = ""
            one.api.wake()


@pytest.mark.asyncio
async def test_a_start_that_waits_too_long_says_for_what(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path, start_timeout=10) as one:

        async def given_up(words: str) -> AgentSpawnError:
            one.told.clear()
            async with passing(10, lambda: any(words in told for told in one.told)):
                return await refused(one)

        set_room(one, 0)
        full = await given_up("2 Insufficient memory")
        assert (full.failure, full.transient) == (SpawnFailure.NO_ROOM, True)
        assert "2 Insufficient memory" in str(full)
        set_room(one, 5)
        one.api.volumes = "no such volume"
        assert (await given_up("no such volume")).failure is SpawnFailure.TIMEOUT
        one.api.volumes, one.api.quota = "", 0
        assert (await given_up("the quota of the namespace")).failure is SpawnFailure.NO_ROOM


@pytest.mark.asyncio
async def test_what_no_waiting_mends_ends_the_start(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path) as one:
        one.api.images = {"agent:1": ("ImagePullBackOff", "manifest unknown")}
        image = await refused(one)
        assert (image.failure, image.transient) == (SpawnFailure.IMAGE, False)
        assert "manifest unknown" in str(image)
        one.api.images = {"agent:1": ("CreateContainerConfigError", 'secret "key" not found')}
        assert 'secret "key" not found' in str(await refused(one))
        one.api.images = {}
        one.api.fail(PODS, Refused(403, "Forbidden", "pods is forbidden: no right"))
        right = await refused(one)
        assert (right.failure, right.transient) == (SpawnFailure.RIGHTS, False)
        missing = await refused(one, "/nowhere/agent")
        assert (missing.failure, missing.transient) == (SpawnFailure.NOT_FOUND, False)
        one.directory = "/proc/nowhere"
        assert (await refused(one)).failure is SpawnFailure.BAD_DIRECTORY


@pytest.mark.asyncio
async def test_what_fails_in_passing_is_tried_again(tmp_path: Path) -> None:
    """P14: 429, 500, a conflict of the quota, a broken connection, and an answer lost after the pod was made."""
    async with bed(tmp_path) as one:
        one.api.fail(PODS, Refused(429, "TooManyRequests", "slow down", {"Retry-After": "0"}))
        one.api.fail(PODS, Refused(500, "InternalError", "etcd"))
        one.api.fail(PODS, Refused(409, "Conflict", 'Operation cannot be fulfilled on resourcequotas "q"'))
        one.api.fail(PODS)
        agent = await one.start()
        assert one.api.requests.count(PODS) == 5
        assert await one.running() == [agent.name]
        await agent.stop()
        assert await one.running() == []
        # Nothing was attached yet: trying again loses nothing.
        one.api.fail("GET .*/attach", Refused(502, "BadGateway", "error dialing backend"))
        await (await one.start()).stop()
        # The token of a program lasts for minutes: the settings are read anew.
        one.api.fail(PODS, Refused(401, "Unauthorized", "Unauthorized"))
        await (await one.start()).stop()


@pytest.mark.asyncio
async def test_a_server_that_is_away_is_told_as_that(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path, replace(SHORT, retries=0.2)) as one:
        await one.api.close()
        away = await refused(one)
        assert (away.failure, away.transient) == (SpawnFailure.UNREACHABLE, True)
        assert (await one.engine.sweep(one.state)).left == ()
        await one.api.serve()
        await (await one.start()).stop()


@pytest.mark.asyncio
async def test_agents_wait_for_a_place(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path, places=1) as one:
        first = await one.start()
        async with starting(one):
            await one.until_told("all 1 places are taken")
            assert len(await one.running()) == 1
            await first.stop()
        # A start that was cancelled while it waited took none.
        held = await one.start()
        with anyio.move_on_after(0.05):
            await one.start()
        await held.stop()
        await (await one.start()).stop()


@pytest.mark.asyncio
async def test_the_environment_is_in_no_pods_specification(tmp_path: Path) -> None:
    """R5: who may read pods reads no keys; secrets of the cluster are named, and the claim of a thread is its own."""
    volume = {"path": "/work", "new_claim": {"size": "1Gi"}}
    async with bed(tmp_path, secrets={"KEY": "keys/anthropic"}, volume=volume) as one:
        one.api.secrets["keys"] = {"anthropic": "of-the-cluster"}
        agent = await one.start("sh", "-c", "echo $TOKEN $KEY; cat", thread=7, TOKEN="of-the-bot")
        assert await agent.stdout.receive() == b"of-the-bot of-the-cluster\n"
        body = one.pod(agent).body
        assert "of-the-bot" not in json.dumps(body)
        assert body["metadata"]["labels"] | {"weft/thread": "7", "weft/state": one.state} == body["metadata"]["labels"]
        assert body["spec"]["automountServiceAccountToken"] is False
        (claim,) = one.api.claims
        assert body["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim
        await agent.stop()
        again = await one.start(thread=7)
        other = await one.start(thread=8)
        assert len(one.api.claims) == 2
        assert one.pod(again).body["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim
        await again.stop()
        await other.stop()
        assert len(one.api.claims) == 2
