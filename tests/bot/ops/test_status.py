"""``weft status``: what a person reads, and what it says when there is nobody to ask."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from bot.ops.health import DiscordHealth, NodeHealth, StandbyHealth, Status, StoreHealth
from bot.ops.status import duration, status_lines

from .samples import agents, health, parts


def test_a_bot_that_is_well_is_told_in_a_few_lines() -> None:
    """R7"""
    assert status_lines(health(Status.OK, parts())) == [
        "Weft 1.2.3 is healthy; up since 2026-11-21 09:30:00 UTC (3 min 20 s)",
        "Discord   connected, heartbeat 42 ms",
        "Agents    3 live (2 busy), 1 starting, 0 ending, at most 12",
        "Lane      main: 2 of 8 running, 1 waiting for a person, 4 waiting",
        "Lane      background: 0 of 2 running, 0 waiting",
        "Queues    4 waiting in 2 threads, the longest 3; 1 permission card open",
        "Schedules 3 active, 2 paused",
        "Messages  12 answered, 1 failed",
        "Store     healthy",
        "Loop      1 ms late, at worst 12 ms within a minute",
    ]


def test_what_is_wrong_stands_below_the_first_line() -> None:
    """R7"""
    lines = status_lines(health(Status.FAILING, parts(), "this hangs", "that hangs"))
    assert lines[0].startswith("Weft 1.2.3 is not healthy; ")
    assert lines[1:3] == ["Problem   this hangs", "Problem   that hangs"]


def test_what_answers_in_place_of_a_bot_does_not_steer_the_terminal() -> None:
    """R7: any process may listen at the port while no bot does."""
    told = status_lines(health(Status.FAILING, parts(), "\x1b[2Jall is well\r\n"))
    assert told[1] == "Problem   \N{REPLACEMENT CHARACTER}[2Jall is well" + 2 * "\N{REPLACEMENT CHARACTER}"


def test_a_bot_that_starts_has_nothing_more_to_tell() -> None:
    assert status_lines(health(Status.STARTING, uptime=1)) == [
        "Weft 1.2.3 is starting; up since 2026-11-21 09:30:00 UTC (1 s)"
    ]


def test_a_bot_that_stands_by_tells_for_whom() -> None:
    """R10"""
    told = health(Status.STANDBY, uptime=1)
    assert status_lines(told.model_copy(update={"standby": StandbyHealth(leader="one", trouble="it is away")})) == [
        "Weft 1.2.3 stands by; up since 2026-11-21 09:30:00 UTC (1 s)",
        "Leader    one",
        "Database  it is away",
    ]


_NODE = NodeHealth(
    engine="farm", name="a", running=1, places=4, free_memory=None, reachable=True, reason="", age_seconds=12.4
)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"discord": DiscordHealth(connected=False, latency_seconds=None)}, "Discord   disconnected"),
        ({"discord": DiscordHealth(connected=True, latency_seconds=None)}, "Discord   connected"),
        (
            {"store": StoreHealth(trouble="disk full", behind=7)},
            "Store     failing: disk full; 7 changes are not saved yet",
        ),
        ({"outcomes": {"answered": 0}}, "Messages  none so far"),
        (
            {"nodes": (_NODE,)},
            "Node      farm/a: 1 of 4 agents; 12 s ago",
        ),
        (
            {"agents": agents(died=2, failed={"exited": 1, "timeout": 2}, leaked=1)},
            "Agents    3 live (2 busy), 1 starting, 0 ending, at most 12;"
            " 2 died; 3 failed to start; 1 left something behind",
        ),
    ],
)
def test_what_is_out_of_the_ordinary_is_told(changes: dict[str, Any], line: str) -> None:
    assert line in status_lines(health(Status.OK, parts(**changes)))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (7322, "2 h 2 min"), (90000, "1 d 1 h"), (-1, "0 s")],
)
def test_times_are_told_in_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def status(address: str | None, directory: Path) -> Result:
    (directory / ".env").write_text(f"WEFT_HEALTH={address or ''}\n")
    return CliRunner().invoke(main, ["status", "--env-file", str(directory / ".env")])


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEFT_HEALTH", raising=False)


def test_a_bot_that_can_not_be_asked_is_said_to_be_so(tmp_path: Path) -> None:
    """R7, exits: 2."""
    done = status(None, tmp_path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "weft: WEFT_HEALTH is not set: set it, such as to 127.0.0.1:9464, and restart the bot\n"


@pytest.mark.parametrize(("kind", "why"), [("port", "connection refused"), ("socket", "no such file or directory")])
def test_where_nobody_listens_there_is_no_bot(tmp_path: Path, kind: str, why: str) -> None:
    """R7, exits: 1, in a line and without a traceback."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        address = f"127.0.0.1:{port}" if kind == "port" else f"unix:{tmp_path}/none.sock"
        done = status(address, tmp_path)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"weft: no bot at {address} ({why}): ")


def test_an_address_that_is_none_is_78(tmp_path: Path) -> None:
    """Exits."""
    done = status("0.0.0.0:9464", tmp_path)
    assert (done.exit_code, done.stderr.count("\n")) == (78, 1)
