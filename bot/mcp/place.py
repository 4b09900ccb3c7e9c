"""Where the bot's socket for agents lies: alone in its own directory, which sandboxes can let in as it is (M1).

The directory is closed to others before the socket is made in it, so there is no moment at which somebody else may
connect, whatever the umask.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from bot.ops.address import AddressUnusable, fits

NAME = "socket"
INSTANCE_CHARACTERS = 8
_TEMPORARY, _RANDOM_CHARACTERS = "weft-", 8  # as mkdtemp makes names


def candidates(environment: Mapping[str, str], state_dir: Path, instance: str) -> Iterator[Path]:
    """Return the directories that come into question, the best first.

    The state directory goes before the user's runtime directory: that one is emptied when its user logs out, and the
    bot may go on.

    Args:
        instance: the id of the state, since several bots of a user share a runtime directory.
    """
    short = instance[:INSTANCE_CHARACTERS]
    # systemd separates several by colons.
    if runtime := environment.get("RUNTIME_DIRECTORY", "").split(":")[0]:
        yield Path(runtime, f"mcp-{short}")
    yield state_dir.absolute() / "mcp"
    if runtime := environment.get("XDG_RUNTIME_DIR", ""):
        yield Path(runtime, f"weft-{short}")


@contextmanager
def private_place(environment: Mapping[str, str], state_dir: Path, instance: str) -> Iterator[Path]:
    """Give a path for the socket, in a directory that is there and only ours; it goes at the end, if it is empty.

    Raises:
        AddressUnusable: no directory could be made.
    """
    path = _made(environment, state_dir, instance) / NAME
    try:
        yield path
    finally:
        with suppress(OSError):
            path.parent.rmdir()


def _made(environment: Mapping[str, str], state_dir: Path, instance: str) -> Path:
    for directory in candidates(environment, state_dir, instance):
        if directory.is_absolute() and fits(directory / NAME) and _make(directory):
            return directory
    for base in temporary_directories():
        with suppress(OSError):
            return Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=base))
    raise AddressUnusable(f"there is no place for the socket of agents, not even in {tempfile.gettempdir()}")


def temporary_directories() -> Iterator[Path]:
    """Return where a new directory would have a path that is short enough, the best first."""
    longest = f"{_TEMPORARY}{'x' * _RANDOM_CHARACTERS}/{NAME}"
    # A bot has its own temporary files in the state directory, whose path may be what is too long.
    bases = tempfile.gettempdir(), os.environ.get("TMPDIR") or "/tmp", "/tmp"  # noqa: S108  mkdtemp makes it private
    for base in dict.fromkeys(map(Path, bases)):
        if fits(base / longest):
            yield base


def _make(directory: Path) -> bool:
    """Make the directory, or take it over from an earlier run; return whether it is ours alone."""
    try:
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.lstat()  # not what a link leads to: somebody else may have put one there
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return False
        directory.chmod(0o700)
    except OSError:
        return False
    return True
