"""Merges a thread's branch into the branch that it was made from (W4).

A merge is tried on objects alone. Then the work trees that have the base checked out are locked and brought along, and
last the base is moved, if it is still where it was: a base that is checked out is never left looking changed. What a
kill cuts off is brought to one end by `bot.work.workspace.recovery`. There is no state but the locks of repositories.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from bot.reply.sanitise import inline_code
from bot.work.workspace.checkouts import at_checkout, changes_between, check_movable, checkouts_of, move
from bot.work.workspace.git import GitFailed
from bot.work.workspace.journal import Entry, IndexLock, Journal, Refused, begin, described, lock_of
from bot.work.workspace.recovery import recover_merges, settle
from bot.work.workspace.repository import Repository, Unreadable
from bot.work.workspace.standing import (
    Counts,
    check_branch,
    check_index,
    counts,
    explained,
    full_message,
    identity,
    is_clean,
    look_at,
    named,
    standing_of,
    tip_of,
)
from bot.work.workspace.trial import Conflict, Conflicts, check_tree, try_merge
from bot.work.workspace.worktrees import SQUASHED, WorkTree, disk_problem, repository_of
from bot.work.workspace.writing import Writer, writing

log = structlog.get_logger(__name__)

__all__ = ["Conflict", "Conflicts", "Merged", "conflicts", "merge", "resolve_prompt"]

CHANGE_LIMIT = 120.0
"""Seconds for the files of work trees to come along; they are not left half-way for a caller's patience."""

_TRIES = 3
_NAMED = 50


class _Moved(Exception):
    """The base was moved by somebody else meanwhile."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A merge.

    Attributes:
        id: the commit that the base is at now.
        commits: how many of the branch came into the base.
        checkouts: the directories that have the base checked out, and were brought along.
    """

    id: str
    base: str
    commits: int
    files: int
    added: int
    removed: int
    checkouts: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class _Tips:
    """The commits that are merged; ``ours`` is what git is told of the base (see `_ours`)."""

    base: str
    branch: str
    ours: str
    commits: int


async def merge(
    tree: WorkTree,
    message: str,
    asked_by: str,
    *,
    squash: bool = False,
    journals: Path,
    base_commit: str | None = None,
) -> Merged:
    """Merge a thread's branch into its base, and bring along what has the base checked out.

    It is always a commit of its own, never a fast-forward: one commit to look at, and one to revert.

    Args:
        asked_by: the name of who asked for it, for the last line of the message.
        squash: the base gets one commit with everything, and not the branch's own.
        journals: the directory in which a bot that is killed finds what it was about to do.
        base_commit: where the branch was made from, by which a base that was rewritten is known.

    Raises:
        Conflicts: files are in the way.
        Refused: it can't be done as things are.
        Unreadable: git can't do it.
    """
    repository = await repository_of(tree)
    async with lock_of(repository):
        await recover_merges(journals, repository)
        for _ in range(_TRIES):
            with suppress(_Moved), explained():
                text = full_message(message, asked_by)
                return await _merge(tree, repository, text, squash, journals, base_commit)
    raise Refused(f"{inline_code(tree.base)} is being changed by somebody else: try again in a moment")


async def conflicts(tree: WorkTree) -> Conflicts | None:
    """Return what is in the way of a merge; None: nothing is, or there is nothing to merge.

    Raises:
        Refused, Unreadable: that can't be told.
    """
    repository = await repository_of(tree)
    standing = await look_at(standing_of, repository)
    async with writing(repository, standing.head, repository.root, index="none", trusted=tree.trusted) as git:
        # Without the lock: it changes nothing, and may be asked while somebody merges.
        tips = await _tips(git, tree, None)
        tried = await try_merge(git, tips.ours, tips.branch, tree.base) if tips.commits else None
        found = tried.files if tried is not None else ()
        return Conflicts(tree.branch, tree.base, tips.base, found) if found else None


def resolve_prompt(found: Conflicts) -> str:
    """Return what an agent is asked so that the merge goes through."""
    files = "\n".join(f"- {one.path!r}: {one.kind}" for one in found.files[:_NAMED])
    more = f"\n- and {len(found.files) - _NAMED:,} more" if len(found.files) > _NAMED else ""
    # The files last: where this is cut, it is their names that are missing.
    return (
        f"Your branch {found.branch!r} can't be merged into {found.base!r}, since both have changed the same files. "
        f"Please run `git merge {found.base}` in your work tree, resolve the conflicts so that both changes keep their "
        "meaning, run the tests, and commit the merge. Don't rebase, and don't push. The files:\n"
        f"{files}{more}"
    )


async def _merge(
    tree: WorkTree, repository: Repository, message: bytes, squash: bool, journals: Path, base_commit: str | None
) -> Merged:
    head = await _check_clean(tree, repository)
    ref = f"refs/heads/{tree.base}"
    async with writing(repository, head, repository.root, index="none", trusted=tree.trusted) as git:
        tips = await _tips(git, tree, base_commit)
        if not tips.commits:
            raise Refused(f"there is nothing to merge: {inline_code(tree.base)} has everything already")
        tried = await try_merge(git, tips.ours, tips.branch, tree.base)
        if tried.files:
            raise Conflicts(tree.branch, tree.base, tips.base, tried.files)
        await check_tree(git, tried.tree)
        size = await counts(git, tips.base, tried.tree)
        # A merge that changes no file is made all the same: by it git knows that the branch is in.
        if not size.files and squash:
            raise Refused(f"there is nothing to merge: {inline_code(tree.base)} has the same already")
        parents = (tips.base,) if squash else (tips.base, tips.branch)
        new = await _make_commit(git, tried.tree, parents, message)
        # With the commit that the base was at: from any other one, git does not move it.
        moves = [f"update {ref} {new} {tips.base}"]
        # Made in the same second of the same words, the squash can be the very commit that the branch has.
        if squash and new != tips.branch:
            mark = await _make_commit(git, tried.tree, (new, tips.branch), b"Squashed\n")
            moves.append(f"update {SQUASHED}/{tree.branch} {mark}")
        checkouts = await look_at(partial(checkouts_of, ref, tree.directory.parent), repository)
        locks = [IndexLock.planned(checkout) for checkout in checkouts]
        marks = tuple(described(lock) for lock in locks)
        common = str(repository.common)
        entry = Entry("merge", common, ref, tips.base, new, tree.branch, marks, trusted=tree.trusted)
        await _bring(git, entry, locks, moves, journals)
    log.info("work.merged", commit=new, base=tree.base, squash=squash, checkouts=len(checkouts))
    return _merged(tree, new, tips, size, checkouts)


async def _check_clean(tree: WorkTree, repository: Repository) -> str:
    """Return the commit of a work tree that is on its branch and has nothing that is in no commit.

    Raises:
        Refused: it is not.
    """
    standing = await look_at(standing_of, repository)
    check_branch(standing, tree.branch)
    if standing.operation is not None:
        raise Refused(f"{standing.operation} is in progress there: ask the agent to finish it, or use `/commit`")
    if standing.head is None:
        raise Refused(f"the branch {inline_code(tree.branch)} is gone")
    async with writing(repository, standing.head, repository.root, trusted=tree.trusted) as git:
        await check_index(git)
        if not await is_clean(git):
            raise Refused("there are uncommitted changes: use `/commit` first")
    return standing.head


def _merged(tree: WorkTree, new: str, tips: _Tips, size: Counts, checkouts: Sequence[Repository]) -> Merged:
    places = tuple(checkout.root for checkout in checkouts)
    return Merged(new, tree.base, tips.commits, size.files, size.added, size.removed, places)


async def _make_commit(git: Writer, tree: str, parents: Sequence[str], message: bytes) -> str:
    words = [word for parent in parents for word in ("-p", parent)]
    done = await git.run("commit-tree", tree, *words, given=message, variables=await identity(git))
    return done.data.decode().strip()


# --- what is merged ---------------------------------------------------------------------------------------------------


async def _tips(git: Writer, tree: WorkTree, base_commit: str | None) -> _Tips:
    """Return the commits that are to be merged.

    Raises:
        Refused: there is no base to merge into, or it is another one than it was.
    """
    base_name, branch_name = inline_code(tree.base), inline_code(tree.branch)
    if tree.base == tree.branch:
        raise Refused(f"{base_name} is the branch of this thread itself: there is nothing to merge it into")
    base, branch = await tip_of(git, f"refs/heads/{tree.base}"), await tip_of(git, f"refs/heads/{tree.branch}")
    if branch is None:
        raise Refused(f"the branch {branch_name} is gone")
    if base is None:
        raise Refused(await _without_base(git, tree.base))
    if base_commit and not await _leads_to(git, base_commit, base) and await _leads_to(git, base_commit, branch):
        again = inline_code(f"git rebase --onto {tree.base} {base_commit[:12]}", 200)
        raise Refused(
            f"{base_name} was rewritten since this branch was made from it, and a merge would bring back what was "
            f"removed from it: ask the agent to run {again}"
        )
    if (await git.run("merge-base", base, branch, codes=(0, 1))).code == 1:
        raise Refused(f"{branch_name} and {base_name} have no history in common")
    ours, since = await _ours(git, tree, base, branch)
    count = await git.run("rev-list", "--count", branch, "--not", base, *since)
    return _Tips(base, branch, ours, int(count.data))


async def _without_base(git: Writer, base: str) -> str:
    listed = await git.run("for-each-ref", "--format=%(refname:short)", f"refs/remotes/*/{base}", most=10_000)
    remote = listed.data.decode(errors="replace").split("\n")[0]
    if not remote:
        return f"the branch {inline_code(base)} is gone: name another one as the project's `base`"
    make = inline_code(f"git branch {base} {remote}", 200)
    return f"there is no branch {inline_code(base)} here, only {inline_code(remote)}: make one with {make}"


async def _leads_to(git: Writer, ancestor: str, commit: str) -> bool:
    # Of a commit that was thrown away, git says that it is none.
    return (await git.run("merge-base", "--is-ancestor", ancestor, commit, codes=(0, 1, 128))).code == 0


async def _ours(git: Writer, tree: WorkTree, base: str, branch: str) -> tuple[str, list[str]]:
    """Return what git is told of the base, and which commits of the branch are in there already under another id.

    A branch that was squashed into the base and went on has its earlier commits in both, without git knowing: it would
    find that both have changed the same lines. So it is given a base that has them, which is not kept.
    """
    mark = await tip_of(git, f"{SQUASHED}/{tree.branch}")
    if mark is None:
        return base, []
    found = (await git.run("rev-parse", f"{mark}^@")).data.decode().split()
    if len(found) != 2:
        return base, []
    squashed, tip = found
    if not (await _leads_to(git, squashed, base) and await _leads_to(git, tip, branch)):
        return base, []
    return await _make_commit(git, f"{base}^{{tree}}", (base, tip), b"Trial\n"), [tip]


# --- what changes -----------------------------------------------------------------------------------------------------


async def _bring(git: Writer, entry: Entry, locks: Sequence[IndexLock], moves: Sequence[str], journals: Path) -> None:
    """Bring work trees and then the base to the new commit, or leave all as it was.

    Raises:
        Refused: a work tree is in the way.
        _Moved: the base is not where it was.
    """
    # Not for a caller's patience: files that are half there would have to be taken back.
    with anyio.CancelScope(shield=True):
        journal = await begin(journals, entry)
        try:
            with anyio.fail_after(CHANGE_LIMIT):
                await _change(git, entry, locks, moves, journal)
        except BaseException as exc:
            await _take_back(journal, locks, exc)
            if isinstance(exc, GitFailed) and await tip_of(git, entry.ref) not in (entry.old, entry.new):
                raise _Moved from exc
            if isinstance(exc, OSError):
                raise disk_problem(exc) from exc
            raise
        await anyio.to_thread.run_sync(journal.end)


async def _take_back(journal: Journal, locks: Sequence[IndexLock], why: BaseException) -> None:
    """Bring all to where it was after a change that failed.

    Raises:
        Unreadable: that failed as well; the journal and the locks stay, for the next merge or start.
    """
    try:
        await settle(journal)
    except (OSError, Unreadable) as exc:
        log.warning("merge.half_way", error=str(exc))
        if not journal.touched:
            return  # no file was changed: what stood against the merge says more
        places = named([str(lock.repository.root) for lock in locks])
        raise Unreadable(
            f"it failed half-way, and what changed in {places} could not be taken back yet: see that there is room on "
            f"the disk, and ask again ({why})"
        ) from exc


async def _change(
    git: Writer, entry: Entry, locks: Sequence[IndexLock], moves: Sequence[str], journal: Journal
) -> None:
    async with AsyncExitStack() as stack:
        changes = await changes_between(git, entry.old, entry.new) if locks else []
        theirs = []
        for lock in locks:
            await anyio.to_thread.run_sync(lock.take)
        # Only with the locks: what somebody committed there just now would look like changes.
        if await tip_of(git, entry.ref) != entry.old:
            raise _Moved
        for lock in locks:
            one = await stack.enter_async_context(at_checkout(lock, entry.old, journal))
            await check_movable(one, lock.repository, (entry.old, entry.new), changes)
            theirs.append(one)
        git.inherited = (journal.fd,)
        if locks:
            # Written before the first file changes: only then has a recovery anything to take back.
            await anyio.to_thread.run_sync(journal.touch)
        # Files before branch: the branch says whether a recovery goes on or back (W4).
        for one in theirs:
            await move(one, entry.old, entry.new)
        # One transaction: the base and the note of a squash move together, or neither does.
        given = "\n".join(("start", *moves, "prepare", "commit", ""))
        await git.run("update-ref", "--no-deref", "--stdin", given=given.encode())
        for lock, one in zip(locks, theirs, strict=True):
            await anyio.to_thread.run_sync(lock.place, one.directory / "index")
            await anyio.to_thread.run_sync(lock.release)
