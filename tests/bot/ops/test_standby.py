"""What a bot does that waits for its lease, or has lost it (R10)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid

import pytest

from bot.config import EX_LEASE_LOST
from bot.ops.standby import LIMITS_VARIABLE, forced_end, lease_limits, status_line
from pool.storage.lease import Lease, LeaseLimits, LeaseWait


@pytest.mark.parametrize(
    ("waiting", "line"),
    [
        (LeaseWait("one"), "Standby: one leads"),
        (LeaseWait("one", "the database is away"), "Standby: the database is away"),
        (LeaseWait(), "Standby: nobody leads yet"),
    ],
)
def test_the_supervisor_shows_for_whom_a_bot_waits(waiting: LeaseWait, line: str) -> None:
    """R10, R3."""
    assert status_line(waiting) == line


def test_only_tests_have_another_lease_than_fifteen_seconds() -> None:
    """R10."""
    assert lease_limits({}) == LeaseLimits(duration=15, margin=5, renew=3)
    assert lease_limits({LIMITS_VARIABLE: "4,1,0.5,0.1,1,0.2"}) == LeaseLimits(4, 1, 0.5, 0.1, 1, 0.2)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bot_without_its_lease_is_ended_with_its_agents_even_if_its_loop_stands_still() -> None:
    """R10, P9: the loop of this test does nothing until then."""
    clock, mark, code = Clock(), {"WEFT_TEST_STATE": uuid.uuid4().hex}, []
    left, lease = threading.Event(), Lease(1, 0.0, 10.0, clock)

    def leave(number: int) -> None:
        code.append(number)
        left.set()

    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
    with subprocess.Popen(command, env=os.environ | mark, stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        agent.stdout.readline()
        with forced_end(lease, mark, 0.05, leave):
            assert not left.wait(0.7)
            clock.now = 10.0
            assert left.wait(30)
        assert (code, agent.wait(30)) == ([EX_LEASE_LOST], -15)


def test_a_bot_that_ends_in_order_is_left_alone() -> None:
    """R10."""
    lease = Lease(1, 0.0, 10.0, Clock())
    with forced_end(lease, {}, 0.0, lambda _: pytest.fail("it ends by itself")):
        (guard,) = [thread for thread in threading.enumerate() if thread.name == "lease guard"]
    lease.end()
    guard.join(30)
    assert not guard.is_alive()
    assert (lease.held(), lease.lost.is_set()) == (False, False)
