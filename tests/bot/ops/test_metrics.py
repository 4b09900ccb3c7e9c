"""The metrics: what is told moves what it should, and no label comes from outside."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import prometheus_client
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from bot.model import Lane, Outcome, QueueMode
from bot.ops.health import DiscordHealth, Health, Status, StoreHealth
from bot.ops.metrics import Metrics
from bot.work.observer import TurnReport

from .samples import health, parts

Values = dict[str, float]


def read(metrics: Metrics) -> Values:
    """Return every sample by its name and labels, as a scraper reads them."""
    body, _ = metrics.exposition("")
    found: Values = {}
    for family in parse_text(body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def moved(tell: Callable[[Metrics], None]) -> Values:
    """Return by how much each sample moves that does, but for those of the process and of buckets."""
    metrics = Metrics(lambda: health(Status.OK, parts()))
    before = read(metrics)
    tell(metrics)
    after = read(metrics)
    return {
        name: value - before.get(name, 0.0)
        for name, value in after.items()
        if value != before.get(name, 0.0) and not name.startswith("process_") and "_bucket" not in name
    }


def report(seconds: float = 7.0, waited: float | None = 2.0) -> TurnReport:
    return TurnReport(
        Outcome.TIMED_OUT, 100, 1, 1, Lane.BACKGROUND, QueueMode.QUEUE, 1, waited, seconds, agent="canary"
    )


@pytest.mark.parametrize(
    ("tell", "samples"),
    [
        (lambda m: m.prompt_accepted(Lane.MAIN), {"weft_prompts_accepted_total{lane=main}": 1}),
        (
            lambda m: m.prompt_ended(Lane.MAIN, Outcome.STOPPED),
            {"weft_prompts_ended_total{lane=main,outcome=stopped}": 1},
        ),
        (
            lambda m: m.turn_finished(report()),
            {
                "weft_turns_total{lane=background,outcome=timed_out}": 1,
                "weft_turn_duration_seconds_count{lane=background}": 1,
                "weft_turn_duration_seconds_sum{lane=background}": 7,
                "weft_turn_wait_seconds_count{lane=background}": 1,
                "weft_turn_wait_seconds_sum{lane=background}": 2,
            },
        ),
        (
            lambda m: m.turn_finished(report(waited=None)),
            {
                "weft_turns_total{lane=background,outcome=timed_out}": 1,
                "weft_turn_duration_seconds_count{lane=background}": 1,
                "weft_turn_duration_seconds_sum{lane=background}": 7,
            },
        ),
        (lambda m: m.spent(0.25, 70), {"weft_spent_money_total": 0.25, "weft_spent_tokens_total": 70}),
        (
            lambda m: m.reply_visible(Lane.MAIN, 0.5),
            {"weft_reply_visible_seconds_count{lane=main}": 1, "weft_reply_visible_seconds_sum{lane=main}": 0.5},
        ),
        (
            lambda m: m.discord_answered("PATCH", "messages", 429, 0.25),
            {
                "weft_discord_requests_total{method=PATCH,route=messages,status=4xx}": 1,
                "weft_discord_request_duration_seconds_count{route=messages}": 1,
                "weft_discord_request_duration_seconds_sum{route=messages}": 0.25,
            },
        ),
        (
            lambda m: m.discord_answered("GET", "gateway", 0, 0.0),
            {
                "weft_discord_requests_total{method=GET,route=gateway,status=unreachable}": 1,
                "weft_discord_request_duration_seconds_count{route=gateway}": 1,
            },
        ),
        (lambda m: m.discord_limited("shared"), {"weft_discord_rate_limited_total{scope=shared}": 1}),
        (lambda m: m.gateway_opened(resumed=True), {"weft_gateway_sessions_total{how=resumed}": 1}),
        (lambda m: m.gateway_opened(resumed=False), {"weft_gateway_sessions_total{how=new}": 1}),
        (lambda m: m.stored(0.5), {"weft_store_duration_seconds_count": 1, "weft_store_duration_seconds_sum": 0.5}),
        (lambda m: m.loop_late(0.5), {"weft_loop_lag_seconds_count": 1, "weft_loop_lag_seconds_sum": 0.5}),
    ],
)
def test_what_is_told_moves_its_own_metrics_and_no_others(tell: Callable[[Metrics], None], samples: Values) -> None:
    """R7"""
    assert moved(tell) == samples


def test_the_state_is_read_when_somebody_asks() -> None:
    """R7"""
    states = [health(Status.OK, parts())]
    metrics = Metrics(lambda: states[-1])
    found = read(metrics)
    assert (found["weft_healthy"], found["weft_leader"]) == (1, 1)
    assert found["weft_turns_running{lane=main}"] == 2
    assert found["weft_turns_lent{lane=main}"] == 1
    assert found["weft_turns_limit{lane=background}"] == 2
    assert found["weft_prompts_waiting{lane=main}"] == 4
    assert (found["weft_queues"], found["weft_queue_longest"]) == (2, 3)
    assert found["weft_permission_cards_open"] == 1
    assert (found["weft_schedules{state=active}"], found["weft_schedules{state=paused}"]) == (3, 2)
    assert (found["weft_agents{state=live}"], found["weft_agents_busy"], found["weft_agents_limit"]) == (3, 2, 12)
    assert found["weft_agent_sessions_stopped_total{reason=idle}"] == 1
    assert (found["weft_gateway_connected"], found["weft_gateway_latency_seconds"]) == (1, 0.042)
    assert (found["weft_store_trouble"], found["weft_store_backlog"]) == (0, 0)
    assert [value for name, value in found.items() if name.startswith("weft_info{") and "version=1.2.3" in name] == [1]
    trouble = parts(
        store=StoreHealth(trouble="disk full", behind=3),
        discord=DiscordHealth(connected=False, latency_seconds=None),
    )
    states.append(health(Status.FAILING, trouble))
    found = read(metrics)
    assert (found["weft_healthy"], found["weft_store_trouble"], found["weft_store_backlog"]) == (0, 1, 3)
    assert found["weft_gateway_connected"] == 0
    assert "weft_gateway_latency_seconds" not in found
    assert "disk full" not in metrics.exposition("")[0].decode()


def test_a_bot_that_starts_has_no_state_yet() -> None:
    found = read(Metrics(lambda: health(Status.STARTING)))
    assert found["weft_healthy"] == 0
    assert "weft_gateway_connected" not in found


def test_outcomes_are_there_from_the_start_so_that_their_first_rise_is_seen() -> None:
    found = read(Metrics(health))
    counters = [f"weft_turns_total{{lane={lane},outcome={outcome}}}" for lane in Lane for outcome in Outcome]
    assert [found[name] for name in counters] == [0.0] * 26


def test_nothing_is_put_into_the_registry_that_all_share() -> None:
    """R7: and two bots in one process do not meet."""
    metrics, other = Metrics(health), Metrics(health)
    metrics.prompt_accepted(Lane.MAIN)
    assert read(other)["weft_prompts_accepted_total{lane=main}"] == 0
    assert b"weft_" not in prometheus_client.generate_latest()


def test_openmetrics_is_given_to_those_who_ask_for_it() -> None:
    """R7"""
    metrics = Metrics(lambda: health(Status.OK, parts()))
    body, content_type = metrics.exposition("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert "weft_turns" in {family.name for family in parse_openmetrics(body.decode())}  # type: ignore[no-untyped-call]
    assert body.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "text/html", "text/plain", "application/openmetrics-text; version=abc", "text/plain; version=;", ";;,"],
)
def test_whatever_is_asked_for_something_readable_comes(accept: str) -> None:
    body, content_type = Metrics(health).exposition(accept)
    families = parse_openmetrics if "openmetrics" in content_type else parse_text
    assert any(family.name == "weft_healthy" for family in families(body.decode()))


def test_every_metric_says_what_it_is_and_has_its_unit_in_its_name() -> None:
    """R7"""

    def state() -> Health:
        return health(Status.OK, parts())

    for family in parse_text(Metrics(state).exposition("")[0].decode()):
        assert family.documentation, family.name
        if family.name.startswith("weft_"):
            assert family.documentation.endswith("."), family.name
            assert (family.type == "histogram") <= family.name.endswith("_seconds"), family.name


def test_the_handbook_names_every_metric_and_no_other() -> None:
    """R7: what is scraped without a word of explanation is of no use."""
    families = list(parse_text(Metrics(lambda: health(Status.OK, parts())).exposition("")[0].decode()))
    told = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    rows = [line.split("|")[1] for line in told.splitlines() if line.startswith("| `weft_")]
    documented = {name for row in rows for name in re.findall(r"`(weft_\w+)`", row)}
    scraped = {
        family.name.removesuffix("_total") + ("_total" if family.type == "counter" else "")
        for family in families
        if family.name.startswith("weft_")
    }
    assert documented == scraped
