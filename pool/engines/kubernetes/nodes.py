"""The nodes of a cluster: whether those with our agents answer, and how full all of them are.

A cluster takes a minute to notice that a node is gone, and a connection through the API stays open meanwhile. So a node
whose agents are all silent is asked for a byte of a log. The mutable state is until when the API does not let us ask,
and when nodes last answered.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import anyio
import structlog

from pool.engines.avoided_nodes import AvoidedNodes
from pool.engines.kubernetes.agent import KubernetesAgent
from pool.engines.kubernetes.api import FORBIDDEN, PODS, ApiError, KubeApi
from pool.engines.kubernetes.manifest import CONTAINER
from pool.engines.kubernetes.status import NODE_LOST, quantity, requested_memory
from pool.engines.kubernetes.times import Times
from pool.engines.model import NodeStatus

_TRIES = 2
_SERVER_ERROR = 500
_PAGE = 500

log = structlog.get_logger(__name__)


class Nodes:
    """The nodes as far as we may see them."""

    def __init__(
        self,
        api: KubeApi,
        agents: Mapping[str, KubernetesAgent],
        avoided: AvoidedNodes,
        on_lost: Callable[[str], None],
        times: Times,
    ) -> None:
        self._api = api
        self._agents = agents
        self._avoided = avoided
        self._on_lost = on_lost
        self._times = times
        self._denied_until = 0.0
        self._answered: dict[str, float] = {}

    # --- do they answer? -----------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Ask silent nodes whether they are there, until cancelled."""
        while True:
            # Twice as often as they are asked: else one that falls silent just after a look would be asked late.
            await anyio.sleep(self._times.probe / 2)
            if anyio.current_time() < self._denied_until:
                continue
            by_node: dict[str, list[KubernetesAgent]] = defaultdict(list)
            for agent in self._agents.values():
                if agent.exit() is None:
                    by_node[agent.node].append(agent)
            # Only those with agents on them: a cluster may make and drop nodes all day.
            self._answered = {node: self._answered.get(node, 0.0) for node in by_node}
            async with anyio.create_task_group() as tasks:
                for node, agents in by_node.items():
                    # One that speaks shows that its node and all between are well.
                    sign = max(self._answered[node], *(agent.heard for agent in agents))
                    if anyio.current_time() - sign >= self._times.probe:
                        tasks.start_soon(self._probe, node, agents)

    async def _probe(self, node: str, agents: list[KubernetesAgent]) -> None:
        # Not by one lost answer: all agents of the node would end by it.
        for _ in range(_TRIES):
            # One of its agents is enough: it is the node that has to answer.
            if await self._answers(agents[0]):
                self._answered[node] = anyio.current_time()
                return
        log.warning("node.lost", node=node, agents=len(agents))
        self._on_lost(node)
        for agent in agents:
            if agent.exit() is None:
                agent.lost(f"{NODE_LOST}: {node} does not answer")

    async def _answers(self, agent: KubernetesAgent) -> bool:
        """Whether the node of an agent gave an answer, or it can't be said."""
        path = f"{PODS}/{agent.name}"
        query = [("container", CONTAINER), ("tailLines", "1"), ("limitBytes", "1")]
        try:
            with anyio.fail_after(self._times.node):
                await self._api.request("GET", f"{path}/log", query=query, retry=False)
        except ApiError as exc:
            if exc.status == FORBIDDEN:
                # Not for good: an API server that has just begun refuses everybody, until it knows who may what.
                self._denied_until = anyio.current_time() + self._times.denied
            if 0 < exc.status < _SERVER_ERROR:
                return True
        except TimeoutError:
            pass  # the API waits for the node, or we for the API: the next request tells
        else:
            return True
        try:
            with anyio.fail_after(self._times.node):
                await self._api.request("GET", path, retry=False)
        except (ApiError, TimeoutError):
            return True  # it is the API that is away: each connection notices that itself
        return False

    # --- how full are they? --------------------------------------------------------------------------------------

    async def status(self) -> list[NodeStatus]:
        """Return all nodes; without the right to see them, those that have agents of ours."""
        running = Counter(agent.node for agent in self._agents.values() if agent.exit() is None)
        try:
            with anyio.fail_after(self._times.request):
                nodes = await self._all("/api/v1/nodes")
        except (ApiError, TimeoutError):
            return [NodeStatus(node, count, None, None, reachable=True) for node, count in sorted(running.items())]
        taken = await self._taken()
        return [self._status(node, running, taken) for node in nodes]

    async def _taken(self) -> dict[str, int] | None:
        """Return the memory that pods take, by node; None: we may not see other namespaces."""
        try:
            with anyio.fail_after(self._times.request):
                pods = await self._all("/api/v1/pods")
        except (ApiError, TimeoutError):
            return None
        taken: Counter[str] = Counter()
        for pod in pods:
            taken[str(pod.get("spec", {}).get("nodeName", ""))] += requested_memory(pod)
        return taken

    async def _all(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        token = ""
        while True:
            query = [("limit", str(_PAGE)), *([("continue", token)] if token else [])]
            answer = await self._api.request("GET", path, query=query, retry=False)
            items += answer.get("items") or ()
            token = str(answer.get("metadata", {}).get("continue") or "")
            if not token:
                return items

    def _status(
        self, node: Mapping[str, Any], running: Mapping[str, int], taken: Mapping[str, int] | None
    ) -> NodeStatus:
        name = str(node.get("metadata", {}).get("name", ""))
        memory = str(node.get("status", {}).get("allocatable", {}).get("memory", ""))
        free = max(0, int(quantity(memory)) - taken.get(name, 0)) if taken is not None and memory else None
        ready = _is_ready(node.get("status", {}).get("conditions") or ())
        reason = "" if ready else "not ready"
        if ready and node.get("spec", {}).get("unschedulable"):
            reason = "takes no new pods (cordoned)"
        elif ready and name in self._avoided:
            reason = "failed a moment ago"
        return NodeStatus(name, running.get(name, 0), None, free, reachable=ready, reason=reason)


def _is_ready(conditions: Iterable[Mapping[str, Any]]) -> bool:
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
