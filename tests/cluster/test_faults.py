"""Agents as pods on a real cluster, of which something fails in the middle of a turn.

It is told with its reason and in time, nothing is left, and the conversation goes on, on another node if need be.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import anyio
import pytest

from acp.errors import AgentExit
from acp.snapshot import Ending
from pool.engines.kubernetes.engine import KubernetesEngine
from tests.agents import ScriptedAgent, scenario
from tests.cluster.cluster import wait_until
from tests.cluster.figures import measured
from tests.cluster.pods import Pods, aside, python
from tests.cluster.talk import talking

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio, pytest.mark.timeout(400)]

LIMIT = 200.0
HANG = [{"text": "so far"}, {"hang": True}]


def keeping(pods: Pods) -> ScriptedAgent:
    """An agent whose sessions lie on the volume; it hangs when it is asked to, else it echoes."""
    return scenario(pods.directory, words={"hang": HANG}, store=str(pods.store()), resume=True)


async def broken_by(
    pods: Pods, engine: KubernetesEngine, agent: ScriptedAgent, fault: Callable[[], object], what: str
) -> tuple[AgentExit, str, str]:
    """Have a fault strike in the middle of a turn; return how the agent ended, on which node, and its session.

    How long it took until the turn had ended, from the fault's being done, is measured.
    """
    done = 0.0

    async def strike() -> None:
        nonlocal done
        await agent.heard("session/prompt")
        await aside(fault)
        done = time.monotonic()

    async with talking(pods.spec(engine, agent)) as talk:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(strike)
            snapshot = await talk.ask("hang")
        measured(f"{what} until the turn's end (s)", max(time.monotonic() - done, 0.0))
        ended = talk.connection.exit()
        session = talk.opened.session.id
    assert (snapshot.ending, snapshot.text) == (Ending.AGENT_DIED, "so far")
    assert ended is not None
    return ended, talk.node, session


async def goes_on(pods: Pods, engine: KubernetesEngine, agent: ScriptedAgent, session: str) -> str:
    """Go on with a session in another pod; return its node."""
    async with talking(pods.spec(engine, agent), session) as talk:
        assert (talk.opened.how, talk.opened.lost, talk.opened.session.id) == ("resumed", False, session)
        assert (await talk.ask("again")).text == "again"
        return talk.node


async def test_an_agent_that_exits_is_not_taken_for_a_lost_connection(pods: Pods) -> None:
    """P14: without a reason, as it is its own."""
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine:
            ends = []
            for code in (3, 0):
                agent = scenario(pods.directory, [{"text": "so far"}, {"exit": code}])
                async with talking(pods.spec(engine, agent)) as talk:
                    await talk.ask("go")
                    ends.append(talk.connection.exit())
    assert ends == [AgentExit(3), AgentExit(0)]


async def test_an_agent_that_takes_too_much_memory_is_told_as_such(pods: Pods) -> None:
    """P14: the kernel kills it, and the cluster says why."""
    with anyio.fail_after(LIMIT):
        async with pods.engine(limits={"memory": "64Mi"}) as engine:
            running = await engine.start(pods.spec(engine, python("x = [bytearray(1 << 20) for _ in range(500)]")))
            ended = await running.wait()
            await running.stop()
    assert ended.returncode == -signal.SIGKILL
    assert ended.reason.startswith("OOMKilled")


async def test_a_pod_that_somebody_deletes_is_told_and_replaced(pods: Pods) -> None:
    """P8, P9, P14"""
    agent = keeping(pods)
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine:
            ended, _, session = await broken_by(pods, engine, agent, pods.delete, "a pod deleted")
            await goes_on(pods, engine, agent, session)
    assert ended.reason.startswith("deleted")


async def test_a_pod_that_is_evicted_is_told_and_replaced(pods: Pods) -> None:
    """P8, P9, P14: by the eviction API, as a drain of its node does it."""
    agent = keeping(pods)
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine:
            ended, _, session = await broken_by(pods, engine, agent, pods.evict, "a pod evicted")
            await goes_on(pods, engine, agent, session)
    assert ended.reason.startswith("Evicted")


async def test_a_connection_that_is_cut_is_told_and_the_talk_goes_on(pods: Pods) -> None:
    """P8, P9, P14: how the agent ended nobody knows; its pod goes once the cluster can be reached."""
    agent = keeping(pods)
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine:
            ended, _, session = await broken_by(pods, engine, agent, pods.cut_connections, "the connection reset")
            await goes_on(pods, engine, agent, session)
    assert (ended.returncode, ended.unreachable) == (None, True)
    assert ended.reason.startswith("the connection to the pod was lost")


async def test_a_cluster_that_falls_silent_is_told_and_swept_when_it_is_back(pods: Pods) -> None:
    """P8, P9, P14: no word comes back, and no refusal either."""
    agent = keeping(pods)
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine:
            ended, _, session = await broken_by(pods, engine, agent, pods.silence_cluster, "the way to the API silent")
            await aside(pods.cluster.mend)
            await goes_on(pods, engine, agent, session)
            await aside(wait_until, lambda: pods.names() == [], "the first pod is gone")
    assert (ended.returncode, ended.unreachable) == (None, True)


async def test_an_api_server_that_restarts_takes_the_turn_and_no_more(pods: Pods) -> None:
    """P8, P9, P14: what is attached goes through it."""
    agent = keeping(pods)
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine:
            ended, _, session = await broken_by(pods, engine, agent, pods.restart_api, "the API server restarted")
            await goes_on(pods, engine, agent, session)
            await aside(wait_until, lambda: pods.names() == [], "the first pod is gone")
    assert (ended.returncode, ended.unreachable) == (None, True)
    assert ended.reason.startswith("the connection to the pod was lost")


async def test_a_kubelet_that_is_killed_ends_the_turn_and_the_talk_goes_on(pods: Pods) -> None:
    """P8, P14: the pod runs on, and nobody can speak with it; the next one is on another node."""
    agent = keeping(pods)
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine:
            ended, node, session = await broken_by(pods, engine, agent, pods.kill_kubelet, "a kubelet killed")
            assert await goes_on(pods, engine, agent, session) != node
            await aside(pods.cluster.mend)
            await aside(wait_until, lambda: pods.names() == [], "the first pod is gone")
    assert ended.unreachable


async def test_a_node_that_falls_silent_is_told_and_the_talk_goes_on_elsewhere(pods: Pods) -> None:
    """P8, P9, P14: its cable is pulled; what runs there is ended when it is back."""
    agent = keeping(pods)
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine:
            ended, node, session = await broken_by(pods, engine, agent, pods.cut_node, "a node silent")
            assert await goes_on(pods, engine, agent, session) != node
            await aside(pods.cluster.mend)
            await aside(wait_until, lambda: pods.names() == [], "the first pod is gone")
    assert ended.unreachable
    assert "node lost" in ended.reason


async def test_a_node_that_is_gone_for_good_leaves_no_pod_behind(pods: Pods) -> None:
    """P8, P9, P14: its power fails, and it is not back."""
    agent = keeping(pods)
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine:
            ended, node, session = await broken_by(pods, engine, agent, pods.end_node, "a node gone")
            assert await goes_on(pods, engine, agent, session) != node
            await aside(wait_until, lambda: pods.names() == [], "its pod is gone")
    assert ended.unreachable
    assert "node lost" in ended.reason
