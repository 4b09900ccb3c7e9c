"""Agents in pods, against a small API server whose pods are processes of the test."""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from pool.engines.kubernetes import KubernetesEngine
from pool.engines.kubernetes_settings import KubernetesSettings
from pool.engines.kubernetes_times import Times
from pool.engines.model import PoolEngine, RemoteAgent
from tests.agents.scenario import COMMAND
from tests.engines import matrix
from tests.engines.kube_api import KubeApi, cluster, kubeconfig
from tests.repeat import in_soak

SHORT = Times(retries=5.0, first=0.02, longest=0.1, quota=0.02, image=0.2, events=0.1, settle=1.0, probe=0.2, node=0.3)


class KubernetesBed:
    """The engine on a small cluster of two nodes."""

    python: Sequence[str] = (sys.executable, "-I", "-S", "-c")
    player: Sequence[str] = COMMAND

    def __init__(self, api: KubeApi, engine: KubernetesEngine, values: dict[str, Any], directory: Path) -> None:
        self.api = api
        self.engine: PoolEngine = engine
        self.directory = str(directory)
        self.state = uuid.uuid4().hex
        self.recipe = matrix.Recipe(
            "pool.engines.kubernetes:KubernetesEngine", "pool.engines.kubernetes_settings:KubernetesSettings", values
        )

    async def running(self) -> Sequence[str]:
        await anyio.lowlevel.checkpoint()
        return sorted(self.api.pods)

    async def cut(self, agent: RemoteAgent) -> None:
        self.api.lose(agent.node)
        await anyio.lowlevel.checkpoint()

    async def mend(self) -> None:
        self.api.mend()
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def bed(path: Path, times: Times = SHORT, **settings: Any) -> AsyncIterator[KubernetesBed]:
    """Run a cluster and an engine on it."""
    async with cluster() as api:
        values = {"image": "agent:1", "kubeconfig": kubeconfig(api, path / "kubeconfig"), **settings}
        work = path / "work"
        work.mkdir()
        async with KubernetesEngine("cluster", KubernetesSettings(**values), times=times) as engine:
            yield KubernetesBed(api, engine, values, work)


# Not `slow_reader`: stderr comes over the same websocket as stdout, and waits with it while nobody reads that.
LONG = [case for case in matrix.LONG if case is not matrix.slow_reader]


@pytest.mark.parametrize("case", [*matrix.QUICK, *in_soak(LONG)], ids=matrix.name_of)
@pytest.mark.asyncio
async def test_an_agent_in_a_pod_is_like_one_here(case: matrix.Case, tmp_path: Path) -> None:
    """The matrix of all engines."""
    async with bed(tmp_path) as one:
        await matrix.run(case, one)
