"""Makes the work tree of a thread, and completes one that a kill left half made (W2).

The files are checked out beside the directory, which gets its name when all of them are there: a directory that is
there is complete, and whoever works in it is never written over. Before that there are the branch, and what the
repository keeps of the work tree; each is taken up again as it is found. There is no state.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import anyio
import anyio.to_thread
import structlog

from bot.reply.sanitise import inline_code
from bot.work.workspace import admin
from bot.work.workspace.git import GitFailed
from bot.work.workspace.keeping import is_reachable, keep, tree_of_index
from bot.work.workspace.repository import Repository, Unreadable, commit_of, head_of, leads_on
from bot.work.workspace.worktrees import (
    Made,
    WorkTree,
    admin_of,
    checked_out_in,
    disk_problem,
    find_base,
    find_project,
    in_thread,
    locked,
)
from bot.work.workspace.writing import Writer, release_index, writing

LIMIT = 240.0
"""Seconds that a work tree may take."""

SUBMODULES = "Its submodules are empty: `git submodule update --init` gets them, where the agent may."
FILTERED = "Some of its files are as they are stored, as I run no filters (such as Git LFS) here: see `hooks`."

PARTIAL = (
    "its repository is a partial clone, and I fetch nothing: `git fetch --refetch --no-filter` there gets the rest"
)

_ATTRIBUTES = 64 * 1024
_ROOM = 2**20  # bytes
_STALE = 5.0  # seconds: less than git has waited for the lock

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a work tree is made on.

    Attributes:
        repository: the project's.
        place: the work tree as a repository sees it: its directory, and what is kept of it.
        lock: the descriptor of the work tree's lock.
    """

    tree: WorkTree
    repository: Repository
    place: Repository
    lock: int

    @property
    def name(self) -> str:
        return self.place.private.name

    def inherit(self, git: Writer) -> Writer:
        # Not where git may leave something at work behind it, such as a monitor, which would hold the lock for ever.
        git.inherited = () if self.tree.trusted else (self.lock,)
        return git


async def make(tree: WorkTree, *, start: str | None = None) -> Made:
    """Make a work tree that is there afterwards, with all its files; one that is there already is left as it is.

    Args:
        start: the commit at which a branch begins that is not there yet; None: the tip of the base.

    Raises:
        Unreadable: it can't be made, and why.
    """
    try:
        with anyio.fail_after(LIMIT):
            async with locked(tree) as lock:
                ground = await in_thread(survey, tree, lock)
                return await _make(ground, start)
    except TimeoutError as exc:
        raise Unreadable(f"its work tree was not complete after {LIMIT:g} s") from exc


def survey(tree: WorkTree, lock: int) -> Ground:
    """Return what a work tree stands on, with the directory in its place if that was only moved aside. It blocks.

    Raises:
        OSError, Unreadable: it can't be worked with.
    """
    found = find_project(tree.repository)
    place = Repository(tree.directory, admin_of(tree, found.common).absolute(), found.common, ours=True)
    restore(tree)
    with suppress(OSError):
        # One that is empty was made for a work tree, which comes by a name of its own.
        tree.directory.rmdir()
    return Ground(tree, found, place, lock)


def restore(tree: WorkTree) -> None:
    """Put a directory back that was moved aside to be removed, if nobody found yet that it may go. It blocks."""
    aside = tree.beside("leaving")
    if aside.is_dir() and not tree.directory.exists():
        aside.rename(tree.directory)


async def sweep(tree: WorkTree) -> None:
    """Take away what stands beside the directory and was given up: half made, or not quite removed."""
    for kind in ("making", "removing"):
        for path in tree.directory.parent.glob(tree.beside(f"{kind}-*").name):
            await clear(path)


async def clear(path: Path) -> None:
    """Take a directory away; given up, nothing goes on, and the rest stays.

    Raises:
        Unreadable: it can't be taken away.
    """
    stop = Event()
    try:
        await anyio.to_thread.run_sync(admin.delete_tree, path, stop.is_set, abandon_on_cancel=True)
    except OSError as exc:
        raise disk_problem(exc) from exc
    finally:
        # A thread that is left behind sees it, and takes nothing more away.
        stop.set()


async def _make(ground: Ground, start: str | None) -> Made:
    tree, there = ground.tree, await in_thread(ground.tree.directory.is_dir)
    if there:
        await in_thread(_check_ours, ground)
    else:
        await sweep(tree)
        await in_thread(_check_free, ground)
    head = await in_thread(_tip, ground)
    again = head is not None
    if head is None:
        head = await _begin_branch(ground, start)
    if there:
        await complete(ground, head)
        return Made(await _base_commit(ground, head), made=False)
    # In this order: what only the repository knows is kept before it is taken away.
    await rescue(ground)
    await in_thread(admin.forget_state, ground.place.common, ground.name)
    await in_thread(_describe, ground, head)
    notes = await _check_out(ground, head)
    return Made(await _base_commit(ground, head), made=True, again=again, notes=notes)


def _describe(ground: Ground, head: str) -> None:
    checked_out = f"ref: {ground.tree.reference}" if ground.tree.branch else head
    admin.describe(ground.place.common, ground.name, ground.tree.directory.absolute(), checked_out)


# --- the branch -------------------------------------------------------------------------------------------------------


def _tip(ground: Ground) -> str | None:
    if leads_on(ground.repository, ground.tree.reference):
        raise Unreadable(f"the branch {inline_code(ground.tree.branch, 100)} stands for another one")
    return commit_of(ground.repository, ground.tree.reference)


def _check_free(ground: Ground) -> None:
    """Make sure that no other work tree has the branch: what one commits would look undone in the other."""
    where = checked_out_in(ground.place, ground.tree.reference)
    if where is not None:
        branch = inline_code(ground.tree.branch, 100)
        raise Unreadable(f"{branch} is checked out in {inline_code(where, 200)}: switch to another branch there")


async def _begin_branch(ground: Ground, start: str | None) -> str:
    tree = ground.tree
    commit = start or (await in_thread(find_base, ground.repository, tree.base, tree.remote))[1]
    async with writing(ground.repository, commit, tree.repository, index="none", trusted=tree.trusted) as git:
        ground.inherit(git)
        arguments = ("update-ref", "--no-deref", tree.reference)
        # A branch at what is not there could not be read by anybody.
        found = await git.run("cat-file", "-t", commit, codes=(0, 128))
        if found.data != b"commit\n":
            raise Unreadable(f"the commit {inline_code(commit[:12])} is not in its repository")
        try:
            # With all zeros git makes it only if it is not there: nobody's branch is moved.
            await git.run(*arguments, commit, "0" * len(commit))
        except GitFailed as exc:
            if "exists; cannot create" in exc.said:
                raise Unreadable(f"there is a branch in the way of {inline_code(tree.branch, 100)}") from exc
            # The directory is not there, so this branch is nobody's yet; and git has waited for longer than any takes.
            if not await in_thread(_unlock, ground.repository.common, tree.reference):
                raise
            await git.run(*arguments, commit, "0" * len(commit))
    return commit


def _unlock(common: Path, reference: str) -> bool:
    """Take away a lock on one of our branches that a git which was killed has left."""
    lock = common / f"{reference}.lock"
    with suppress(FileNotFoundError):
        if time.time() - lock.lstat().st_mtime > _STALE:
            lock.unlink()
            return True
    return False


async def _base_commit(ground: Ground, head: str) -> str:
    """Return where the branch and its base part; the tip of the branch, where that can't be told."""
    tree = ground.tree
    try:
        base = (await in_thread(find_base, ground.repository, tree.base, tree.remote))[1]
    except Unreadable:
        return head
    if base == head:
        return head
    async with writing(ground.repository, head, tree.repository, index="none", trusted=tree.trusted) as git:
        found = await ground.inherit(git).run("merge-base", base, head, codes=(0, 1, 128))
    return found.data.decode().strip() or head


# --- one that is there ------------------------------------------------------------------------------------------------


def _check_ours(ground: Ground) -> None:
    """Make sure that a directory that is there is the work tree, by one of the two files that say so."""
    known = (ground.place.private / "HEAD").is_file() or (ground.tree.directory / ".git").is_file()
    if not known:
        name = inline_code(str(ground.tree.directory), 200)
        raise Unreadable(f"{name} has files that belong to no work tree: move them away")


async def complete(ground: Ground, head: str) -> None:
    """Have the repository and a work tree whose directory is there know of each other again; no file is touched.

    Args:
        head: the commit that is taken to be checked out, where nothing says which one is.

    Raises:
        Unreadable: the directory is no work tree.
    """
    place = ground.place
    await in_thread(_check_ours, ground)
    await in_thread(_describe, ground, head)
    await in_thread(admin.write_pointer, ground.tree.directory, place.private)
    # We hold the work tree's lock, so no git of ours is putting an index there.
    await in_thread(release_index, place.private)
    # What is staged in it is the agent's, and never replaced.
    if await in_thread((place.private / "index").exists):
        return
    with suppress(Unreadable):
        checked_out = await in_thread(head_of, place)
        head = checked_out or head
    async with writing(place, head, place.root, index="none", trusted=ground.tree.trusted) as git:
        ground.inherit(git)
        await git.run("read-tree", head)
        await git.run("update-index", "-q", "--refresh", codes=(0, 1))
        await git.put_index()


async def rescue(ground: Ground) -> tuple[str, ...]:
    """Keep what only the repository knows of a work tree whose directory is gone; return the references for it.

    Raises:
        Unreadable: it can't be kept.
    """
    place = ground.place
    try:
        head = await in_thread(head_of, place)
    except Unreadable:
        return ()  # as a kill leaves it, before anybody could work in it
    if head is None:
        return ()
    has_index = await in_thread((place.private / "index").exists)
    async with writing(place, head, ground.tree.repository) as git:
        ground.inherit(git)
        try:
            # Without an index nothing was staged: a kill came before it was put there, or while it was all taken away.
            staged = await tree_of_index(git, head) if has_index else None
        except GitFailed as exc:
            # As in the middle of a merge: what its parts were is in commits.
            log.warning("work_tree.index_unreadable", directory=str(ground.tree.directory), reason=exc.said)
            staged = None
        if staged is not None:
            return (await keep(git, ground.tree, staged, [head], "What was staged when its directory was deleted"),)
        if not await is_reachable(git, head):
            return (await keep(git, ground.tree, None, [head], ""),)
    return ()


# --- one that is not there --------------------------------------------------------------------------------------------


async def _check_out(ground: Ground, head: str) -> tuple[str, ...]:
    """Check the files of a commit out beside the directory, and give it its name; return what is to be known."""
    tree = ground.tree
    path = tree.beside(f"making-{secrets.token_hex(4)}")
    place = replace(ground.place, root=path.absolute())
    try:
        await in_thread(path.mkdir)
        await in_thread(admin.write_pointer, path, place.private)
        async with writing(place, head, path, index="none", trusted=tree.trusted) as git:
            ground.inherit(git)
            await git.run("read-tree", "-m", "-u", head)
            await git.put_index()
        notes = await in_thread(_notes, path, tree.trusted)
        # Last: whoever finds a directory of this name may take it for complete.
        await in_thread(path.rename, tree.directory)
    except GitFailed as exc:
        # Git does not always say why it could not write.
        if "No space left" in exc.said or await in_thread(_is_full, path):
            raise Unreadable("the disk is full") from exc
        if await in_thread(_is_partial, place.common):
            raise Unreadable(PARTIAL) from exc
        raise
    finally:
        # Whatever went wrong: a disk that is full gets its room back. What takes too long goes the next time.
        with anyio.move_on_after(5, shield=True), suppress(Unreadable):
            await clear(path)
    if tree.trusted:
        await _post_checkout(ground, head)
    return notes


def _is_full(path: Path) -> bool:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize < _ROOM or (found.f_files > 0 and found.f_favail == 0)


def _is_partial(common: Path) -> bool:
    return any((common / "objects/pack").glob("*.promisor"))


def _notes(path: Path, trusted: bool) -> tuple[str, ...]:
    notes = [SUBMODULES] if (path / ".gitmodules").is_file() else []
    attributes = path / ".gitattributes"
    if not trusted and attributes.is_file() and not attributes.is_symlink():
        with attributes.open("rb") as file:
            notes += [FILTERED] if b"filter=" in file.read(_ATTRIBUTES) else []
    return tuple(notes)


async def _post_checkout(ground: Ground, head: str) -> None:
    place = ground.place
    async with writing(place, head, ground.tree.directory, trusted=True) as git:
        hook = ("hook", "run", "--ignore-missing", "post-checkout", "--", "0" * len(head), head, "1")
        try:
            # The work tree is there and complete, whatever a hook makes of it.
            await git.run(*hook)
        except GitFailed as exc:
            log.warning("work_tree.hook_failed", directory=str(ground.tree.directory), said=exc.said)
