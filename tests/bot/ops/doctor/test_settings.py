"""What the doctor reads out of the settings alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bot.agents.model import AgentProfile
from bot.config import Settings
from bot.ops.doctor.finding import Verdict, ok, warn
from bot.ops.doctor.machine import Unit
from bot.ops.doctor.settings import check_access, check_agent_variables, check_permissions, check_settings
from bot.preflight import looks_like_token
from bot.work.permissions.rules import Mode, Rule, Rules
from tests.commands import TOKEN


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c.d", "..", "bm9uZQ.b.c", "é.b.c", "a.b.c"])
def test_what_is_no_token_is_seen_by_its_shape(text: str) -> None:
    assert not looks_like_token(text)


def test_a_token_is_seen_by_its_shape() -> None:
    assert looks_like_token(TOKEN)


def test_a_variable_that_agents_are_to_get_and_that_is_not_set_is_told() -> None:
    """R5."""
    names, given = ("KEY_A", "KEY_B", "OTHER_*"), {"KEY_A": "canary", "OTHER_1": "canary"}
    found = list(check_agent_variables("WEFT_AGENT_ENV", names, given))
    assert found == [warn("agent env", "KEY_B is listed in WEFT_AGENT_ENV, but is not set")]


def test_an_agent_that_only_this_shell_finds_is_not_there_for_the_unit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """R3: the unit would end with 78."""
    (tmp_path / "own-agent").write_text("#!/bin/sh\n")
    (tmp_path / "own-agent").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    settings = Settings(_env_file=None, agent_command=("own-agent",), workspace=str(tmp_path), state_dir=tmp_path)
    unit = Unit("weft.service (user)", "/usr/bin:/bin", None)
    here = {finding.subject: finding for finding in check_settings(settings, {})}
    there = {finding.subject: finding for finding in check_settings(settings, {}, unit)}
    assert (here["agent"].verdict, there["agent"].verdict) == (Verdict.OK, Verdict.FAIL)
    assert there["agent"].text == (
        "WEFT_AGENT_COMMAND: own-agent was not found on the PATH /usr/bin:/bin; this shell finds"
        f" {tmp_path}/own-agent: write that, or run `weft service install` from this shell"
    )
    assert "/usr/bin:/bin" in there["path"].text


def test_an_agent_that_nobody_watches_is_told() -> None:
    """C3."""
    rules = Rules(allow=(Rule(command="git status *"),), two_person=(Rule(command="git push*"),))
    asking = AgentProfile("red", ("red",), "/srv", rules=rules)
    text = "red: mode ask; rules: 1 to allow, 0 to deny, 1 for two people"
    assert check_permissions(asking) == ok("permissions", text)
    allowing = AgentProfile("red", ("red",), "/srv", mode=Mode.ALLOW, trusted=True)
    assert check_permissions(allowing).verdict is Verdict.WARN
    assert check_permissions(dataclasses.replace(allowing, wrapper=("bwrap",))).verdict is Verdict.OK


def test_who_may_answer_is_told_with_who_may_ask() -> None:
    """D2, C1."""
    listed = Settings(_env_file=None, allowed_users=(10**17 + 1,), approver_roles=(10**17 + 2,))
    assert check_access(listed) == ok("access", "the application's owner, 1 user, 0 roles; 1 approver role")
