"""The command line: what is refused, with which words and exit codes, and that a refusal leaves nothing behind."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from bot.cli import main
from tests.agents import scenario
from tests.commands import TOKEN, weft, weft_cold

BAD = [
    pytest.param(
        {"DISCORD_TOKEN": ""},
        "DISCORD_TOKEN is not set: create a bot in Discord's developer portal and put its token there",
        id="no token",
    ),
    pytest.param(
        {"WEFT_ALLOWED_CHANNELS": "general"},
        "WEFT_ALLOWED_CHANNELS (environment): 'general' is not a Discord id (a number of 15 to 20 digits)",
        id="bad channel",
    ),
    pytest.param(
        {"WEFT_AGENT_COMMAND": "no-such-agent acp"},
        "WEFT_AGENT_COMMAND (environment): no-such-agent was not found",
        id="no agent",
    ),
    pytest.param(
        {"WEFT_WORKSPACE": "/no/such/directory"},
        "WEFT_WORKSPACE (environment): /no/such/directory is not a directory",
        id="no directory",
    ),
]
MORE_BAD = [
    pytest.param({"WEFT_AGENT_COMMAND": ""}, "WEFT_AGENT_COMMAND is not set", id="agent unset"),
    pytest.param(
        {"WEFT_AGENT_COMMAND": "agent 'x"}, "WEFT_AGENT_COMMAND (environment): no closing quotation", id="open quote"
    ),
    pytest.param({"WEFT_AGENT_COMMAND": "./agent acp"}, "./agent is not an absolute path", id="relative agent"),
    pytest.param({"WEFT_WORKSPACE": ""}, "WEFT_WORKSPACE is not set", id="workspace unset"),
    pytest.param(
        {"WEFT_STATE_DIR": "/dev/null"}, "WEFT_STATE_DIR (environment): /dev/null is not a directory", id="state"
    ),
    pytest.param(
        {"WEFT_DATABASE_URL": "mysql://weft:canary@db/weft"},
        "WEFT_DATABASE_URL (environment): this is not the address of a PostgreSQL database: write postgresql://",
        id="database",
    ),
    pytest.param({"WEFT_MAX_AGENTS": "many"}, "WEFT_MAX_AGENTS (environment): ", id="no number"),
    pytest.param({"WEFT_IDLE_TTL": "nan"}, "WEFT_IDLE_TTL (environment): ", id="not a number"),
    pytest.param({"WEFT_LOG_LEVEL": "loud"}, "WEFT_LOG_LEVEL (environment): ", id="log level"),
    pytest.param({"WEFT_DISCORD_API": "localhost"}, "WEFT_DISCORD_API (environment): 'localhost' is not", id="address"),
    pytest.param(
        {"DISCORD_TOKEN": "canary one\ntwo"}, "DISCORD_TOKEN: a token has no spaces", id="token with a line break"
    ),
]
USAGE = [
    ["demo", "--prompt", "x", "--timeout", "-1"],
    ["demo", "--prompt", "x", "--timeout", "nan"],
    ["demo", "--prompt", ""],
    ["demo", "--prompt", " \n"],
    ["demo", "--prompt", "x" * 2000],
    ["demo", "--prompt", "x", "--permission", "maybe"],
    ["demo", "--prompt", "x", "--agent", "agent 'x"],
    ["demo", "--no-such-option"],
    ["sandbox", "--port", "99999"],
    ["dance"],
]


@pytest.fixture(autouse=True)
def clean_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("WEFT_") or name in ("DISCORD_TOKEN", "STATE_DIRECTORY"):
            monkeypatch.delenv(name)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "here"))
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def invoke(*arguments: str, **settings: str) -> Result:
    return CliRunner().invoke(main, arguments, env=settings)


def good(directory: Path) -> dict[str, str]:
    agent = scenario(directory)
    return {
        "DISCORD_TOKEN": TOKEN,
        "WEFT_AGENT_COMMAND": shlex.join(agent.argv),
        "WEFT_WORKSPACE": str(directory),
    }


@pytest.mark.parametrize(("change", "line"), BAD)
def test_bad_settings_of_run_get_one_line_and_78(tmp_path: Path, change: dict[str, str], line: str) -> None:
    """Settings and exits: one line on stderr, no traceback; nothing was made and no agent started."""
    settings = good(tmp_path) | change
    before = sorted(tmp_path.rglob("*"))
    done = weft(tmp_path / "here", "run", **settings)
    assert (done.returncode, done.stdout, done.stderr) == (78, "", f"weft: {line}\n")
    made = {path.relative_to(tmp_path) for path in set(tmp_path.rglob("*")) - set(before)}
    assert made == {Path("here", name) for name in ("home", "tmp", "state")}  # by the test itself


@pytest.mark.parametrize(("change", "line"), [*BAD, *MORE_BAD])
def test_each_setting_that_can_not_be_used_is_named(tmp_path: Path, change: dict[str, str], line: str) -> None:
    """Settings and exits."""
    before = [*tmp_path.rglob("*"), tmp_path / "scenario-0.json"]
    done = invoke("run", **(good(tmp_path) | change))
    assert done.exit_code == 78
    assert done.stderr.startswith("weft: ")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert "canary" not in done.output
    assert sorted(tmp_path.rglob("*")) == sorted(before)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    done = invoke("run")
    assert [line.split()[1] for line in done.stderr.splitlines()] == [
        "DISCORD_TOKEN",
        "WEFT_AGENT_COMMAND",
        "WEFT_WORKSPACE",
    ]


def test_a_settings_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "here" / ".env").write_bytes(b"DISCORD_TOKEN=\xff\xfe\n")
    done = invoke("run")
    assert done.exit_code == 78
    assert done.stderr.startswith("weft: .env can't be read: ")
    assert done.stderr.count("\n") == 1


def test_settings_are_read_from_the_file_in_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "here" / ".env").write_text(f"DISCORD_TOKEN={TOKEN}\nWEFT_WORKSPACE=/no/such/directory\n")
    done = invoke("run", WEFT_AGENT_COMMAND="/bin/cat")
    assert done.stderr == "weft: WEFT_WORKSPACE (.env, line 2): /no/such/directory is not a directory\n"


@pytest.mark.parametrize("arguments", USAGE, ids=lambda arguments: " ".join(arguments)[:40])
def test_wrong_usage_is_exit_2_with_the_option_named(arguments: list[str]) -> None:
    """Settings and exits."""
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert "Usage:" in done.stderr
    wrong = next((word for word in reversed(arguments) if word.startswith("--")), arguments[0])
    assert wrong in done.stderr.splitlines()[-1]


def test_wrong_usage_is_exit_2_as_a_process_too(tmp_path: Path) -> None:
    done = weft_cold(tmp_path, "demo", "--prompt", "x", "--timeout", "-1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_an_interrupt_while_the_command_line_is_imported_is_quiet(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")
    path = os.pathsep.join(part for part in (str(tmp_path), os.environ.get("PYTHONPATH")) if part)
    left = weft_cold(tmp_path, "--help", PYTHONPATH=path)
    assert (left.returncode, left.stdout, left.stderr) == (130, "", "")


def test_a_demo_with_an_agent_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    done = weft(tmp_path, "demo", "--agent", "no-such-agent acp", "--prompt", "x")
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == "weft: --agent: no-such-agent was not found\n"


@pytest.mark.parametrize("command", ["", "  "])
def test_an_empty_agent_command_is_not_the_demo_agent(command: str) -> None:
    done = invoke("demo", "--prompt", "x", "--agent", command)
    assert done.exit_code == 78
    assert done.stderr.startswith("weft: --agent is not set")


@pytest.mark.parametrize("command", ["run", "status", "demo", "sandbox", "doctor", "service"])
def test_each_command_has_help(command: str) -> None:
    done = invoke(command, "--help")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Usage: main {command}")


def test_every_command_is_listed_with_a_whole_sentence() -> None:
    """An overview whose lines are cut off says less than it could."""
    for arguments in ([], ["service"]):
        listed = invoke(*arguments, "--help").stdout.partition("Commands:")[2].split("\n")
        assert [line for line in listed if line and not line.endswith(".")] == []
        assert [line for line in listed if line.endswith("...")] == []


def test_windows_is_refused_with_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings and exits."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        with pytest.raises(SystemExit) as left:
            main(["sandbox"], standalone_mode=False)
    assert (left.value.code, capsys.readouterr().err) == (78, "weft: Windows is not supported: run Weft on Linux\n")


def test_an_empty_standard_input_is_no_token(tmp_path: Path) -> None:
    """R3, R5: exit 78; what `.env` says is not taken instead."""
    done = weft(tmp_path, "run", "--token-stdin", DISCORD_TOKEN=TOKEN)
    assert (done.returncode, done.stderr) == (
        78,
        "weft: --token-stdin: the standard input is empty; its first line must be the token\n",
    )


def test_a_state_directory_that_can_not_be_made_is_one_line(tmp_path: Path) -> None:
    """Settings and exits: 78; nothing of it can be seen before it is tried."""
    done = weft(tmp_path, "run", **(good(tmp_path) | {"WEFT_STATE_DIR": "/proc/weft"}))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (78, "", 1)
    assert done.stderr.startswith("weft: WEFT_STATE_DIR (environment): /proc")
