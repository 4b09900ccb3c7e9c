"""What every engine has to show, by pods on a real cluster."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pytest

from pool.engines.kubernetes.engine import KubernetesEngine
from pool.engines.model import PoolEngine, RemoteAgent
from tests.agents.scenario import SCRIPT
from tests.cluster.pods import Pods, aside, python
from tests.engines import matrix
from tests.engines.matrix import Recipe

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

# While nobody reads stdout, stderr waits as well, as they share the websocket; and between the API server and the
# container are connections whose buffers are the kernels' affair. `test_turns` measures what lies in them.
LEFT_OUT = (matrix.slow_reader, matrix.deaf_agent)
CASES = [case for case in (*matrix.QUICK, *matrix.LONG) if case not in LEFT_OUT]


class ClusterBed:
    """The engine on the cluster of the tests; a way that is cut is a node's cable."""

    def __init__(self, pods: Pods, engine: KubernetesEngine) -> None:
        self.engine: PoolEngine = engine
        self.player: Sequence[str] = (*python("")[:3], str(SCRIPT))
        self.python: Sequence[str] = python("")[:-1]
        self.directory = str(pods.directory)
        self.state = uuid.uuid4().hex
        package = "pool.engines.kubernetes"
        self.recipe = Recipe(
            f"{package}.engine:KubernetesEngine", f"{package}.settings:KubernetesSettings", pods.values()
        )
        self._pods = pods

    async def running(self) -> Sequence[str]:
        return await aside(self._pods.names)

    async def cut(self, agent: RemoteAgent) -> None:
        await aside(self._pods.cluster.cut, agent.node)

    async def mend(self) -> None:
        await aside(self._pods.cluster.mend)


@pytest.mark.parametrize("case", CASES, ids=matrix.name_of)
@pytest.mark.asyncio
async def test_an_agent_in_a_pod_is_like_one_here(case: matrix.Case, pods: Pods) -> None:
    """P14: the cases say what else."""
    async with pods.engine() as engine:
        await matrix.run(case, ClusterBed(pods, engine))
