"""The pod of an agent and the claim of a thread, as they are sent to the API (pure).

A pod begins with a few lines of shell that wait for the agent's environment on stdin, and only then become the agent.
So nothing is said before Weft is attached, and no value of the environment stands in the pod's specification, where
everybody who may read pods would see it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from acp.engine import LaunchSpec
from acp.shutdown import StopLimits
from pool.engines.bot_run import BotRun
from pool.engines.kubernetes.settings import KubernetesSettings, Mount, Volume

Json = dict[str, Any]

MANAGED: Final = "app.kubernetes.io/managed-by"
STATE, AGENT, THREAD, RUN, EPOCH = "weft/state", "weft/agent", "weft/thread", "weft/run", "weft/epoch"
CONTAINER: Final = "agent"
READY: Final = b"weft-ready\n"

NO_HEADER, NO_DIRECTORY, NO_PROGRAM = 120, 121, 127
"""The exit codes of the gate, for what keeps it from becoming the agent."""

# What the shell reads, it reads byte by byte, so that the first byte after the empty line is the agent's.
GATE: Final = f"""\
while :; do
  IFS= read -r weft_line || exit {NO_HEADER}
  [ -n "$weft_line" ] || break
  weft_value=$(printf '%b.' "${{weft_line#*=}}")
  export "${{weft_line%%=*}}=${{weft_value%.}}"
done
unset weft_line weft_value
[ -z "${{HOME-}}" ] || [ -d "$HOME" ] || mkdir -p "$HOME"
mkdir -p "$1"
cd "$1" || exit {NO_DIRECTORY}
shift
command -v "$1" >/dev/null || exit {NO_PROGRAM}
printf 'weft-ready\\n'
exec "$@"
"""

BESIDE: Final = 'cd "$1" && shift && exec "$@"'
"""Becomes a command in the directory that its first argument names."""

FED: Final = 'cd "$1" && size="$2" && shift 2 && head -c "$size" | "$@"'
"""As `BESIDE`, with an end of the input after so many bytes: older servers have no other way to tell it."""

_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9_.-]+")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def label(value: str) -> str:
    """Return ``value`` as the value of a label; what had to be changed stays different from what it might equal."""
    kept = _NOT_IN_LABELS.sub("-", value)[:63].strip("-_.")
    if kept == value:
        return kept
    return f"{kept[:50].rstrip('-_.') or 'x'}-{hashlib.sha256(value.encode()).hexdigest()[:12]}"


def labels_of(spec: LaunchSpec, run: BotRun | None) -> dict[str, str]:
    """Return the labels of a pod, or of what outlives the run that made it."""
    own = {STATE: spec.labels.get("state", ""), AGENT: spec.labels.get("agent", "")}
    own |= {THREAD: spec.labels.get("thread", "")}
    if run is not None:
        own |= {RUN: run.name, EPOCH: run.epoch_mark}
    return {MANAGED: "weft", **{key: label(value) for key, value in own.items() if value}}


def pod_name(spec: LaunchSpec, unique: str) -> str:
    """Return a name that says whose pod it is, and that no other has."""
    agent = _NOT_IN_NAMES.sub("-", spec.labels.get("agent", "").lower())[:30].strip("-")
    return "-".join(filter(None, ["weft", agent, unique]))


def header(env: Mapping[str, str]) -> bytes:
    """Return what the gate reads first: the environment, a variable to a line, and an empty line.

    A shell knows only names of letters, digits and ``_``; other variables are left out.
    """
    lines = []
    for name, value in env.items():
        if _VARIABLE.fullmatch(name):
            said = value.replace("\\", "\\0134").replace("\n", "\\0012")
            lines.append(f"{name}={said}\n".encode(errors="surrogateescape"))
    return b"".join(lines) + b"\n"


def claim_name(spec: LaunchSpec) -> str:
    """Return the name of a thread's claim: the same for each start of this agent in it."""
    whose = (spec.labels.get("state", ""), spec.labels.get("agent", ""), spec.labels.get("thread", ""))
    agent, thread = (_NOT_IN_NAMES.sub("-", one.lower())[:30].strip("-") for one in whose[1:])
    return "-".join(filter(None, ["weft", agent, thread, hashlib.sha256("\0".join(whose).encode()).hexdigest()[:8]]))


def claim_manifest(spec: LaunchSpec, settings: KubernetesSettings) -> Json:
    """Return the claim of a thread, for settings that want one."""
    wanted = settings.volume.new_claim
    assert wanted is not None
    body: Json = {"accessModes": [wanted.access_mode], "resources": {"requests": {"storage": wanted.size}}}
    if wanted.storage_class is not None:
        body["storageClassName"] = wanted.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim_name(spec), "labels": labels_of(spec, None)},
        "spec": body,
    }


def pod_manifest(
    name: str,
    spec: LaunchSpec,
    settings: KubernetesSettings,
    run: BotRun,
    *,
    avoid: Iterable[str] = (),
    limits: StopLimits,
) -> Json:
    """Return the pod of an agent.

    Args:
        avoid: nodes that failed a moment ago: others are preferred.
        limits: how long it may take to end, if somebody else deletes the pod.
    """
    volumes, mounts = _volumes(spec, settings)
    body: Json = {
        # Started again by the node, an agent would have nobody who is attached to it.
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": max(1, math.ceil(limits.eof + limits.term)),
        # An agent that may ask the API is for those who say so in a mount.
        "automountServiceAccountToken": False,
        # Otherwise each service of the namespace adds variables that nobody has named.
        "enableServiceLinks": False,
        # So the agent is not process 1, which no TERM ends by itself, and its orphans are reaped.
        "shareProcessNamespace": True,
        "securityContext": _pod_security(settings),
        "containers": [_container(spec, settings, mounts)],
        "volumes": volumes,
        "serviceAccountName": settings.service_account,
        "nodeSelector": settings.node_selector,
        "tolerations": [_toleration(one.model_dump(exclude_none=True)) for one in settings.tolerations],
        "runtimeClassName": settings.runtime_class,
        "priorityClassName": settings.priority_class,
        "imagePullSecrets": [{"name": one} for one in settings.image_pull_secrets],
    }
    if nodes := sorted(avoid):
        body["affinity"] = {"nodeAffinity": _rather_not(nodes)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels_of(spec, run)},
        "spec": {key: value for key, value in body.items() if value not in (None, [], {})},
    }


def _container(spec: LaunchSpec, settings: KubernetesSettings, mounts: list[Json]) -> Json:
    container: Json = {
        "name": CONTAINER,
        "image": settings.image,
        "command": ["/bin/sh", "-c", GATE, "weft", spec.cwd, *spec.argv],
        # Attached once: when that ends, the end of its input tells the agent that nobody is there any more.
        "stdin": True,
        "stdinOnce": True,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"requests": settings.requests, "limits": settings.limits},
        "env": [
            {"name": name, "valueFrom": {"secretKeyRef": dict(zip(("name", "key"), one.split("/"), strict=True))}}
            for name, one in settings.secrets.items()
        ],
        "envFrom": [{"secretRef": {"name": one}} for one in settings.env_from],
        "volumeMounts": mounts,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if settings.image_pull_policy is not None:
        container["imagePullPolicy"] = settings.image_pull_policy
    return container


def _pod_security(settings: KubernetesSettings) -> Json:
    # The node looks at the image, too: nobody becomes root by leaving `user` out.
    security: Json = {"runAsNonRoot": settings.user != 0, "seccompProfile": {"type": settings.seccomp}}
    if settings.user is not None:
        security["runAsUser"] = settings.user
    if settings.group is not None:
        # A volume that was just made belongs to root: the group is what lets the agent write in it.
        security |= {"runAsGroup": settings.group, "fsGroup": settings.group, "fsGroupChangePolicy": "OnRootMismatch"}
    return security


def _toleration(said: Json) -> Json:
    return {"tolerationSeconds" if key == "seconds" else key: value for key, value in said.items()}


def _rather_not(nodes: list[str]) -> Json:
    # By the field, as the label of a node's host may differ from its name; the API takes one value for each.
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in nodes]
    return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": {"matchFields": fields}}]}


def _volumes(spec: LaunchSpec, settings: KubernetesSettings) -> tuple[list[Json], list[Json]]:
    volume = settings.volume
    mount: Json = {"name": "work", "mountPath": volume.path}
    if volume.sub_path is not None:
        mount["subPath"] = volume.sub_path.replace("{thread_id}", label(spec.labels.get("thread", "") or "none"))
    volumes, mounts = [{"name": "work", **_work(spec, volume)}], [mount]
    for number, one in enumerate(settings.mounts):
        name = f"mount-{number}"
        volumes.append({"name": name, **_source(one)})
        mounts.append({"name": name, "mountPath": one.path, "readOnly": one.read_only})
    return volumes, mounts


def _work(spec: LaunchSpec, volume: Volume) -> Json:
    if volume.host_path is not None:
        return {"hostPath": {"path": volume.host_path, "type": "DirectoryOrCreate"}}
    if volume.claim is not None or volume.new_claim is not None:
        return {"persistentVolumeClaim": {"claimName": volume.claim or claim_name(spec)}}
    return {"emptyDir": {}}


def _source(mount: Mount) -> Json:
    if mount.claim is not None:
        return {"persistentVolumeClaim": {"claimName": mount.claim, "readOnly": mount.read_only}}
    if mount.secret is not None:
        return {"secret": {"secretName": mount.secret}}
    if mount.config_map is not None:
        return {"configMap": {"name": mount.config_map}}
    return {"hostPath": {"path": mount.host_path}}
