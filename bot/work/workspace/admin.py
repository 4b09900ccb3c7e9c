"""What a repository keeps of a work tree: written and taken away as git would, but through no link.

By gitrepository-layout(5): ``gitdir`` says where the work tree is, ``commondir`` where the rest of the repository is,
``HEAD`` what is checked out, ``locked`` that the directory stays even where the work tree can't be seen. All of it
blocks and belongs in worker threads.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bot.work.workspace.repository import Unreadable, open_directory

POINTERS = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "ORIG_HEAD", "REBASE_HEAD")
"""Files in there that name commits, which may be on no branch."""

BUSY = {
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
}
"""What git leaves in there while something is in progress."""

LINK = "parts of its repository are links to elsewhere"

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEP = 64
_LOCKED = "Weft's, for a thread: it is removed with /worktrees\n"


def open_admin(common: Path, name: str, *, make: bool = False) -> int:
    """Open the directory of a work tree in a repository; ``make``: make it if it is not there.

    Raises:
        FileNotFoundError: it is not there.
        Unreadable: it is a link.
    """
    opened = [os.open(common, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
    try:
        for part in ("worktrees", name):
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=opened[-1])
            try:
                opened.append(open_directory(part, opened[-1]))
            except NotADirectoryError as exc:
                raise Unreadable(LINK) from exc
        # This one is the caller's; those on the way to it are closed.
        return opened.pop()
    finally:
        for fd in opened:
            os.close(fd)


def write(fd: int, name: str, text: str) -> None:
    """Put a file in place at once, durably, if it does not say that already."""
    # Whatever lies there: a link must not lead us elsewhere, nor a pipe hold us.
    with suppress(OSError), os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=fd)) as file:
        if file.read(len(text) + 1) == text:
            return
    beside = f"weft-new.{secrets.token_hex(8)}"
    try:
        with os.fdopen(os.open(beside, _NEW, 0o644, dir_fd=fd), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # A rename takes the place of a link, and never follows one.
        os.rename(beside, name, src_dir_fd=fd, dst_dir_fd=fd)
    except OSError:
        with suppress(OSError):
            os.unlink(beside, dir_fd=fd)
        raise


def describe(common: Path, name: str, directory: Path, checked_out: str) -> None:
    """Have a repository know of a work tree; ``checked_out``: its ``HEAD``, if it has none."""
    fd = open_admin(common, name, make=True)
    try:
        # First, so that nobody takes away what is not complete yet.
        write(fd, "locked", _LOCKED)
        write(fd, "commondir", "../..\n")
        write(fd, "gitdir", f"{directory}/.git\n")
        # Last, since by it the work tree is known to be there; and what the agent has checked out stays so.
        if not _is_there("HEAD", fd):
            write(fd, "HEAD", f"{checked_out}\n")
    finally:
        os.close(fd)


def forget_state(common: Path, name: str) -> None:
    """Take away what a repository kept of a work tree whose directory is gone, but its log and its submodules."""
    with suppress(FileNotFoundError):
        fd = open_admin(common, name)
        try:
            for one in set(os.listdir(fd)) - {"locked", "logs", "modules"}:  # noqa: PTH208  a descriptor
                delete_entry(fd, one)
        finally:
            os.close(fd)


def forget(common: Path, name: str) -> None:
    """Take away all that a repository kept of a work tree."""
    with suppress(FileNotFoundError):
        fd = open_admin(common, name)
        try:
            # What says that it is one of ours goes last: until then git lets it stand, and a next time finds it.
            last = ("HEAD", "commondir", "gitdir", "locked")
            for one in set(os.listdir(fd)) - set(last):  # noqa: PTH208
                delete_entry(fd, one)
            for one in last:
                delete_entry(fd, one)
        finally:
            os.close(fd)
        (common / "worktrees" / name).rmdir()


def set_modules_aside(common: Path, name: str) -> None:
    """Keep the repositories of a work tree's submodules in ``weft-kept``, where nothing is taken away.

    Raises:
        Unreadable: that is a link.
    """
    fd = open_admin(common, name)
    try:
        with suppress(FileExistsError):
            (common / "weft-kept").mkdir()
        try:
            kept = open_directory(common / "weft-kept")
        except NotADirectoryError as exc:
            raise Unreadable(LINK) from exc
        try:
            # Under a new name each time: those of an earlier work tree may be kept already.
            os.rename("modules", f"{name}-modules-{secrets.token_hex(4)}", src_dir_fd=fd, dst_dir_fd=kept)
        finally:
            os.close(kept)
    finally:
        os.close(fd)


def forget_log(common: Path, reference: str) -> None:
    """Take away the log of a branch that is gone: it would be in the way of one below that name."""
    *parts, name = ("logs", *reference.split("/"))
    opened = [os.open(common, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
    try:
        for part in parts:
            opened.append(open_directory(part, opened[-1]))
        os.unlink(name, dir_fd=opened[-1])
    except OSError:
        return  # it is not there, or not a log, and then in nobody's way
    finally:
        for fd in opened:
            os.close(fd)


def write_pointer(directory: Path, admin: Path) -> None:
    """Have a work tree say which repository it belongs to.

    Raises:
        Unreadable: there is a repository, or something else, in the place of the file for that.
    """
    fd = open_directory(directory)
    try:
        if _is_there(".git", fd) and stat.S_ISDIR(os.lstat(".git", dir_fd=fd).st_mode):
            raise Unreadable("there is a repository of its own in its directory: move that, or the directory, away")
        write(fd, ".git", f"gitdir: {admin}\n")
    finally:
        os.close(fd)


def _is_there(name: str, fd: int) -> bool:
    try:
        os.lstat(name, dir_fd=fd)
    except FileNotFoundError:
        return False
    return True


# --- taking away ------------------------------------------------------------------------------------------------------


class Stopped(Exception):
    """It was given up before all was gone."""


def delete_tree(path: Path, stopped: Callable[[], bool]) -> None:
    """Take a directory away with all that is in it, through no link, however deep.

    Raises:
        Stopped: it was given up.
        OSError: something in it can't be taken away.
    """
    try:
        root = open_directory(path)
    except FileNotFoundError:
        return
    try:
        # Again for what was too deep and was moved up.
        while names := os.listdir(root):  # noqa: PTH208
            for name in names:
                delete_entry(root, name, root, stopped)
    finally:
        os.close(root)
    path.rmdir()


def delete_entry(
    fd: int, name: str, root: int | None = None, stopped: Callable[[], bool] = lambda: False, depth: int = 0
) -> None:
    """Take away what has a name in a directory, if it is there; see `delete_tree`."""
    if stopped():
        raise Stopped
    try:
        # Tried, and not looked at before: an agent can exchange a file for a link between a look and the deed.
        os.unlink(name, dir_fd=fd)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        _delete_directory(fd, name, root, stopped, depth)


def _delete_directory(fd: int, name: str, root: int | None, stopped: Callable[[], bool], depth: int) -> None:
    # Each level holds a descriptor and a frame: what lies deeper is moved up, and goes in another round.
    if depth >= _DEEP and root is not None:
        os.rename(name, f"deep.{secrets.token_hex(8)}", src_dir_fd=fd, dst_dir_fd=root)
        return
    below = _open_up(fd, name)
    try:
        for one in os.listdir(below):  # noqa: PTH208
            delete_entry(below, one, root, stopped, depth + 1)
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=fd)


def _open_up(fd: int, name: str) -> int:
    """Open a directory that its owner may have closed to itself, as caches do with theirs."""
    # By a descriptor that needs no right to read, and changed by that: whatever has the name by now is left alone.
    path = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    try:
        if os.fstat(path).st_mode & 0o700 != 0o700:
            Path(f"/proc/self/fd/{path}").chmod(0o700)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=path)
    finally:
        os.close(path)
