"""Logging: JSON lines and crashes, without secrets."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from bot.log import configure_logging
from bot.redaction import Redactor

SECRET = "canary-0123456789"


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


@pytest.mark.usefixtures("restored_logging")
def test_logs_are_json_lines_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json", Redactor([SECRET]))
    structlog.get_logger().info("turn.finished", outcome="answered", token=SECRET)
    logging.getLogger("discord.http").warning("refused %s", SECRET)
    try:
        raise ValueError(SECRET)
    except ValueError:
        structlog.get_logger().exception("owner.failed")
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["turn.finished", "refused [secret]", "owner.failed"]
    assert SECRET not in "".join(lines)
    assert "Traceback" in json.loads(lines[2])["exception"]


CRASH = """
import sys
from bot.log import configure_logging, log_crash
from bot.redaction import Redactor
configure_logging("info", "json", Redactor(["{secret}"]))
sys.excepthook = log_crash
raise RuntimeError("it was {secret}")
"""


def test_a_crash_is_a_log_line_without_secrets() -> None:
    """R5: with the traceback, and the usual exit code."""
    command = [sys.executable, "-c", CRASH.format(secret=SECRET)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    (line,) = done.stderr.splitlines()
    entry = json.loads(line)
    assert (done.returncode, entry["event"], entry["level"]) == (1, "bot.crashed", "critical")
    assert "RuntimeError: it was [secret]" in entry["exception"]
    assert SECRET not in line.replace("[secret]", "")
