"""The engine on a small cluster of two nodes, for its tests."""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel

from pool.engines.kubernetes.agent import KubernetesAgent
from pool.engines.kubernetes.engine import KubernetesEngine
from pool.engines.kubernetes.settings import KubernetesSettings
from pool.engines.kubernetes.times import Times
from pool.engines.model import PoolEngine, RemoteAgent
from tests.agents.scenario import COMMAND
from tests.engines import matrix
from tests.engines.kube_api import KubeApi, cluster
from tests.engines.kube_model import Pod, kubeconfig

SHORT = Times(retries=5.0, first=0.02, longest=0.1, quota=0.02, image=0.2, events=0.1, settle=10.0, probe=0.2, node=5.0)
"""What is awaited in vain is short, or a test lets it pass; what a busy machine has to be given time for is not."""


class KubernetesBed:
    """What the matrix wants, and the cluster itself."""

    python: Sequence[str] = (sys.executable, "-I", "-S", "-c")
    player: Sequence[str] = COMMAND

    def __init__(self, api: KubeApi, engine: KubernetesEngine, values: dict[str, Any], directory: Path) -> None:
        self.api = api
        self.engine: PoolEngine = engine
        self.directory = str(directory)
        self.state = uuid.uuid4().hex
        self.recipe = matrix.Recipe(
            "pool.engines.kubernetes.engine:KubernetesEngine",
            "pool.engines.kubernetes.settings:KubernetesSettings",
            values,
        )
        self.told: list[str] = []

    async def running(self) -> Sequence[str]:
        await anyio.lowlevel.checkpoint()
        return sorted(self.api.pods)

    async def cut(self, agent: RemoteAgent) -> None:
        self.api.lose(agent.node)
        await anyio.lowlevel.checkpoint()

    async def mend(self) -> None:
        self.api.mend()
        await anyio.lowlevel.checkpoint()

    async def start(self, *argv: str, thread: int = 1, **env: str) -> KubernetesAgent:
        """Start a command as an agent; what is told meanwhile is in `told`."""
        spec = matrix.launch(self, argv or ("cat",), thread, **env)
        object.__setattr__(spec, "tell", self.told.append)
        return cast("KubernetesAgent", await self.engine.start(spec))

    def pod(self, agent: KubernetesAgent) -> Pod:
        return self.api.pods[agent.name]

    async def until_told(self, words: str) -> None:
        while not any(words in one for one in self.told):  # noqa: ASYNC110 - a start tells without a signal
            await anyio.sleep(0.01)


@asynccontextmanager
async def bed(path: Path, times: Times = SHORT, **settings: Any) -> AsyncIterator[KubernetesBed]:
    """Run a cluster and an engine on it."""
    async with cluster() as api:
        values = {"image": "agent:1", "kubeconfig": kubeconfig(api.port, path / "kubeconfig"), **settings}
        work = path / "work"
        work.mkdir()
        async with KubernetesEngine("cluster", KubernetesSettings(**values), times=times) as engine:
            with anyio.fail_after(100):
                yield KubernetesBed(api, engine, values, work)
