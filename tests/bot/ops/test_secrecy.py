"""What the bot keeps to itself: its memory, its first environment, and the token that came in by the standard input."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")

DUMPABLE = """
import ctypes, subprocess, sys
from bot.ops.secrecy import keep_to_itself
dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
if len(sys.argv) > 1:
    print(dumpable())
else:
    print(dumpable(), keep_to_itself(), dumpable(), flush=True)
    subprocess.run([sys.executable, "-c", {source!r}, "child"], check=True)
"""
TAKE = """
import os, sys
from bot.ops.secrecy import take_line
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
