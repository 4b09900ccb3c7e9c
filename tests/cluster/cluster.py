"""A Kubernetes cluster of real parts for the tests: a control machine and two nodes, in namespaces of this machine.

`scripts/cluster` has built the parts; `missing` says what lacks. The API is reached at a port of 127.0.0.1, by
`forward`. All files are below one directory, which goes at the end with everything that runs; what a killed run has
left, the next one removes. The mutable state is which machines are up.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.cluster import image
from tests.cluster.certificates import Authority, Pair, account_key
from tests.cluster.machine import Machine

ROOT = Path(__file__).parents[2]
NODES = ("node-1", "node-2")
READY_LIMIT = 90.0
"""Seconds until a part has to be ready, on a busy machine."""

IMPORT_LIMIT = 180.0
"""Seconds until an image is unpacked, on a busy machine: the bot's has 280 MB."""

_PREFIX = "weft-cluster-"
_CGROUPS = Path("/sys/fs/cgroup")
_PARTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl", "runc")
_TOOLS = ("unshare", "nsenter", "ip", "mount", "ldd")
_CONTROLLERS = (
    *("node-lifecycle-controller", "taint-eviction-controller", "pod-garbage-collector-controller"),
    *("serviceaccount-controller", "root-ca-certificate-publisher-controller", "namespace-controller"),
    *("persistentvolume-binder-controller", "persistentvolumeclaim-protection-controller"),
    *("persistentvolume-protection-controller", "resourcequota-controller", "garbage-collector-controller"),
    "statefulset-controller",
)
_GATE = "10.77.0.1"
"""The control machine's address on the network of the nodes."""

_SERVICE = "10.96.0.1"
"""Where pods find the API: the first address of the services, from which a kube-proxy would lead on."""

_OUTSIDE = "192.0.2.1"
"""Where pods find what the tests run; an address that nobody has."""

_FORWARD = (sys.executable, "-I", "-S", str(Path(__file__).with_name("forward.py")))

_GRACE = 8  # seconds of silence after which a node counts as gone


def cache() -> Path:
    """Return the directory that `scripts/cluster` builds into."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("WEFT_CLUSTER_CACHE") or Path(base) / "weft-cluster")


def missing() -> str:
    """Say what a cluster would need, or nothing."""
    if sys.platform != "linux":
        return "namespaces are Linux's"
    if os.geteuid() != 0:
        return "only root can run a cluster in namespaces"
    if tools := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(tools)} missing"
    parts = [part for part in _PARTS if not (cache() / "bin" / part).exists()]
    parts += [part for part in ("etcd", "containerd") if not (cache() / "root/usr/bin" / part).exists()]
    return f"not built: {', '.join(parts)} (scripts/cluster)" if parts else ""


def wait_until(look: Callable[[], bool], what: str, limit: float = READY_LIMIT) -> float:
    """Look until it is so, and return after how many seconds; other processes send no event."""
    since = time.monotonic()
    while not look():
        assert time.monotonic() - since < limit, f"{what}: not within {limit:.0f} s"
        time.sleep(0.05)
    return time.monotonic() - since


class Cluster:
    """A cluster that is up; `running` makes one.

    Attributes:
        api: the API's address.
        nodes: the nodes that are up, by name.
        shared: a directory that pods of both nodes can have mounted.
    """

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.shared = directory / "shared"
        self.shared.mkdir()
        self.shared.chmod(0o777)  # agents run as a user who is nobody here
        self.nodes: dict[str, Machine] = {}
        self._stack = stack
        self._bin = cache() / "bin"
        self._packages = cache() / "root/usr/bin"
        self._path = f"{self._bin}:{self._packages}"
        self._authority = Authority(directory / "certificates")
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.api = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._admin = self._user("admin", "system:masters", self.api)
        self._images = directory / "images.tar"
        self._boots = 0

    # --- what runs ---------------------------------------------------------------------------------------------

    def start_control(self) -> None:
        """Start the control machine, until the API is ready."""
        self.control = self._boot("control")
        # A bridge, as a switch is: behind a port that is cut, or a node that is gone, nothing answers.
        self.control.run("sh", "-c", f"ip link add lan type bridge && ip address add {_GATE}/24 dev lan")
        self.control.run("ip", "link", "set", "lan", "up")
        self.control.start(
            str(self._packages / "etcd"),
            *("--data-dir", str(self.control.directory / "etcd"), "--log-outputs", "stderr"),
        )
        keys = account_key(self.directory / "certificates/accounts.key")
        self._serving = self._authority.issue("api", "api", addresses=("127.0.0.1", _SERVICE, _GATE))
        self._to_kubelets = self._authority.issue("to-kubelets", "api", "system:masters")
        self._keys = keys
        self.start_api()
        self.start_forward()
        wait_until(self._ready, "the API server is ready")
        manager = self._user("controller-manager", "system:masters", "https://127.0.0.1:6443")
        self.control.start(str(self._bin / "kube-controller-manager"), *self._manager_options(manager))
        scheduler = self._user("scheduler", "system:masters", "https://127.0.0.1:6443")
        self.control.start(str(self._bin / "kube-scheduler"), "--kubeconfig", str(scheduler), "--leader-elect=false")

    def start_api(self) -> None:
        """Start the API server; it may have been killed before."""
        options = {
            "etcd-servers": "http://127.0.0.1:2379",
            "bind-address": "0.0.0.0",
            "advertise-address": _GATE,
            "service-cluster-ip-range": "10.96.0.0/16",
            "cert-dir": self.control.directory,
            "tls-cert-file": self._serving.certificate,
            "tls-private-key-file": self._serving.key,
            "client-ca-file": self._authority.certificate,
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": self._keys,
            "service-account-signing-key-file": self._keys,
            "kubelet-certificate-authority": self._authority.certificate,
            "kubelet-client-certificate": self._to_kubelets.certificate,
            "kubelet-client-key": self._to_kubelets.key,
            "kubelet-preferred-address-types": "InternalIP",
            # How long a pod stays on a node that is gone.
            "default-not-ready-toleration-seconds": 2,
            "default-unreachable-toleration-seconds": 2,
        }
        self.control.start(str(self._bin / "kube-apiserver"), *(f"--{name}={value}" for name, value in options.items()))

    def _manager_options(self, config: Path) -> list[str]:
        options = {
            "kubeconfig": config,
            "leader-elect": "false",
            "controllers": ",".join(_CONTROLLERS),
            "root-ca-file": self._authority.certificate,
            "service-account-private-key-file": self._keys,
            "node-monitor-period": "1s",
            "node-monitor-grace-period": f"{_GRACE}s",
            "node-startup-grace-period": "20s",
            "cert-dir": self.control.directory,
        }
        return [f"--{name}={value}" for name, value in options.items()]

    def start_forward(self) -> None:
        """Have the API reached from where the tests are; without this, connections stay unanswered."""
        number = self._listener.fileno()
        self.control.start(*_FORWARD, str(number), "127.0.0.1", "6443", name="forward", files=[number])

    def start_node(self, name: str) -> None:
        """Start a node, until it is ready; one that was ended comes back with an empty disk."""
        number = _number(name)
        node = self._boot(name)
        self._link(node, number)
        containerd, root = node.directory / "containerd.toml", node.directory / "cni"
        root.mkdir()
        (root / "10-weft.conflist").write_text(json.dumps(_network(number)))
        containerd.write_text(_CONTAINERD.format(cni=root, plugins=cache() / "root/usr/lib/cni", pause=image.PAUSE))
        node.start(str(self._packages / "containerd"), "--config", str(containerd), path=self._path)
        wait_until((node.directory / "_run/containerd/containerd.sock").exists, "containerd is up")
        self.nodes[name] = node
        self.give_images(name, self._images)
        self._serve_api(node)
        self._start_kubelet(name)
        wait_until(lambda: self.node_ready(name), f"{name} is ready")

    def give_images(self, name: str, archive: Path) -> None:
        """Give a node the images of an archive."""
        self.ctr(name, "images", "import", "--snapshotter", "overlayfs", str(archive))

    def ctr(self, name: str, *words: str) -> str:
        """Ask the container runtime of a node."""
        words = (str(self._packages / "ctr"), "--namespace", "k8s.io", *words)
        return self.nodes[name].run(*words, limit=IMPORT_LIMIT)

    def _serve_api(self, node: Machine) -> None:
        node.run("ip", "address", "add", f"{_SERVICE}/32", "dev", "lo")
        with node.listen(_SERVICE, 443) as listener:
            number = listener.fileno()
            node.start(*_FORWARD, str(number), _GATE, "6443", name="service", files=[number])

    @contextmanager
    def outside(self, port: int) -> Iterator[str]:
        """Have pods reach a port of 127.0.0.1 of the tests; give the HOST:PORT at which they do."""
        with ExitStack() as stack:
            for node in self.nodes.values():
                node.run("ip", "address", "replace", f"{_OUTSIDE}/32", "dev", "lo")
                with node.listen(_OUTSIDE, port) as listener:
                    number = listener.fileno()
                    words = (*_FORWARD, str(number), "127.0.0.1", str(port))
                    # Its network is the tests': it listens on the node, and connects here.
                    node.start(*words, name="outside", files=[number], network=False)
                stack.callback(node.kill, "outside")
            yield f"{_OUTSIDE}:{port}"

    def _start_kubelet(self, name: str) -> None:
        node, number = self.nodes[name], _number(name)
        serving = self._authority.issue(f"{name}-serving", name, addresses=(_address(number),))
        kubelet = node.directory / "kubelet.json"
        group = self._make_cgroup(name)
        kubelet.write_text(json.dumps(_kubelet(serving, self._authority.certificate, group)))
        config = self._user(f"system:node:{name}", "system:nodes", f"https://{_GATE}:6443")
        node.start(
            str(self._bin / "kubelet"),
            *(f"--config={kubelet}", f"--kubeconfig={config}", f"--hostname-override={name}"),
            *(f"--node-ip={_address(number)}", f"--node-labels=kubernetes.io/os=linux,weft.test/node={name}"),
            path=self._path,
        )

    def _boot(self, name: str) -> Machine:
        self._boots += 1
        machine = Machine(name, self.directory / f"{name}-{self._boots}")
        self._stack.callback(machine.end)
        return machine

    def _link(self, node: Machine, number: int) -> None:
        ours = f"node{number}"
        # Asked from outside: the process whose namespace the other end goes to is counted here.
        there = ["nsenter", "-t", str(self.control.pid), "--net", "--"]
        peer = ["type", "veth", "peer", "name", "eth0", "netns", str(node.pid)]
        subprocess.run([*there, "ip", "link", "add", ours, *peer], check=True, timeout=30)
        self.control.run("ip", "link", "set", ours, "master", "lan", "up")
        node.run("ip", "address", "add", f"{_address(number)}/24", "dev", "eth0")
        node.run("ip", "link", "set", "eth0", "up")

    def _make_cgroup(self, name: str) -> str:
        group = f"{self.directory.name}/{name}"
        for controller in _CGROUPS.iterdir():
            (controller / group).mkdir(parents=True, exist_ok=True)
        # The controllers that set processors aside are empty in a new group, and nothing could be put in.
        for below in (self.directory.name, group):
            for file in ("cpuset.cpus", "cpuset.mems"):
                path = _CGROUPS / "cpuset" / below / file
                if path.exists():
                    path.write_text((path.parent.parent / file).read_text())
        return f"/{group}"

    # --- what befalls it ----------------------------------------------------------------------------------------

    def cut(self, name: str, *, on: bool = False) -> None:
        """Cut a node's link, or mend it: it runs on, and nothing of it is heard."""
        self.control.run("ip", "link", "set", f"node{_number(name)}", "up" if on else "down")

    def end_node(self, name: str) -> None:
        """Have a node lose its power: its link is silent before its processes are gone, as with a real one."""
        self.cut(name)
        self.nodes.pop(name).end()
        # It goes with the other end, but not at once, and the next one has its name.
        self.control.run("sh", "-c", f"ip link delete node{_number(name)} || true")

    def mend(self) -> None:
        """Bring back whatever a test has killed, cut or stopped, until both nodes are ready."""
        for name, start in (("kube-apiserver", self.start_api), ("forward", self.start_forward)):
            if self.control.runs(name):
                self.control.signal(name, signal.SIGCONT)
            else:
                start()
        wait_until(self._ready, "the API server is ready")
        for name in NODES:
            if name not in self.nodes:
                self.start_node(name)
            self.cut(name, on=True)
            if not self.nodes[name].runs("kubelet"):
                self._start_kubelet(name)
        for name in NODES:
            wait_until(lambda name=name: self.node_ready(name), f"{name} is ready")  # type: ignore[misc]

    # --- what is asked of it ------------------------------------------------------------------------------------

    def kubectl(self, *words: str, told: str = "", check: bool = True) -> str:
        """Run kubectl as the cluster's administrator, and return what it said."""
        done = subprocess.run(
            [str(self._bin / "kubectl"), f"--kubeconfig={self._admin}", "--request-timeout=30s", *words],
            input=told,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=READY_LIMIT,
            check=False,
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(words)}: {done.stdout}"
        return done.stdout

    def get(self, *words: str) -> Any:
        """Return what `kubectl get` finds."""
        return json.loads(self.kubectl("get", "-o", "json", *words))

    def account_config(self, namespace: str, account: str) -> Path:
        """Write a kubeconfig with a service account's token, and return its path."""
        token = self.kubectl("create", "token", account, "-n", namespace, "--duration=24h").strip()
        return self._write_config(f"{namespace}-{account}", self.api, {"token": token}, namespace)

    def node_ready(self, name: str) -> bool:
        found = self.kubectl("get", "node", name, "-o", "json", check=False)
        if not found.startswith("{"):
            return False
        node = json.loads(found)
        conditions = node.get("status", {}).get("conditions", ())
        ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
        return ready and not node["spec"].get("taints")

    def _ready(self) -> bool:
        if fallen := self.control.ended():
            raise AssertionError(fallen)
        return self.kubectl("get", "--raw", "/readyz", check=False) == "ok"

    # --- files --------------------------------------------------------------------------------------------------

    def write_images(self) -> None:
        image.write_images(self._images, cache() / "root/bin/busybox", ROOT / "tests/agents")

    def _user(self, user: str, group: str, server: str) -> Path:
        pair = self._authority.issue(user.replace(":", "-"), user, group)
        known = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        return self._write_config(user.replace(":", "-"), server, known)

    def _write_config(self, name: str, server: str, user: dict[str, str], namespace: str = "default") -> Path:
        authority = base64.b64encode(self._authority.certificate.read_bytes()).decode()
        context = {"cluster": "test", "user": "test", "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": authority}}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": context}],
            "current-context": "test",
        }
        path = self.directory / "certificates" / f"{name}.kubeconfig"
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return path


@contextmanager
def running() -> Iterator[Cluster]:
    """Run a cluster for the length of the block."""
    with _directory() as directory, ExitStack() as stack:
        stack.callback(_remove_cgroups, directory.name)
        cluster = Cluster(directory, stack)
        cluster.write_images()
        cluster.start_control()
        for name in NODES:
            cluster.start_node(name)
        yield cluster


@contextmanager
def _directory() -> Iterator[Path]:
    """Make the directory of a cluster; a lock on it says that its tests live."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), (left / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_cgroups(left.name)
            shutil.rmtree(left)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    directory.chmod(0o755)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield directory
        finally:
            shutil.rmtree(directory)


def _remove_cgroups(name: str) -> None:
    """Remove the control groups of a cluster whose processes are gone."""
    for controller in _CGROUPS.iterdir():
        for directory, _below, _files in os.walk(controller / name, topdown=False):
            Path(directory).rmdir()


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


def _address(number: int) -> str:
    return f"10.77.0.{10 + number}"


def _network(number: int) -> dict[str, Any]:
    ranges = [[{"subnet": f"10.88.{number}.0/24"}]]
    # The node leads no further: pods reach what listens on it.
    ipam = {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "pods", "isGateway": True, "ipam": ipam}
    return {"cniVersion": "0.4.0", "name": "weft", "plugins": [bridge]}


_CONTAINERD = """version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{cni}"
"""


def _kubelet(serving: Pair, authority: Path, group: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "tlsCertFile": str(serving.certificate),
        "tlsPrivateKeyFile": str(serving.key),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": group,
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "healthzPort": 0,
        "resolvConf": "",
        "maxPods": 40,
        "nodeLeaseDurationSeconds": 4,
        "nodeStatusUpdateFrequency": "2s",
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
    }
