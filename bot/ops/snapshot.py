"""Reads the state of a running bot: nothing here waits, keeps anything or changes anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import anyio

from acp.errors import SpawnFailure
from bot.chat.gateway import DiscordGateway
from bot.model import Outcome
from bot.ops.health import (
    AgentHealth,
    DiscordHealth,
    LaneHealth,
    LoopHealth,
    NodeHealth,
    Parts,
    QueueHealth,
    ScheduleHealth,
    StoreHealth,
    Vitals,
)
from bot.work.dispatcher import Dispatcher
from bot.work.status import WorkCounts
from pool.model import Reason
from pool.pool import ConnectionPool
from pool.storage.durable import SessionStore


@dataclass(frozen=True, slots=True)
class Watched:
    """The parts of a bot that are looked at; ``pass_interval`` is the pool's, in seconds."""

    dispatcher: Dispatcher
    pool: ConnectionPool
    gateway: DiscordGateway
    store: SessionStore
    pass_interval: float


def vitals(gateway: DiscordGateway, pool: ConnectionPool, pass_interval: float, since_tick: float = 0.0) -> Vitals:
    """Return the signs of progress; ``since_tick``: see `Vitals`."""
    return Vitals(gateway.stuck(), anyio.current_time() - pool.last_pass, pass_interval, since_tick)


def collect_snapshot(
    watched: Watched, loop: LoopHealth, outcomes: Mapping[Outcome, int], redact: Callable[[str], str]
) -> Parts:
    """Return the state of all parts; the loop's is measured elsewhere."""
    # Without `await`, so that all numbers are of one moment.
    work = watched.dispatcher.counts()
    active, paused = watched.dispatcher.schedules.counts()
    return Parts(
        discord=DiscordHealth(connected=watched.gateway.connected, latency_seconds=watched.gateway.latency),
        agents=agent_health(watched.pool),
        nodes=node_health(watched.pool, redact),
        lanes=lane_health(work),
        queues=QueueHealth(
            waiting=work.waiting, threads=work.queues, longest=work.longest, cards=work.cards, pending=work.pending
        ),
        schedules=ScheduleHealth(active=active, paused=paused),
        # Each of them even at 0: whoever reads it need not know which there are.
        outcomes={str(outcome): outcomes.get(outcome, 0) for outcome in Outcome},
        store=StoreHealth(trouble=redact(watched.store.trouble), behind=watched.store.behind),
        loop=loop,
    )


def node_health(pool: ConnectionPool, redact: Callable[[str], str]) -> tuple[NodeHealth, ...]:
    """Return how full the machines of all engines are, as they were last asked."""
    return tuple(
        NodeHealth(
            engine=name,
            name=node.name,
            running=node.running,
            places=node.places,
            free_memory=node.free_memory,
            reachable=node.reachable,
            # An engine's own words, in which an address or a token may stand.
            reason=redact(node.reason),
            age_seconds=node.age,
        )
        for name, nodes in pool.nodes().items()
        for node in nodes
    )


def lane_health(work: WorkCounts) -> dict[str, LaneHealth]:
    """Return the state of each lane, by name."""
    return {
        str(lane): LaneHealth(running=found.running, limit=found.limit, lent=found.lent, waiting=found.waiting)
        for lane, found in work.lanes.items()
    }


def agent_health(pool: ConnectionPool) -> AgentHealth:
    """Return how many agents there are, and how earlier ones ended; every reason is listed, even at 0."""
    counts, stats = pool.counts(), pool.stats
    return AgentHealth(
        live=counts.live,
        starting=counts.starting,
        closing=counts.closing,
        busy=counts.busy,
        limit=counts.limit,
        opened={how: stats.opened[how] for how in ("new", "resumed", "loaded", "copied")},
        lost=stats.lost,
        # Counters that are there from the start, or the first failure would be seen by no rate.
        failed={failure.name.lower(): stats.failed[failure] for failure in SpawnFailure},
        stopped={reason.value: stats.stopped[reason] for reason in Reason},
        died=stats.died,
        leaked=stats.leaked,
    )
