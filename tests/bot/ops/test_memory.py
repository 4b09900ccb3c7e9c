"""Hints about memory, in a process of their own."""

from __future__ import annotations

import subprocess
import sys

GROWTH = """
import resource
from bot.ops.memory import give_back_large_blocks
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
from bot.ops.memory import leave_lasting_objects_alone
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
