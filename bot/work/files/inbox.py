"""The directory in an agent's workspace where files for it are put: ``.weft/in/<message id>/<name>``.

Whoever works in the workspace may plant links and directories in it, so nothing here follows a link below the workspace
or opens a path a second time: it goes from descriptor to descriptor. All of it blocks and belongs in worker threads.
There is no state but the open descriptors.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

import structlog

from bot.work.workspace.repository import find_repository

log = structlog.get_logger(__name__)

WEFT, IN = ".weft", "in"
KEPT = 7 * 86_400.0
"""Seconds after which the files of a message are removed."""

MOST_CHARACTERS = 100
_NAME_BYTES = 240  # a name may have 255 bytes; the rest is for the counter
MARKER = ".thread"
"""In the directory of a message, or of what is sent for it: the id of its thread, to which the files belong."""

_TRIES = 10
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SEPARATORS = re.compile(r"[/\\:]")
_SMALL = 4096

_Chosen = Callable[[int], bool]
"""Says of an open directory whether it is to be removed."""


class NotSaved(Exception):
    """A file can't be put into the workspace; the message says why, for people."""


def safe_name(name: str) -> str:
    """Return a name without separators, control and reordering characters and leading dots; 1 to 100 characters."""
    lines = " ".join(unicodedata.normalize("NFC", name).splitlines())
    shown = "".join(one for one in lines if unicodedata.category(one)[0] != "C")
    plain = _SEPARATORS.sub("_", shown).strip().lstrip(". ") or "file"
    stem, dot, ending = plain.rpartition(".")
    # The ending is what says what the file is.
    ending = f".{ending}" if dot and 0 < len(ending) <= 10 else ""
    stem = (stem if ending else plain)[: MOST_CHARACTERS - len(ending)]
    while len(f"{stem}{ending}".encode()) > _NAME_BYTES:
        stem = stem[:-1]
    return f"{stem}{ending}"


def distinct(names: Iterable[str]) -> list[str]:
    """Return safe names for files of one directory, each another one: ``a.png``, ``a-2.png``."""
    found: list[str] = []
    taken: set[str] = set()
    for name in map(safe_name, names):
        stem, dot, ending = name.rpartition(".")
        head, tail = (stem, f".{ending}") if dot else (name, "")
        one, count = name, 1
        # Compared without case: the workspace may lie on a disk that does not know it.
        while one.casefold() in taken:
            count += 1
            one = f"{head}-{count}{tail}"
        taken.add(one.casefold())
        found.append(one)
    return found


class Inbox:
    """The directory of one message, open; close it.

    Args:
        workspace: a directory of this machine.

    Raises:
        NotSaved: it can't be made, or something else lies in its place.
    """

    def __init__(self, workspace: Path, message_id: int, thread_id: int) -> None:
        self.message_id = message_id
        try:
            self._owner = owner_to_be(workspace)
            self._fd = open_below(workspace, (WEFT, IN, str(message_id)), self._owner)
        except OSError as exc:
            raise NotSaved(_why(exc)) from exc
        try:
            write_marker(self._fd, thread_id, self._owner)
            hide_from_git(workspace)
        except BaseException:
            self.close()
            raise

    def receive(self, name: str) -> IncomingFile:
        """Begin a file of the directory; ``name`` is safe.

        Raises:
            NotSaved: it can't be made.
        """
        return IncomingFile(self._fd, name, self._owner)

    def close(self) -> None:
        """Close the directory; may be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class IncomingFile:
    """A file that is being written beside its place, and moved there when it is complete; close it in any case.

    Raises:
        NotSaved: by every call: there is no room, or the directory is gone.
    """

    def __init__(self, directory: int, name: str, owner: tuple[int, int] | None) -> None:
        self.name = name
        self.size = 0
        self._directory = directory
        self._part = f".{name}.part"
        self._kept = False
        # A thread that hangs in the one call is left behind, and another one comes to close the file.
        self._lock = threading.Lock()
        try:
            with suppress(FileNotFoundError):
                os.unlink(self._part, dir_fd=directory)  # of a run that was killed
            fd = os.open(self._part, _NEW_FILE, 0o600, dir_fd=directory)
            self._file: BinaryIO = os.fdopen(fd, "w+b", buffering=0)
            if owner is not None:
                os.fchown(fd, *owner)
        except OSError as exc:
            raise NotSaved(_why(exc)) from exc

    @property
    def file(self) -> BinaryIO:
        """The open file: what is read here is what was written, whoever changes the directory meanwhile."""
        return self._file

    def write(self, data: bytes) -> None:
        """Add bytes at the end."""
        view = memoryview(data)
        try:
            with self._lock:
                while view:  # unbuffered: a write may take a part only
                    view = view[self._file.write(view) or 0 :]
        except OSError as exc:
            raise NotSaved(_why(exc)) from exc
        self.size += len(data)

    def restart(self) -> None:
        """Throw away what was written."""
        self._file.seek(0)
        self._file.truncate()
        self.size = 0

    def keep(self) -> None:
        """Move the file to its place, over what lies there."""
        try:
            os.replace(self._part, self.name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except OSError as exc:
            raise NotSaved(_why(exc)) from exc
        self._kept = True

    def close(self) -> None:
        """Close the file; one that was not kept is removed."""
        with self._lock, suppress(OSError):
            self._file.close()
            if not self._kept:
                os.unlink(self._part, dir_fd=self._directory)


def open_below(workspace: Path, names: Iterable[str], owner: tuple[int, int] | None, *, make: bool = True) -> int:
    """Return a descriptor of a directory below the workspace; what is missing is made, no link is followed."""
    path = tuple(names)
    for _ in range(_TRIES if make else 0):
        # Where another file was just posted, an empty directory is removed: nothing can be made in it any more.
        with suppress(FileNotFoundError):
            return _open_below(workspace, path, owner, make)
    return _open_below(workspace, path, owner, make)


def _open_below(workspace: Path, names: tuple[str, ...], owner: tuple[int, int] | None, make: bool) -> int:
    # The workspace itself may be a link: it comes from the settings.
    fd = os.open(workspace, _DIRECTORY & ~os.O_NOFOLLOW)
    try:
        for name in names:
            made = False
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=fd)
                    made = True
            below = os.open(name, _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
            # Only what was made here: what lay there is its owner's.
            if made and owner is not None:
                os.fchown(fd, *owner)
    except BaseException:
        os.close(fd)
        raise
    return fd


def owner_to_be(workspace: Path) -> tuple[int, int] | None:
    """Return to whom files have to be given so that the agent can read them; None: to nobody else."""
    if os.geteuid() != 0:
        return None
    # A bot that runs as root may start its agents as another user, whose the workspace is then.
    found = workspace.stat()
    return (found.st_uid, found.st_gid) if found.st_uid != 0 else None


def _why(exc: OSError) -> str:
    """Say for people why a file was not saved."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    if exc.errno in (errno.ELOOP, errno.ENOTDIR):
        return "something else lies in the place of .weft in the workspace"
    reason = (exc.strerror or type(exc).__name__).lower()
    return f"it can't be written to the workspace ({reason})"


# --- git --------------------------------------------------------------------------------------------------------------


def hide_from_git(workspace: Path) -> None:
    """Put ``.weft/`` into ``info/exclude`` if the workspace is in a work tree; that it can't be is only logged."""
    try:
        # Git itself is not asked, as a repository can make it run things.
        found = find_repository(workspace)
        if found is not None:
            _exclude(found.common)
    except (OSError, ValueError) as exc:
        error = exc.strerror if isinstance(exc, OSError) else type(exc).__name__
        log.warning("git.not_excluded", workspace=str(workspace), error=error)


def _exclude(git: Path) -> None:
    fd = open_below(git, ("info",), None)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open("exclude", flags, 0o644, dir_fd=fd), "r+b", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "info/exclude is no file")
            text = file.read(2**20)
            if f"{WEFT}/".encode() not in text.split():
                file.write(b"" if not text or text.endswith(b"\n") else b"\n")
                file.write(f"{WEFT}/\n".encode())
    finally:
        os.close(fd)


# --- removal ----------------------------------------------------------------------------------------------------------


def remove_thread(workspace: Path, thread_id: int) -> int:
    """Remove the files of a thread's messages; return of how many."""
    return _remove(workspace, lambda fd: read_marker(fd) == thread_id)


def remove_old(workspace: Path, before: float) -> int:
    """Remove the files of messages that were saved before then (seconds of the wall clock); return of how many."""
    return _remove(workspace, lambda fd: os.fstat(fd).st_mtime < before)


def _remove(workspace: Path, chosen: _Chosen) -> int:
    try:
        fd = open_below(workspace, (WEFT, IN), None, make=False)
    except OSError:
        return 0  # there is nothing, or it is not ours
    try:
        names = os.listdir(fd)  # noqa: PTH208  a Path has no descriptor
        # Names as we give them: whatever else lies there is not ours to remove.
        return sum(_remove_if(fd, name, chosen) for name in names if name.isascii() and name.isdecimal())
    finally:
        os.close(fd)


def _remove_if(directory: int, name: str, chosen: _Chosen) -> bool:
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=directory)
        try:
            if not chosen(fd):
                return False
        finally:
            os.close(fd)
        _remove_tree(directory, name)
    except OSError as exc:
        log.warning("files.not_removed", message=name, error=exc.strerror)
        return False
    return True


def _remove_tree(directory: int, name: str) -> None:
    """Remove a directory with all that is in it, however deep: an agent may plant thousands of levels."""
    # Without recursion, and with one descriptor for all levels: what lies below is moved up, under a name that no
    # message has and that a later run removes, too.
    todo, moved = [name], 0
    while todo:
        current = todo.pop()
        fd = os.open(current, _DIRECTORY, dir_fd=directory)
        try:
            for entry in os.listdir(fd):  # noqa: PTH208  a Path has no descriptor
                try:
                    os.unlink(entry, dir_fd=fd)
                except (IsADirectoryError, PermissionError):  # Linux says the one of a directory, others the other
                    todo.append(f"0{name[:20]}{moved:09}")
                    os.rename(entry, todo[-1], src_dir_fd=fd, dst_dir_fd=directory)
                    moved += 1
        finally:
            os.close(fd)
        os.rmdir(current, dir_fd=directory)


# --- to which thread a directory belongs ------------------------------------------------------------------------------


def write_marker(directory: int, thread_id: int, owner: tuple[int, int] | None = None) -> None:
    """Write down to which thread an open directory belongs.

    Raises:
        NotSaved: it can't be written.
    """
    with closing(IncomingFile(directory, MARKER, owner)) as marker:
        marker.write(f"{thread_id}\n".encode())
        marker.keep()


def read_marker(directory: int) -> int | None:
    """Return the thread to which an open directory belongs; None if it does not say."""
    try:
        fd = os.open(MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    with os.fdopen(fd, "rb", buffering=0) as file, suppress(OSError, ValueError):
        return int((file.read(_SMALL) or b"")[:20])
    return None
