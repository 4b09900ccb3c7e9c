"""SIGHUP: what takes effect at once, what is only named, and what changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from bot.config import ConfigError, Settings
from bot.reload import Reload, changed_names

BASE: dict[str, Any] = {"agent_command": ("agent",), "workspace": "/", "state_dir": "/"}


def settings(**values: Any) -> Settings:
    return Settings(**(BASE | values))


class Applied(list[Settings]):
    """Takes settings and keeps them."""

    def __call__(self, taken: Settings) -> None:
        self.append(taken)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEFT_ALLOWED_USERS", "WEFT_HARD_TIMEOUT", "WEFT_MAX_AGENTS", "WEFT_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)


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
