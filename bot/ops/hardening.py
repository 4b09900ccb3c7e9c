"""What the process asks of the kernel and the C library: nobody looks inside it (R5), and its memory stays small.

Removing a variable from `os.environ` is not enough: ``/proc/PID/environ`` shows what the process was started with, to
every process of the same user, such as an agent. What is said of memory is a hint: where it can't be given, the bot
works as well and is a little larger or slower.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from typing import IO

_PR_SET_DUMPABLE = 4  # prctl(2)
_M_MMAP_THRESHOLD = -3
_LARGE = 1024 * 1024


def deny_process_inspection() -> bool:
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
        # By its number: a child inherits the descriptor, whatever Python thinks of its file.
        os.dup2(nothing.fileno(), stdin.fileno())
    return line


def give_back_large_blocks() -> bool:
    """Have blocks of a MiB or more mapped one by one; False where the C library is not glibc.

    glibc raises its threshold to the largest block that was ever freed. After one line of 10 MiB such blocks come from
    the heap, where what lies behind them keeps them: 25 MiB of the process stayed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE))


def leave_lasting_objects_alone() -> None:
    """Take what lives as long as the bot out of the collector's sight: each full pass stops the loop for less."""
    # First what is garbage, or it would be kept for ever.
    gc.collect()
    gc.freeze()
