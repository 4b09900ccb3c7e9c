"""The process's memory: large blocks go back to the system at once, and the collector leaves lasting objects alone.

Both are hints: where they can't be given, the bot works as well and is a little larger or slower.
"""

from __future__ import annotations

import ctypes
import gc

_M_MMAP_THRESHOLD = -3
_LARGE = 1024 * 1024


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
    gc.collect()
    gc.freeze()
