"""What is said to the service supervisor, and that nothing goes wrong where there is none."""

from __future__ import annotations

import os
import socket
import time
import uuid
from pathlib import Path

import pytest

from bot.ops.notify import Notifier, Supervisor, take_supervisor

from .supervisor import ear


def test_messages_come_in_order_and_from_this_process(tmp_path: Path) -> None:
    """R3"""
    with ear(tmp_path / "notify") as supervisor:
        notifier = supervisor.notifier
        assert notifier.ready("connected")
        assert notifier.extend()
        assert notifier.send("STOPPING=1")
        assert supervisor.listen() == [
            ["READY=1", "STATUS=connected"],
            ["EXTEND_TIMEOUT_USEC=20000000"],
            ["STOPPING=1"],
        ]
        assert supervisor.senders == {os.getpid()}


def test_an_address_may_be_an_abstract_name() -> None:
    """R3"""
    with ear(f"@weft-test-{uuid.uuid4()}") as supervisor:
        assert supervisor.notifier.send("READY=1")
        assert supervisor.lines() == ["READY=1"]


def test_a_value_can_not_add_a_line(tmp_path: Path) -> None:
    """R3: agents' words may be in a status."""
    with ear(tmp_path / "notify") as supervisor:
        supervisor.notifier.send("STATUS=one\nSTOPPING=1")
        assert supervisor.lines() == ["STATUS=one STOPPING=1"]


def test_a_reload_carries_the_clock_that_it_is_matched_by(tmp_path: Path) -> None:
    """R3"""
    before = time.monotonic_ns() // 1000
    with ear(tmp_path / "notify") as supervisor:
        supervisor.notifier.reloading()
        begun, clock = supervisor.lines()
    assert begun == "RELOADING=1"
    assert before <= int(clock.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_without_a_supervisor_nothing_is_sent() -> None:
    """R3"""
    assert not Notifier().send("READY=1")
    assert not Notifier()


def test_a_supervisor_that_is_gone_or_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    """R3"""
    assert not Notifier(str(tmp_path / "nobody")).send("READY=1")
    with ear(tmp_path / "notify") as supervisor:
        supervisor.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        notifier, tries = supervisor.notifier, 0
        while notifier.send("STATUS=" + "x" * 1000):
            tries += 1
            assert tries < 10_000


def test_what_the_supervisor_said_is_taken_out_of_the_environment() -> None:
    """R3, R5: no child may have it."""
    environ = {"NOTIFY_SOCKET": "/run/s", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7", "HOME": "/home/x"}
    assert take_supervisor(environ, pid=7) == Supervisor(Notifier("/run/s"), 3.0)
    assert environ == {"HOME": "/home/x"}


@pytest.mark.parametrize(
    ("variables", "period"),
    [
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_PID": "7"}, None),
    ],
)
def test_a_watchdog_is_fed_if_it_watches_this_process(variables: dict[str, str], period: float | None) -> None:
    """R3"""
    assert take_supervisor(dict(variables), pid=7).watchdog == period


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative"])
def test_an_address_of_another_kind_is_none(address: str) -> None:
    """R3"""
    assert not take_supervisor({"NOTIFY_SOCKET": address}).notifier
