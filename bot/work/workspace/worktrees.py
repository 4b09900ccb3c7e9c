"""Work trees of threads: what they are, where they lie, and how they are found (W2).

A thread's work tree is a directory of Weft's with a branch of its own in the repository of a project. What git knows of
it lies in the repository: `<common>/worktrees/weft-<name>`, by gitrepository-layout(5). Agents can write there as well
as in the work tree, so neither is believed: where things are follows from the project and the directory's name alone.
`bot.work.workspace.making` makes them, `tree_state` looks at them, `removal` takes them away. The mutable
state is how many calls wait for disks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random

from bot.reply.sanitise import inline_code
from bot.work.workspace.git import UNREADABLE
from bot.work.workspace.repository import Repository, Unreadable, branch_of, commit_of, find_repository, head_of
from bot.work.workspace.writing import check_writable

ADMIN = "weft-"
"""Begins the names of our work trees in a repository."""

KEPT = "refs/weft/kept"
"""Holds what would have been lost with a work tree: below it a directory for each, with numbers."""

SQUASHED = "refs/weft/squashed"
"""Holds, by the name of a branch, a commit whose parents are a squashed merge of it and its tip then."""

AT_ONCE = 200
"""Calls that may wait for disks at the same time: a work tree has one at most, so a repository can hardly fill them."""

P = ParamSpec("P")
T = TypeVar("T")

_limiter: RunVar[anyio.CapacityLimiter] = RunVar("places for work on files of work trees")
_BRANCH = re.compile(r"[^\x00-\x20\x7f~^:?*\[\\]+")


@dataclass(frozen=True, slots=True)
class WorkTree:
    """A work tree of a thread, be it there or not.

    Attributes:
        repository: the project's directory, the top of a work tree of people.
        directory: where the thread works; its name is the thread's id.
        branch: its branch, without ``refs/heads/``; "": nobody knows it, and none of the repository's may go for it.
        base: the branch that it began at and goes back to.
        trusted: git uses the repository as it is, with hooks and filters.
        remote: where ``base`` may be as well, if it is in no branch of the repository's own.
    """

    repository: Path
    directory: Path
    branch: str
    base: str
    trusted: bool = False
    remote: str = "origin"

    @property
    def reference(self) -> str:
        return f"refs/heads/{self.branch}"

    def beside(self, kind: str) -> Path:
        """Return the name beside the directory under which we keep something of this work tree."""
        return self.directory.parent / f".{self.directory.name}.{kind}"


@dataclass(frozen=True, slots=True)
class Made:
    """How a work tree came to be there.

    Attributes:
        base_commit: where its branch and its base part; the tip of the branch, where there is no base any more.
        made: the directory was made just now.
        again: it was made from a branch that was there already.
        notes: what people should know of it, as sentences.
    """

    base_commit: str
    made: bool
    again: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TreeState:
    """Where a work tree stands.

    Attributes:
        missing: its directory is not there; the rest is that of its branch.
        branch: what is checked out, without ``refs/heads/``; None: no branch.
        detached: a commit is checked out, and no branch.
        dirty: there is something that is in no commit.
        files, added, removed: what differs from ``merge_base``, be it committed or not; lines of text files alone.
        ahead, behind: commits that only it has, and that only its base has.
        merged: everything that it has committed is in its base.
        head: the commit that is checked out.
        merge_base: where it and its base part; None: nowhere, or there is no base.
        busy: what is in progress, such as ``rebase``; or nothing.
    """

    missing: bool
    branch: str | None = None
    detached: bool = False
    dirty: bool = False
    files: int = 0
    added: int = 0
    removed: int = 0
    ahead: int = 0
    behind: int = 0
    merged: bool = False
    head: str | None = None
    merge_base: str | None = None
    busy: str = ""


class NotSafe(Unreadable):
    """A work tree is not removed, as something would be lost.

    Attributes:
        reasons: what, in half a sentence each.
        final: nothing can keep it: ``anyway`` does not help either.
    """

    def __init__(self, *reasons: str, final: bool = False) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons
        self.final = final


def admin_of(tree: WorkTree, common: Path) -> Path:
    """Return the directory in which a repository keeps what it knows of a work tree."""
    return common / "worktrees" / f"{ADMIN}{tree.directory.name}"


def find_project(path: Path) -> Repository:
    """Return the repository of a project's directory. It blocks.

    Raises:
        Unreadable: there is none, or none that can be worked with.
    """
    name = inline_code(str(path), 200)
    try:
        if not path.is_dir():
            raise Unreadable(f"{name} is not there")
        found = find_repository(path)
        if found is None and (path / "HEAD").is_file() and (path / "objects").is_dir():
            raise Unreadable(f"{name} is a bare repository: give a clone that has files")
        if found is None:
            raise Unreadable(f"{name} is not a git repository")
        if found.root != path:
            raise Unreadable(f"{name} is inside the repository {inline_code(str(found.root), 200)}: give that one")
        check_writable(found)
    except (OSError, ValueError) as exc:
        raise Unreadable(UNREADABLE) from exc
    return found


def find_base(repository: Repository, base: str, remote: str) -> tuple[str, str]:
    """Return the full name of a base branch and its tip. It blocks.

    Raises:
        Unreadable: there is none.
    """
    # The repository's own first: that is the one that a merge moves.
    for name in (f"refs/heads/{base}", f"refs/remotes/{remote}/{base}", f"refs/remotes/{base}"):
        commit = commit_of(repository, name) if _BRANCH.fullmatch(base) else None
        if commit is not None:
            return name, commit
    if head_of(repository) is None:
        raise Unreadable("its repository has no commit yet: make the first one there")
    raise Unreadable(f"its repository has no branch {inline_code(base, 100)}: set `base` to one that it has")


def checked_out_in(place: Repository, reference: str) -> str | None:
    """Return where else than in a work tree a branch is checked out: a directory, or the name of a work tree.

    It blocks.
    """
    others = [place.common]
    with suppress(FileNotFoundError):
        others += [one for one in (place.common / "worktrees").iterdir() if one.name != place.private.name]
    for private in others:
        if branch_of(Repository(private, private, place.common)) == reference:
            return str(private.parent) if private == place.common else private.name
    return None


async def check_project(path: Path, base: str, remote: str = "origin") -> None:
    """Make sure that work trees can be made of a repository.

    Raises:
        Unreadable: they can't, and why.
    """

    def check() -> None:
        find_base(find_project(path), base, remote)

    await read_in_thread(check)


async def repository_of(tree: WorkTree) -> Repository:
    """Return the repository of a work tree that is there, with the work tree as its root.

    Raises:
        Unreadable: it is not there, or the repository is not to be read.
    """
    return await read_in_thread(find_tree, tree)


def find_tree(tree: WorkTree) -> Repository:
    """As `repository_of`. It blocks."""
    found = find_project(tree.repository)
    admin = admin_of(tree, found.common)
    if not tree.directory.is_dir() or not (admin / "HEAD").is_file():
        raise Unreadable("its work tree is not there")
    # Agents can write there, and what git writes is to stay in the repository.
    if admin.is_symlink() or admin.parent.is_symlink():
        raise Unreadable("parts of its repository are links to elsewhere")
    return Repository(tree.directory, admin, found.common, ours=True)


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do file work in a worker thread; nothing of it goes on afterwards, even if it is given up.

    Raises:
        Unreadable: the disk refused.
    """
    # Not among those that everybody shares: a disk that hangs keeps its threads for as long as it likes.
    try:
        return await anyio.to_thread.run_sync(partial(call, *args, **kwargs), limiter=_places())
    except OSError as exc:
        raise disk_problem(exc) from exc


async def read_in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `in_thread`, for what changes nothing: given up, it is not waited for."""
    try:
        return await anyio.to_thread.run_sync(partial(call, *args, **kwargs), abandon_on_cancel=True)
    except OSError as exc:
        raise disk_problem(exc) from exc


def _places() -> anyio.CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(AT_ONCE)
        _limiter.set(limiter)
        return limiter


def disk_problem(exc: OSError) -> Unreadable:
    """Return what to tell people of a disk that refused."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unreadable("the disk is full")
    return Unreadable(f"its files can't be written: {os.strerror(exc.errno or errno.EIO)}")


@asynccontextmanager
async def locked(tree: WorkTree) -> AsyncIterator[int]:
    """Hold the lock of a work tree, which git is to inherit: so it is held until nothing works there any more.

    A bot that was killed may have left git at work, which its successor has to wait for.

    Raises:
        Unreadable: its directory can't be written to.
    """
    path = tree.beside("lock")
    fd = -1
    try:
        async for attempt in AsyncRetrying(retry=retry_if_exception_type(BlockingIOError), wait=wait_random(0.05, 0.2)):
            with attempt:
                try:
                    fd = await anyio.to_thread.run_sync(_lock, path)
                except BlockingIOError:
                    # No fault of the disk, though an `OSError` as well: somebody else holds it, and it is tried again.
                    raise
                except OSError as exc:
                    raise disk_problem(exc) from exc
        yield fd
    finally:
        if fd >= 0:
            os.close(fd)


def _lock(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever removed the work tree took the file away that we have opened before.
            if path.exists() and os.path.samestat(os.fstat(fd), path.lstat()):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
