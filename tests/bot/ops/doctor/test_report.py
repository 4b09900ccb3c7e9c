"""The doctor: one line for each check, and an exit code that says whether something has to be mended."""

from __future__ import annotations

import base64
import logging
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner, Result

from bot.cli import main
from bot.ops.doctor import check_platform, looks_like_token
from tests.agents import alive, scenario

TOKEN = base64.urlsafe_b64encode(b"100000000000000001").decode().rstrip("=") + ".canary.canary"
PERSON = "100000000000000002"


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


def doctor(directory: Path, start: dict[str, Any] | None = None, /, **change: str) -> Result:
    agent = scenario(directory, start=start or {}, resume=True)
    settings = {
        "DISCORD_TOKEN": TOKEN,
        "WEFT_AGENT_COMMAND": shlex.join(agent.argv),
        "WEFT_WORKSPACE": str(directory),
        "WEFT_STATE_DIR": str(directory / "state"),
        "WEFT_ALLOWED_USERS": PERSON,
        "WEFT_START_TIMEOUT": "5",
    }
    done = CliRunner().invoke(main, ["doctor"], env=settings | change)
    assert [alive(pid) for pid in agent.pids()] in ([], [False])
    assert "canary" not in done.output
    return done


def line(done: Result, subject: str) -> str:
    (found,) = [line for line in done.stdout.splitlines() if line[6:].startswith(subject)]
    return found


def test_each_check_has_one_line_and_all_is_well(tmp_path: Path) -> None:
    """Settings and exits: nothing is made."""
    done = doctor(tmp_path)
    assert (done.exit_code, done.stderr) == (0, "")
    verdicts = [text.split()[:2] for text in done.stdout.splitlines()]
    subjects = ["python", "platform", "settings", "token", "access", "workspace", "state", "agent", "initialize"]
    assert verdicts == [["ok", subject] for subject in subjects]
    assert "scripted-plain 1; sessions can be resumed" in line(done, "initialize")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("change", "subject", "text"),
    [
        ({"DISCORD_TOKEN": ""}, "token", "DISCORD_TOKEN is not set"),
        ({"DISCORD_TOKEN": "canary"}, "token", "does not have the shape"),
        ({"WEFT_WORKSPACE": ""}, "workspace", "WEFT_WORKSPACE is not set"),
        ({"WEFT_WORKSPACE": "/no/such/directory"}, "workspace", "/no/such/directory is not a directory"),
        ({"WEFT_STATE_DIR": "/dev/null/state"}, "state", "/dev/null is not a directory"),
        ({"WEFT_AGENT_COMMAND": ""}, "agent", "WEFT_AGENT_COMMAND is not set"),
        ({"WEFT_AGENT_COMMAND": "no-such-agent acp"}, "agent", "no-such-agent was not found"),
        ({"WEFT_MAX_AGENTS": "many"}, "settings", "WEFT_MAX_AGENTS: "),
        ({"WEFT_ALLOWED_ROLES": "admins"}, "settings", "WEFT_ALLOWED_ROLES: 'admins' is not a Discord id"),
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


def test_other_platforms_are_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings and exits: macOS is best effort."""
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    found = check_platform().line()
    assert found.startswith("warn")
    assert "systemd" in found


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c.d", "..", "bm9uZQ.b.c", "é.b.c", "a.b.c"])
def test_what_is_no_token_is_seen_by_its_shape(text: str) -> None:
    assert not looks_like_token(text)


def test_a_token_is_seen_by_its_shape() -> None:
    assert looks_like_token(TOKEN)
