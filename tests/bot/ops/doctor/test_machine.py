"""The machine and its tools: real programs, some of them written by the test."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from bot.ops.doctor.finding import Verdict, ok
from bot.ops.doctor.machine import check_node, check_platform, check_tools, run_command
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
    assert found == [ok("tool", "works works"), ok("tool", "fails is there and does not work: no permission")]


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
    with anyio.fail_after(5):
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
