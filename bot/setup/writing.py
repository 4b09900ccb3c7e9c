"""Puts files into place that hold a secret: only their owner can read them from the first byte on.

A file is complete under another name before it takes its place, and a kill leaves the old one or the new one. What was
there before is kept beside it. Links and other people's files are refused: what is written would end up elsewhere, or
could be read by them.
"""

from __future__ import annotations

import difflib
import itertools
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bot.config import ConfigError
from bot.files import EnvFile, Unusable, read_text, refusal, user_name

_OURS_ALONE = 0o600
# New in any case: what is there already may be a link, or have other readers.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Change:
    """A file that is to be written.

    Attributes:
        old: what is in its place now; None: nothing.
    """

    path: Path
    old: str | None
    new: str

    def difference(self, hidden: Sequence[str]) -> list[str]:
        """Return what differs as lines for people; a line with a secret is named by its setting alone."""
        lines = difflib.unified_diff((self.old or "").splitlines(), self.new.splitlines(), lineterm="", n=0)
        # Without the two lines that name the files.
        return [_told(line, hidden) for line in itertools.islice(lines, 2, None) if not line.startswith("@@")]


def _told(line: str, hidden: Sequence[str]) -> str:
    name, equals, _ = line.partition("=")
    # The token that was there is a secret as well.
    if (equals and "TOKEN" in name) or any(secret and secret in line for secret in hidden):
        return f"{name}=(not shown)"
    return line


def present_text(path: Path) -> str | None:
    """Return what is in a file's place; None: nothing.

    Raises:
        ConfigError: it is not a file, not ours, or can't be read.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(refusal(path, exc)) from exc
    # It would be replaced by a file, and what it led to would go on being used by others.
    if stat.S_ISLNK(found.st_mode):
        raise ConfigError(f"{path} is a link to {path.readlink()}: name the file itself with --env-file")
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{path} is not a file: move it away, or choose another place with --env-file")
    if found.st_uid != os.geteuid():
        raise ConfigError(f"{path} belongs to another user: run this as that user, not as {user_name()}")
    try:
        return read_text(path)
    except Unusable as exc:
        raise ConfigError(str(exc)) from exc


def present_settings(path: Path) -> str | None:
    """As `present_text`, for ``.env``; what can't be understood in it could not be kept.

    Raises:
        ConfigError: in addition, a line for each fault in it.
    """
    text = present_text(path)
    if text is not None and (problems := EnvFile.read(path).problems):
        raise ConfigError(*problems, f"{path}: fix it first, or move it away")
    return text


def directory_fault(path: Path) -> str:
    """Say why no file can be made here, or nothing."""
    directory = path.absolute().parent
    if not directory.is_dir():
        return f"{directory} is not a directory"
    return "" if os.access(directory, os.W_OK | os.X_OK) else f"{directory} is not writable for {user_name()}"


def write(changes: Sequence[Change], now: datetime) -> list[Path]:
    """Put the files into their places and return the copies of what was there.

    Raises:
        ConfigError: one can't be written, or was changed meanwhile; then none of the rest is.
    """
    copies = []
    with ExitStack() as undo:
        try:
            # All that can fail for want of room comes before anything takes its place.
            ready = [(change, _temporary(change, undo)) for change in changes]
            for change, temporary in ready:
                # Right before it is replaced: the person may have taken an hour for the last question.
                if present_text(change.path) != change.old:
                    raise ConfigError(f"{change.path} was changed meanwhile: run `weft init` again")
                if change.old is not None:
                    copies.append(_copy(change.path, now))
                temporary.replace(change.path)
                _sync_directory(change.path.absolute().parent)
        except OSError as exc:
            raise ConfigError(f"{exc.filename} can't be written: {exc.strerror}") from exc
    return copies


def _temporary(change: Change, undo: ExitStack) -> Path:
    # Beginning like the file: what keeps `.env*` out of a repository keeps out what a kill leaves, too.
    path = change.path.with_name(f"{change.path.name}.{secrets.token_hex(4)}.new")
    # Once it has taken its place, nothing is left under this name.
    undo.callback(path.unlink, missing_ok=True)
    _make(path, change.new.encode())
    return path


def _copy(original: Path, now: datetime) -> Path:
    old = original.read_bytes()
    for path in _names(original, now):
        with suppress(FileExistsError):
            _make(path, old)
            return path
    raise AssertionError  # there is always one more name


def _names(path: Path, now: datetime) -> Iterator[Path]:
    stem = f"{path.name}.{now:%Y%m%d-%H%M%S}"
    yield path.with_name(f"{stem}.bak")
    yield from (path.with_name(f"{stem}-{number}.bak") for number in itertools.count(2))


def _make(path: Path, content: bytes) -> None:
    with open(os.open(path, _NEW, _OURS_ALONE), "wb") as file:  # noqa: PTH123  it has its mode with its descriptor
        file.write(content)
        file.flush()
        # Before the rename, or a crash may leave the new name with nothing in it.
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
