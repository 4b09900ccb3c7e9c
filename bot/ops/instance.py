"""The state directory: held by one bot alone, with an id that marks the bot's agents (R4, P9)."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LOCK = "lock"
IDENTITY = "identity"
DATABASE = "weft.db"
COMMAND_STAMP = "commands.sha256"
TEMPORARY = "tmp"
STATE_MARKER = "WEFT_STATE"
"""Name in an agent's environment of the id of the state that it belongs to: how a later run finds it."""


class AlreadyRunning(Exception):
    """Another bot works on this state directory."""


@contextmanager
def sole_instance(state_dir: Path) -> Iterator[str]:
    """Hold the state directory while the body runs; give the id of the state.

    The lock belongs to the open file: it is free again when the process ends, however it ends.

    Raises:
        AlreadyRunning: somebody else holds it.
        OSError: the directory can't be made or written to.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(_private(state_dir / LOCK), "w") as lock:
        try:
            # Not `lockf`: that lock would be gone as soon as any part of this process closed the file.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise AlreadyRunning(f"another Weft is running on {state_dir}") from exc
        yield _identity(state_dir / IDENTITY)


@contextmanager
def own_temporary_files(state_dir: Path) -> Iterator[None]:
    """Have this process make its temporary files in the state directory while the body runs, which it holds.

    What a killed bot has left there goes first: copies of indexes, voice messages. In a directory that others share,
    nobody could tell that they are in nobody's use any more.
    """
    place, before = state_dir.absolute() / TEMPORARY, tempfile.tempdir
    # It follows no link; where something is left, or a link lies, they are made where they would be without this.
    shutil.rmtree(place, ignore_errors=True)
    with suppress(OSError):
        place.mkdir(mode=0o700)
        tempfile.tempdir = str(place)
    try:
        yield
    finally:
        tempfile.tempdir = before
        with suppress(OSError):
            # Only if it is empty: what an abandoned worker thread still has there goes with the next start.
            place.rmdir()


def _identity(path: Path) -> str:
    """Return the id of the state, made on first use."""
    # An empty one is made anew: a kill may come between making the file and writing to it.
    if path.exists() and (known := path.read_text().strip()):
        return known
    fresh = uuid.uuid4().hex
    with os.fdopen(_private(path), "w") as file:
        file.write(fresh)
    return fresh


def _private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)


@dataclass(frozen=True, slots=True)
class CommandStampFile:
    """Keeps over restarts which commands were registered last; see `bot.chat.commands.tree`."""

    path: Path

    def read(self) -> str | None:
        """Return what was written last, if anything."""
        return self.path.read_text() if self.path.exists() else None

    def forget(self) -> None:
        """Know nothing of what was written before."""
        self.path.unlink(missing_ok=True)

    def write(self, stamp: str) -> None:
        self.path.write_text(stamp)
