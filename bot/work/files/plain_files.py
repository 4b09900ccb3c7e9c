"""Which files of a workspace are posted, and how they are opened: no link is followed, nothing else in their place.

All of it blocks. There is no state.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.work.files.inbox import open_below

READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def megabytes(size: float) -> str:
    """Return a number of bytes as people write it, in units of 1,024 as Discord counts."""
    return f"{size / 2**20:,.0f} MB" if size >= 10 * 2**20 else f"{max(0.1, size / 2**20):,.1f} MB"


def refusal(name: str, directory: int, found: os.stat_result, limit: int, owner: tuple[int, int] | None) -> str:
    """Return why a file is not posted; "" if it is."""
    if stat.S_ISLNK(found.st_mode):
        return "is a link; only files themselves are posted"
    if stat.S_ISDIR(found.st_mode):
        return "is a folder; only files are posted"
    if not stat.S_ISREG(found.st_mode):
        return "is no ordinary file"
    # The other name may be anywhere, and the file one that the agent could not read itself.
    if found.st_nlink > 1:
        return "is a file with more than one name (a hard link)"
    if found.st_size == 0:
        return "is empty"
    if found.st_size > limit:
        return too_large(found.st_size, limit)
    try:
        fd, _ = open_plain(name, directory, owner)
    except OSError as exc:
        return f"can't be read: {said(exc)}"
    os.close(fd)
    return ""


def too_large(size: int, limit: int) -> str:
    """Return what is said of a file with more bytes than a server takes."""
    return f"({megabytes(size)}) is larger than this server takes ({megabytes(limit)})"


def open_plain(name: str, directory: int, owner: tuple[int, int] | None) -> tuple[int, os.stat_result]:
    """Open an ordinary file for reading: no link, no device, nothing that has another name elsewhere.

    Args:
        owner: whose the workspace is, where we are root and its agent is not: it may move what it can't read.
    """
    fd = os.open(name, READING, dir_fd=directory)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no ordinary file any more")
    if owner is not None and found.st_uid != owner[0] and not found.st_mode & stat.S_IROTH:
        os.close(fd)
        raise OSError(errno.EACCES, "it belongs to another user")
    return fd, found


def said(exc: OSError) -> str:
    """Return in a few words what the system says."""
    return (exc.strerror or type(exc).__name__).lower()


@contextmanager
def directory_below(workspace: Path, names: Iterable[str]) -> Iterator[int]:
    """Hold a descriptor of a folder that is there."""
    with closing_fd(open_below(workspace, names, None, make=False)) as fd:
        yield fd


@contextmanager
def closing_fd(fd: int) -> Iterator[int]:
    """Close a descriptor after the body."""
    try:
        yield fd
    finally:
        os.close(fd)
