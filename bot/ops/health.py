"""The state of the bot as HTTP and the watchdog see it, and when it counts as unhealthy (pure).

It contains no text of messages, no names and no ids of people or threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

MISSED_PASSES = 4
"""Maintenance passes that may be missing before the pool counts as stuck: one that fails is logged and made up for."""

SILENT_TICKS = 10.0
"""Seconds without a tick of the loop's own measure after which its task counts as gone."""


class Status(StrEnum):
    """Whether the bot does its work."""

    STARTING = "starting"
    STANDBY = "standby"
    OK = "ok"
    FAILING = "failing"


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class DiscordHealth(_Told):
    """The connection to Discord; being disconnected is no fault of the bot's."""

    connected: bool
    latency_seconds: float | None


class AgentHealth(_Told):
    """The agents: how many there are, and how earlier ones ended, in numbers that only grow."""

    live: int
    starting: int
    closing: int
    busy: int
    limit: int
    opened: dict[str, int]
    lost: int
    failed: dict[str, int]
    stopped: dict[str, int]
    died: int
    leaked: int


class NodeHealth(_Told):
    """A machine that an engine runs agents on; as `pool.engines.model.NodeStatus`."""

    engine: str
    name: str
    running: int
    places: int | None
    free_memory: int | None
    reachable: bool
    reason: str
    age_seconds: float = 0.0


class LaneHealth(_Told):
    """A lane (Q6)."""

    running: int
    limit: int
    lent: int
    waiting: int


class QueueHealth(_Told):
    """What waits, over all threads."""

    waiting: int
    threads: int
    longest: int
    cards: int
    pending: int


class ScheduleHealth(_Told):
    """Prompts that run again and again (A5): how many do, and how many are paused."""

    active: int = 0
    paused: int = 0


class StoreHealth(_Told):
    """The store: what is wrong with it, in a few words, and how much is not in the file yet."""

    trouble: str
    behind: int


class LoopHealth(_Told):
    """How late the loop came round: the last time, and the worst of the last half minute or minute."""

    lag_seconds: float
    worst_lag_seconds: float


class Parts(_Told):
    """The parts of a bot that has begun its work; ``lanes`` by name, ``outcomes`` of messages since the start."""

    discord: DiscordHealth
    agents: AgentHealth
    nodes: tuple[NodeHealth, ...] = ()
    lanes: dict[str, LaneHealth]
    queues: QueueHealth
    schedules: ScheduleHealth = ScheduleHealth()
    outcomes: dict[str, int]
    store: StoreHealth
    loop: LoopHealth


class StandbyHealth(_Told):
    """What a bot that stands by knows (R10): who leads, by name, and why it can't ask the database, if it can't."""

    leader: str = ""
    trouble: str = ""


class Health(_Told):
    """The answer of ``/healthz``; ``parts`` of a bot that has begun, ``standby`` of one that waits to take over."""

    status: Status
    problems: tuple[str, ...] = ()
    version: str
    started: datetime
    uptime_seconds: float
    parts: Parts | None = None
    standby: StandbyHealth | None = None


HEALTHY = frozenset({Status.OK, Status.STANDBY})
"""One that stands by does its work, too."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """Signs of progress; times in seconds.

    Attributes:
        gateway: why the connection's task counts as stuck, or None.
        since_pass: since the pool's last maintenance pass; one is due every ``pass_interval``.
        since_tick: since the loop was last measured; 0 where nobody measures it.
    """

    gateway: str | None
    since_pass: float
    pass_interval: float
    since_tick: float = 0.0


def problems(vitals: Vitals) -> tuple[str, ...]:
    """Return what is stuck, a line each; nothing if the bot is healthy."""
    # Not for being disconnected: a restart would not help, and each is a login (R3).
    found = [vitals.gateway or ""]
    if vitals.since_pass > MISSED_PASSES * vitals.pass_interval:
        found.append(f"the pool's last maintenance pass was {vitals.since_pass:.0f} s ago")
    # A loop that stands still asks nothing at all; this is for a measuring task that has ended.
    if vitals.since_tick > SILENT_TICKS:
        found.append(f"the event loop was last measured {vitals.since_tick:.0f} s ago")
    return tuple(filter(None, found))
