"""Agents as pods on a real cluster, of which something fails in the middle of a turn.

It is told with its reason and in time, nothing is left, and the conversation goes on, on another node if need be.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

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

AT_ONCE, LATE = 30.0, 60.0
"""Seconds until a turn has ended, on a busy machine: by what is told, and by what is only silent."""

LOST = "^the connection to the pod was lost"


class Mended(Enum):
    """When what failed is well again."""

    BY_ITSELF = auto()
    BEFORE_THE_NEXT = auto()
    AFTER_THE_NEXT = auto()


@dataclass(frozen=True, slots=True)
class Fault:
    """What fails in the middle of a turn, and what follows.

    Attributes:
        strike: has it happen to the agent's pod, to its node or to the API.
        reason: a pattern of what is told of the agent's end.
        within: seconds until the turn has ended.
        unreachable: whether nobody knows how the agent ended.
        elsewhere: whether the next pod has to be on another node.
    """

    name: str
    strike: Callable[[Pods], object]
    reason: str
    within: float
    unreachable: bool = True
    elsewhere: bool = False
    mended: Mended = Mended.BY_ITSELF


FAULTS = [
    Fault("a pod deleted", Pods.delete, "^deleted", AT_ONCE, unreachable=False),
    # By the eviction API, as a drain of its node does it.
    Fault("a pod evicted", Pods.evict, "^Evicted", AT_ONCE, unreachable=False),
    # How the agent ended nobody knows; its pod goes once the cluster can be reached.
    Fault("the connection reset", Pods.cut_connections, LOST, AT_ONCE),
    # What is attached goes through it.
    Fault("the API server restarted", Pods.restart_api, LOST, AT_ONCE),
    # No word comes back, and no refusal either.
    Fault("the way to the API silent", Pods.silence_cluster, "", LATE, mended=Mended.BEFORE_THE_NEXT),
    # The pod runs on, and nobody can speak with it.
    Fault("a kubelet killed", Pods.kill_kubelet, "", LATE, elsewhere=True, mended=Mended.AFTER_THE_NEXT),
    # Its cable is pulled; what runs there is ended when it is back.
    Fault("a node silent", Pods.cut_node, "node lost", LATE, elsewhere=True, mended=Mended.AFTER_THE_NEXT),
    # Its power fails, and it is not back.
    Fault("a node gone", Pods.end_node, "node lost", LATE, elsewhere=True),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
async def test_a_fault_is_told_and_the_talk_goes_on(pods: Pods, fault: Fault) -> None:
    """P8, P9, P14: with its reason and in time; no pod is left, of this agent or of the next one."""
    agent = scenario(pods.directory, words={"hang": HANG}, store=str(pods.store()), resume=True)
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine:
            ended, node, session = await broken_by(fault, pods, engine, agent)
            assert re.search(fault.reason, ended.reason), ended
            assert ended.unreachable == fault.unreachable
            assert ended.returncode is None or not fault.unreachable

            if fault.mended is Mended.BEFORE_THE_NEXT:
                await aside(pods.cluster.mend)
            next_node = await goes_on(pods, engine, agent, session)
            assert next_node != node or not fault.elsewhere

            if fault.mended is Mended.AFTER_THE_NEXT:
                await aside(pods.cluster.mend)
            await aside(wait_until, lambda: pods.names() == [], "no pod is left")


async def broken_by(
    fault: Fault, pods: Pods, engine: KubernetesEngine, agent: ScriptedAgent
) -> tuple[AgentExit, str, str]:
    """Have a fault strike in the middle of a turn; return how the agent ended, on which node, and its session.

    How long it took until the turn had ended, from the fault's being done, is measured.
    """
    done = 0.0

    async def strike() -> None:
        nonlocal done
        await agent.heard("session/prompt")
        await aside(fault.strike, pods)
        done = time.monotonic()

    async with talking(pods.spec(engine, agent)) as talk:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(strike)
            snapshot = await talk.ask("hang")
        took = max(time.monotonic() - done, 0.0)
        measured(f"{fault.name} until the turn's end (s)", took)
        ended = talk.connection.exit()
        session = talk.opened.session.id
    assert (snapshot.ending, snapshot.text) == (Ending.AGENT_DIED, "so far")
    assert took < fault.within
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
