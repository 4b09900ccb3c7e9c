"""How long a Kubernetes engine waits for what, in seconds (pure)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Times:
    """Bounds of the engine's own calls; a test makes them shorter.

    Attributes:
        request: for the answer to one request.
        retries: in which a request that failed in passing is tried again.
        first, longest: the pauses between two tries.
        watch: after which a watch is begun anew, so that one that died unnoticed does not last.
        quota: between two looks whether a full quota has room again.
        image: in which a cluster may fail to get an image before that is final; also for a container's settings.
        events: in which a bound pod may say nothing before its events are looked at, and again between two looks.
        attach: until an attached pod has taken its environment and becomes the agent.
        ping: of silence, after which the connection is tried.
        dead: without an answer, after which the connection counts as lost.
        stalled: the same while input is not read, which an agent may be the cause of; longer than a connection waits
            for an agent that takes nothing.
        settle: for the cluster to say how a pod ended whose connection did.
        probe: of silence of all agents on a node, after which the node is tried.
        node: for a node's answer; asked twice.
        denied: before the API is asked about nodes again after it said that we may not.
        confirm: for the cluster to confirm that a deleted pod is gone, beyond its grace.
        force: the same, after it was deleted without a grace.
        sweep: for all that a sweep does.
        leftovers: between two tries to delete what could not be deleted.
        empty: between two empty frames of input: servers cut a connection that was silent for four hours.
    """

    request: float = 10.0
    retries: float = 15.0
    first: float = 0.2
    longest: float = 5.0
    watch: float = 60.0
    quota: float = 3.0
    image: float = 30.0
    events: float = 10.0
    attach: float = 15.0
    ping: float = 5.0
    dead: float = 15.0
    stalled: float = 45.0
    settle: float = 5.0
    probe: float = 10.0
    node: float = 5.0
    denied: float = 300.0
    confirm: float = 8.0
    force: float = 3.0
    sweep: float = 20.0
    leftovers: float = 10.0
    empty: float = 1800.0
