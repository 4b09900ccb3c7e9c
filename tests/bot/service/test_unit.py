"""The text of the unit: what each installation puts into it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.service.unit import Plan, quoted, strict, unit

PLAN = Plan(
    python=Path("/opt/weft/.venv/bin/python"),
    prefixes=(Path("/opt/weft/.venv"), Path("/usr")),
    env_file=Path("/etc/weft/env"),
    run_as="weft",
    token_file=Path("/etc/weft/discord-token"),
    sealed_token=None,
    writable=(Path("/srv/projects"),),
)


def test_a_system_service_runs_as_its_user_with_the_token_on_its_standard_input() -> None:
    """R3, R5"""
    lines = unit(PLAN).splitlines()
    start = "/opt/weft/.venv/bin/python -P -m bot run --env-file /etc/weft/env --token-stdin"
    for line in (f"ExecStart={start}", "StandardInput=file:/etc/weft/discord-token", "User=weft", "Type=notify"):
        assert lines.count(line) == 1
    assert "ReadWritePaths=/srv/projects" in lines
    assert "RestartPreventExitStatus=75 78" in lines


@pytest.mark.parametrize("run_as", ["weft", None], ids=["system", "own"])
def test_there_is_a_directory_for_the_socket_of_the_health(run_as: str | None) -> None:
    """R3, R7: a sandboxed service could make none."""
    lines = unit(replace(PLAN, run_as=run_as)).splitlines()
    assert {"RuntimeDirectory=weft", "RuntimeDirectoryMode=0700"} <= set(lines)


def test_without_a_token_file_the_settings_have_the_token() -> None:
    """R3"""
    text = unit(replace(PLAN, token_file=None))
    assert "token" not in text
    assert "StandardInput" not in text


def test_a_sealed_token_is_a_credential() -> None:
    """R3, R5"""
    lines = unit(replace(PLAN, token_file=None, sealed_token=Path("/etc/weft/token.cred"))).splitlines()
    assert "LoadCredentialEncrypted=discord-token:/etc/weft/token.cred" in lines
    assert not any("stdin" in line or line.startswith("StandardInput") for line in lines)


def test_a_service_of_ones_own_has_nothing_that_needs_root() -> None:
    """R3"""
    text = unit(replace(PLAN, run_as=None))
    for setting in ("User=", "StateDirectory=", "ProtectSystem=", "CapabilityBoundingSet=", "network-online"):
        assert setting not in text
    assert "WantedBy=default.target" in text


def test_a_crash_loop_logs_in_at_discord_far_less_than_a_thousand_times_a_day() -> None:
    """R3"""
    assert {"StartLimitIntervalSec=1h", "StartLimitBurst=10"} <= set(unit(PLAN).splitlines())


def test_only_what_lies_in_the_homes_is_brought_back_by_the_strict_drop_in() -> None:
    """R3"""
    assert "Bind" not in strict(PLAN)
    at_home = replace(
        PLAN, writable=(Path("/home/a/work"), Path("/srv/x")), env_file=Path("/home/a/conf/env"), token_file=None
    )
    lines = strict(at_home).splitlines()
    assert "BindPaths=/home/a/work" in lines
    assert "BindReadOnlyPaths=/home/a/conf" in lines


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/srv/plain-1.0", "/srv/plain-1.0"),
        ("/srv/two words", '"/srv/two words"'),
        ("/srv/50%", "/srv/50%%"),
        ('/srv/a"b', '"/srv/a\\"b"'),
        ("/srv/a\\b", '"/srv/a\\\\b"'),
        ("a;b", '"a;b"'),
    ],
)
def test_a_word_is_written_so_that_systemd_reads_it_back(word: str, written: str) -> None:
    assert quoted(word) == written


def test_a_dollar_in_a_path_is_no_variable() -> None:
    assert "/srv/$$HOME/env" in unit(replace(PLAN, env_file=Path("/srv/$HOME/env")))
