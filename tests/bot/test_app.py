"""The composition root: the stamp of the commands, errors on the way out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bot import app, wiring
from bot.agents.model import only
from bot.app import CommandStampFile, apply_settings, leaves, run_bot
from bot.config import ConfigError, RunSettings, Settings
from bot.log import Redactor

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


# --- the stamp ---------------------------------------------------------------------------------------------------


def test_no_commands_were_registered_at_first(tmp_path: Path) -> None:
    """D7."""
    assert CommandStampFile(tmp_path / "stamp").read() is None


def test_a_stamp_outlives_the_process(tmp_path: Path) -> None:
    """D7."""
    CommandStampFile(tmp_path / "stamp").write("first")
    CommandStampFile(tmp_path / "stamp").write("second")
    assert CommandStampFile(tmp_path / "stamp").read() == "second"


# --- the end -----------------------------------------------------------------------------------------------------


def test_errors_are_found_however_deep_they_lie() -> None:
    """R3."""
    one, two, three = (ConfigError(str(number)) for number in range(3))
    nested = ExceptionGroup("a", [one, ExceptionGroup("b", [ExceptionGroup("c", [two]), three])])
    assert leaves(cast("ExceptionGroup[ConfigError]", nested)) == [one, two, three]


def run_with(monkeypatch: pytest.MonkeyPatch, body: Callable[[Redactor], int], wanted: RunSettings = WANTED) -> int:
    """Run the bot with ``body`` in the place of everything that awaits."""

    async def stand_in(_settings: Settings, _wanted: RunSettings, redactor: Redactor, *_rest: object) -> int:
        return body(redactor)

    monkeypatch.setattr(app, "_run_until_signal", stand_in)
    monkeypatch.setattr(app, "configure_logging", lambda *_: None)
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


class ReloadedBot:
    """A bot that takes whatever is put in force, and keeps how wide the pool's net is."""

    def __init__(self) -> None:
        self.gateway = self.desk = self.pool = self.assignments = self
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
    assert bot.hung_after == wiring.pool_limits(longer).hung_after
