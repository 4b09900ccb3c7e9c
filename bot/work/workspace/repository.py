"""Finds the repository of a workspace and reads where it stands, without git.

An agent can write into what is read here, so git itself is not asked where a repository is: it would obey what stands
there. No link is followed below the repository's directory, or a workspace could have the repository of somebody else
shown as its own. All of it blocks and belongs in worker threads.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SMALL = 4096
_PACKED_REFS = 64 * 2**20
_MOST_NAMES = 1_000_000
_REFERENCES = 5
"""Names that lead to names before a commit comes: git takes as many."""

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_NAME = re.compile(r"refs/[^\x00-\x20\x7f~^:?*\[\\]+")


class Unreadable(Exception):
    """What a repository has can't be shown; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Repository:
    """Where a repository lies.

    Attributes:
        root: the top of the work tree.
        private: the directory with the index and ``HEAD`` of this work tree.
        common: the directory with objects and references, the same one but for work trees beside the first.
        ours: it was not looked up by what stands in the work tree, so it is that of the work tree for certain.
    """

    root: Path
    private: Path
    common: Path
    ours: bool = False


def find_repository(workspace: Path) -> Repository | None:
    """Return the repository of the work tree in which a directory is, that need not be there; None: it is in none.

    Source: gitrepository-layout(5): ``gitdir:`` files and ``commondir``.
    """
    for directory in (workspace, *workspace.parents):
        dot = directory / ".git"
        try:
            mode = dot.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISDIR(mode):
            return Repository(directory, dot, dot)
        # A work tree of a repository elsewhere, or a submodule. A link would be somebody's way to lead us there.
        text = _short_text(dot) if stat.S_ISREG(mode) else ""
        if not text.startswith("gitdir:"):
            return None
        private = _real(directory / text.removeprefix("gitdir:").strip())
        if not (private / "HEAD").is_file():
            return None
        told = private / "commondir"
        common = _real(private / _short_text(told).strip()) if told.is_file() else private
        # As git lays it out; else a file that anybody may write would lead to any directory.
        known = common == private or private.parent == common / "worktrees"
        return Repository(directory, private, common) if known else None
    return None


def _real(path: Path) -> Path:
    # Not `Path.resolve`, which raises what is no OSError where links lead in a circle.
    return Path(os.path.realpath(path))


def check_own(repository: Repository) -> None:
    """Make sure that a repository is that of its work tree, and all of it.

    Raises:
        Unreadable: it is somewhere else, or takes objects from elsewhere: what is shown could be somebody else's.
    """
    dot = repository.root / ".git"
    if repository.private != dot and not repository.ours:
        # The repository has to know of its work tree, which is one beside the first then: who plants a file that names
        # somebody else's repository can't write into that.
        back = repository.private / "gitdir"
        known = back.is_file() and _real(repository.private / _short_text(back).strip()) == _real(dot)
        if not known or repository.private == repository.common:
            raise Unreadable("its repository is kept somewhere else")
    objects = repository.common / "objects"
    if any((objects / "info" / name).exists() for name in ("alternates", "http-alternates")):
        raise Unreadable("its repository borrows from another one")
    # Objects are two levels deep: packs, and single ones by the beginning of their ids.
    if objects.is_symlink() or has_links(objects, levels=2):
        raise Unreadable("parts of its repository are links to elsewhere")


def has_links(directory: Path | str, *, levels: int, most: int = _MOST_NAMES) -> bool:
    """Return whether there are links in a directory and those below it, ``levels`` of them deep.

    Raises:
        Unreadable: there is more than can be looked at.
    """
    left, seen = [(str(directory), levels)], 0
    while left:
        path, below = left.pop()
        try:
            found = os.scandir(path)
        except FileNotFoundError:
            # Another thread's git takes away directories of references that are empty: what is gone has no links.
            if below == levels:
                raise
            continue
        with found as entries:
            for one in entries:
                seen += 1
                if one.is_symlink():
                    return True
                if one.is_dir(follow_symlinks=False) and below > 1:
                    left.append((one.path, below - 1))
        if seen > most:
            raise Unreadable("it has more files in its repository than I can look through; `git gc` makes them fewer")
    return False


def head_of(repository: Repository) -> str | None:
    """Return the id of the commit that is checked out; None: there is none yet.

    Raises:
        Unreadable: it is written in a way that this does not know.
    """
    return _commit_at(repository, _text_below(repository.private, ("HEAD",)))


def branch_of(repository: Repository) -> str | None:
    """Return the full name of the branch that is checked out; None: there is none, or no ``HEAD``."""
    text = _text_below(repository.private, ("HEAD",)) or ""
    name = text.removeprefix("ref:").strip()
    return name if text.startswith("ref:") and _NAME.fullmatch(name) else None


def commit_of(repository: Repository, name: str) -> str | None:
    """Return the id that a reference has, by its full name; None: there is no such reference.

    Raises:
        Unreadable: it is written in a way that this does not know.
    """
    return _commit_at(repository, f"ref: {name}")


def leads_on(repository: Repository, name: str) -> bool:
    """Return whether a reference stands for another one: what is written to the one would change the other."""
    return (_text_below(repository.common, name.split("/")) or "").startswith("ref:")


def _commit_at(repository: Repository, text: str | None) -> str | None:
    for _ in range(_REFERENCES):
        if text is None:
            break
        if _COMMIT.fullmatch(text):
            return text
        name = text.removeprefix("ref:").strip()
        parts = name.split("/")
        if not text.startswith("ref:") or not _NAME.fullmatch(name) or {"", ".", ".."}.intersection(parts):
            break
        text = _text_below(repository.common, parts)
        if text is None:
            if (repository.common / "reftable").is_dir():
                break
            return _packed(repository.common, name)
    raise Unreadable("I can't read at which commit its repository is")


def open_file(directory: Path, names: Sequence[str]) -> BinaryIO:
    """Open a file below a directory for reading, through no link, and whatever lies in its place without waiting.

    Raises:
        OSError: it is not there, or is no file.
    """
    # The caller names the directory, be it by a link; nothing below it may be one.
    fd = os.open(directory, _DIRECTORY & ~os.O_NOFOLLOW)
    try:
        for name in names[:-1]:
            below = os.open(name, _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        file = os.fdopen(os.open(names[-1], _FILE, dir_fd=fd), "rb")
    finally:
        os.close(fd)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise FileNotFoundError(f"{names[-1]} is no file")
    return file


def open_directory(name: Path | str, below: int | None = None) -> int:
    """Open a directory, which is no link, and return its descriptor, for calls that are to happen in there alone."""
    return os.open(name, _DIRECTORY, dir_fd=below)


def _packed(common: Path, name: str) -> str | None:
    with suppress(FileNotFoundError), open_file(common, ["packed-refs"]) as file:
        for line in _lines(file):
            commit, _, found = line.rstrip("\n").partition(" ")
            if found == name and _COMMIT.fullmatch(commit):
                return commit
    return None


def _lines(file: BinaryIO) -> Iterator[str]:
    read = 0
    while read < _PACKED_REFS and (line := file.readline(_SMALL)):
        read += len(line)
        yield line.decode(errors="replace")


def _text_below(directory: Path, names: Sequence[str]) -> str | None:
    try:
        with open_file(directory, names) as file:
            return file.read(_SMALL).decode(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _short_text(path: Path) -> str:
    # It may have been exchanged since it was looked at, and a pipe would hold us for ever.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
        return file.read(_SMALL).decode() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else ""
