"""What the bot keeps to itself: its memory, its first environment, and the token that came in by the standard input."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")

DUMPABLE = """
import ctypes, subprocess, sys
from bot.ops.hardening import deny_process_inspection
dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
if len(sys.argv) > 1:
    print(dumpable())
else:
    print(dumpable(), deny_process_inspection(), dumpable(), flush=True)
    subprocess.run([sys.executable, "-c", {source!r}, "child"], check=True)
"""
TAKE = """
import os, sys
from bot.ops.hardening import take_line
print(repr(take_line(sys.stdin.buffer)))
print(repr(os.read(0, 100)), os.readlink("/proc/self/fd/0"))
"""


def run(source: str, stdin: str = "") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", source], input=stdin, capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.splitlines()


def test_the_process_can_not_be_looked_into_and_its_children_can() -> None:
    """R5"""
    assert run(DUMPABLE.format(source=DUMPABLE.format(source=""))) == ["1 True 0", "1"]


def test_a_token_on_the_standard_input_is_read_once() -> None:
    """R5: what stands behind it is nobody's either."""
    assert run(TAKE, "the token \nmore\n") == ["'the token'", "b'' /dev/null"]


GROWTH = """
import resource
from bot.ops.hardening import give_back_large_blocks
given = give_back_large_blocks()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
before = resident()
for _ in range(3):
    blocks = [bytes(12 * 2**20), bytearray(2 * 2**20)]
    kept = bytearray(2 * 2**20)
    del blocks
print(int(given), resident() - before < 6 * 2**20)
"""

FROZEN = """
import gc
from bot.ops.hardening import leave_lasting_objects_alone
leave_lasting_objects_alone()
print(gc.get_freeze_count() > 1000)
"""


def said_by(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def test_large_blocks_go_back_to_the_system() -> None:
    """T9: one long line does not make the bot larger for good."""
    assert said_by(GROWTH) in ("1 True", "0 True", "0 False")  # without glibc it is a hint that nobody takes


def test_what_lives_long_is_left_alone_by_the_collector() -> None:
    assert said_by(FROZEN) == "True"
