"""What the status of a pod says: what it waits for, why it can't start, how it ended (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from acp.errors import AgentExit, SpawnFailure
from pool.engines.kubernetes.manifest import CONTAINER, NO_DIRECTORY, NO_HEADER, NO_PROGRAM
from pool.engines.model import returncode_of

Pod = Mapping[str, Any]

NODE_LOST: Final = "node lost"
_LONGEST = 160
_UNSCHEDULABLE = re.compile(r"^\d+/\d+ nodes are available: ")

_FULL = re.compile(r"\bInsufficient |\bToo many pods\b|\bmax volume count\b")
"""What is free again when a pod ends. Labels, taints and volumes of another zone keep a pod away from an empty node."""

_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"})
_BAD_IMAGE = frozenset({"InvalidImageName", "ErrImageNeverPull"})
"""What no second try of the cluster's mends."""

_CONTAINER = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_NOT_ADMITTED = re.compile("OutOf|UnexpectedAdmissionError|NodeAffinity|NodeShutdown|Evicted|Preempt|Terminated")

_DISRUPTIONS = {
    "PreemptionByScheduler": "preempted",
    "DeletionByTaintManager": NODE_LOST,
    "EvictionByEvictionAPI": "Evicted",
    "DeletionByPodGC": NODE_LOST,
    "TerminationByKubelet": "Evicted",
}


@dataclass(frozen=True, slots=True)
class PodWait:
    """A pod that does not run yet.

    Attributes:
        words: what it waits for, for people.
        failure: what is wrong if it stays like that.
        lasting: whether waiting longer has little sense; only a cluster's second try may help.
        final: whether it can't be otherwise.
        mounting: it is bound and silent: its events may say more.
        full: it waits for room that the end of another agent would make.
    """

    words: str
    failure: SpawnFailure = SpawnFailure.TIMEOUT
    lasting: bool = False
    final: bool = False
    mounting: bool = False
    full: bool = False


def name_of(pod: Pod) -> str:
    return str(pod.get("metadata", {}).get("name", ""))


def uid_of(pod: Pod) -> str:
    return str(pod.get("metadata", {}).get("uid", ""))


def node_of(pod: Pod) -> str:
    """Return on which node a pod is; "" while it is on none."""
    return str(pod.get("spec", {}).get("nodeName") or "")


def is_running(pod: Pod) -> bool:
    """Whether the container runs, as far as the cluster has noticed."""
    return "running" in _container(pod).get("state", {})


def is_over(pod: Pod) -> bool:
    """Whether nothing of the pod runs any more, and all is said of it."""
    state = _container(pod).get("state", {})
    # One that is being evicted has failed already while its container ends.
    return "terminated" in state or (has_phase_of_end(pod) and "running" not in state)


def has_phase_of_end(pod: Pod) -> bool:
    """Whether the cluster counts the pod as ended, whatever its container does."""
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def waiting_for(pod: Pod) -> PodWait:
    """Return what a pod waits for that neither runs nor is over."""
    if not node_of(pod):
        return _unscheduled(pod)
    state = _container(pod).get("state", {}).get("waiting", {})
    reason, message = str(state.get("reason", "")), str(state.get("message", ""))
    # The cluster tries again by itself, but a name that is wrong stays so.
    if reason in _IMAGE or reason in _BAD_IMAGE:
        words = f"the image can't be had ({reason}): {shortened(message)}" if message else f"the image: {reason}"
        return PodWait(words, SpawnFailure.IMAGE, lasting=True, final=reason in _BAD_IMAGE)
    if reason in _CONTAINER:
        return PodWait(f"its container can't start: {shortened(message) or reason}", SpawnFailure.OTHER, lasting=True)
    return PodWait(f"starting on {node_of(pod)}", mounting=True)


def _unscheduled(pod: Pod) -> PodWait:
    for one in pod.get("status", {}).get("conditions") or ():
        if one.get("type") == "PodScheduled" and one.get("status") == "False":
            # Without the counts of nodes, which mean little to people in Discord.
            message = _UNSCHEDULABLE.sub("", str(one.get("message", ""))).split(" preemption: ")[0].rstrip(". ")
            full = bool(_FULL.search(message))
            words = "no node has room for it" if full or not message else "no node takes it"
            return PodWait(f"{words}: {shortened(message)}" if message else words, SpawnFailure.NO_ROOM, full=full)
    return PodWait("waiting for a node", SpawnFailure.NO_ROOM)


def lacked_room(pod: Pod) -> bool:
    """Whether its node refused it for what is free again when another pod ends there."""
    return node_of(pod) != "" and str(pod.get("status", {}).get("reason", "")).startswith("OutOf")


def why_it_never_ran(pod: Pod, image: str) -> tuple[SpawnFailure, str]:
    """Return why a pod was over before its agent ran: its gate or its container failed, or its node refused it."""
    status, ended = pod.get("status", {}), _container(pod).get("state", {}).get("terminated", {})
    reason, message = str(status.get("reason", "")), shortened(str(status.get("message", "")))
    code = ended.get("exitCode")
    # The scheduler chose a node that could not take it by then: another try finds another one.
    if not ended and _NOT_ADMITTED.search(reason):
        return SpawnFailure.NO_ROOM, f"{node_of(pod) or 'the node'} did not take it ({reason}): {message}"
    if ended.get("reason") in ("StartError", "ContainerCannotRun"):
        said = shortened(str(ended.get("message", "")))
        failure = SpawnFailure.NOT_FOUND if "no such file" in said else SpawnFailure.NOT_EXECUTABLE
        return failure, f"/bin/sh of the image {image} can't be started: {said}"
    gate = {
        NO_HEADER: (SpawnFailure.UNREACHABLE, "the connection to the pod was lost while it started"),
        NO_DIRECTORY: (SpawnFailure.BAD_DIRECTORY, "the working directory in the pod can't be made or used"),
        NO_PROGRAM: (SpawnFailure.NOT_FOUND, f"the agent's command is not in the image {image}"),
    }.get(code)
    if gate is not None:
        return gate
    why = how_it_ended(pod).describe()
    return SpawnFailure.EXITED, f"the pod ended before the agent ran ({why})"


def how_it_ended(pod: Pod | None, stderr_tail: str = "", *, deleted: bool = False) -> AgentExit:
    """Return how an agent ended by the last that was seen of its pod.

    Args:
        pod: None: nothing was ever seen of it.
        deleted: somebody else deleted it.
    """
    ended = _container(pod or {}).get("state", {}).get("terminated", {})
    code = ended.get("exitCode")
    returncode = None
    if isinstance(code, int):
        signal = ended.get("signal")
        returncode = -signal if signal else returncode_of(code)
    if reason := _reason(pod or {}, str(ended.get("reason", "")), deleted=deleted):
        return AgentExit(returncode, stderr_tail, reason)
    return AgentExit(returncode, stderr_tail)


def _reason(pod: Pod, container_reason: str, *, deleted: bool) -> str:
    status = pod.get("status", {})
    message = shortened(str(status.get("message", "")))
    # Before the reason of the pod, which is about the pod and not about the agent.
    if container_reason == "OOMKilled":
        return container_reason
    if said := str(status.get("reason", "")):
        words = NODE_LOST if said == "NodeLost" else said
        return f"{words}: {message}" if message else words
    for one in status.get("conditions") or ():
        if one.get("type") == "DisruptionTarget" and one.get("status") == "True":
            return _DISRUPTIONS.get(str(one.get("reason")), str(one.get("reason")))
    if deleted:
        return "deleted"
    return container_reason if container_reason not in ("", "Error", "Completed") else ""


def shortened(text: str) -> str:
    """Return the first words of a message that was written for operators."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1].rstrip() + "…"


def event_words(events: Iterable[Mapping[str, Any]]) -> str:
    """Return what the last warning about a pod says; "" if there is none."""
    warnings = [one for one in events if one.get("type") == "Warning"]
    if not warnings:
        return ""
    # The newest one: those of earlier tries stay for an hour.
    last = max(warnings, key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))
    return f"{last.get('reason', 'a warning')}: {shortened(str(last.get('message', '')))}"


_UNITS = {"": 1, "m": 0.001, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "P": 10**15}
_QUANTITY = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]{0,2})")


def quantity(text: str) -> float:
    """Return the number that a quantity such as ``512Mi`` stands for; 0 for what is none."""
    found = _QUANTITY.fullmatch(text)
    return float(found[1]) * _UNITS.get(found[2], 0) if found else 0.0


def requested_memory(pod: Pod) -> int:
    """Return the bytes that a pod takes of its node's memory, as the scheduler counts; 0 once it is over."""
    if has_phase_of_end(pod):
        return 0
    spec = pod.get("spec", {})

    def of(containers: Iterable[Mapping[str, Any]]) -> list[float]:
        return [quantity(str(one.get("resources", {}).get("requests", {}).get("memory", "0"))) for one in containers]

    # Init containers run before the others, so it is the larger need that counts.
    return int(max(sum(of(spec.get("containers") or ())), *of(spec.get("initContainers") or ()), 0.0))


def _container(pod: Pod) -> Mapping[str, Any]:
    for one in pod.get("status", {}).get("containerStatuses") or ():
        if one.get("name") == CONTAINER:
            return dict(one)
    return {}
