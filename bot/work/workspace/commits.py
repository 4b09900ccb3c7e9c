"""Commits all that changed in a thread's work tree, on its branch (W4).

The commit is made in git's directory of ours from a copy of the index; then, under git's own lock, first the index is
put in place and then the branch is moved: killed between the two, the changes are staged, and nothing is lost. The
mutable state is what `bot.work.workspace.journal` has.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from bot.reply.sanitise import inline_code
from bot.work.files.inbox import WEFT
from bot.work.workspace.git import GitFailed
from bot.work.workspace.journal import (
    Entry,
    IndexLock,
    Refused,
    begin,
    check_unlocked,
    described,
    lock_of,
    read_index,
)
from bot.work.workspace.keeping import AUTHOR
from bot.work.workspace.recovery import recover_merges
from bot.work.workspace.repository import Repository
from bot.work.workspace.standing import (
    EVERYTHING,
    MOST_OUTPUT,
    Standing,
    check_branch,
    check_filters,
    check_index,
    counts,
    end_merge,
    explained,
    full_message,
    identity,
    look_at,
    new_files,
    standing_of,
    tip_of,
)
from bot.work.workspace.worktrees import WorkTree, disk_problem, repository_of
from bot.work.workspace.writing import Writer, writing

log = structlog.get_logger(__name__)

LIMIT = 60.0
"""Seconds for a commit or a merge; callers wait for no longer."""

CHANGE_LIMIT = 30.0
"""Seconds of it in which the index and the branch are changed, which no caller's patience cuts off."""

_TRIES = 3


class _Moved(Exception):
    """Somebody changed the work tree's index or branch meanwhile."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit, and how much it changed; ``left_out``: repositories inside of the work tree, which are not in it."""

    id: str
    files: int
    added: int
    removed: int
    left_out: tuple[str, ...] = ()


async def commit(tree: WorkTree, message: str, asked_by: str, *, journals: Path) -> Committed:
    """Commit everything that changed in a work tree, new files with it, on the branch of its thread.

    Args:
        asked_by: the name of who asked for it, for the last line of the message.
        journals: the directory in which a bot that is killed finds what it was about to do.

    Raises:
        Refused: it can't be done as things are.
        Unreadable: git can't do it.
    """
    repository = await repository_of(tree)
    async with lock_of(repository):
        # First what a kill cut off: its locks would be in our way, and its files look like changes.
        await recover_merges(journals, repository)
        for _ in range(_TRIES):
            with suppress(_Moved), explained():
                if tree.trusted:
                    return await _commit_with_hooks(tree, repository, full_message(message, asked_by))
                return await _commit(tree, repository, full_message(message, asked_by), journals)
    raise Refused("somebody else is using git there right now: try again in a moment")


def _look(branch: str, repository: Repository) -> tuple[Standing, bytes]:
    """Return where a work tree is, and its index."""
    standing = standing_of(repository)
    check_branch(standing, branch)
    check_unlocked(repository)
    return standing, read_index(repository)


async def _commit(tree: WorkTree, repository: Repository, message: bytes, journals: Path) -> Committed:
    standing, index = await look_at(partial(_look, tree.branch), repository)
    head, ref = standing.head, f"refs/heads/{tree.branch}"
    if head is None:
        raise Refused(f"the branch {inline_code(tree.branch)} is gone")
    async with writing(repository, head, repository.root) as git:
        if await tip_of(git, ref) != head:
            raise _Moved
        left_out = await _take_everything(git, head)
        made = (await git.run("write-tree")).data.decode().strip()
        before = (await git.run("rev-parse", f"{head}^{{tree}}")).data.decode().strip()
        # The end of a merge is a commit even if it changes no file.
        if made == before and not standing.merging:
            raise Refused(_nothing(left_out))
        parents = [word for parent in (head, *standing.merging.split()) for word in ("-p", parent)]
        done = await git.run("commit-tree", made, *parents, given=message, variables=await identity(git))
        new = done.data.decode().strip()
        lock = IndexLock.planned(repository)
        entry = Entry(
            "commit", str(repository.common), ref, head, new, tree.branch, (described(lock),), standing.merging
        )
        # Whatever the caller's patience: half of it would be left for the next start to take back.
        with anyio.CancelScope(shield=True):
            await _put(git, entry, lock, index, journals)
        size = await counts(git, before, made)
        log.info("work.committed", commit=new, files=size.files)
        return Committed(new, size.files, size.added, size.removed, left_out)


def _nothing(left_out: Sequence[str]) -> str:
    if not left_out:
        return "there is nothing to commit"
    return f"there is nothing to commit: {inline_code(left_out[0])} is a repository of its own"


async def _take_everything(git: Writer, head: str) -> tuple[str, ...]:
    """Have our index show the work tree; return the repositories in it, which it leaves out.

    Not by ``git add``, which has a look at submodules by a git that obeys their configuration.
    """
    await check_index(git)
    await git.run("update-index", "-q", "--refresh", codes=(0, 1))
    shape = ("-z", "--name-status", "--no-renames", "--ignore-submodules=dirty")
    listed = await git.run("diff-files", *shape, *EVERYTHING, most=MOST_OUTPUT)
    if listed.cut:
        raise Refused("too much has changed: ask the agent to commit")
    words = listed.data.split(b"\0")
    changed = dict(zip(words[1::2], words[::2], strict=False))
    new = await new_files(git)
    gone = [name for name, how in changed.items() if how == b"D"]
    there = [name for name, how in changed.items() if how != b"D"] + [name for name in new if name[-1:] != b"/"]
    await check_filters(git, there)
    # Apart: what is gone may be behind a link by now, where git looks for nothing.
    # Removals first, and with `--replace`: a file may have taken the place of a directory, or the other way round.
    for names, how in ((gone, ("--force-remove",)), (there, ("--add", "--replace"))):
        if names:
            await git.run("update-index", "-z", *how, "--stdin", given=b"\0".join(names) + b"\0")
    # What is ours may have been staged with everything else.
    ours = await git.run("diff-index", "-z", "--cached", "--name-only", "--diff-filter=A", head, "--", WEFT)
    if ours.data:
        await git.run("update-index", "-z", "--force-remove", "--stdin", given=ours.data)
    return tuple(name.decode(errors="replace") for name in new if name[-1:] == b"/")


async def _put(git: Writer, entry: Entry, lock: IndexLock, index: bytes, journals: Path) -> None:
    """Put our index in place and move the branch, if both are still what they were.

    Raises:
        _Moved: they are not.
    """
    journal = await begin(journals, entry)
    git.inherited = (journal.fd,)
    try:
        with anyio.fail_after(CHANGE_LIMIT):
            # Index before branch: killed in between, the changes are staged. The other way round they would look undone
            # (W4).
            await anyio.to_thread.run_sync(_exchange, git, lock, index)
            # Git compares: the branch is moved only if it is still where it was.
            await git.run("update-ref", "--no-deref", entry.ref, entry.new, entry.old)
            await anyio.to_thread.run_sync(end_merge, lock.repository, entry.merging)
    except GitFailed as exc:
        if await tip_of(git, entry.ref) not in (entry.old, entry.new):
            raise _Moved from exc
        raise
    except OSError as exc:
        raise disk_problem(exc) from exc
    finally:
        git.inherited = ()
        try:
            await anyio.to_thread.run_sync(lock.release)
        except OSError:
            log.exception("lock.not_released", directory=str(lock.repository.root))
            # The journal goes after the lock, or nothing would say whose a lock is that stays.
            journal.leave()  # the next start has another try
        else:
            await anyio.to_thread.run_sync(journal.end)


def _exchange(git: Writer, lock: IndexLock, index: bytes) -> None:
    lock.take()
    # Compared under the lock: before that, somebody's git could still change it.
    if read_index(lock.repository) != index:
        raise _Moved
    lock.place(git.directory / "index")


# --- a repository that is trusted -------------------------------------------------------------------------------------


async def _commit_with_hooks(tree: WorkTree, repository: Repository, message: bytes) -> Committed:
    """Commit as a person would, with the repository's hooks and filters."""
    standing, _ = await look_at(partial(_look, tree.branch), repository)
    async with writing(repository, None, repository.root, trusted=True) as git:
        await check_index(git)
        head = (await git.run("rev-parse", "--verify", "HEAD")).data.decode().strip()
        left_out = [name.decode(errors="replace") for name in await new_files(git) if name[-1:] == b"/"]
        without = [f":(exclude,top,literal){name.rstrip('/')}" for name in left_out]
        await git.run("add", "--all", *EVERYTHING, *without)
        staged = await git.run("diff-index", "--cached", "--quiet", head, codes=(0, 1))
        if staged.code == 0 and not standing.merging:
            raise Refused(_nothing(left_out))
        # Only where nobody is configured in any way that git knows.
        known = await git.run("config", "user.email", codes=range(256))
        who = {} if known.code == 0 else AUTHOR
        await git.run("commit", "--quiet", "--cleanup=verbatim", "--file=-", given=message, variables=who)
        new = (await git.run("rev-parse", "--verify", "HEAD")).data.decode().strip()
        size = await counts(git, head, new)
        return Committed(new, size.files, size.added, size.removed, tuple(left_out))
