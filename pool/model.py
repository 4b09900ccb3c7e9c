"""The pool's limits, the states of what is in it, and what it reports about itself (pure)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from acp.errors import SpawnFailure
from acp.handshake import How


class SlotState(Enum):
    """Where a slot is between its creation and the end of its process."""

    STARTING = "starting"
    READY = "ready"
    CLOSING = "closing"
    CLOSED = "closed"


class AgentState(Enum):
    """Where an agent process is, from the first claim on it until nothing of it is left."""

    CLAIMED = "claimed"  # nobody wants a session in it yet: no task runs for it
    STARTING = "starting"
    SERVING = "serving"  # a session was opened in it
    STOPPING = "stopping"  # it was told to, or ended by itself
    OVERDUE = "overdue"  # its end takes too long to wait for, and is still under way
    REMAINS = "remains"  # its task is done, and something of it still runs
    GONE = "gone"


class Reason(Enum):
    """Why a slot was told to stop."""

    ASKED = "asked"
    CAPACITY = "capacity"
    IDLE = "idle"
    HUNG = "hung"
    DIED = "died"
    FAILED = "failed"
    UNUSED = "unused"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The limits of a pool; times are in seconds.

    Attributes:
        max_agents: processes that live, start or end at the same time.
        idle_ttl: how long a slot without an admitted turn keeps its process.
        maintenance: how often the periodic pass runs.
        crash_starts: failed starts of a thread within `crash_window` that open its breaker.
        crash_window: see `crash_starts`; the breaker stays open as long after the last failure.
        hung_after: how long one turn may hold a slot; the net under the turn's own hard timeout, and longer.
        stop_bound: how long a process may take to end before it counts as leaked.
        close_bound: how long closing the pool waits for all processes.
        store_bound: how long the start of a session waits for the store.
    """

    max_agents: int = 12
    idle_ttl: float = 900.0
    maintenance: float = 30.0
    crash_starts: int = 3
    crash_window: float = 60.0
    hung_after: float = 5700.0
    stop_bound: float = 8.0
    close_bound: float = 10.0
    store_bound: float = 60.0


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """What can be said about a thread's slot without waiting for it.

    Attributes:
        busy: whether a turn is admitted to it.
        pid: the agent's process id, once it runs on this machine.
        place: where it is, once it runs on another one, such as ``pod weft-3f on node-2``; else "".
        last_used: the pool's clock when a turn last ended, the agent was at work, or the slot was made.
        generation: grows with each slot; what an older one does changes nothing for a younger one.
        agent: the name the agent gave, once it answered.
    """

    state: SlotState
    busy: bool
    pid: int | None
    place: str
    last_used: float
    generation: int
    agent: str | None


@dataclass(frozen=True, slots=True)
class PoolCounts:
    """How full the pool is; ``live + starting + closing`` never exceeds ``limit``."""

    live: int
    starting: int
    closing: int
    limit: int
    busy: int


@dataclass(slots=True)
class PoolStats:
    """What has happened in the pool since it was made, in numbers that only grow.

    Attributes:
        opened: sessions that got ready, by how they came about.
        lost: those of them that began afresh since the agent did not know the one before.
        failed: starts that failed, by why.
        stopped: sessions that ended, with their agent or without it, by why.
        died: agents that ended by themselves.
        leaked: agents that outlived their shutdown escalation.
    """

    opened: Counter[How] = field(default_factory=Counter)
    lost: int = 0
    failed: Counter[SpawnFailure] = field(default_factory=Counter)
    stopped: Counter[Reason] = field(default_factory=Counter)
    died: int = 0
    leaked: int = 0
