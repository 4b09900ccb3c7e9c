"""A bot's health, as it is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bot.ops.health import (
    AgentHealth,
    DiscordHealth,
    Health,
    LaneHealth,
    LoopHealth,
    Parts,
    QueueHealth,
    ScheduleHealth,
    Status,
    StoreHealth,
)


def agents(**changes: Any) -> AgentHealth:
    fields: dict[str, Any] = {
        "live": 3, "starting": 1, "closing": 0, "busy": 2, "limit": 12, "opened": {"new": 4}, "lost": 0,
        "failed": {"exited": 0, "timeout": 0}, "stopped": {"idle": 1}, "died": 0, "leaked": 0,
    }  # fmt: skip
    return AgentHealth(**(fields | changes))


def parts(**changes: Any) -> Parts:
    fields: dict[str, Any] = {
        "discord": DiscordHealth(connected=True, latency_seconds=0.042),
        "agents": agents(),
        "lanes": {
            "main": LaneHealth(running=2, limit=8, lent=1, waiting=4),
            "background": LaneHealth(running=0, limit=2, lent=0, waiting=0),
        },
        "queues": QueueHealth(waiting=4, threads=2, longest=3, cards=1, pending=0),
        "schedules": ScheduleHealth(active=3, paused=2),
        "outcomes": {"answered": 12, "failed": 1, "stopped": 0},
        "store": StoreHealth(trouble="", behind=0),
        "loop": LoopHealth(lag_seconds=0.001, worst_lag_seconds=0.012),
    }
    return Parts(**(fields | changes))


def health(status: Status = Status.OK, found: Parts | None = None, *problems: str, uptime: float = 200.0) -> Health:
    return Health(
        status=status,
        problems=problems,
        version="1.2.3",
        started=datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
        uptime_seconds=uptime,
        parts=found,
    )
