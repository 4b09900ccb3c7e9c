"""What a commit or a merge is about to change, on disk before the first change, and the lock on an index.

A bot that is killed half-way leaves a journal and locks; `bot.work.workspace.recovery` reads the journal at the next
start and goes on or back. The lock is git's own, `index.lock`, taken so that it can be told from anybody else's: it is
a hard link to a file with a name of ours that stands in the journal. Most of it blocks and belongs in worker threads.
The mutable state is which locks of repositories exist, as long as somebody holds them.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

from bot.work.workspace.repository import Repository, Unreadable, open_file

LARGEST_INDEX = 256 * 2**20  # bytes
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK = "index.lock"
PATIENCE = 2.0
"""Seconds for somebody else's git to be done with an index: most need a few milliseconds."""

_AGAIN = 0.05  # seconds
_OLD_LOCK = 600.0
"""Seconds after which a lock was rather left behind than is held."""


class Refused(Unreadable):
    """It can't be done as things are, and nothing was changed; the message says what to do, for people."""


# --- one at a time ----------------------------------------------------------------------------------------------------

# Weak: a lock is gone once nobody holds it or waits for it.
_locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()


def lock_of(repository: Repository) -> anyio.Lock:
    """Return the lock under which Weft changes what the work trees of a repository share."""
    key = os.path.realpath(repository.common)
    lock = _locks.get(key)
    if lock is None:
        lock = _locks[key] = anyio.Lock()
    return lock


# --- the lock on an index ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IndexLock:
    """Git's lock on the index of a work tree, if we hold it; ``mark``: the name of the file that makes it ours."""

    repository: Repository
    mark: str

    @classmethod
    def planned(cls, repository: Repository) -> IndexLock:
        """Return a lock that is not taken yet, to be written down first."""
        return cls(repository, f"weft-index.{secrets.token_hex(8)}")

    def take(self) -> None:
        """Take the lock.

        Raises:
            Refused: somebody else has it.
            OSError: it can't be taken.
        """
        with opened(self.repository) as fd:
            os.close(os.open(self.mark, _NEW, 0o600, dir_fd=fd))
            end = time.monotonic() + PATIENCE
            while not self._link(fd):
                if time.monotonic() > end:
                    raise Refused(_locked(self.repository, fd))
                time.sleep(_AGAIN)

    def _link(self, fd: int) -> bool:
        try:
            os.link(self.mark, _LOCK, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as exc:
            if exc.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            raise Refused("the disk with the repository has no hard links, which I need for this") from exc
        return True

    def held(self) -> bool:
        """Return whether the lock may still be held: nothing that it guards changes before it is taken or after."""
        with suppress(FileNotFoundError), opened(self.repository) as fd:
            return _inode(self.mark, fd) is not None
        return False

    def place(self, index: Path) -> None:
        """Put an index in the place of the work tree's, in one step; the lock is kept."""
        name = f"{self.mark}.new"
        with opened(self.repository) as fd:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=fd)
            with index.open("rb") as source, os.fdopen(os.open(name, _NEW, _mode(fd), dir_fd=fd), "wb") as target:
                shutil.copyfileobj(source, target)
                target.flush()
                os.fsync(target.fileno())
                # As old as what git wrote: git goes by it to see which files may have changed in the same instant.
                times = os.fstat(source.fileno())
                os.utime(target.fileno(), ns=(times.st_atime_ns, times.st_mtime_ns))
            os.rename(name, "index", src_dir_fd=fd, dst_dir_fd=fd)
            os.fsync(fd)

    def release(self) -> None:
        """Give the lock back; one that is somebody else's by now is left alone."""
        with suppress(FileNotFoundError), opened(self.repository) as fd:
            mark = _inode(self.mark, fd)
            if mark is not None and _inode(_LOCK, fd) == mark:
                os.unlink(_LOCK, dir_fd=fd)
            # The mark last: by it the lock is known to be ours.
            for name in (f"{self.mark}.new", self.mark):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=fd)


def _inode(name: str, fd: int) -> tuple[int, int] | None:
    with suppress(FileNotFoundError):
        found = os.lstat(name, dir_fd=fd)
        return found.st_dev, found.st_ino
    return None


def _mode(fd: int) -> int:
    # As the index has it: a repository may be shared in a group.
    with suppress(FileNotFoundError):
        return os.lstat("index", dir_fd=fd).st_mode & 0o666
    return 0o644


def _locked(repository: Repository, fd: int) -> str:
    age = 0.0
    with suppress(FileNotFoundError):
        age = time.time() - os.lstat(_LOCK, dir_fd=fd).st_mtime
    if age < _OLD_LOCK:
        return "git is running there right now: try again in a moment"
    return (
        f"a git that ended left its lock behind {age / 60:,.0f} minutes ago: if none is running, delete "
        f"`index.lock` in the repository's directory ({'of this work tree' if is_linked(repository) else '`.git`'})"
    )


def is_linked(repository: Repository) -> bool:
    """Return whether a work tree is one beside the first."""
    return repository.private != repository.common


def check_unlocked(repository: Repository) -> None:
    """Make sure that no git holds the lock on an index for longer than a moment.

    Raises:
        Refused: one does, or left it behind.
    """
    end = time.monotonic() + PATIENCE
    with opened(repository) as fd:
        while _inode(_LOCK, fd) is not None:
            if time.monotonic() > end:
                raise Refused(_locked(repository, fd))
            time.sleep(_AGAIN)


@contextmanager
def opened(repository: Repository) -> Iterator[int]:
    """Open the directory with a work tree's index, through no link that was planted in the repository."""
    fd = os.open(repository.common, _DIRECTORY)
    try:
        if is_linked(repository):
            for name in repository.private.relative_to(repository.common).parts:
                below = os.open(name, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
        yield fd
    finally:
        os.close(fd)


def read_index(repository: Repository) -> bytes:
    """Return a work tree's index; empty: there is none.

    Raises:
        Unreadable: it is too large.
    """
    with suppress(FileNotFoundError), open_file(repository.private, ["index"]) as file:
        data = file.read(LARGEST_INDEX + 1)
        if len(data) > LARGEST_INDEX:
            raise Unreadable("its index is too large")
        return data
    return b""


# --- the journal ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """What is about to change.

    Attributes:
        ref: the branch that is moved from the commit ``old`` to ``new``.
        branch: whose commits these are, for people.
        locks: root, directory of the index, and mark of each work tree whose index is locked meanwhile; of a merge
            their files are brought from ``old`` to ``new``.
        merging: of a commit, what stood in ``MERGE_HEAD``; the merge is over with it.
    """

    kind: str
    common: str
    ref: str
    old: str
    new: str
    branch: str
    locks: tuple[tuple[str, str, str], ...]
    merging: str = ""
    trusted: bool = False

    def index_locks(self) -> list[IndexLock]:
        """Return the locks."""
        common = Path(self.common)
        return [IndexLock(Repository(Path(root), Path(private), common), mark) for root, private, mark in self.locks]


def described(lock: IndexLock) -> tuple[str, str, str]:
    """Return a lock as an entry has it."""
    return str(lock.repository.root), str(lock.repository.private), lock.mark


class Journal:
    """An entry on disk, with a lock on its file that the processes at work on it share."""

    def __init__(self, path: Path, fd: int, entry: Entry, *, touched: bool) -> None:
        self._path = path
        self.fd = fd
        self.entry = entry
        self.touched = touched

    @classmethod
    def begin(cls, directory: Path, entry: Entry) -> Journal:
        """Write an entry down, for good when this returns."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = secrets.token_hex(8)
        path, draft = directory / f"{name}.json", directory / f"{name}.tmp"
        fd = os.open(draft, _NEW | os.O_APPEND, 0o600)
        try:
            # Locked before it has its name, or a start that looks for journals could take it for one that was left.
            fcntl.flock(fd, fcntl.LOCK_EX)
            _write(fd, json.dumps(asdict(entry)))
            draft.rename(path)
            # A rename is on the disk only with its directory.
            _sync(directory)
        except BaseException:
            os.close(fd)
            with suppress(FileNotFoundError):
                draft.unlink()
            raise
        return cls(path, fd, entry, touched=False)

    @classmethod
    def resume(cls, path: Path, wait: float) -> Journal:
        """Open the journal of a process that was killed, when the last git that it started has ended.

        Raises:
            TimeoutError: that takes longer than ``wait`` seconds.
            OSError, ValueError: it can't be read.
        """
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            # Before it is read: the last git of that process may still be at work, and files be changing.
            _wait_for(fd, wait)
            first, *more = path.read_text().splitlines()
            found = json.loads(first)
            locks = tuple((str(root), str(private), str(mark)) for root, private, mark in found.pop("locks"))
            return cls(path, fd, Entry(locks=locks, **found), touched="touched" in more)
        except (TypeError, KeyError, AttributeError) as exc:
            os.close(fd)
            raise ValueError(f"{path.name} is no journal") from exc
        except BaseException:
            os.close(fd)
            raise

    def touch(self) -> None:
        """Write down that files are changed from here on; before this, a locked work tree was only looked at."""
        _write(self.fd, "touched")
        self.touched = True

    def end(self) -> None:
        """Take the journal away: there is nothing to recover."""
        # While it is still locked: nobody may begin to recover it.
        self._path.unlink(missing_ok=True)
        self.leave()

    def leave(self) -> None:
        """Close the journal and let it lie for the next start."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


async def begin(directory: Path, entry: Entry) -> Journal:
    """As `Journal.begin`, off the loop; its caller must not be cancelled meanwhile, or nobody would end it.

    Raises:
        Unreadable: the disk refused.
    """
    try:
        return await anyio.to_thread.run_sync(Journal.begin, directory, entry)
    except OSError as exc:
        raise Unreadable(f"I can't write down what I am about to do: {os.strerror(exc.errno or errno.EIO)}") from exc


def _wait_for(fd: int, wait: float) -> None:
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            if time.monotonic() > end:
                raise TimeoutError("a git of the bot before still runs") from exc
            time.sleep(_AGAIN)
        else:
            return


def _write(fd: int, line: str) -> None:
    data = f"{line}\n".encode()
    # A disk that has just filled up takes a part.
    if os.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(fd)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
