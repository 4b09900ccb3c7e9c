"""systemd, played by a script, since a test has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.ops.doctor.finding import Finding, Verdict, ok, warn
from bot.ops.doctor.service import Unit, check_service, installed_unit, unit_finding
from tests.bot.ops.doctor.test_machine import program

RUNNING = {
    "LoadState": "loaded",
    "UnitFileState": "enabled",
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
    "NRestarts": "0",
}


def systemctl(directory: Path, system: str, user: str = "LoadState=not-found") -> None:
    program(
        directory,
        "systemctl",
        f"""#!/bin/sh
case "$1 $2 $3" in
  "--version "*) echo "systemd 252 (252.1-1)"; echo "+PAM" ;;
  "--system show weft.service") printf '{system}\\n' ;;
  "--user show weft.service") printf '{user}\\n' ;;
  *) exit 9 ;;
esac
""",
    )


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def lines(**change: str) -> str:
    return "\\n".join(f"{name}={value}" for name, value in {**RUNNING, **change}.items())


@pytest.mark.asyncio
async def test_the_unit_is_told_of_both_managers(path: Path) -> None:
    """R3."""
    systemctl(path, lines(), lines(ActiveState="inactive", SubState="dead", UnitFileState="disabled"))
    assert await check_service(path) == [
        ok("systemd", "systemd 252 runs this machine"),
        ok("unit", "weft.service (system), active (running), enabled"),
        ok("unit", "weft.service (user), inactive (dead), disabled"),
    ]


@pytest.mark.asyncio
async def test_a_unit_that_is_not_installed_is_no_fault(path: Path) -> None:
    systemctl(path, "LoadState=not-found")
    assert (await check_service(path))[1:] == [ok("unit", "weft.service is not installed")]


@pytest.mark.asyncio
async def test_where_something_else_runs_the_machine_no_unit_is_asked_for(path: Path) -> None:
    systemctl(path, lines())
    (found,) = await check_service(path / "nowhere")
    assert found == ok("systemd", "systemd 252 is installed, and something else runs this machine")


@pytest.mark.asyncio
async def test_a_machine_without_systemd_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await check_service(tmp_path) == [ok("systemd", "not installed")]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"NRestarts": "3"}, ok("unit", "weft.service (system), active (running), enabled, restarted 3 times")),
        (
            {"ActiveState": "failed", "SubState": "failed", "Result": "exit-code"},
            warn("unit", "weft.service (system), failed (failed), enabled, failed: exit-code"),
        ),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "Result": "watchdog", "NRestarts": "1"},
            warn(
                "unit", "weft.service (system), activating (auto-restart), enabled, restarted 1 times, failed: watchdog"
            ),
        ),
        ({"LoadState": "bad-setting"}, warn("unit", "weft.service (system) can't be used: bad-setting")),
        ({"UnitFileState": ""}, ok("unit", "weft.service (system), active (running), not enabled")),
        ({"LoadState": "not-found"}, None),
        ({"LoadState": ""}, None),
    ],
)
def test_a_unit_is_judged_by_what_systemd_says(change: dict[str, str], expected: Finding | None) -> None:
    """R3."""
    assert expected == unit_finding("system", {**RUNNING, **change})


def test_a_failed_unit_keeps_no_bot_from_being_started_by_hand() -> None:
    found = unit_finding("user", {**RUNNING, "ActiveState": "failed"})
    assert found is not None
    assert found.verdict is Verdict.WARN


START = "{ path=/opt/python ; argv[]=/opt/python -P -m bot run --env-file /etc/weft/env --token-stdin ; pid=0 }"


@pytest.mark.asyncio
async def test_the_unit_that_reads_these_settings_says_where_programs_are_and_who_runs(path: Path) -> None:
    """R3: another one says nothing about them."""
    given = "Environment=PATH=/opt/node/bin:/usr/bin A=1"
    systemctl(path, f"LoadState=loaded\\nExecStart={START}\\n{given}\\nUser=weft")
    assert await installed_unit(Path("/etc/weft/env"), path) == Unit(
        "weft.service (system)", "/opt/node/bin:/usr/bin", "weft"
    )
    assert await installed_unit(Path("/etc/weft/env2"), path) is None
    systemctl(path, "LoadState=not-found", f"LoadState=loaded\\nExecStart={START}")
    usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
    assert await installed_unit(Path("/etc/weft/env"), path) == Unit("weft.service (user)", usual, None)
