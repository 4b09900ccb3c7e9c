"""Removes work trees, and nothing that is nowhere else (W4, W5).

What is to be lost is looked for, and kept under a reference if people want the work tree to go all the same. Then the
directory gets another name, is looked at once more there, where nobody finds it to write into it, and gets a third name
that says that it may go. Whatever comes between, `bot.work.workspace.making` and the next removal know by these names
what to do: put it back, or go on. There is no state.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import anyio
import structlog

from bot.reply.sanitise import inline_code
from bot.work.workspace import admin
from bot.work.workspace.git import HERE, LIST, GitFailed, Output
from bot.work.workspace.keeping import AUTHOR, is_reachable, keep, tree_of_files, tree_of_index
from bot.work.workspace.making import Ground, complete, rescue, restore, survey, sweep
from bot.work.workspace.repository import Unreadable, leads_on, open_file
from bot.work.workspace.tree_state import Position, find_position, is_merged
from bot.work.workspace.worktrees import KEPT, SQUASHED, NotSafe, WorkTree, checked_out_in, in_thread, locked
from bot.work.workspace.writing import Writer, writing

_ENTRIES = 128 * 2**20  # bytes of what an index lists
_STASHES = 2**20  # bytes
_SHORT = 100

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Removed:
    """What is left of a work tree.

    Attributes:
        kept: the names of references that keep what would have been lost.
        branch_gone: its branch went with it, as its base has all that was on it.
    """

    kept: tuple[str, ...] = ()
    branch_gone: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look for something to be lost has found.

    Attributes:
        tip: of the branch; None: it is not there.
        merged: its base has all of it.
        commits: what is nowhere else of its commits.
        reasons: what is nowhere else at all, but can be kept.
        dirty: there is something that is in no commit.
    """

    tip: str | None
    merged: bool
    commits: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    dirty: bool = False


async def remove(tree: WorkTree, *, anyway: bool = False) -> Removed:
    """Remove a work tree, and its branch if its base has all of it; one that is not there is none.

    Where it is given up, it goes on at the next time, unless the work tree was made again since.

    Args:
        anyway: also one that has what is nowhere else; that is kept under `KEPT`.

    Raises:
        NotSafe: something would be lost.
        Unreadable: it can't be removed, and why.
    """
    async with locked(tree) as lock:
        ground = await in_thread(survey, tree, lock)
        position = await in_thread(find_position, tree)
        head = next((one for one in (position.head, *position.bases) if one), None)
        if position.missing and head is not None and await in_thread(tree.directory.is_dir):
            # Somebody took away what the repository knew of it: its files may still be nowhere else.
            await complete(ground, head)
            position = await in_thread(find_position, tree)
        if position.missing:
            finding = await _judge_branch(ground, position, anyway)
            kept = await rescue(ground)
        else:
            finding, kept = await _take_away(ground, position, anyway)
        kept += await _forget(ground, finding)
        branch_gone = finding.tip is not None and finding.merged and await _delete_branch(ground, finding.tip)
        # Last, as it may take long: what is left then goes with the next removal, or the next work tree here.
        await sweep(tree)
        with suppress(OSError):
            # While it is held: whoever waits with this file open sees that it has gone, and makes another
            # (`worktrees`).
            tree.beside("lock").unlink()
    log.info("work_tree.removed", directory=str(tree.directory), kept=kept, branch_gone=branch_gone)
    return Removed(kept, branch_gone)


async def _take_away(ground: Ground, position: Position, anyway: bool) -> tuple[Finding, tuple[str, ...]]:
    """Have the directory go by the name of what is to be deleted, with everything kept."""
    tree = ground.tree
    # Before anything is moved: most refusals come from this look.
    async with _git(ground, position, staged=True) as git:
        known = await _judge(git, ground, position, anyway)
    aside, going = tree.beside("leaving"), tree.beside(f"removing-{secrets.token_hex(4)}")
    try:
        await in_thread(tree.directory.rename, aside)
        there = await in_thread(find_position, tree, aside)
        async with _git(ground, there) as git:
            # Nobody finds it there. What was committed on a branch meanwhile stays with the branch.
            same = known if there.head == position.head else None
            finding = await _judge(git, ground, there, anyway, same)
            kept = await _keep(git, ground, there, finding) if finding.reasons else ()
        await in_thread(aside.rename, going)
    except BaseException:
        # Given up or refused, the directory goes back to where its agent looks for it.
        with anyio.CancelScope(shield=True):
            await in_thread(restore, tree)
        raise
    return finding, kept


# --- what would be lost -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def _git(ground: Ground, position: Position, *, staged: bool = False) -> AsyncIterator[Writer]:
    """Give a git for a work tree; ``staged``: with its index, where agents may have hidden what they changed."""
    place, head, trusted = position.place, position.head, ground.tree.trusted
    if position.missing:
        async with writing(place, head, place.root, index="none", trusted=trusted) as git:
            yield ground.inherit(git)
        return
    async with writing(place, head, place.root, index="copy" if staged else "none", trusted=trusted) as git:
        ground.inherit(git)
        if not staged:
            git.environment["GIT_INDEX_FILE"] = str(git.directory / "index")
            if head is not None:
                await git.run("read-tree", head)
        yield git


async def _judge(
    git: Writer, ground: Ground, position: Position, anyway: bool, known: Finding | None = None
) -> Finding:
    """Look for what would be lost with a work tree that is there; ``known``: what was found of its commits before.

    Raises:
        NotSafe: there is something, and ``anyway`` was not said or does not help.
    """
    commits = known or await _judge_commits(git, ground, position)
    reasons = list(commits.commits)
    await _refuse_repositories(git, position)
    dirty = await _dirty(git)
    if position.busy:
        reasons.append(f"a {position.busy} is in progress")
    if dirty:
        reasons.append(f"{dirty:,} {'file is' if dirty == 1 else 'files are'} not committed")
    if stashed := await in_thread(_stashed, ground):
        reasons.append(f"{stashed:,} {'entry' if stashed == 1 else 'entries'} in the stash")
    if await in_thread(_has_modules, ground):
        reasons.append("it has repositories of submodules")
    if reasons and not anyway:
        raise NotSafe(*reasons)
    return replace(commits, reasons=tuple(reasons), dirty=bool(dirty))


async def _judge_branch(ground: Ground, position: Position, anyway: bool) -> Finding:
    """As `_judge`, where there is only the branch, which stays if its base has not all of it."""
    async with _git(ground, position) as git:
        finding = await _judge_commits(git, ground, position)
    if finding.commits and not anyway:
        raise NotSafe(*finding.commits)
    return finding


async def _judge_commits(git: Writer, ground: Ground, position: Position) -> Finding:
    tree, reasons = ground.tree, []
    # What is checked out there may be any branch of the team's: only one that a row says is ours ever goes.
    found = await git.run("for-each-ref", "--format=%(objectname)", tree.reference) if tree.branch else Output(b"")
    tip = found.data.decode().strip() or None
    merged = tip is None or await is_merged(git, tree, replace(position, head=tip))
    if tip is not None and not merged:
        base = inline_code(tree.base, _SHORT)
        bases = [f"^{one}" for one in position.bases]
        number = int((await git.run("rev-list", "--count", tip, *bases, "--")).data)
        reasons.append(f"{number:,} {'commit is' if number == 1 else 'commits are'} not in {base}")
    if position.head is not None and position.branch is None and not await is_reachable(git, position.head):
        reasons.append("it has commits on no branch")
    return Finding(tip, merged, tuple(reasons))


async def _dirty(git: Writer) -> int:
    """Return how many files are in no commit, by a look at each of them."""
    shape = ("--porcelain", "-z", "--no-renames", "--untracked-files=all", "--ignore-submodules=dirty")
    found = (await git.run("status", *shape, *HERE, most=LIST)).data
    entries = [entry for entry in found.split(b"\0") if entry]
    inner = [entry[3:-1] for entry in entries if entry.startswith(b"??") and entry.endswith(b"/")]
    if inner:
        raise _own_repository(inner[0])
    return len(entries)


async def _refuse_repositories(git: Writer, position: Position) -> None:
    """Refuse what has a repository of its own in it: what is only there, no commit of ours can keep."""
    listed = await git.run("ls-files", "-s", "-z", most=_ENTRIES)
    if listed.cut:
        raise Unreadable("it has more files than I can look through")
    root = os.fsencode(position.place.root)
    for entry in listed.data.split(b"\0"):
        if entry.startswith(b"160000 "):
            path = entry.split(b"\t", 1)[1]
            if await in_thread(os.path.lexists, os.path.join(root, path, b".git")):  # noqa: PTH118  names are bytes
                raise _own_repository(path)


def _own_repository(path: bytes) -> NotSafe:
    name = inline_code(path.decode(errors="replace"), _SHORT)
    return NotSafe(f"{name} in it is a repository of its own, which I can't keep: move it away", final=True)


def _stashed(ground: Ground) -> int:
    """Return how many entries of the stash, which all work trees of a repository share, were made on the branch."""
    made = re.compile(rb"\t(?:WIP on|On) " + re.escape(os.fsencode(ground.tree.branch)) + rb": ")
    with suppress(OSError), open_file(ground.place.common, ("logs", "refs", "stash")) as file:
        return len(made.findall(file.read(_STASHES)))
    return 0


def _has_modules(ground: Ground) -> bool:
    modules = ground.place.private / "modules"
    return modules.is_dir() and any(modules.iterdir())


# --- what is kept -----------------------------------------------------------------------------------------------------


async def _keep(git: Writer, ground: Ground, position: Position, finding: Finding) -> tuple[str, ...]:
    """Keep all that is in no commit, as files and as staged, and the commits that are on no branch."""
    # A branch without a commit has to be kept upon some other one.
    head = next((one for one in (position.head, finding.tip, *position.bases) if one), None)
    if head is None:
        raise NotSafe("there is no commit to keep its changes on", final=True)
    parents = [head, *await _staged(ground, position, head)]
    for commit in await in_thread(_pointers, ground):
        if commit not in parents and await _is_commit(git, commit) and not await is_reachable(git, commit):
            parents.append(commit)
    files = await tree_of_files(git) if finding.dirty else None
    if files is None and len(parents) == 1 and await is_reachable(git, head):
        return ()
    return (await keep(git, ground.tree, files, parents, "What was in a work tree that was removed"),)


async def _staged(ground: Ground, position: Position, head: str) -> list[str]:
    """Return a commit of what is staged, if there is something that its commit has not."""
    async with _git(ground, position, staged=True) as git:
        try:
            staged = await tree_of_index(git, head)
        except GitFailed:
            return []  # in the middle of a merge: what its parts were is in commits
        if staged is None:
            return []
        made = await git.run("commit-tree", staged, "-p", head, "-m", "What was staged", variables=AUTHOR)
        return [made.data.decode().strip()]


async def _is_commit(git: Writer, commit: str) -> bool:
    found = await git.run("cat-file", "-t", commit, codes=(0, 128))
    return found.data == b"commit\n"


def _pointers(ground: Ground) -> list[str]:
    found: list[str] = []
    for name in admin.POINTERS:
        with suppress(OSError), open_file(ground.place.private, (name,)) as file:
            found += re.findall(r"(?m)^[0-9a-f]{40,64}", file.read(4_096).decode(errors="replace"))
    return found


# --- what the repository knows ----------------------------------------------------------------------------------------


async def _forget(ground: Ground, finding: Finding) -> tuple[str, ...]:
    """Have the repository know nothing of a work tree any more; return what keeps the tip of a branch that goes."""
    kept: tuple[str, ...] = ()
    tree = ground.tree
    if finding.tip is not None and finding.merged:
        async with writing(ground.repository, finding.tip, tree.repository, index="none") as git:
            ground.inherit(git)
            # Its base has the same content in other commits: who looks for these finds them still.
            others = await git.run("for-each-ref", "--format=%(refname)", "--contains", finding.tip, *_LASTING)
            if not set(others.data.decode().split()) - {tree.reference}:
                kept = (await keep(git, tree, None, [finding.tip], ""),)
    if await in_thread(_has_modules, ground):
        await in_thread(admin.set_modules_aside, ground.place.common, ground.name)
    await in_thread(admin.forget, ground.place.common, ground.name)
    return kept


_LASTING = ("refs/heads", "refs/remotes", "refs/tags", KEPT)


async def _delete_branch(ground: Ground, tip: str) -> bool:
    """Delete a branch that is what it was when it was looked at, and that nobody else has checked out."""
    tree = ground.tree
    busy = await in_thread(checked_out_in, ground.place, tree.reference)
    if busy is not None or await in_thread(leads_on, ground.repository, tree.reference):
        return False
    async with writing(ground.repository, tip, tree.repository, index="none", trusted=tree.trusted) as git:
        ground.inherit(git)
        try:
            # Git compares: one that has moved since stays.
            await git.run("update-ref", "--no-deref", "-d", tree.reference, tip)
            await git.run("update-ref", "--no-deref", "-d", f"{SQUASHED}/{tree.branch}")
        except GitFailed as exc:
            log.warning("work_tree.branch_stays", branch=tree.branch, said=exc.said)
            return False
    await in_thread(admin.forget_log, ground.place.common, tree.reference)
    return True
