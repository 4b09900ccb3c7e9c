"""The composition root: what each part is given, a reload, the supervisor, and errors on the way out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from structlog.testing import capture_logs

from bot import app, life
from bot.agents.model import AgentProfile, Agents, only
from bot.app import LIVE, Reload, apply_settings, changed_names
from bot.config import ConfigError, Settings
from bot.derived_settings import (
    chat_config,
    connection_limits,
    pool_limits,
    storage_limits,
    turn_limits,
    widened,
    work_limits,
)
from bot.life import longest_stop, run_bot, supervise
from bot.model import Lane
from bot.ops.supervisor import Supervisor
from bot.preflight import RunSettings
from bot.redaction import Redactor
from bot.work.limits import FileLimits
from pool.model import PoolCounts, PoolLimits
from tests.bot.ops.ear import ear

GUILD, CHANNEL, USER, ROLE, APPROVERS = (10**17 + number for number in range(5))
WANTED = RunSettings("a-token-for-tests", only(("agent",), "/srv"))


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("WEFT_") or name in ("DISCORD_TOKEN", "STATE_DIRECTORY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def settings(**fields: Any) -> Settings:
    return Settings(_env_file=None, **fields)


# --- the end -----------------------------------------------------------------------------------------------------


def run_with(monkeypatch: pytest.MonkeyPatch, body: Callable[[Redactor], int], wanted: RunSettings = WANTED) -> int:
    """Run the bot with ``body`` in the place of everything that awaits."""

    async def stand_in(_settings: Settings, _wanted: RunSettings, redactor: Redactor, *_rest: object) -> int:
        return body(redactor)

    monkeypatch.setattr(life, "_run_until_signal", stand_in)
    monkeypatch.setattr(life, "configure_logging", lambda *_: None)
    return run_bot(settings(), replace(wanted, environment=dict(os.environ)), settings)


def test_a_bot_that_was_told_to_stop_exits_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """R1."""
    assert run_with(monkeypatch, lambda _: 0) == 0


def test_what_discord_refuses_comes_out_as_one_plain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """R3: exit 78 is made of it."""

    def refuse(_: Redactor) -> int:
        inner = BaseExceptionGroup("work", [ConfigError("the token was refused")])
        raise BaseExceptionGroup("bot", [inner, ConfigError("an intent is missing")])

    with pytest.raises(ConfigError) as caught:
        run_with(monkeypatch, refuse)
    assert caught.value.problems == ("the token was refused", "an intent is missing")


def test_a_crash_is_not_taken_for_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """R3: exit 1, and the service is started again."""

    def crash(_: Redactor) -> int:
        raise BaseExceptionGroup("bot", [RuntimeError("a fault")])

    with pytest.raises(BaseExceptionGroup) as caught:
        run_with(monkeypatch, crash)
    assert not isinstance(caught.value, ConfigError)
    assert isinstance(caught.value.exceptions[0], RuntimeError)


def test_the_token_and_the_agents_own_secrets_are_cut_out_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """R5: what is passed on to agents by name is a secret, too."""
    monkeypatch.setenv("AGENT_API_KEY", "a-key-for-tests")
    seen: list[str] = []

    def look(redactor: Redactor) -> int:
        seen.append(redactor.text("a-token-for-tests a-key-for-tests other"))
        return 0

    agents = only(("agent",), "/srv", ("AGENT_API_KEY", "MISSING_NAME"))
    run_with(monkeypatch, look, wanted=replace(WANTED, agents=agents))
    assert seen == ["[secret] [secret] other"]


def test_the_password_of_the_database_is_cut_out_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """R5, R9: as it is written in the address, and as it is meant."""
    seen: list[str] = []

    def look(redactor: Redactor) -> int:
        said = "to postgresql://weft:p%40ss-w0rd@db/weft with p@ss-w0rd, p%40ss-w0rd or another-one as weft@db"
        seen.append(redactor.text(said))
        return 0

    monkeypatch.setenv("PGPASSWORD", "another-one")
    run_with(monkeypatch, look, wanted=replace(WANTED, database_url="postgresql://weft:p%40ss-w0rd@db/weft"))
    assert seen == ["to [secret] with [secret], [secret] or [secret] as weft@db"]


class ReloadedBot:
    """A bot that takes whatever is put in force, and keeps how wide the pool's net is."""

    def __init__(self) -> None:
        self.gateway = self.dispatcher = self.pool = self.thread_settings = self
        self.agents = only(("agent",), "/srv")
        self.hung_after = 0.0

    def take(self, *_given: object) -> None:
        """Take it."""

    allow = expel = limit = take

    def widen(self, hung_after: float) -> None:
        self.hung_after = hung_after


def test_a_reload_that_allows_longer_turns_widens_the_net_under_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """P6, R1: else the pool would end as hung what the settings allow."""
    monkeypatch.setattr(app, "configure_logging", lambda *_given: None)
    bot, longer = ReloadedBot(), settings(hard_timeout=36_000)
    apply_settings(cast("Any", bot), Redactor(), longer)
    assert bot.hung_after == pool_limits(longer).hung_after


# --- limits ------------------------------------------------------------------------------------------------------


def test_the_limits_of_a_turn_are_settings() -> None:
    """T1, T2, T3, T6."""
    limits = turn_limits(settings(liveness_interval=7, hard_timeout=100, cancel_grace=3, drain=0.5))
    assert (limits.liveness, limits.hard_timeout, limits.cancel_grace, limits.drain_quiet) == (7, 100, 3, 0.5)


def test_the_defaults_are_those_of_the_contract() -> None:
    """T1, T2, T3, T6, P3, D3, D6, Q6, C5."""
    days = [storage_limits(chosen).decisions_age / 86400 for chosen in (settings(), settings(audit_days=7))]
    assert days == [180, 7]
    turn, pool, dispatcher = turn_limits(settings()), pool_limits(settings()), work_limits(settings())
    assert (turn.liveness, turn.hard_timeout, turn.cancel_grace, turn.drain_quiet) == (30, 1800, 10, 0.2)
    assert (pool.max_agents, pool.idle_ttl) == (12, 900)
    assert (dispatcher.pacing.interval, dispatcher.permission_timeout, dispatcher.lanes[Lane.MAIN]) == (1.25, 600, 8)


@pytest.mark.parametrize("hard_timeout", [1, 1800, 36_000])
def test_a_slot_counts_as_hung_only_when_a_turn_can_not_hold_it_any_more(hard_timeout: float) -> None:
    """P6, F3: files, hard timeout, open cards and grace are over."""
    chosen = settings(hard_timeout=hard_timeout, cancel_grace=20)
    turn = turn_limits(chosen)
    files = FileLimits().fetch_timeout
    longest = files + turn.hard_timeout + turn.card_extension_max + turn.cancel_grace + turn.drain_max
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
    limits = work_limits(settings(edit_interval=2, permission_timeout=30, hard_timeout=100))
    assert (limits.pacing.interval, limits.permission_timeout, limits.turn.hard_timeout) == (2, 30, 100)
    assert [work_limits(settings(long_answers=one)).long_as_file for one in ("messages", "file")] == [False, True]
    assert [work_limits(settings(verbosity=one)).verbosity for one in ("quiet", "verbose")] == ["quiet", "verbose"]


@pytest.mark.parametrize(("agents", "lanes"), [(1, [1, 1]), (2, [2, 2]), (7, [7, 2]), (10, [8, 2]), (30, [8, 2])])
def test_no_more_turns_run_than_there_can_be_agents(agents: int, lanes: list[int]) -> None:
    """Q6"""
    assert list(work_limits(settings(max_agents=agents)).lanes.values()) == lanes


def test_lanes_that_want_more_agents_than_there_can_be_are_refused() -> None:
    """Q6"""
    with pytest.raises(ValueError, match=r"WEFT_MAX_AGENTS: 4 agents are fewer than the 3 \+ 2 turns"):
        settings(max_agents=4, lane_main=3, lane_background=2)


@pytest.mark.parametrize("grace", [1, 10, 60])
def test_turns_get_their_whole_grace_when_the_bot_stops(grace: float) -> None:
    """R1, T6."""
    assert work_limits(settings(cancel_grace=grace)).stop_bound > grace


def test_last_edits_get_five_seconds_when_the_bot_stops() -> None:
    """R1."""
    assert work_limits(settings()).flush_bound == 5


# --- Discord -----------------------------------------------------------------------------------------------------


def test_who_is_let_in_is_what_the_settings_say() -> None:
    """D2."""
    chosen = settings(
        allowed_guilds=str(GUILD),
        allowed_channels=str(CHANNEL),
        allowed_users=str(USER),
        allowed_roles=str(ROLE),
        approver_roles=f"{APPROVERS}, {ROLE}",
    )
    policy = chat_config(chosen, WANTED).policy
    lists = [policy.guilds, policy.channels, policy.users, policy.roles]
    assert lists == [frozenset({number}) for number in (GUILD, CHANNEL, USER, ROLE)]
    assert policy.approvers == {APPROVERS, ROLE}
    assert work_limits(chosen).approvers == (APPROVERS, ROLE)
    assert "approver_roles" in LIVE


def test_without_settings_nobody_is_on_a_list() -> None:
    """D2."""
    policy = chat_config(settings(), WANTED).policy
    assert [policy.guilds, policy.channels, policy.users, policy.roles, policy.approvers] == [frozenset()] * 5


def test_the_token_and_the_address_of_discord_are_handed_over() -> None:
    """R5."""
    config = chat_config(settings(discord_api="http://127.0.0.1:1/api"), WANTED)
    assert (config.token, config.api_url) == ("a-token-for-tests", "http://127.0.0.1:1/api")
    assert chat_config(settings(), WANTED).api_url is None


def test_the_bot_waits_longer_for_the_servers_of_discord_itself() -> None:
    """R3: Discord tells about its servers one by one."""
    local = chat_config(settings(discord_api="http://127.0.0.1:1/api"), WANTED)
    assert local.guild_ready_timeout < chat_config(settings(), WANTED).guild_ready_timeout


# --- a reload -----------------------------------------------------------------------------------------------------


class Applied(list[Settings]):
    """Takes settings and keeps them."""

    def __call__(self, taken: Settings) -> None:
        self.append(taken)


def test_what_can_change_takes_effect_and_what_cannot_is_named() -> None:
    """R1: people and times change at once; the number of agents needs a restart, and stays as it was."""
    applied, wanted = Applied(), settings(allowed_users=(10**16,), hard_timeout=5, max_agents=3)
    with capture_logs() as logs:
        Reload(settings(), lambda: wanted, applied)()
    (taken,) = applied
    assert (taken.allowed_users, taken.hard_timeout, taken.max_agents) == ((10**16,), 5, 12)
    (said,) = [entry for entry in logs if entry["event"] == "settings.reloaded"]
    assert said["changed"] == ["allowed_users", "hard_timeout"]
    assert said["need_a_restart"] == ["max_agents"]


def test_settings_that_cannot_be_understood_change_nothing() -> None:
    """R1"""
    applied = Applied()

    def load() -> Settings:
        raise ConfigError("WEFT_DRAIN: not a number")

    with capture_logs() as logs:
        Reload(settings(), load, applied)()
    assert applied == []
    assert [entry["problems"] for entry in logs] == [("WEFT_DRAIN: not a number",)]


def test_settings_that_are_the_same_are_not_applied_again() -> None:
    """R1"""
    applied = Applied()
    Reload(settings(), settings, applied)()
    assert applied == []


def test_a_second_reload_compares_with_what_the_first_one_put_in_force() -> None:
    """R1: what needs a restart is named each time until there is one."""
    applied = Applied()
    reload = Reload(settings(), lambda: settings(log_level="debug", max_agents=3), applied)
    with capture_logs() as logs:
        reload()
        reload()
    assert len(applied) == 1
    assert [(entry["changed"], entry["need_a_restart"]) for entry in logs] == [
        (["log_level"], ["max_agents"]),
        ([], ["max_agents"]),
    ]


def test_a_secret_is_compared_and_never_logged() -> None:
    """R5"""
    with capture_logs() as logs:
        Reload(settings(DISCORD_TOKEN="canary-one"), lambda: settings(DISCORD_TOKEN="canary-two"), Applied())()
    assert logs[0]["need_a_restart"] == ["discord_token"]
    assert "canary" not in repr(logs)


def test_the_names_of_what_differs_are_found() -> None:
    assert changed_names(settings(), settings(drain=1)) == {"drain"}


# --- the supervisor -------------------------------------------------------------------------------------------------

PERIOD = 0.02


@dataclass
class FakeBot:
    """A bot whose parts say what the test wants; it is its own dispatcher, pool and gateway."""

    last_pass: float = field(default_factory=anyio.current_time)
    hangs: str | None = None
    running: int = 2
    connected: bool = True
    ready: anyio.Event = field(default_factory=anyio.Event)

    @property
    def gateway(self) -> FakeBot:
        return self

    dispatcher = pool = gateway

    def stuck(self) -> str | None:
        return self.hangs

    def counts(self) -> PoolCounts:
        return PoolCounts(live=1, starting=1, closing=1, limit=12, busy=2)


def fed(lines: list[str]) -> int:
    return lines.count("WATCHDOG=1")


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", ["gateway", "pool"])
async def test_the_watchdog_starves_with_any_part_and_is_fed_to_the_end_of_a_stop(tmp_path: Path, fault: str) -> None:
    """R3: at the end the parts go one by one, and that is no fault."""
    bot = FakeBot()
    bot.ready.set()
    with ear(tmp_path / "notify") as supervisor, anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            told = Supervisor(supervisor.notifier, PERIOD)
            notifier = supervise(tasks, cast("Any", bot), PoolLimits(maintenance=30.0), told)
            await supervisor.until(lambda lines: fed(lines) >= 2)
            bot.hangs = "it hangs" if fault == "gateway" else None
            bot.last_pass -= 1000.0 if fault == "pool" else 0.0
            before = fed(supervisor.lines())
            with anyio.move_on_after(PERIOD * 5):
                await supervisor.until(lambda lines: fed(lines) > before)
            assert fed(supervisor.lines()) == before
            notifier.stopping(within=1.0)
            await supervisor.until(lambda lines: fed(lines) > before)
            tasks.cancel_scope.cancel()
        assert "STATUS=connected: 2 turns running, 3 of 12 agents" in supervisor.lines()


@pytest.mark.asyncio
async def test_without_a_watchdog_none_is_fed(tmp_path: Path) -> None:
    """R3"""
    bot = FakeBot()
    bot.ready.set()
    with ear(tmp_path / "notify") as supervisor, anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            supervise(tasks, cast("Any", bot), PoolLimits(), Supervisor(supervisor.notifier))
            await supervisor.until(lambda lines: "READY=1" in lines)
            tasks.cancel_scope.cancel()
        assert fed(supervisor.lines()) == 0


@pytest.mark.parametrize("grace", [0, 30, 600])
def test_time_is_asked_for_as_long_as_a_stop_can_take(grace: float) -> None:
    """R3, R1: the unit's own time is for those who change nothing."""
    settings = Settings(_env_file=None, stop_grace=grace, cancel_grace=10)
    dispatcher, pool = work_limits(settings), pool_limits(settings)
    assert longest_stop(dispatcher, pool) >= grace + 11 + 5 + pool.close_bound
