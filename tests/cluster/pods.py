"""Scripted agents in pods, by the engine under test, which has the rights that the documentation shows."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from acp.engine import LaunchSpec, tell_nobody
from pool.engines.kubernetes.engine import KubernetesEngine
from pool.engines.kubernetes.settings import KubernetesSettings
from tests.agents import ScriptedAgent
from tests.cluster import image
from tests.cluster.cluster import NODES, ROOT, Cluster

NAMESPACE = "weft-agents"
ACCOUNT = "weft"
CLAIM = "shared"
STATE = "state-of-the-tests"
T = TypeVar("T")


async def aside(function: Callable[..., T], *arguments: Any) -> T:
    """Call something that waits for the cluster in a thread, so that the engine under test goes on."""
    return await anyio.to_thread.run_sync(function, *arguments)


@dataclass(frozen=True, slots=True)
class Pods:
    """What a test of the engine has.

    Attributes:
        directory: the same in pods, on both nodes, and here.
    """

    cluster: Cluster
    directory: Path
    config: Path

    def values(self) -> dict[str, Any]:
        """Return the settings of the engine, as they stand in a file."""
        return {
            "kubeconfig": str(self.config),
            "namespace": NAMESPACE,
            "image": image.AGENT,
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"memory": "128Mi"},
            "volume": {"path": str(self.cluster.shared), "claim": CLAIM},
            "user": 1000,
            "start_timeout": 60.0,
        }

    def settings(self, **more: Any) -> KubernetesSettings:
        return KubernetesSettings.model_validate(self.values() | more)

    def store(self) -> Path:
        """Make a directory in which agents keep their sessions."""
        store = self.directory / "store"
        store.mkdir()
        store.chmod(0o777)
        return store

    @asynccontextmanager
    async def engine(self, **more: Any) -> AsyncIterator[KubernetesEngine]:
        """Run an engine; ``more`` are settings. In the end the cluster may have none of its pods."""
        async with KubernetesEngine("cluster", self.settings(**more)) as engine:
            yield engine
        assert await aside(self.names) == []

    def spec(
        self,
        engine: KubernetesEngine,
        agent: ScriptedAgent | Sequence[str],
        thread: int = 1,
        tell: Callable[[str], None] = tell_nobody,
    ) -> LaunchSpec:
        labels = {"state": STATE, "agent": "scripted", "thread": str(thread)}
        argv = in_pod(agent) if isinstance(agent, ScriptedAgent) else tuple(agent)
        return LaunchSpec(argv, str(self.directory), {}, engine=engine, labels=labels, tell=tell)

    def found(self) -> list[Mapping[str, Any]]:
        """Return the pods in the agents' namespace."""
        return list(self.cluster.get("pods", "-n", NAMESPACE)["items"])

    def names(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.found()]

    def node(self) -> str:
        """Return the node of the only pod."""
        (pod,) = self.found()
        return str(pod["spec"]["nodeName"])

    # --- what befalls the only pod -----------------------------------------------------------------------------

    def delete(self) -> None:
        self.cluster.kubectl("delete", "pod", "-n", NAMESPACE, *self.names(), "--wait=false")

    def evict(self) -> None:
        """Have it evicted, as a drain of its node does."""
        (name,) = self.names()
        about = {"name": name, "namespace": NAMESPACE}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": about}
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
        self.cluster.kubectl("create", "--raw", path, "-f", "-", told=json.dumps(eviction))

    def cut_connections(self) -> None:
        """Reset all connections to the API."""
        self.cluster.control.kill("forward")
        self.cluster.start_forward()

    def silence_cluster(self) -> None:
        """Have nothing come back from the API, and no refusal either."""
        self.cluster.control.signal("forward", signal.SIGSTOP)

    def restart_api(self) -> None:
        self.cluster.control.kill("kube-apiserver")
        self.cluster.start_api()

    def kill_kubelet(self) -> None:
        """Have nobody speak for its node; what runs there runs on."""
        self.cluster.nodes[self.node()].kill("kubelet")

    def cut_node(self) -> None:
        """Pull its node's cable."""
        self.cluster.cut(self.node())

    def end_node(self) -> None:
        """Have its node's power fail."""
        self.cluster.end_node(self.node())


VOLUME = """
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [{mode}]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: {kind}
  hostPath: {{path: {path}}}
"""
SHARED_CLAIM = f"""
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {CLAIM}, namespace: {NAMESPACE}}}
spec:
  accessModes: [ReadWriteMany]
  resources: {{requests: {{storage: 1Gi}}}}
  storageClassName: shared
"""


def prepare(cluster: Cluster) -> Path:
    """Make the namespace, the account and a volume for all agents; return the account's kubeconfig.

    The rights are those of the example, and so is the namespace: it takes no pod that is more than it has to be.
    """
    cluster.kubectl("apply", "-f", str(ROOT / "examples/kubernetes/rights.yaml"))
    volume = VOLUME.format(name="shared", mode="ReadWriteMany", kind="shared", path=cluster.shared)
    cluster.kubectl("apply", "-f", "-", told=f"{volume}---{SHARED_CLAIM}")
    cluster.kubectl("create", "serviceaccount", "nobody", "-n", NAMESPACE)
    return cluster.account_config(NAMESPACE, ACCOUNT)


FILLER = """
apiVersion: v1
kind: Pod
metadata: {{name: filler-{node}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers:
  - name: filler
    image: {image}
    resources: {{requests: {{cpu: {cpu}}}}}
"""


def fill(pods: Pods) -> None:
    """Fill both nodes; `make_room` ends that."""
    for node in NODES:
        cpu = pods.cluster.get("node", node)["status"]["allocatable"]["cpu"]
        told = FILLER.format(node=node, image=image.PAUSE, cpu=cpu)
        pods.cluster.kubectl("apply", "-f", "-", told=told)
    names = [f"pod/filler-{node}" for node in NODES]
    pods.cluster.kubectl("wait", "--for=condition=Ready", *names, "--timeout=60s")


def make_room(pods: Pods) -> None:
    names = [f"filler-{node}" for node in NODES]
    pods.cluster.kubectl("delete", "pod", "--ignore-not-found", "--now", *names)


def in_pod(agent: ScriptedAgent) -> tuple[str, ...]:
    """Return the command of a scripted agent where there is no virtual environment."""
    return (sys._base_executable, *agent.argv[1:])  # type: ignore[attr-defined]  # what the image has


def python(source: str) -> tuple[str, ...]:
    """Return what runs a small Python program in a pod."""
    return (sys._base_executable, "-I", "-S", "-u", "-c", source)  # type: ignore[attr-defined]


def pods_of(cluster: Cluster, directory: Path, config: Path) -> Iterator[Pods]:
    """Give a test a directory and, afterwards, the next one a cluster that is well."""
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)  # agents run as a user who is nobody here
    yield Pods(cluster, directory, config)
    cluster.mend()
    cluster.kubectl("delete", "pods,resourcequotas", "--all", "-n", NAMESPACE, "--force", "--grace-period=0", "--wait")
    shutil.rmtree(directory)
