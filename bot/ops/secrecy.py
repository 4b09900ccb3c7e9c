"""Keeps other processes of the same user, such as agents, out of this one's memory and environment (R5).

Removing a variable from `os.environ` is not enough: ``/proc/PID/environ`` shows what the process was started with.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import IO

_PR_SET_DUMPABLE = 4  # prctl(2)


def keep_to_itself() -> bool:
    """Have the kernel refuse others ``/proc/PID/environ``, ``mem`` and ``fd``, and tracing; False where it can't.

    The price: no core dumps, and only root can look inside with a debugger. Children are not affected: a program that
    is started anew begins as usual.
    """
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)


def take_line(stdin: IO[bytes]) -> str:
    """Return the first line of the standard input, which is then closed for good: nobody finds it there again."""
    line = stdin.readline().decode(errors="replace").strip()
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123  its number is what is wanted
        os.dup2(nothing.fileno(), stdin.fileno())
    return line
