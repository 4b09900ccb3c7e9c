"""How agents in pods end: what ended them is told apart from a lost connection, and their pods go in any case."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from acp.errors import AgentExit
from acp.shutdown import StopLimits, StopStage
from pool.engines.kubernetes import attach
from pool.engines.kubernetes.agent import LOST, KubernetesAgent
from tests.clock import flying, let_pass
from tests.engines import matrix
from tests.engines.kube_bed import SHORT, KubernetesBed, bed
from tests.engines.kube_model import Refused

LIMITS = StopLimits(eof=1.0, term=0.2, kill=0.5)


async def out_of_memory(one: KubernetesBed, agent: KubernetesAgent) -> None:
    await one.api.kill(one.pod(agent), reason="OOMKilled", code=137)


async def evicted(one: KubernetesBed, agent: KubernetesAgent) -> None:
    await one.api.evict(one.pod(agent), "The node was low on resource: memory.")


async def deleted(one: KubernetesBed, agent: KubernetesAgent) -> None:
    one.api.delete(one.pod(agent), 1)
    await anyio.lowlevel.checkpoint()


async def removed(one: KubernetesBed, agent: KubernetesAgent) -> None:
    one.api.delete(one.pod(agent), 0)
    await anyio.lowlevel.checkpoint()


async def preempted(one: KubernetesBed, agent: KubernetesAgent) -> None:
    one.api.delete(one.pod(agent), 1, type="DisruptionTarget", reason="PreemptionByScheduler")
    await anyio.lowlevel.checkpoint()


ENDS = [
    (out_of_memory, AgentExit(-signal.SIGKILL, reason="OOMKilled")),
    (evicted, AgentExit(-signal.SIGTERM, reason="Evicted: The node was low on resource: memory.")),
    (deleted, AgentExit(-signal.SIGTERM, reason="deleted")),
    (removed, AgentExit(None, reason="deleted")),
    (preempted, AgentExit(-signal.SIGTERM, reason="preempted")),
]


@pytest.mark.asyncio
async def test_what_ended_a_pod_is_told(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path) as one:
        for end, expected in ENDS:
            agent = await one.start("sleep", "1000")
            await end(one, agent)
            assert await agent.wait() == expected, end.__name__
            with pytest.raises(anyio.EndOfStream):
                await agent.stdout.receive()
            await agent.stop(LIMITS)
        assert await one.running() == []


@pytest.mark.asyncio
async def test_a_lost_node_is_told_also_after_the_api_has_refused_to_say(tmp_path: Path) -> None:
    """P14: as an API server does for a moment after its start."""
    async with bed(tmp_path, replace(SHORT, denied=0.3)) as one:
        one.api.fail("GET .*/log", Refused(403, "Forbidden", 'RBAC: role "weft" not found'))
        agent = await one.start()
        while one.api.faults:  # noqa: ASYNC110  the engine asks by itself
            await anyio.sleep(0.02)
        one.api.lose(agent.node)
        async with flying(0.2):
            assert (await agent.wait()).reason == f"node lost: {agent.node} does not answer"
        await agent.stop(LIMITS)


@pytest.mark.asyncio
async def test_a_lost_node_is_told_and_the_next_start_goes_elsewhere(tmp_path: Path) -> None:
    """P8, P9: its pod goes without the node's word, and is not waited for."""
    async with bed(tmp_path) as one:
        agent = await one.start()
        one.api.lose(agent.node)
        async with flying(0.2):
            ended = await agent.wait()
        assert (ended.returncode, ended.unreachable) == (None, True)
        assert ended.reason == f"node lost: {agent.node} does not answer"
        report = await agent.stop(LIMITS)
        assert (report.stage, report.left) == (StopStage.KILL, ())
        other = await one.start()
        assert other.node != agent.node
        by_name = {node.name: node for node in await one.engine.nodes()}
        assert (by_name[agent.node].reason, by_name[other.node].running) == ("failed a moment ago", 1)
        await other.stop(LIMITS)


@pytest.mark.asyncio
async def test_a_restart_of_the_server_loses_the_connection_and_not_the_conversation(tmp_path: Path) -> None:
    """P9: the pod runs on without its input; it is deleted, and another one starts."""
    async with bed(tmp_path) as one:
        agent = await one.start("sleep", "1000")
        await one.api.restart()
        async with flying(0.5):
            ended = await agent.wait()
        assert ended.unreachable
        assert ended.reason.startswith("the connection to the pod was lost")
        with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
            await agent.stdin.send(b"x")
        await agent.stop(LIMITS)
        assert await one.running() == []
        await (await one.start()).stop(LIMITS)


@pytest.mark.asyncio
async def test_an_agent_that_ends_since_its_connection_broke_is_told_as_that(tmp_path: Path) -> None:
    """P14: its own end, in order or not, is only the effect."""
    ends = [
        (("cat",), AgentExit(None, reason=LOST, unreachable=True)),
        (("sh", "-c", "cat; exit 3"), AgentExit(3, reason=LOST)),
    ]
    async with bed(tmp_path) as one:
        for argv, expected in ends:
            agent = await one.start(*argv)
            await one.api.restart()
            assert await agent.wait() == expected
            await agent.stop(LIMITS)


@pytest.mark.asyncio
async def test_a_connection_that_gives_no_answer_is_lost(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path, replace(SHORT, ping=0.05, dead=5.0, stalled=10.0, probe=100.0, empty=0.1)) as one:
        agent = await one.start()
        # While it answers, silence is nothing, and the frames that keep the connection are no input.
        while one.api.frames < 6:  # noqa: ASYNC110 - the server counts them without a signal
            await anyio.sleep(0.05)
        assert agent.exit() is None
        await agent.stdin.send(b"hello\n")
        assert await agent.stdout.receive() == b"hello\n"
        one.api.deaf = True
        async with flying(0.5):
            assert (await agent.wait()).unreachable
        await agent.stop(LIMITS)


@pytest.mark.asyncio
async def test_an_agent_that_does_not_read_is_not_taken_for_a_dead_connection(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path, replace(SHORT, ping=0.05, dead=5.0, probe=100.0)) as one:
        reads = tmp_path / "reads"
        agent = await one.start("sh", "-c", f"while [ ! -e {reads} ]; do sleep 0.05; done; exec cat")
        stream, total, got = agent._stream, 1 << 20, 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agent.stdin.send, b"x" * total)
            while stream._sent - stream._read <= attach._UNREAD:  # noqa: ASYNC110  it waits without a word
                await anyio.sleep(0.01)
            let_pass(10)
            await anyio.sleep(0.2)  # it looks every 0.05 s
            reads.touch()
            while got < total:
                got += len(await agent.stdout.receive())
        assert agent.exit() is None
        assert (await agent.stop(replace(LIMITS, eof=30.0))).stage is StopStage.EOF


LIST = "GET /api/v1/namespaces/weft/pods"


@pytest.mark.asyncio
async def test_a_watch_that_ends_is_begun_anew(tmp_path: Path) -> None:
    """P14: one that the server ends goes on from where it was; one whose version is too old begins with a list."""
    async with bed(tmp_path, replace(SHORT, watch=0.5)) as one:
        agent = await one.start("sleep", "1000")
        asked = one.api.requests
        one.api.watch_ends = 2
        while asked.count(f"{LIST}?watch") < 4:  # noqa: ASYNC110 - the server counts them without a signal
            await anyio.sleep(0.02)
        assert asked.count(LIST) == 1
        one.api.forget()
        while asked.count(LIST) < 2:  # noqa: ASYNC110
            await anyio.sleep(0.02)
        one.api.delete(one.pod(agent), 1)
        assert (await agent.wait()).reason == "deleted"
        await agent.stop(LIMITS)
        assert (await (await one.start()).stop(LIMITS)).left == ()


@pytest.mark.asyncio
async def test_what_can_not_be_deleted_is_told_and_deleted_later(tmp_path: Path) -> None:
    """P9: a stop is bounded whether the server answers or not."""
    async with bed(tmp_path, replace(SHORT, confirm=0.2, force=0.2, leftovers=0.1)) as one:
        agent = await one.start("sleep", "1000")
        await one.api.close()
        report = await agent.stop(LIMITS)
        assert report.left == (agent.place,)
        assert await agent.stop(LIMITS) == report
        await one.api.serve()
        await matrix.until_gone(one)


@pytest.mark.asyncio
async def test_only_pods_of_this_state_and_of_earlier_runs_are_deleted(tmp_path: Path) -> None:
    """P9: neither this run's agents, nor another bot's, nor a pod that has got the name of one of ours."""
    async with bed(tmp_path) as one:
        ours, left, others = [await one.start("sleep", "1000") for _ in range(3)]
        for agent in (left, others):
            one.pod(agent).body["metadata"]["labels"]["weft/run"] = "an-earlier-one"
        one.pod(others).body["metadata"]["labels"]["weft/state"] = "another-bots"
        swept = await one.engine.sweep(one.state)
        assert (swept.ended, swept.left) == (1, ())
        assert await one.running() == sorted([ours.name, others.name])
        pod = one.pod(ours)
        uid, pod.body["metadata"]["uid"] = pod.body["metadata"]["uid"], "of-another-pod"
        assert (await ours.stop(LIMITS)).left == ()
        assert "deletionTimestamp" not in pod.body["metadata"]
        pod.body["metadata"]["uid"] = uid  # the cluster ends its processes by that
        await left.stop(LIMITS)


@pytest.mark.asyncio
async def test_a_sweep_that_found_no_server_is_made_up_for(tmp_path: Path) -> None:
    """P9, P14"""
    async with bed(tmp_path, replace(SHORT, retries=0.1, leftovers=0.1)) as one:
        left = await one.start("sleep", "1000")
        one.pod(left).body["metadata"]["labels"]["weft/run"] = "an-earlier-one"
        await one.api.close()
        assert (await one.engine.sweep(one.state)).ended == 0
        await one.api.serve()
        await matrix.until_gone(one)
        await left.stop(LIMITS)
