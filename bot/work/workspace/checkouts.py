"""The work trees in which a branch is checked out: where they are, and how they come along when it moves (W4).

A branch that moves under a work tree would leave it looking as if somebody had changed everything back. So its files
move too, by git's two-tree merge, under the lock of its index, and only where it has nothing that is in no commit. What
lies in a repository's ``worktrees`` is data that agents can write: a directory is a work tree only if it says so too.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from bot.reply.sanitise import inline_code
from bot.work.workspace.git import GitFailed
from bot.work.workspace.journal import IndexLock, Journal, Refused, is_linked
from bot.work.workspace.repository import Repository, Unreadable, find_repository, open_file
from bot.work.workspace.standing import MOST_OUTPUT, branch_of, check_filters, has_changes, named, standing_of
from bot.work.workspace.writing import Writer, writing

_SMALL = 4096
_ABSENT = "000000"
_CHANGE = re.compile(rb":(\d{6}) (\d{6}) ([0-9a-f]+) ([0-9a-f]+) [A-Z]\d*")


# --- where ------------------------------------------------------------------------------------------------------------


def checkouts_of(ref: str, threads: Path, repository: Repository) -> list[Repository]:
    """Return the work trees in which a branch is checked out; ``threads``: the directory with those of threads.

    Raises:
        Refused: one of them can't be reached, or is about to come back to the branch.
        OSError, Unreadable: one of them can't be read.
    """
    common = repository.common
    found = []
    for candidate in (_first(common), *_linked(common)):
        if candidate is None:
            continue
        if _returns_to(candidate, ref):
            raise Refused(f"a rebase of {_name(ref)} is in progress in {_place(candidate)}: finish or abort it first")
        if branch_of(candidate) != ref:
            continue
        known = find_repository(candidate.root)
        if known is not None and _same(known, candidate):
            # A directory that an agent can exchange for a link at any moment would have git write to where that leads.
            if _is_inside(candidate.root, threads, repository.common):
                raise Refused(
                    f"{_name(ref)} is checked out in {_place(candidate)}, where agents can write: have it removed by "
                    f"`git worktree remove` there"
                )
            found.append(candidate)
        elif is_linked(candidate) and (candidate.private / "locked").exists():
            # Git's word for one on a disk that is not there at times.
            raise Refused(f"{_name(ref)} is checked out in {_place(candidate)}, which is not there now")
    return found


def _first(common: Path) -> Repository | None:
    # A bare repository has no work tree of its own.
    return Repository(common.parent, common, common) if common.name == ".git" else None


def _linked(common: Path) -> Iterable[Repository]:
    with suppress(FileNotFoundError), os.scandir(common / "worktrees") as entries:
        for one in entries:
            if one.is_dir(follow_symlinks=False):
                private = Path(one.path)
                with suppress(FileNotFoundError), open_file(private, ["gitdir"]) as file:
                    dot = Path(file.read(_SMALL).decode(errors="replace").strip())
                    # What an agent planted there, and git can't read either, keeps nobody from a merge.
                    if dot.is_absolute() and dot.name == ".git" and not (private / "HEAD").is_symlink():
                        yield Repository(dot.parent, private, common)


def _same(known: Repository, candidate: Repository) -> bool:
    """Return whether a directory leads back to where it was found: else anybody's could be named there."""
    pairs = ((known.private, candidate.private), (known.common, candidate.common))
    return known.root == candidate.root and all(one.samefile(other) for one, other in pairs)


def _is_inside(root: Path, threads: Path, common: Path) -> bool:
    """Return whether a directory is in the repository's own or inside of a thread's, or the way to it leads there."""
    trees, own = (Path(os.path.realpath(one)) for one in (threads, common))
    for part in (root, *root.parents):
        # Each name on the way by where it lies itself, as it may be a link, and by where it leads.
        for place in (Path(os.path.realpath(part.parent), part.name), Path(os.path.realpath(part))):
            below = place.relative_to(trees).parts if place.is_relative_to(trees) else ()
            # A thread's directory itself stays where it is: it is in one that is ours alone.
            if len(below) > 1 or place.is_relative_to(own):
                return True
    return ".." in root.parts


def _returns_to(candidate: Repository, ref: str) -> bool:
    for name in ("rebase-merge", "rebase-apply"):
        with suppress(FileNotFoundError, NotADirectoryError), open_file(candidate.private, [name, "head-name"]) as file:
            if file.read(_SMALL).decode(errors="replace").strip() == ref:
                return True
    return False


def _name(ref: str) -> str:
    return inline_code(ref.removeprefix("refs/heads/"))


def _place(checkout: Repository) -> str:
    return inline_code(str(checkout.root), 200)


# --- what changes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Side:
    """What a commit has at a path: mode and id; the mode is `_ABSENT` where it has nothing."""

    mode: str
    id: str

    @property
    def absent(self) -> bool:
        """Whether there is nothing."""
        return self.mode == _ABSENT


@dataclass(frozen=True, slots=True)
class Change:
    """A path that two commits have differently."""

    path: bytes
    old: Side
    new: Side


async def changes_between(git: Writer, old: str, new: str) -> list[Change]:
    """Return the paths that two commits have differently.

    Raises:
        Refused: they are too many.
    """
    # Without renames: each path is judged by itself, a removal here and a new file there.
    listed = await git.run("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", old, new, most=MOST_OUTPUT)
    if listed.cut:
        raise Refused("too many files are different")
    words = listed.data.split(b"\0")
    changes = []
    for info, path in zip(words[::2], words[1::2], strict=False):
        match = _CHANGE.fullmatch(info)
        if match is None:
            raise Unreadable("git says what is different in a format that I don't know")
        modes_and_ids = [word.decode() for word in match.groups()]
        changes.append(Change(path, Side(modes_and_ids[0], modes_and_ids[2]), Side(modes_and_ids[1], modes_and_ids[3])))
    return changes


# --- bringing one along -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def at_checkout(lock: IndexLock, head: str, journal: Journal) -> AsyncIterator[Writer]:
    """Give a git for a work tree whose index is locked by us, with a copy of that index."""
    checkout = lock.repository
    async with writing(checkout, head, checkout.root, trusted=journal.entry.trusted) as git:
        # Git would use the work tree's own index there, which is locked, by us.
        if git.trusted:
            index = git.directory / "index"
            await anyio.to_thread.run_sync(shutil.copy2, checkout.private / "index", index)
            git.environment["GIT_INDEX_FILE"] = str(index)
        # The journal counts as at work until the last process of git has ended.
        git.inherited = (journal.fd,)
        yield git


async def check_movable(git: Writer, checkout: Repository, commits: tuple[str, str], changes: Sequence[Change]) -> None:
    """Make sure that a work tree can come along without losing anything; its index is locked by us.

    Args:
        commits: where it is and where it is to go.
        changes: what is different between them.

    Raises:
        Refused: it can't.
    """
    standing = await anyio.to_thread.run_sync(standing_of, checkout)
    if standing.operation is not None:
        raise Refused(f"{standing.operation} is in progress in {_place(checkout)}: finish or abort it first")
    # Submodules stay where they are, as with `git merge`; one that waits for `git submodule update` is in no way.
    if await has_changes(git, submodules=False):
        raise Refused(f"{_place(checkout)} has uncommitted changes: commit or stash them first")
    await check_filters(git, [change.path for change in changes])
    removed = {change.path for change in changes if change.new.absent}
    added = [change.path for change in changes if change.old.absent]
    blocked, directories = await anyio.to_thread.run_sync(_in_the_way, checkout.root, added, removed)
    for path in directories:
        # What is ignored counts too: git would overwrite that.
        # One byte tells that there is something.
        inside = await git.run("ls-files", "-z", "--others", "--", f":(top,literal){os.fsdecode(path)}", most=1)
        blocked += [path] if inside.data else []
    if blocked:
        files = named([path.decode(errors="replace") for path in blocked])
        raise Refused(f"new files in {_place(checkout)} are in the way: move {files} away first")
    try:
        # Git finds what it was told not to look at, such as files with `--assume-unchanged`.
        await move(git, *commits, only_try=True)
    except GitFailed as exc:
        raise Refused(f"{_place(checkout)} can't come along: {inline_code(exc.said, 200)}") from exc


def _in_the_way(root: Path, added: Iterable[bytes], removed: set[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return what lies where files are to be made: files and links, and directories, of which git tells what is new."""
    blocked: dict[bytes, None] = {}
    directories = []
    for path in added:
        parts = path.split(b"/")
        for depth in range(1, len(parts) + 1):
            part = b"/".join(parts[:depth])
            try:
                mode = os.lstat(os.path.join(os.fsencode(root), part)).st_mode  # noqa: PTH118  names are bytes
            except FileNotFoundError:
                break
            if not stat.S_ISDIR(mode):
                if part not in removed:
                    blocked[part] = None
                break
            if depth == len(parts):
                directories.append(part)
    return list(blocked), directories


async def move(git: Writer, old: str, new: str, *, only_try: bool = False) -> None:
    """Bring a work tree and our copy of its index from a commit to another; ``only_try``: see whether that can be done.

    Raises:
        Unreadable: it can't be done; part of the files may be different now.
    """
    await git.run("read-tree", "-m", "-u", *(["--dry-run"] if only_try else []), old, new)


# --- after an end half-way --------------------------------------------------------------------------------------------


async def restore(git: Writer, checkout: Repository, old: str, new: str, target: str) -> list[bytes]:
    """Bring what was being moved from ``old`` to ``new`` to one of the two, whatever state each file is in.

    Returns:
        The paths that are as neither commit has them: somebody changed these, and they are left alone.
    """
    changes = await changes_between(git, old, new)
    as_old = await _as_in(git, checkout, [(change.path, change.old) for change in changes])
    as_new = await _as_in(git, checkout, [(change.path, change.new) for change in changes])
    foreign, entries = [], []
    for change in changes:
        goal = change.new if target == new else change.old
        there, other = (as_new, as_old) if target == new else (as_old, as_new)
        current = goal
        if change.path not in there:
            if change.path in other:
                current = change.old if target == new else change.new
            elif await _is_torn(git, checkout, change):
                current = Side(_ABSENT, goal.id)
            else:
                foreign.append(change.path)
        entries.append(_entry(change.path, current))
    # Removals first: a file may have taken the place of a directory.
    entries.sort(key=lambda entry: not entry.startswith(_ABSENT.encode()))
    await git.run("update-index", "-z", "--index-info", given=b"".join(entries))
    await git.run("update-index", "-q", "--refresh", codes=(0, 1))
    # From what is there now, whichever of the two that is at each path, git gets to the target by itself.
    current_tree = (await git.run("write-tree")).data.decode().strip()
    await move(git, current_tree, target)
    return foreign


def _entry(path: bytes, side: Side) -> bytes:
    """Return what ``update-index --index-info`` takes."""
    return b"%s %s\t%s\0" % (side.mode.encode(), ("0" * len(side.id) if side.absent else side.id).encode(), path)


async def _as_in(git: Writer, checkout: Repository, sides: Sequence[tuple[bytes, Side]]) -> set[bytes]:
    """Return the paths at which the work tree has what is given."""
    gone = await anyio.to_thread.run_sync(_missing, checkout.root, [path for path, _ in sides])
    there = [(path, side) for path, side in sides if not side.absent]
    same = {path for path, side in sides if side.absent and path in gone}
    if there:
        # Compared by git, which knows of line ends and modes; in an index beside ours, which stays as it is.
        variables = {"GIT_INDEX_FILE": str(git.directory / "compared")}
        await git.run("read-tree", "--empty", variables=variables)
        given = b"".join(_entry(path, side) for path, side in there)
        await git.run("update-index", "-z", "--index-info", given=given, variables=variables)
        await git.run("update-index", "-q", "--refresh", codes=(0, 1), variables=variables)
        differ = await git.run("diff-files", "-z", "--name-only", variables=variables, most=MOST_OUTPUT)
        same |= {path for path, _ in there} - set(differ.data.split(b"\0"))
    return same


def _missing(root: Path, paths: Iterable[bytes]) -> set[bytes]:
    missing = set()
    for path in paths:
        try:
            mode = os.lstat(os.path.join(os.fsencode(root), path)).st_mode  # noqa: PTH118  names are bytes
            if stat.S_ISDIR(mode):
                missing.add(path)
        except (FileNotFoundError, NotADirectoryError):
            missing.add(path)
    return missing


async def _is_torn(git: Writer, checkout: Repository, change: Change) -> bool:
    """Return whether a file is missing or only begun, as git leaves it when it is killed; what is begun is removed."""
    blobs = [
        (await git.run("cat-file", "blob", side.id, most=MOST_OUTPUT)).data
        for side in (change.old, change.new)
        if side.mode.startswith("100")
    ]
    return await anyio.to_thread.run_sync(_drop_begun, checkout.root, change.path, blobs)


def _drop_begun(root: Path, path: bytes, blobs: Sequence[bytes]) -> bool:
    directory, _, name = path.rpartition(b"/")
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            for part in directory.split(b"/") if directory else []:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
                os.close(fd)
                fd = below
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
        except FileNotFoundError:
            return True
        except OSError:
            return False  # a link, or a file where a directory was: somebody's
        with os.fdopen(file, "rb") as begun:
            data = begun.read(MOST_OUTPUT + 1) if stat.S_ISREG(os.fstat(file).st_mode) else None
        # Git writes from the beginning: whatever else is in it is somebody's work.
        if data is None or not any(len(data) < len(blob) and blob.startswith(data) for blob in blobs):
            return False
        os.unlink(name, dir_fd=fd)
        return True
    finally:
        os.close(fd)
