"""``weft status``: asks the running bot how it is, at the address that both are given (`WEFT_HEALTH`)."""

from __future__ import annotations

import os
from pathlib import Path

import aiohttp
import anyio
import click
from pydantic import ValidationError

from bot.config import load_settings
from bot.ops.address import Address, UnixSocket, parse_address
from bot.ops.health import (
    HEALTHY,
    AgentHealth,
    DiscordHealth,
    Health,
    LaneHealth,
    LoopHealth,
    NodeHealth,
    Parts,
    QueueHealth,
    ScheduleHealth,
    StandbyHealth,
    Status,
)
from bot.ops.listener import HEALTH, RENEWED
from pool.engines.model import OLD

EX_UNHEALTHY = 1
EX_USAGE = 2
ANSWER_LIMIT = 5.0
"""Seconds that the bot may take: one whose loop stands still never answers."""

_VERDICTS = {
    Status.OK: "is healthy",
    Status.STARTING: "is starting",
    Status.STANDBY: "stands by",
    Status.FAILING: "is not healthy",
}
_WIDTH = 10


class NoAnswer(Exception):
    """The bot did not say how it is; the message says why, for a person."""


def run_status(env_file: Path) -> int:
    """Print how the bot is; return 0 if it is well, 1 if not or if nobody knows, 2 if it can't be asked.

    Raises:
        ConfigError: the settings can't be understood.
    """
    address = load_settings(env_file).health
    # Wrong usage, not an unhealthy bot: monitoring must not take one for the other.
    if address is None:
        click.echo(
            "weft: WEFT_HEALTH is not set: set it, such as to 127.0.0.1:9464, and restart the bot",
            err=True,
        )
        return EX_USAGE
    try:
        health = anyio.run(ask, parse_address(address))
    except NoAnswer as exc:
        click.echo(f"weft: {exc}", err=True)
        return EX_UNHEALTHY
    click.echo("\n".join(status_lines(health)))
    return 0 if health.status in HEALTHY else EX_UNHEALTHY


async def ask(address: Address, limit: float = ANSWER_LIMIT) -> Health:
    """Return what the bot at the address says.

    Raises:
        NoAnswer: nothing listens there, it takes longer than ``limit`` seconds, or it is no Weft.
    """
    at_socket = isinstance(address, UnixSocket)
    connector = aiohttp.UnixConnector(str(address.path)) if isinstance(address, UnixSocket) else None
    url = f"http://{'localhost' if at_socket else address}{HEALTH}?{RENEWED}"
    try:
        with anyio.fail_after(limit):
            asking = aiohttp.ClientSession(connector=connector)
            # Not elsewhere: what answers may be anything.
            async with asking as session, session.get(url, allow_redirects=False) as answer:
                return Health.model_validate_json(await answer.read())
    # First, as a time-out is an OSError, too.
    except TimeoutError as exc:
        raise NoAnswer(f"no answer from {address} within {limit:g} s: the bot is stuck or very busy") from exc
    except OSError as exc:
        # asyncio puts its own words, with the address, in the place of the system's.
        why = (os.strerror(exc.errno) if exc.errno else f"{exc}").lower()
        raise NoAnswer(f"no bot at {address} ({why}): is it running, and was it started with WEFT_HEALTH?") from exc
    except (aiohttp.ClientError, ValidationError) as exc:
        raise NoAnswer(f"what answers on {address} is not a Weft of this version") from exc


def status_lines(health: Health) -> list[str]:
    """Return the lines; what is wrong stands right below the first."""
    since = health.started.strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    first = f"Weft {health.version} {_VERDICTS[health.status]}; up since {since} ({duration(health.uptime_seconds)})"
    lines = [first, *(_line("Problem", problem) for problem in health.problems), *_standby(health.standby)]
    return [_printable(line) for line in (lines if health.parts is None else [*lines, *_parts(health.parts)])]


def _standby(standby: StandbyHealth | None) -> list[str]:
    if standby is None:
        return []
    leads = [_line("Leader", standby.leader)] if standby.leader else []
    return [*leads, *([_line("Database", standby.trouble)] if standby.trouble else [])]


def _printable(line: str) -> str:
    # While no bot runs, anything on the machine may answer at its port: nothing of that steers the terminal.
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)


def duration(seconds: float) -> str:
    """Return a time in its two largest units."""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def _parts(parts: Parts) -> list[str]:
    return [
        _line("Discord", _discord(parts.discord)),
        _line("Agents", _agents(parts.agents)),
        *(_line("Node", _node(node)) for node in parts.nodes),
        *(_line("Lane", f"{name}: {_lane(lane)}") for name, lane in parts.lanes.items()),
        _line("Queues", _queues(parts.queues)),
        # Only where there are some: most bots have none.
        *([_line("Schedules", _schedules(parts.schedules))] if parts.schedules != ScheduleHealth() else []),
        _line("Messages", _outcomes(parts.outcomes)),
        _line("Store", _store(parts)),
        _line("Loop", _loop(parts.loop)),
    ]


def _line(subject: str, text: str) -> str:
    return f"{subject:<{_WIDTH}}{text}"


def _discord(discord: DiscordHealth) -> str:
    if not discord.connected:
        return "disconnected"
    return "connected" + (f", heartbeat {_ms(discord.latency_seconds)}" if discord.latency_seconds is not None else "")


def _agents(agents: AgentHealth) -> str:
    now = f"{agents.live} live ({agents.busy} busy), {agents.starting} starting, {agents.closing} ending"
    failed = sum(agents.failed.values())
    bad = {"died": agents.died, "failed to start": failed, "left something behind": agents.leaked}
    told = "".join(f"; {count} {what}" for what, count in bad.items() if count)
    return f"{now}, at most {agents.limit}{told}"


def _node(node: NodeHealth) -> str:
    full = f"{node.running} of {node.places} agents" if node.places is not None else f"{node.running} agents"
    free = f", {node.free_memory / 2**30:.1f} GiB free" if node.free_memory is not None else ""
    why = node.reason or ("" if node.reachable else "no answer")
    old = f"; {node.age_seconds:.0f} s ago" if node.age_seconds >= OLD else ""
    return f"{node.engine}/{node.name}: {full}{free}" + (f"; {why}" if why else "") + old


def _lane(lane: LaneHealth) -> str:
    lent = f", {lane.lent} waiting for a person" if lane.lent else ""
    return f"{lane.running} of {lane.limit} running{lent}, {lane.waiting} waiting"


def _queues(queues: QueueHealth) -> str:
    waiting = f"{queues.waiting} waiting"
    if queues.threads:
        waiting += f" in {queues.threads} thread{'s' if queues.threads > 1 else ''}, the longest {queues.longest}"
    return waiting + (f"; {queues.cards} permission card{'s' if queues.cards > 1 else ''} open" if queues.cards else "")


def _schedules(schedules: ScheduleHealth) -> str:
    return f"{schedules.active} active" + (f", {schedules.paused} paused" if schedules.paused else "")


def _outcomes(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items() if count) or "none so far"


def _store(parts: Parts) -> str:
    if parts.store.trouble:
        return f"failing: {parts.store.trouble}; {parts.store.behind} changes are not saved yet"
    return "healthy"


def _loop(loop: LoopHealth) -> str:
    return f"{_ms(loop.lag_seconds)} late, at worst {_ms(loop.worst_lag_seconds)} within a minute"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
