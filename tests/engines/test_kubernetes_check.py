"""What a look at a cluster finds, and what is told of its nodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from acp.errors import AgentSpawnError
from pool.engines.kubernetes.status import requested_memory
from pool.engines.model import NodeStatus
from tests.engines.kube_bed import SHORT, KubernetesBed, bed
from tests.engines.kube_model import Refused

GIB = 2**30


async def problems(one: KubernetesBed) -> list[str]:
    found = await one.engine.check()
    assert all(finding.fix for finding in found if not finding.ok)
    return [finding.what for finding in found if not finding.ok]


@pytest.mark.asyncio
async def test_a_look_at_the_cluster_names_what_is_missing(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path, image_pull_secrets=["registry"], volume={"claim": "shared"}) as one:
        one.api.secrets["registry"], one.api.claims["shared"] = {}, {"metadata": {"name": "shared"}}
        assert await problems(one) == []
        assert await one.running() == []
        one.api.secrets.clear()
        one.api.claims.clear()
        one.api.denied = {"create pods/attach", "list events"}
        one.api.fail(
            "POST /api/v1/namespaces/weft/pods", Refused(403, "Forbidden", 'violates PodSecurity "restricted"')
        )
        found = await problems(one)
        assert found[0] == "no right in weft to create pods/attach"
        assert found[1] == "no right to list events: why a volume is waited for is not told"
        assert found[2] == "there is no secret registry for pulling the image"
        assert 'persistentvolumeclaims "shared" not found' in found[3]
        assert 'violates PodSecurity "restricted"' in found[4]
        await one.api.close()
        (away,) = await problems(one)
        assert away.startswith("the cluster can't be reached: ")
        await one.api.serve()


@pytest.mark.asyncio
async def test_nodes_are_told_as_far_as_the_rights_go(tmp_path: Path) -> None:
    """R5, P14"""
    async with bed(tmp_path, requests={"memory": "1Gi"}) as one:
        agent = await one.start()
        other = next(name for name in one.api.nodes if name != agent.node)
        assert requested_memory(one.pod(agent).body) == GIB
        nodes = {node.name: node for node in await one.engine.nodes()}
        assert nodes[agent.node] == NodeStatus(agent.node, 1, None, 3 * GIB, reachable=True)
        assert nodes[other] == NodeStatus(other, 0, None, 4 * GIB, reachable=True)
        one.api.fail("GET /api/v1/pods", Refused(403, "Forbidden", "no"))
        assert {node.free_memory for node in await one.engine.nodes()} == {None}
        one.api.fail("GET /api/v1/nodes", Refused(403, "Forbidden", "no"))
        assert await one.engine.nodes() == [NodeStatus(agent.node, 1, None, None, reachable=True)]
        await agent.stop()


@pytest.mark.asyncio
async def test_an_answer_without_an_end_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P14: whatever answers in the API's place."""
    monkeypatch.setattr("pool.engines.kubernetes.api._MOST", 10)
    async with bed(tmp_path, replace(SHORT, retries=0.1)) as one:
        with pytest.raises(AgentSpawnError, match="an answer that is longer than any of the API's"):
            await one.start()
