"""What the parts are given: limits that follow from the settings, and whom to let in."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.agents.model import AgentProfile, Agents, only
from bot.config import RunSettings, Settings
from bot.wiring import (
    chat_config,
    connection_limits,
    desk_limits,
    pool_limits,
    turn_limits,
    widened,
)
from bot.work.model import Lane

GUILD, CHANNEL, USER, ROLE = (10**17 + number for number in range(4))
WANTED = RunSettings("a-token-for-tests", only(("agent",), "/srv"))


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("WEFT_") or name in ("DISCORD_TOKEN", "STATE_DIRECTORY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def settings(**fields: Any) -> Settings:
    return Settings(_env_file=None, **fields)


# --- limits ------------------------------------------------------------------------------------------------------


def test_the_limits_of_a_turn_are_settings() -> None:
    """T1, T2, T3, T6."""
    limits = turn_limits(settings(liveness_interval=7, hard_timeout=100, cancel_grace=3, drain=0.5))
    assert (limits.liveness, limits.hard_timeout, limits.cancel_grace, limits.drain_quiet) == (7, 100, 3, 0.5)


def test_the_defaults_are_those_of_the_contract() -> None:
    """T1, T2, T3, T6, P3, D3, D6, Q6."""
    turn, pool, desk = turn_limits(settings()), pool_limits(settings()), desk_limits(settings())
    assert (turn.liveness, turn.hard_timeout, turn.cancel_grace, turn.drain_quiet) == (30, 1800, 10, 0.2)
    assert (pool.max_agents, pool.idle_ttl) == (12, 900)
    assert (desk.pacing.interval, desk.permission_timeout, desk.lanes[Lane.MAIN]) == (1.25, 600, 8)


@pytest.mark.parametrize("hard_timeout", [1, 1800, 36_000])
def test_a_slot_counts_as_hung_only_when_a_turn_can_not_hold_it_any_more(hard_timeout: float) -> None:
    """P6: hard timeout, open cards and grace are over."""
    chosen = settings(hard_timeout=hard_timeout, cancel_grace=20)
    turn = turn_limits(chosen)
    longest = turn.hard_timeout + turn.card_extension_max + turn.cancel_grace + turn.drain_max
    assert pool_limits(chosen).hung_after > longest


@pytest.mark.parametrize(("own", "longer"), [(None, 0.0), (60.0, 0.0), (9000.0, 9000.0 - 1800.0)])
def test_the_net_under_a_hung_turn_is_wide_enough_for_the_agent_with_the_longest_turns(
    own: float | None, longer: float
) -> None:
    """P6, P12"""
    slow = AgentProfile("slow", ("agent",), "/srv", hard_timeout=own)
    agents = Agents({"usual": AgentProfile("usual", ("agent",), "/srv"), "slow": slow}, "usual")
    usual = pool_limits(settings(hard_timeout=1800))
    assert widened(usual, settings(hard_timeout=1800), agents) == replace(usual, hung_after=usual.hung_after + longer)


def test_the_limits_of_the_pool_are_settings() -> None:
    """P3, P4."""
    limits = pool_limits(settings(max_agents=3, idle_ttl=5))
    assert (limits.max_agents, limits.idle_ttl) == (3, 5)


def test_the_limits_of_a_connection_are_settings() -> None:
    """T9, P8."""
    limits = connection_limits(settings(start_timeout=4, max_line=70_000))
    assert (limits.start, limits.session, limits.max_line) == (4, 4, 70_000)


def test_the_limits_of_the_work_are_settings() -> None:
    """D3, D6."""
    limits = desk_limits(settings(edit_interval=2, permission_timeout=30, hard_timeout=100))
    assert (limits.pacing.interval, limits.permission_timeout, limits.turn.hard_timeout) == (2, 30, 100)


@pytest.mark.parametrize(("agents", "lanes"), [(1, [1, 1]), (2, [2, 2]), (7, [7, 2]), (10, [8, 2]), (30, [8, 2])])
def test_no_more_turns_run_than_there_can_be_agents(agents: int, lanes: list[int]) -> None:
    """Q6"""
    assert list(desk_limits(settings(max_agents=agents)).lanes.values()) == lanes


def test_lanes_that_want_more_agents_than_there_can_be_are_refused() -> None:
    """Q6"""
    with pytest.raises(ValueError, match=r"WEFT_MAX_AGENTS: 4 agents are fewer than the 3 \+ 2 turns"):
        settings(max_agents=4, lane_main=3, lane_background=2)


@pytest.mark.parametrize("grace", [1, 10, 60])
def test_turns_get_their_whole_grace_when_the_bot_stops(grace: float) -> None:
    """R1, T6."""
    assert desk_limits(settings(cancel_grace=grace)).stop_bound > grace


def test_last_edits_get_five_seconds_when_the_bot_stops() -> None:
    """R1."""
    assert desk_limits(settings()).flush_bound == 5


# --- Discord -----------------------------------------------------------------------------------------------------


def test_who_is_let_in_is_what_the_settings_say() -> None:
    """D2."""
    chosen = settings(
        allowed_guilds=str(GUILD), allowed_channels=str(CHANNEL), allowed_users=str(USER), allowed_roles=str(ROLE)
    )
    policy = chat_config(chosen, WANTED).policy
    lists = [policy.guilds, policy.channels, policy.users, policy.roles]
    assert lists == [frozenset({number}) for number in (GUILD, CHANNEL, USER, ROLE)]


def test_without_settings_nobody_is_on_a_list() -> None:
    """D2."""
    policy = chat_config(settings(), WANTED).policy
    assert [policy.guilds, policy.channels, policy.users, policy.roles] == [frozenset()] * 4


def test_the_token_and_the_address_of_discord_are_handed_over() -> None:
    """R5."""
    config = chat_config(settings(discord_api="http://127.0.0.1:1/api"), WANTED)
    assert (config.token, config.api_url) == ("a-token-for-tests", "http://127.0.0.1:1/api")
    assert chat_config(settings(), WANTED).api_url is None


def test_the_bot_waits_longer_for_the_servers_of_discord_itself() -> None:
    """R3: Discord tells about its servers one by one."""
    local = chat_config(settings(discord_api="http://127.0.0.1:1/api"), WANTED)
    assert local.guild_ready_timeout < chat_config(settings(), WANTED).guild_ready_timeout
