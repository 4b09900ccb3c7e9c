"""Which work trees there are: those that rows speak of, those that lie on the disk, and how each looks (W4).

Who may see which of them is for `bot.chat` to say. The mutable state is the sizes that were measured last.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from bot.agents.model import Project
from bot.recent import RecentMap
from bot.reply.sanitise import inline_code
from bot.work.projects.branches import Branches
from bot.work.projects.service import MAKING, REMOVING, Projects
from bot.work.workspace.repository import Unreadable
from bot.work.workspace.worktrees import TreeState, WorkTree
from pool.store import KeptWorkTree

log = structlog.get_logger(__name__)

LOOK_LIMIT = 5.0
"""Seconds for all looks at the trees of one page."""

MEASURE_LIMIT, MOST_ENTRIES = 2.0, 200_000
"""Seconds, and files and directories, after which a size is said to be larger than what was counted."""

_REMEMBERED, _FRESH = 200, 600.0
_MOST_STRAYS = 200


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """A work tree.

    Attributes:
        key: what stands for it in menus and buttons.
        home: what it is kept by, as `ThreadSettings.home_of`: no thread's id, where made for a copy; None: nobody
            knows.
        users: the threads that work in it; of those that are gone, the one that it was made for.
        project: its name; "" if it is in none that is known.
        tree: what git is asked about.
        branch: that it was made with; "" if only git could say.
        used_at: when something was last done in it, in seconds since the epoch.
        row: there is a row of it.
    """

    key: str
    home: int | None
    users: tuple[int, ...]
    project: str
    directory: Path
    tree: WorkTree
    branch: str
    used_at: int
    row: KeptWorkTree | None


@dataclass(frozen=True, slots=True)
class TreeLook:
    """How a work tree looks now; ``state`` None: git does not say, and ``why`` not. ``size`` None: not known."""

    state: TreeState | None
    why: str = ""
    size: int | None = None
    larger: bool = False


class TreeList:
    """Finds work trees, and looks at them."""

    def __init__(self, projects: Projects, branches: Branches) -> None:
        self._projects, self._branches = projects, branches
        self._sizes: RecentMap[Path, tuple[float, int, bool]] = RecentMap(_REMEMBERED)

    async def all(self) -> list[TreeEntry]:
        """Return all work trees, those that were used last first."""
        rows = list(self._projects.rows.values())
        known = {Path(row.directory) for row in rows}
        entries = [self._of_row(row) for row in rows]
        # On a disk that hangs, the list goes without what only that knows.
        with anyio.move_on_after(LOOK_LIMIT):
            for project in self._projects.settings.agents.projects.values():
                found = await anyio.to_thread.run_sync(_directories, project.worktrees, abandon_on_cancel=True)
                entries += [self._stray(project, one, at) for one, at in found if one not in known]
        return sorted(entries, key=lambda one: (-one.used_at, -(one.home or 0), one.key))

    async def find(self, key: str) -> TreeEntry | None:
        """Return the work tree for which a key stands, if there is one still."""
        # Looked up anew: a menu or a button may be older than what is there.
        return next((one for one in await self.all() if one.key == key), None)

    def _of_row(self, row: KeptWorkTree) -> TreeEntry:
        directory, home = Path(row.directory), row.thread_id
        users = tuple(self._projects.users_of(home)) or (home,)
        tree = self._projects.tree(row)
        return TreeEntry(
            _key(directory), home, users, row.project, directory, tree, row.branch, row.used_at or row.made_at, row
        )

    def _stray(self, project: Project, directory: Path, changed_at: float) -> TreeEntry:
        home = int(directory.name) if directory.name.isdecimal() else None
        tree = WorkTree(project.path, directory, "", project.base, project.hooks)
        users = () if home is None else tuple(self._projects.users_of(home)) or (home,)
        return TreeEntry(_key(directory), home, users, project.name, directory, tree, "", int(changed_at), None)

    async def looks(self, entries: Sequence[TreeEntry]) -> list[TreeLook]:
        """Return how each looks, in their order, in little more than `LOOK_LIMIT` seconds."""
        found = [TreeLook(None, "git does not answer")] * len(entries)

        async def look(number: int, entry: TreeEntry) -> None:
            found[number] = await self.look(entry)

        async with anyio.create_task_group() as tasks:
            for number, entry in enumerate(entries):
                tasks.start_soon(look, number, entry)
        return found

    async def look(self, entry: TreeEntry) -> TreeLook:
        """Return how one looks."""
        try:
            state = await self._branches.state(next(iter(entry.users), 0), entry.tree, LOOK_LIMIT)
        except TimeoutError:
            return TreeLook(None, "git does not answer")
        except (Unreadable, OSError) as exc:
            return await self._measured(entry, TreeLook(None, str(exc)))
        return TreeLook(state) if state.missing else await self._measured(entry, TreeLook(state))

    async def _measured(self, entry: TreeEntry, look: TreeLook) -> TreeLook:
        known, now = self._sizes.get(entry.directory), time.monotonic()
        if known is None or now - known[0] > _FRESH:
            with anyio.move_on_after(2 * MEASURE_LIMIT):
                size, larger = await anyio.to_thread.run_sync(
                    _size, entry.directory, now + MEASURE_LIMIT, abandon_on_cancel=True
                )
                known = (now, size, larger)
                self._sizes.put(entry.directory, known)
        return look if known is None else replace(look, size=known[1], larger=known[2])


def _key(directory: Path) -> str:
    # A path may have any length and any characters, a button's custom_id a hundred.
    return hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]


def _directories(root: Path) -> list[tuple[Path, float]]:
    try:
        with os.scandir(root) as found:
            # What begins with a dot is what we keep beside the trees (`WorkTree.beside`).
            there = [one for one in found if one.is_dir(follow_symlinks=False) and not one.name.startswith(".")]
            return [(Path(one.path), one.stat(follow_symlinks=False).st_mtime) for one in there[:_MOST_STRAYS]]
    except OSError:
        return []


def _size(directory: Path, until: float) -> tuple[int, bool]:
    """Return the bytes on disk below a directory, links not followed; True: there is more than was counted."""
    size, waiting, entries = 0, [str(directory)], 0
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for one in found:
                    entries += 1
                    if one.is_dir(follow_symlinks=False):
                        waiting.append(one.path)
                    else:
                        size += one.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue  # it has just gone
        if entries > MOST_ENTRIES or time.monotonic() > until:
            return size, True
    return size, False


# --- as people read it (pure) ----------------------------------------------------------------------------------------


def entry_line(number: int, entry: TreeEntry, look: TreeLook, place: str, *, named: bool, now: float) -> str:
    """Return a line of the list.

    Args:
        place: where its thread is, as a link, or what is said of it.
        named: whoever reads it may know what the thread is called, of which the branch says something.
    """
    name = branch_name(entry, look, named=named)
    parts = [f"{number}. {name}", place, inline_code(entry.project or "?", 40), size_words(look)]
    parts += [f"<t:{entry.used_at}:R>" if 0 < entry.used_at <= now + 60 else "", "; ".join(state_words(entry, look))]
    return " · ".join(part for part in parts if part)


def branch_name(entry: TreeEntry, look: TreeLook, *, named: bool) -> str:
    """Return what a work tree is called in lists."""
    branch = entry.branch or (look.state.branch if look.state is not None and look.state.branch else "")
    if branch and not named:
        # The short id alone: what stands before it comes from the thread's title.
        head, _, short = branch.rpartition("-")
        branch = f"{head.split('/')[0]}/…-{short}" if head else "…"
    return inline_code(branch or entry.directory.name, 60)


def size_words(look: TreeLook) -> str:
    """Return how large it is: ``12 MB``, ``over 3.1 GB``; "" if nobody knows."""
    if look.size is None:
        return ""
    size = f"{look.size / 1e9:.1f} GB" if look.size >= 1e9 else f"{max(1, round(look.size / 1e6)):,} MB"
    return f"over {size}" if look.larger else size


def state_words(entry: TreeEntry, look: TreeLook) -> Iterator[str]:
    """Yield what is to be known before it is removed."""
    state = look.state
    if entry.row is None:
        yield "no thread has it"
    if entry.row is not None and entry.row.state == MAKING:
        yield "being made"
    if entry.row is not None and entry.row.state == REMOVING:
        yield "being removed"
    if state is None:
        yield look.why.rstrip(".")
        return
    if state.missing:
        yield "its directory is gone"
    if state.dirty:
        yield "not committed"
    if state.ahead and not state.merged:
        yield "1 commit not merged" if state.ahead == 1 else f"{state.ahead:,} commits not merged"
    if state.merged and not state.dirty and not state.missing:
        yield "merged"
