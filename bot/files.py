"""Reads what settings and options name; a path that can't be used costs one line, which names the path and the user."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from pathlib import Path


class Unusable(ValueError):
    """A path can't be used; the message says which and why. A ValueError, so that pydantic takes it for a bad value."""


def user_name() -> str:
    """Return who this process acts as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def read_text(path: Path) -> str:
    """Return the text of a file, without the mark that some editors put before it (BOM).

    Raises:
        Unusable: it can't be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise Unusable(f"{path} can't be read: line {line} is not text in UTF-8") from exc
    except (OSError, ValueError) as exc:
        raise Unusable(refusal(path, exc)) from exc


def mode_of(path: Path) -> int | None:
    """Return what is at a path (`st_mode`), None if nothing is. `Path.exists` raises where a parent can't be entered.

    Raises:
        Unusable: this user may not look.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as exc:
        raise Unusable(refusal(path, exc)) from exc


def is_directory(path: Path) -> bool:
    """Whether a directory is at a path.

    Raises:
        Unusable: this user may not look.
    """
    mode = mode_of(path)
    return mode is not None and stat.S_ISDIR(mode)


def may(user: str | None, test: str, path: Path) -> bool:
    """Whether a user, by default this one, may read (`r`), write to (`w`) or enter (`x`) a path.

    Only root can try that for somebody else. True where it can't be tried: nothing speaks against it.
    """
    if user is None or user == user_name():
        return os.access(path, {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}[test])
    if os.geteuid() != 0:
        return True
    entry = pwd.getpwnam(user)
    # Tried, not worked out: there are groups, parents that can't be entered, and access lists.
    tried = subprocess.run(  # noqa: S603
        ["test", f"-{test}", str(path.absolute())],  # noqa: S607
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=os.getgrouplist(user, entry.pw_gid),
        cwd="/",
        check=False,
    )
    return tried.returncode == 0


def not_absolute(path: str) -> str:
    """Say what to write in place of a path that is not absolute; only shells know what ``~`` means."""
    whole = os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111  they raise for nobody's home
    return f"{path} is not an absolute path: write the whole path, such as {whole}"


def refusal(path: Path, exc: OSError | ValueError) -> str:
    """Say why a path can't be used, after an attempt."""
    if isinstance(exc, FileNotFoundError):
        return f"{path} does not exist"
    if isinstance(exc, IsADirectoryError):
        return f"{path} is a directory, not a file"
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    return f"{path} can't be used by {user_name()}: {reason}"
