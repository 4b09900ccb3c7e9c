"""Tells where a thread's work tree stands (W3): its branch, what changed, and whether its base has all of it.

Nothing in the work tree or the repository changes by it. There is no state.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import anyio.to_thread

from bot.work.workspace.admin import BUSY
from bot.work.workspace.git import HERE, LIST, MOST_NEW, Git, GitFailed, borrowed, new_files
from bot.work.workspace.repository import Repository, Unreadable, branch_of, commit_of, head_of
from bot.work.workspace.worktrees import (
    SQUASHED,
    TreeState,
    WorkTree,
    admin_of,
    find_base,
    find_project,
    read_in_thread,
)
from bot.work.workspace.writing import writing

LIMIT = 20.0
"""Seconds that a look may take."""

_BINARY = 8_000
"""Bytes at the beginning of a file in which git looks for what tells that it is no text."""


@dataclass(frozen=True, slots=True)
class Position:
    """What can be told of a work tree without git.

    Attributes:
        place: the repository as the work tree sees it; of one that is not there, as the project does.
        branch: the full name of what is checked out.
        bases: the tips of the base, as the repository has it first, and then as its remote had it.
    """

    place: Repository
    missing: bool
    branch: str | None
    head: str | None
    bases: tuple[str, ...]
    busy: str = ""


async def look(tree: WorkTree) -> TreeState:
    """Return where a work tree stands; of one that is not there, where its branch stands.

    Raises:
        Unreadable: that can't be told, or takes too long.
    """
    try:
        with anyio.fail_after(LIMIT):
            position = await read_in_thread(find_position, tree)
            if position.head is None:
                return _state(position)
            async with reading(tree, position) as git:
                return await look_with(git, tree, position)
    except TimeoutError as exc:
        raise Unreadable(f"git took longer than {LIMIT:g} s") from exc


@asynccontextmanager
async def reading(tree: WorkTree, position: Position) -> AsyncIterator[Git]:
    """Give a git that looks at a work tree."""
    place = position.place
    if tree.trusted:
        async with writing(place, position.head, place.root, trusted=True) as git:
            # A look must not take the lock that the agent's own git may want.
            git.environment["GIT_OPTIONAL_LOCKS"] = "0"
            yield git
    else:
        async with borrowed(place, position.head, place.root) as git:
            yield git


def find_position(tree: WorkTree, directory: Path | None = None) -> Position:
    """Return what can be told without git; ``directory``: where the work tree is for now. It blocks.

    Raises:
        Unreadable: the repository can't be read.
    """
    project = find_project(tree.repository)
    place = Repository(directory or tree.directory, admin_of(tree, project.common), project.common, ours=True)
    bases: list[str] = []
    # Without a base it can still be told what is in no commit.
    with suppress(Unreadable):
        bases.append(find_base(project, tree.base, tree.remote)[1])
        fetched = commit_of(project, f"refs/remotes/{tree.remote}/{tree.base}")
        bases += [fetched] if fetched is not None and fetched not in bases else []
    if not place.root.is_dir() or not (place.private / "HEAD").is_file():
        head = commit_of(project, tree.reference) if tree.branch else None
        return Position(project, True, tree.reference if head else None, head, tuple(bases))
    busy = next((what for name, what in BUSY.items() if os.path.lexists(place.private / name)), "")
    return Position(place, False, branch_of(place), head_of(place), tuple(bases), busy)


def _state(position: Position) -> TreeState:
    return TreeState(
        missing=position.missing,
        branch=position.branch and position.branch.removeprefix("refs/heads/"),
        detached=position.branch is None and position.head is not None,
        head=position.head,
        busy=position.busy,
    )


async def look_with(git: Git, tree: WorkTree, position: Position) -> TreeState:
    """Return where a work tree stands, by a git that is there already; it has a commit checked out."""
    state, head = _state(position), position.head
    assert head is not None
    dirty, new = (False, []) if position.missing else await _uncommitted(git)
    state = replace(state, dirty=dirty)
    base = position.bases[0] if position.bases else None
    if base is not None:
        ahead, behind, parted = await _apart(git, base, head)
        merged = ahead == 0 or await is_merged(git, tree, position)
        state = replace(state, ahead=ahead, behind=behind, merge_base=parted, merged=merged)
    files, added, removed = await _count(git, state, new, position.place.root)
    return replace(state, files=files, added=added, removed=removed)


async def _uncommitted(git: Git) -> tuple[bool, list[bytes]]:
    """Return whether there is something in no commit, and the names of new files."""
    shape = ("--porcelain", "-z", "--no-renames", "--untracked-files=all", "--ignore-submodules=dirty")
    found = (await git.run("status", *shape, *HERE, most=LIST)).data
    entries = [entry for entry in found.split(b"\0") if entry]
    return bool(entries), [entry[3:] for entry in entries if entry.startswith(b"?? ")]


async def _apart(git: Git, base: str, head: str) -> tuple[int, int, str | None]:
    """Return how many commits only the one has, how many only the other has, and where they part."""
    if base == head:
        return 0, 0, base
    counted = await git.run("rev-list", "--left-right", "--count", f"{base}...{head}", "--")
    behind, ahead = (int(number) for number in counted.data.split())
    if not ahead or not behind:
        return ahead, behind, base if ahead else head
    parted = await git.run("merge-base", base, head, codes=(0, 1))
    return ahead, behind, parted.data.decode().strip() or None


async def is_merged(git: Git, tree: WorkTree, position: Position) -> bool:
    """Return whether everything that is committed in a work tree is in its base, be it as other commits."""
    head = position.head
    assert head is not None
    for base in position.bases:
        if (await git.run("merge-base", "--is-ancestor", head, base, codes=(0, 1))).code == 0:
            return True
        if await _was_squashed(git, tree, position, base):
            return True
        # Where merging it would change nothing, all of it is there.
        try:
            found = await git.run("merge-tree", "--write-tree", "--no-messages", base, head, codes=(0, 1))
            same = await git.run("rev-parse", f"{base}^{{tree}}")
        except GitFailed:
            continue  # histories without anything in common
        if found.code == 0 and found.data.strip() == same.data.strip():
            return True
    return False


async def _was_squashed(git: Git, tree: WorkTree, position: Position, base: str) -> bool:
    marked = await read_in_thread(commit_of, position.place, f"{SQUASHED}/{tree.branch}")
    if marked is None:
        return False
    found = await git.run("rev-list", "--parents", "--max-count=1", marked, "--", codes=(0, 128))
    parents = found.data.decode().split()[1:]
    # A branch that went on since has commits that the squash has not.
    if len(parents) != 2 or parents[1] != position.head:
        return False
    return (await git.run("merge-base", "--is-ancestor", parents[0], base, codes=(0, 1))).code == 0


async def _count(git: Git, state: TreeState, new: Sequence[bytes], root: Path) -> tuple[int, int, int]:
    """Return how many files differ from where it parted from its base, and the lines of text among them."""
    since = state.merge_base or state.head
    assert since is not None
    if not state.dirty and since == state.head:
        return 0, 0, 0
    shape = ("-z", "--numstat", "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty")
    until = [] if state.dirty else [str(state.head)]
    listed = await git.run("diff", *shape, since, *until, *HERE, most=LIST)
    lines = [record.split(b"\t")[:2] for record in listed.data.split(b"\0") if record.count(b"\t") >= 2]
    # The last record of a list that was cut may be half a number.
    added, removed = (sum(int(line[at]) for line in lines if line[at].isdigit()) for at in (0, 1))
    more = await anyio.to_thread.run_sync(_lines_of, root, new, abandon_on_cancel=True) if new else 0
    return len(lines) + len(new), added + more, removed


def _lines_of(root: Path, names: Sequence[bytes]) -> int:
    """Return the lines of new text files, within the bounds that `new_files` has."""
    lines = 0
    for name, mode in new_files(root, names[:MOST_NEW])[0]:
        if stat.S_ISLNK(mode):
            lines += 1
            continue
        with suppress(OSError):
            # It may have become a link since it was listed, or a pipe, which would keep us waiting.
            fd = os.open(os.path.join(os.fsencode(root), name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # noqa: PTH118
            with os.fdopen(fd, "rb") as file:
                data = file.read() if stat.S_ISREG(os.fstat(fd).st_mode) else b""
            if b"\0" not in data[:_BINARY]:
                lines += data.count(b"\n") + (data[-1:] not in (b"", b"\n"))
    return lines
