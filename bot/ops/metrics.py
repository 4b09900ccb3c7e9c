"""The metrics: what the bot tells an observer is counted, and its state is read when somebody asks.

The registry is one of our own. Labels have few values that are known beforehand: no ids, no names of people, nothing
that an agent says. The mutable state is the registry, and the outcomes so far.
"""

from __future__ import annotations

import platform
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from bot.model import Lane, Outcome
from bot.ops.health import HEALTHY, AgentHealth, Health, LaneHealth, NodeHealth, Parts
from bot.work.observer import Observer, TurnReport

_MINUTES = (1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 1200, 1800, 3600)
_WAITS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_VISIBLE = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
_CALLS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WRITES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
_LAGS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

UNREACHABLE = "unreachable"
"""Stands for the status of a request that got no answer."""


class Metrics(Observer):
    """Counts what it observes.

    Args:
        look: gives the state of the moment.
    """

    def __init__(self, look: Callable[[], Health]) -> None:
        # A series more for each counter would only say when the bot was started.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        # Not the library's global one: several bots in one process, as in tests, must not count for each other.
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self.registry.register(StateCollector(look))
        self.outcomes: Tally[Outcome] = Tally()
        self._count_work()
        self._count_outside()

    def _count_work(self) -> None:
        registry, lane = self.registry, ("lane",)
        self._accepted = Counter("weft_prompts_accepted", "Prompts that were written down.", lane, registry=registry)
        self._prompts = Counter(
            "weft_prompts_ended", "Messages by their outcome.", ("lane", "outcome"), registry=registry
        )
        self._turns = Counter("weft_turns", "Turns by their outcome.", ("lane", "outcome"), registry=registry)
        self._duration = Histogram(
            "weft_turn_duration_seconds",
            "From a turn's admission to its end.",
            lane,
            buckets=_MINUTES,
            registry=registry,
        )
        self._wait = Histogram(
            "weft_turn_wait_seconds",
            "From a prompt's arrival to its turn's admission.",
            lane,
            buckets=_WAITS,
            registry=registry,
        )
        self._visible = Histogram(
            "weft_reply_visible_seconds",
            "From a prompt's arrival until the first message of its reply is in Discord.",
            lane,
            buckets=_VISIBLE,
            registry=registry,
        )
        self._money = Counter(
            "weft_spent_money", "Money that turns took, as their agents report it.", registry=registry
        )
        self._tokens = Counter("weft_spent_tokens", "Tokens of turns whose cost is not known.", registry=registry)
        self._tools = Counter(
            "weft_tool_calls", "Calls of Weft's tools by agents.", ("tool", "outcome"), registry=registry
        )
        # Each series from the start, at 0: of one that appears with a 1, no rate sees the first event.
        for each in Lane:
            for counter in (self._accepted, self._duration, self._wait, self._visible):
                counter.labels(each)
            for outcome in Outcome:
                self._prompts.labels(each, outcome)
                self._turns.labels(each, outcome)

    def _count_outside(self) -> None:
        registry = self.registry
        self._requests = Counter(
            "weft_discord_requests",
            "Requests to Discord by the class of the answer's status.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._latency = Histogram(
            "weft_discord_request_duration_seconds",
            "From a request to Discord's answer.",
            ("route",),
            buckets=_CALLS,
            registry=registry,
        )
        self._limited = Counter(
            "weft_discord_rate_limited", "Answers of Discord with status 429.", ("scope",), registry=registry
        )
        self._sessions = Counter(
            "weft_gateway_sessions", "Gateway sessions that were begun or resumed.", ("how",), registry=registry
        )
        self._store = Histogram(
            "weft_store_duration_seconds", "From a call of the store to its answer.", buckets=_WRITES, registry=registry
        )
        self._lag = Histogram(
            "weft_loop_lag_seconds", "How late the event loop came, asked 4 times/s.", buckets=_LAGS, registry=registry
        )
        for scope in ("user", "global", "shared", "other"):
            self._limited.labels(scope)
        for how in ("new", "resumed"):
            self._sessions.labels(how)

    # What is counted

    def prompt_accepted(self, lane: Lane) -> None:
        self._accepted.labels(lane).inc()

    def prompt_ended(self, lane: Lane, outcome: Outcome) -> None:
        self.outcomes[outcome] += 1
        self._prompts.labels(lane, outcome).inc()

    def turn_finished(self, report: TurnReport) -> None:
        self._turns.labels(report.lane, report.outcome).inc()
        self._duration.labels(report.lane).observe(report.seconds)
        # Of a prompt that an earlier run accepted nobody knows when it came.
        if report.waited is not None:
            self._wait.labels(report.lane).observe(report.waited)

    def spent(self, money: float, tokens: int) -> None:
        self._money.inc(money)
        self._tokens.inc(tokens)

    def reply_visible(self, lane: Lane, after: float) -> None:
        self._visible.labels(lane).observe(after)

    def discord_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        # By class, with method and route from short lists: each value of a label is a series for ever.
        self._requests.labels(method, route, f"{status // 100}xx" if status else UNREACHABLE).inc()
        self._latency.labels(route).observe(seconds)

    def discord_limited(self, scope: str) -> None:
        self._limited.labels(scope).inc()

    def gateway_opened(self, *, resumed: bool) -> None:
        self._sessions.labels("resumed" if resumed else "new").inc()

    def tool_called(self, tool: str, outcome: str) -> None:
        self._tools.labels(tool, outcome).inc()

    def stored(self, seconds: float) -> None:
        self._store.observe(seconds)

    def loop_late(self, seconds: float) -> None:
        self._lag.observe(seconds)

    # What is read

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in a format that an Accept header allows, and its content type."""
        try:
            encode, content_type = choose_encoder(accept)
            return encode(self.registry), content_type
        except (ValueError, TypeError):  # it names a version or an escaping that makes no sense
            encode, content_type = choose_encoder("")
            return encode(self.registry), content_type


class StateCollector(Collector):
    """Reads the state of the moment for each scrape."""

    def __init__(self, look: Callable[[], Health]) -> None:
        self._look = look

    def collect(self) -> Iterable[Metric]:
        # Once, so that the numbers of one scrape are of one moment.
        health = self._look()
        yield InfoMetricFamily("weft", "The bot.", {"version": health.version, "python": platform.python_version()})
        yield GaugeMetricFamily("weft_healthy", "1 while /healthz answers with 200.", value=health.status in HEALTHY)
        yield GaugeMetricFamily("weft_leader", "1 once the bot works; 0 while it stands by.", value=bool(health.parts))
        if health.parts is not None:
            yield from _lanes(health.parts.lanes)
            yield from _work(health.parts)
            yield from _agents(health.parts.agents)
            yield from _nodes(health.parts.nodes)


def _lanes(lanes: dict[str, LaneHealth]) -> Iterator[Metric]:
    families: dict[str, tuple[str, Callable[[LaneHealth], int]]] = {
        "weft_turns_running": ("Turns that run and hold a place in their lane.", lambda lane: lane.running),
        "weft_turns_lent": ("Turns that wait for a person and lent their place.", lambda lane: lane.lent),
        "weft_turns_limit": ("Turns that may run at once.", lambda lane: lane.limit),
        "weft_prompts_waiting": ("Prompts that wait for their turn.", lambda lane: lane.waiting),
    }
    for name, (text, value) in families.items():
        family = GaugeMetricFamily(name, text, labels=("lane",))
        for lane, found in lanes.items():
            family.add_metric((lane,), value(found))
        yield family


def _work(parts: Parts) -> Iterator[Metric]:
    queues, store, discord = parts.queues, parts.store, parts.discord
    yield GaugeMetricFamily("weft_queues", "Threads in which prompts wait.", value=queues.threads)
    yield GaugeMetricFamily("weft_queue_longest", "Prompts in the longest queue of a thread.", value=queues.longest)
    yield GaugeMetricFamily("weft_permission_cards_open", "Permission requests that wait.", value=queues.cards)
    yield GaugeMetricFamily(
        "weft_deliveries_pending", "Steps of prompts under way outside turns, such as last edits.", value=queues.pending
    )
    schedules = {"active": parts.schedules.active, "paused": parts.schedules.paused}
    yield _gauges("weft_schedules", "Prompts that run again and again.", "state", schedules)
    yield GaugeMetricFamily("weft_store_trouble", "1 while nothing can be saved.", value=bool(store.trouble))
    yield GaugeMetricFamily("weft_store_backlog", "Calls and changes not in the file yet.", value=store.behind)
    yield GaugeMetricFamily("weft_gateway_connected", "1 while Discord can be heard.", value=discord.connected)
    if discord.latency_seconds is not None:
        yield GaugeMetricFamily("weft_gateway_latency_seconds", "Of the last heartbeat.", value=discord.latency_seconds)


def _agents(agents: AgentHealth) -> Iterator[Metric]:
    yield _gauges("weft_agents", "Agent processes.", "state", {name: getattr(agents, name) for name in _STATES})
    yield GaugeMetricFamily("weft_agents_busy", "Agents with an admitted turn.", value=agents.busy)
    yield GaugeMetricFamily("weft_agents_limit", "Agents that may be there at once.", value=agents.limit)
    yield _counters("weft_agent_sessions_opened", "Sessions that got ready.", "how", agents.opened)
    yield CounterMetricFamily("weft_agent_sessions_lost", "Sessions no longer known to the agent.", value=agents.lost)
    yield _counters("weft_agent_start_failures", "Starts that failed.", "reason", agents.failed)
    yield _counters("weft_agent_sessions_stopped", "Sessions that ended.", "reason", agents.stopped)
    yield CounterMetricFamily("weft_agent_deaths", "Agents that ended by themselves.", value=agents.died)
    yield CounterMetricFamily("weft_agents_leaked", "Agents that outlived their stop.", value=agents.leaked)


def _nodes(nodes: Sequence[NodeHealth]) -> Iterator[Metric]:
    """Tell how full the machines of engines are; nothing of what one does not say, rather than a 0."""
    families: dict[str, tuple[str, Callable[[NodeHealth], float | None]]] = {
        "weft_node_agents": ("Agents on a machine of an engine.", lambda node: node.running),
        "weft_node_places": ("Agents that the machine takes at most.", lambda node: node.places),
        "weft_node_free_memory_bytes": ("Memory that further agents may take.", lambda node: node.free_memory),
        "weft_node_up": (
            "1 while the machine can be reached and takes agents.",
            lambda node: int(node.reachable and not node.reason),
        ),
    }
    for name, (text, value) in families.items() if nodes else ():
        family = GaugeMetricFamily(name, text, labels=("engine", "node"))
        for node in nodes:
            # What a machine does not say is left out: a 0 would read as full.
            if (found := value(node)) is not None:
                family.add_metric((node.engine, node.name), found)
        yield family


_STATES = ("live", "starting", "closing")


def _gauges(name: str, text: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _counters(name: str, text: str, label: str, values: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family
