"""The doctor: one line for each check, and an exit code that says whether something has to be mended."""

from __future__ import annotations

import base64
import ctypes
import json
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog
from click.testing import CliRunner, Result

from bot.cli import main
from bot.ops.doctor.finding import Finding, Verdict, warn
from bot.ops.doctor.report import Check, within_limit
from bot.sandbox import FakeDiscord
from tests.agents import alive, scenario
from tests.commands import LIMIT, WEFT, environment, temporary_files

TOKEN = base64.urlsafe_b64encode(b"100000000000000001").decode().rstrip("=") + ".canary.canary"
PERSON = "100000000000000002"
GET_DUMPABLE, SET_DUMPABLE = 3, 4  # prctl(2)
SUBJECTS = [
    *("weft", "python", "platform", "settings", "token", "access", "workspace", "state", "agent"),
    *("space", "database", "initialize", "session"),
]
MACHINE = {"systemd", "unit", "tool", "strays", "node", "socket"}


@pytest.fixture(autouse=True)
def clean_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("WEFT_") or name in ("DISCORD_TOKEN", "STATE_DIRECTORY"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def doctor(directory: Path, start: dict[str, Any] | None = None, /, *options: str, **change: str) -> Result:
    """Run it without Discord, and see that it left no agent and told no secret."""
    agent = scenario(directory, start=start or {}, resume=True)
    settings = {
        "DISCORD_TOKEN": TOKEN,
        "WEFT_AGENT_COMMAND": shlex.join(agent.argv),
        "WEFT_WORKSPACE": str(directory),
        "WEFT_STATE_DIR": str(directory / "state"),
        "WEFT_ALLOWED_USERS": PERSON,
        "WEFT_START_TIMEOUT": "5",
    }
    offline = () if "WEFT_DISCORD_API" in change else ("--offline",)
    done = CliRunner().invoke(main, ["doctor", *offline, *options], env=settings | change)
    assert [alive(pid) for pid in agent.pids()] in ([], [False])
    assert "canary" not in done.output
    return done


def subject_of(text: str) -> str:
    return text[6:].split("  ", maxsplit=1)[0].strip()


def line(done: Result, subject: str) -> str:
    (found,) = [line for line in done.stdout.splitlines() if subject_of(line) == subject]
    return found


def test_each_check_has_one_line_and_all_is_well(tmp_path: Path) -> None:
    """Settings and exits: nothing is made."""
    done = doctor(tmp_path)
    assert (done.exit_code, done.stderr) == (0, "")
    # What else runs on the machine that tests it is nobody's fault here.
    told = [text for text in done.stdout.splitlines() if subject_of(text) not in MACHINE]
    assert [subject_of(text) for text in told] == SUBJECTS
    assert {text[:4] for text in told} == {"ok  "}
    assert "scripted-plain 1, after" in line(done, "initialize")
    assert not (tmp_path / "state").exists()


def test_a_script_reads_an_object_for_each_finding(tmp_path: Path) -> None:
    done = doctor(tmp_path, None, "--json", DISCORD_TOKEN="")
    found = [json.loads(text) for text in done.stdout.splitlines()]
    assert done.exit_code == 78
    assert {tuple(finding) for finding in found} == {("verdict", "subject", "text")}
    assert {"verdict": "fail", "subject": "token", "text": "DISCORD_TOKEN is not set"} in found
    assert {finding["verdict"] for finding in found} <= {"ok", "warn", "fail"}


@pytest.mark.parametrize(
    ("change", "subject", "text"),
    [
        ({"DISCORD_TOKEN": ""}, "token", "DISCORD_TOKEN is not set"),
        ({"DISCORD_TOKEN": "canary"}, "token", "this is not a bot token"),
        ({"WEFT_WORKSPACE": ""}, "workspace", "WEFT_WORKSPACE is not set"),
        ({"WEFT_WORKSPACE": "/no/such/directory"}, "workspace", "/no/such/directory is not a directory"),
        ({"WEFT_STATE_DIR": "/dev/null/state"}, "state", "/dev/null is not a directory"),
        ({"WEFT_AGENT_COMMAND": ""}, "agent", "WEFT_AGENT_COMMAND is not set"),
        ({"WEFT_AGENT_COMMAND": "no-such-agent acp"}, "agent", "no-such-agent was not found"),
        ({"WEFT_MAX_AGENTS": "many"}, "settings", "WEFT_MAX_AGENTS (environment): "),
        (
            {"WEFT_ALLOWED_ROLES": "admins"},
            "settings",
            "WEFT_ALLOWED_ROLES (environment): 'admins' is not a Discord id",
        ),
    ],
)
def test_what_has_to_be_mended_is_one_line_and_78(
    tmp_path: Path, change: dict[str, str], subject: str, text: str
) -> None:
    """Settings and exits."""
    done = doctor(tmp_path, **change)
    assert (done.exit_code, done.stderr) == (78, "")
    failed = [found for found in done.stdout.splitlines() if found.startswith("FAIL")]
    assert failed == [line(done, subject)]
    assert text in failed[0]
    assert done.stdout.endswith("docs/troubleshooting.md (`weft init --examples DIR` copies the pages)\n")


@pytest.mark.parametrize(
    ("start", "text"),
    [
        ({"exit": 4, "stderr": "no licence\n"}, "status 4"),
        ({"protocolVersion": 9}, "9"),
        ({"hang": "initialize"}, "initialize"),
    ],
)
def test_an_agent_that_does_not_introduce_itself_is_told_with_why(
    tmp_path: Path, start: dict[str, Any], text: str
) -> None:
    """P9: and is ended."""
    done = doctor(tmp_path, start, WEFT_START_TIMEOUT="0.5")
    assert (done.exit_code, done.stderr) == (78, "")
    assert line(done, "initialize").startswith("FAIL")
    assert text in line(done, "initialize")


def test_an_agent_that_speaks_no_protocol_fails(tmp_path: Path) -> None:
    done = doctor(tmp_path, WEFT_AGENT_COMMAND="/bin/true")
    assert done.exit_code == 78
    assert line(done, "initialize").startswith("FAIL")


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    done = doctor(tmp_path, DISCORD_TOKEN="", WEFT_AGENT_COMMAND="", WEFT_WORKSPACE="")
    failed = [text.split()[1] for text in done.stdout.splitlines() if text.startswith("FAIL")]
    assert failed == ["token", "workspace", "agent"]


def test_nobody_but_the_owner_let_in_is_a_warning_only(tmp_path: Path) -> None:
    """D2."""
    done = doctor(tmp_path, WEFT_ALLOWED_USERS="")
    assert done.exit_code == 0
    assert line(done, "access").startswith("warn")


def test_a_token_for_the_loopback_may_have_any_shape(tmp_path: Path) -> None:
    done = doctor(tmp_path, DISCORD_TOKEN="sandbox-token", WEFT_DISCORD_API="http://127.0.0.1:9/api/v10")
    assert done.exit_code == 0
    assert "http://127.0.0.1:9/api/v10" in line(done, "token")


def test_a_discord_that_cannot_be_reached_is_a_warning(tmp_path: Path) -> None:
    done = doctor(tmp_path, DISCORD_TOKEN="sandbox-token", WEFT_DISCORD_API="http://127.0.0.1:9/api/v10")
    assert done.exit_code == 0
    assert line(done, "account").startswith("warn")
    assert "can't be reached" in line(done, "account")


def test_settings_that_are_not_understood_leave_the_machine_to_be_looked_at(tmp_path: Path) -> None:
    done = doctor(tmp_path, WEFT_MAX_AGENTS="many")
    *findings, _ = done.stdout.splitlines()  # the last line says where to read on
    told = [subject_of(text) for text in findings if subject_of(text) not in MACHINE]
    assert told == ["weft", "python", "platform", "settings"]


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")
def test_the_agent_that_is_tried_can_not_look_into_the_doctor(tmp_path: Path) -> None:
    """R5: its environment and memory have the token, as the bot's have."""
    prctl = ctypes.CDLL(None).prctl
    prctl(SET_DUMPABLE, 1, 0, 0, 0)
    try:
        doctor(tmp_path)
        assert prctl(GET_DUMPABLE, 0, 0, 0, 0) == 0
    finally:
        prctl(SET_DUMPABLE, 1, 0, 0, 0)


@pytest.mark.asyncio
async def test_the_whole_way_against_a_discord(tmp_path: Path) -> None:
    """D2: the command as a person starts it; the gateway is left alone."""
    agent = scenario(tmp_path, resume=True)
    async with FakeDiscord() as discord:
        settings = environment(
            tmp_path,
            DISCORD_TOKEN=discord.token,
            WEFT_DISCORD_API=discord.api_url,
            WEFT_AGENT_COMMAND=shlex.join(agent.argv),
            WEFT_WORKSPACE=str(tmp_path),
            WEFT_ALLOWED_CHANNELS=str(discord.channel_id),
        )
        with anyio.fail_after(LIMIT):
            done = await anyio.run_process([*WEFT, "doctor"], cwd=tmp_path, env=settings, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"#general in Sandbox: has all permissions" in done.stdout
        assert discord.token.encode() not in done.stdout
        assert not discord.ready.is_set()
        discord.assert_clean()
    assert [alive(pid) for pid in agent.pids()] == [False]
    assert temporary_files(tmp_path) == []


@pytest.mark.asyncio
async def test_a_check_that_takes_too_long_is_broken_off() -> None:
    async def look() -> list[Finding]:
        await anyio.sleep_forever()
        return []

    check = Check("slow", look, 0.05)
    assert [warn("slow", "gave up after 0.05 s")] == await within_limit(check)


@pytest.mark.asyncio
async def test_a_check_that_cannot_look_says_so() -> None:
    async def look() -> list[Finding]:
        raise PermissionError(13, "Permission denied", "/there")

    (found,) = await within_limit(Check("place", look))
    assert found.verdict is Verdict.WARN
    assert "Permission denied" in found.text
