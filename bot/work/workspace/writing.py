"""Lets git write to a repository without seeing its configuration (see `bot.work.workspace.git`, and ADR 18).

New objects go where those of the repository are, and references are its own: git itself locks, compares and replaces
them there, as it would for anybody else. `HEAD` and the index are ours; `Writer.put_index` hands the index over. A
repository that is trusted is used as it is, with its hooks and filters, but without anything that would ask somebody.
There is no state.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random

from acp.process import agent_environment
from bot.work.workspace.git import LIST, UNREADABLE, Git, Output, our_directory, set_up, take_over
from bot.work.workspace.repository import Repository, Unreadable, check_own, has_links, open_directory

PATIENCE = 3.0
"""Seconds for git to let go of its locks when it is given up."""

LOCK_WAIT = 10.0
"""Seconds for somebody else's lock on a reference or an index to go."""

ASKS_NOBODY = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "false",
    "SSH_ASKPASS": "false",
    "GIT_EDITOR": "true",
    "GIT_SEQUENCE_EDITOR": "true",
    "GIT_PAGER": "cat",
    "GIT_MERGE_AUTOEDIT": "no",
}
"""For git in a repository that is trusted: without a terminal, whoever asks gets no answer, and nothing waits."""

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.sshCommand=false",
    "core.pager=cat",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.commitGraph=false",
    "core.multiPackIndex=false",
    # An index in two parts would need its other part beside it, and ours goes.
    "core.splitIndex=false",
    # A log of a reference that was replaced by a link would be written to where that leads.
    "core.logAllRefUpdates=false",
    "core.fsync=committed,reference",
    "core.fsyncMethod=batch",
    # What people on other systems would get must be nothing that leads elsewhere there.
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.quotePath=false",
    "protocol.allow=never",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "diff.ignoreSubmodules=dirty",
)
_TRUSTED_SETTINGS = ("gc.auto=0", "maintenance.auto=false", "core.quotePath=false")
_TAKEN_OVER = re.compile(r"core\.(autocrlf|eol|filemode|ignorecase|symlinks|precomposeunicode|sharedrepository)")
_MOST_REFERENCES = 200_000
_OURS = "weft-index."

Index = Literal["copy", "none"]


class IndexChanged(Unreadable):
    """Somebody else changed the index of a work tree meanwhile."""


@dataclass(frozen=True, slots=True)
class _Version:
    """What tells one state of an index from another; git replaces the file each time."""

    inode: int
    size: int
    modified: int


class Writer(Git):
    """Git that writes to a repository; see `writing`."""

    def __init__(self, program: str, directory: Path, repository: Repository, workspace: Path) -> None:
        super().__init__(program, directory, repository, workspace)
        self._repository = repository
        self._copied: _Version | None = None
        self.trusted = False
        waits = [f"core.{what}Timeout={LOCK_WAIT * 1_000:.0f}" for what in ("filesRefLock", "packedRefs")]
        self.settings = (*_SETTINGS, *waits)
        self.patience = PATIENCE

    async def run(
        self,
        *args: str,
        most: int = LIST,
        given: bytes = b"",
        codes: Collection[int] = (0,),
        variables: Mapping[str, str] | None = None,
    ) -> Output:
        """As `Git.run`; a reference is written only where nothing leads elsewhere just before.

        Raises:
            Unreadable: something does.
        """
        if args[0] == "update-ref" and not self.trusted:
            # Much may have been done since it was looked at, and a link that came since would lead git into another
            # repository: in a clone of this one, the same branch is at the same commit, and would be moved.
            try:
                check = partial(check_references, self._repository.common)
                await anyio.to_thread.run_sync(check, abandon_on_cancel=True)
            except OSError as exc:
                raise Unreadable(UNREADABLE) from exc
        return await super().run(*args, most=most, given=given, codes=codes, variables=variables)

    async def put_index(self) -> None:
        """Put our index in the place of the work tree's; of a trusted repository, it is that already.

        Raises:
            IndexChanged: it is another one than was copied.
            Unreadable: it can't be written, or is locked for longer than `LOCK_WAIT` seconds.
        """
        if self.trusted:
            return
        call = partial(_put_index, self._repository.private, self.directory / "index", self._copied)
        waits = stop_after_delay(LOCK_WAIT)
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(FileExistsError), wait=wait_random(0.02, 0.2), stop=waits, reraise=True
            ):
                with attempt:
                    self._copied = await anyio.to_thread.run_sync(call)
        except FileExistsError as exc:
            raise Unreadable("another git is running there: its `index.lock` is in the way") from exc
        except OSError as exc:
            raise Unreadable(f"its index can't be written: {os.strerror(exc.errno or errno.EIO)}") from exc


@asynccontextmanager
async def writing(
    repository: Repository, head: str | None, workspace: Path, *, index: Index = "copy", trusted: bool = False
) -> AsyncIterator[Writer]:
    """Give a git that writes to a repository.

    Args:
        head: what it takes for the commit that is checked out.
        index: what it begins with: a copy of the work tree's, or none.
        trusted: git gets the repository as it is, with its configuration and hooks, its ``HEAD`` and its index.

    Raises:
        GitMissing: there is no git.
        Unreadable: the repository is not to be written to.
    """
    async with our_directory() as (program, directory):
        git = Writer(program, directory, repository, workspace)
        if trusted:
            git.trusted = True
            git.settings = _TRUSTED_SETTINGS
            git.environment = {
                **agent_environment(os.environ, ()),
                **ASKS_NOBODY,
                "GIT_DIR": str(repository.private),
                "GIT_WORK_TREE": str(repository.root),
            }
        else:
            # Before it is copied: what changes meanwhile must not pass for what was copied.
            git._copied = (
                await anyio.to_thread.run_sync(_version, repository.private / "index") if index == "copy" else None
            )
            await set_up(directory, repository, head, index=index == "copy")
            await take_over(git, _TAKEN_OVER)
            try:
                await anyio.to_thread.run_sync(_lead, directory, repository, abandon_on_cancel=True)
            except OSError as exc:
                raise Unreadable(UNREADABLE) from exc
            git.environment["GIT_OBJECT_DIRECTORY"] = str((repository.common / "objects").absolute())
        yield git


def check_writable(repository: Repository) -> None:
    """Make sure that what git would write to a repository gets nowhere else.

    Raises:
        OSError, Unreadable: it would, or the repository keeps its references in a way that this does not know.
    """
    check_own(repository)
    check_references(repository.common)


def check_references(common: Path) -> None:
    """As `check_writable`, for references alone."""
    if (common / "reftable").exists():
        raise Unreadable("its references are kept in a way that I can't write yet (reftable)")
    packed, refs = common / "packed-refs", common / "refs"
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(packed.lstat().st_mode):
            raise Unreadable("parts of its repository are links to elsewhere")
    if refs.is_symlink() or has_links(refs, levels=64, most=_MOST_REFERENCES):
        raise Unreadable("parts of its repository are links to elsewhere")


def _lead(directory: Path, repository: Repository) -> None:
    # Before the links are made that lead git there.
    check_writable(repository)
    common = repository.common.absolute()
    # Not needed: by `GIT_OBJECT_DIRECTORY` git reads and writes the repository's own objects.
    (directory / "objects/info/alternates").unlink()
    (directory / "refs").rmdir()
    (directory / "refs").symlink_to(common / "refs")
    # It need not be there: git makes what a link leads to, and locks it there.
    (directory / "packed-refs").symlink_to(common / "packed-refs")


# --- the index of a work tree -----------------------------------------------------------------------------------------


def _version(name: str | Path, fd: int | None = None) -> _Version | None:
    try:
        found = os.lstat(name, dir_fd=fd)
    except FileNotFoundError:
        return None
    return _Version(found.st_ino, found.st_size, found.st_mtime_ns)


def _put_index(private: Path, source: Path, copied: _Version | None) -> _Version | None:
    """Replace an index as git does it, but through no link: whoever writes to the directory can't lead us elsewhere."""
    fd = open_directory(private)
    name = f"{_OURS}{secrets.token_hex(8)}"
    try:
        _write_beside(fd, name, source)
        # A link to a file that is complete: the lock of a process that died here can be told from those of others.
        os.link(name, "index.lock", src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
        same = _version("index", fd) == copied
        if same:
            os.rename("index.lock", "index", src_dir_fd=fd, dst_dir_fd=fd)
        else:
            os.unlink("index.lock", dir_fd=fd)
        put = _version(name, fd)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=fd)
        os.close(fd)
    if not same:
        raise IndexChanged("somebody else is using git there right now; try again")
    return put


def _write_beside(fd: int, name: str, source: Path) -> None:
    found = source.stat()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o644, dir_fd=fd), "wb") as target:
        target.write(source.read_bytes())
        target.flush()
        # It says by its own time which files are too young to be believed unseen.
        os.utime(target.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))
        os.fsync(target.fileno())


def release_index(private: Path) -> None:
    """Take away what a process that died while it put an index left behind; nobody may be putting one now."""
    fd = open_directory(private)
    try:
        ours = [name for name in os.listdir(fd) if name.startswith(_OURS)]  # noqa: PTH208  a descriptor
        inodes = {os.lstat(name, dir_fd=fd).st_ino for name in ours}
        with suppress(FileNotFoundError):
            if os.lstat("index.lock", dir_fd=fd).st_ino in inodes:
                os.unlink("index.lock", dir_fd=fd)
        for name in ours:
            os.unlink(name, dir_fd=fd)
    finally:
        os.close(fd)
