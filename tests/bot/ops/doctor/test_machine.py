"""The machine and its tools: real programs, some of them written by the test."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from bot.ops.doctor.finding import Finding, Verdict, ok, warn
from bot.ops.doctor.machine import (
    Unit,
    check_node,
    check_platform,
    check_service,
    check_tools,
    installed_unit,
    run_command,
    unit_finding,
)
from tests.agents import alive


def program(directory: Path, name: str, text: str) -> str:
    path = directory / name
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of programs that comes first on the PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return directory


def test_other_platforms_are_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings and exits: macOS is best effort."""
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    found = check_platform()
    assert found.verdict is Verdict.WARN
    assert "systemd" in found.text


@pytest.mark.asyncio
async def test_tools_are_tried_and_missing_ones_are_no_fault(tools: Path) -> None:
    program(tools, "works", '#!/bin/sh\ntest "$1" = --try\n')
    program(tools, "fails", "#!/bin/sh\necho warming up\necho no permission >&2\nexit 1\n")
    found = await check_tools({"works": ("--try",), "no-such-tool": (), "fails": ()})
    assert found == [
        ok("tool", "works works"),
        warn("tool", "fails is installed but does not work here: no permission"),
    ]


@pytest.mark.asyncio
async def test_a_tool_sees_no_secret(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R5."""
    monkeypatch.setenv("DISCORD_TOKEN", "canary")
    ran = await run_command(program(tools, "shows", "#!/bin/sh\nenv\n"))
    assert ran is not None
    assert "PATH=" in ran.said
    assert "canary" not in ran.said


@pytest.mark.asyncio
async def test_a_tool_that_hangs_is_ended_with_what_it_started(tools: Path) -> None:
    path = tools / "pids"
    hangs = program(tools, "hangs", f"#!/bin/sh\nsleep 600 &\necho $$ $! > {path}.new; mv {path}.new {path}\nwait\n")
    assert await run_command(hangs, limit=0.5) is None
    with anyio.fail_after(30):
        while any(alive(int(pid)) for pid in path.read_text().split()):  # noqa: ASYNC110 - no event of ours
            await anyio.sleep(0.01)


@pytest.mark.asyncio
async def test_an_agent_that_is_a_script_for_node_names_its_version(tools: Path) -> None:
    script = program(tools, "agent", "#!/usr/bin/env node\n")
    program(tools, "node", "#!/bin/sh\necho v22.1.0\n")
    assert await check_node([(script, "acp"), ("/bin/sh",)]) == [ok("node", "v22.1.0 runs agent")]
    program(tools, "node", "#!/bin/sh\nexit 1\n")
    (found,) = await check_node([(script,)])
    assert found.verdict is Verdict.WARN


@pytest.mark.asyncio
async def test_other_agents_need_no_node(tools: Path) -> None:
    text = program(tools, "agent", "#!/bin/sh\n# node\n")
    assert await check_node([(text,), ("/bin/sh",), ("/no/such/program",), (os.devnull,)]) == []


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
    assert found == ok("systemd", "systemd 252 is installed, but this machine was not started by it")


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
