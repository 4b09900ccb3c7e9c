"""The directory in which ssh's own words and the sockets of its connections are, for as long as an engine is entered.

It is locked, so that the next engine can tell those that a killed process has left, and removes them. No state here.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "weft-ssh-"
_YOUNG = 60.0
"""Seconds in which one that is not locked may be about to be."""


@contextmanager
def private_directory() -> Iterator[Path]:
    """Make the directory, and remove it in the end."""
    remove_stale(Path(tempfile.gettempdir()))
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # The kernel gives it back when the process ends, however it ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory
    finally:
        # While it is still locked, or another engine would take it for one that was left.
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def remove_stale(above: Path) -> None:
    """Remove the directories of processes that are gone; those of other users, and what can't be removed, stay."""
    for path in above.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            # Through no link: in /tmp anybody can make one with this name, which leads anywhere.
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                known = os.fstat(lock)
                if known.st_uid == os.geteuid() and time.time() - known.st_mtime > _YOUNG:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
