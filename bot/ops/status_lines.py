"""What ``weft status`` says, in lines for a person (pure)."""

from __future__ import annotations

from bot.ops.health import AgentHealth, DiscordHealth, Health, LaneHealth, LoopHealth, Parts, QueueHealth, Status

_VERDICTS = {
    Status.OK: "gets on well",
    Status.STARTING: "is starting",
    Status.FAILING: "does not get on",
}
_WIDTH = 10


def status_lines(health: Health) -> list[str]:
    """Return the lines; what is wrong stands right below the first."""
    since = health.started.strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    first = f"Weft {health.version} {_VERDICTS[health.status]}; up since {since} ({duration(health.uptime_seconds)})"
    lines = [first, *(_line("Problem", problem) for problem in health.problems)]
    return [_printable(line) for line in (lines if health.parts is None else [*lines, *_parts(health.parts)])]


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
        *(_line("Lane", f"{name}: {_lane(lane)}") for name, lane in parts.lanes.items()),
        _line("Queues", _queues(parts.queues)),
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


def _lane(lane: LaneHealth) -> str:
    lent = f", {lane.lent} waiting for a person" if lane.lent else ""
    return f"{lane.running} of {lane.limit} running{lent}, {lane.waiting} waiting"


def _queues(queues: QueueHealth) -> str:
    waiting = f"{queues.waiting} waiting"
    if queues.threads:
        waiting += f" in {queues.threads} thread{'s' if queues.threads > 1 else ''}, the longest {queues.longest}"
    return waiting + (f"; {queues.cards} permission card{'s' if queues.cards > 1 else ''} open" if queues.cards else "")


def _outcomes(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items() if count) or "none so far"


def _store(parts: Parts) -> str:
    if parts.store.trouble:
        return f"in trouble: {parts.store.trouble}; {parts.store.behind} not written"
    return "in order"


def _loop(loop: LoopHealth) -> str:
    return f"{_ms(loop.lag_seconds)} late, at worst {_ms(loop.worst_lag_seconds)} within a minute"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
