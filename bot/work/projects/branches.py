"""Reads by git what work trees look like: after turns, for `/status`, and for lists (W3, W4).

A repository on a slow disk holds up nothing but itself: each has its own few places, and each look its time. The
mutable state is these places, and what was last read of each tree.
"""

from __future__ import annotations

from pathlib import Path

import anyio
import structlog
from anyio.abc import TaskGroup

from bot.recent import RecentMap
from bot.reply.sanitise import inline_code
from bot.work.projects.branch_look import BranchLook, branch_of, branch_words, size_of
from bot.work.projects.service import Projects
from bot.work.running_turn import RunningTurn
from bot.work.workspace.git import Comparison, compare
from bot.work.workspace.repository import Unreadable
from bot.work.workspace.tree_state import look
from bot.work.workspace.worktrees import TreeState, WorkTree, repository_of

log = structlog.get_logger(__name__)

FOOTER_LIMIT = 10.0
"""Seconds after which a footer stays without its branch."""

AT_ONCE = 2
"""Looks at work trees of one repository at the same time: each can take a processor."""

_REMEMBERED, _REPOSITORIES = 1_000, 200


class Branches:
    """Looks at work trees.

    Args:
        tasks: owns the looks that nobody waits for.
    """

    def __init__(self, tasks: TaskGroup, projects: Projects) -> None:
        self._tasks, self._projects = tasks, projects
        self._last: RecentMap[int, TreeState] = RecentMap(_REMEMBERED)
        self._places: RecentMap[Path, anyio.Semaphore] = RecentMap(_REPOSITORIES)

    def begin(self, running: RunningTurn) -> None:
        """Begin to look at the work tree of a turn that is ending, once; without one there is nothing to look at."""
        tree = self._projects.tree_of(running.thread_id)
        if running.branch is None and tree is not None and running.session is not None:
            running.branch = BranchLook()
            # Not counted among the steps of the work: the end of the bot does not wait for git.
            self._tasks.start_soon(self._look, running.thread_id, tree, running.branch, name="look at a branch")

    def renew(self, thread_id: int, tree: WorkTree) -> None:
        """Look again, after something was done to a work tree, for whoever asks how it is."""
        self._tasks.start_soon(self._look, thread_id, tree, BranchLook(), name="look at a branch")

    async def _look(self, thread_id: int, tree: WorkTree, look: BranchLook) -> None:
        words = ""
        try:
            words = branch_words(await self.state(thread_id, tree, FOOTER_LIMIT))
        except (TimeoutError, Unreadable, OSError) as exc:
            log.info("branch.unknown", thread=thread_id, reason=str(exc) or "git took too long")
        except Exception:
            # The task group is everybody's.
            log.exception("branch.unknown", thread=thread_id)
        look.settle(words)

    async def state(self, thread_id: int, tree: WorkTree, limit: float) -> TreeState:
        """Return what a thread's work tree looks like.

        Raises:
            TimeoutError: git, or those before it, took longer than ``limit`` seconds.
            Unreadable, OSError: git can't say.
        """
        with anyio.fail_after(limit):
            async with self.place_at(tree):
                state = await look(tree)
        self._last.put(thread_id, state)
        return state

    async def changes(self, tree: WorkTree) -> tuple[TreeState, Comparison]:
        """Return what a work tree looks like, and all that differs from the commit where it and its base part.

        Raises:
            Unreadable, OSError: git can't say.
        """
        async with self.place_at(tree):
            state = await look(tree)
            if state.missing:
                raise Unreadable("its work tree is not there; your next message brings it back")
            repository = await repository_of(tree)
            return state, await compare(repository, state.head, tree.directory, state.merge_base)

    def place_at(self, tree: WorkTree) -> anyio.Semaphore:
        """Return the few places that there are for looks at work trees of one repository."""
        places = self._places.get(tree.repository) or anyio.Semaphore(AT_ONCE)
        # Put anew: those that are used stay, or two would each count to `AT_ONCE`.
        self._places.put(tree.repository, places)
        return places

    def describe(self, thread_id: int) -> list[str]:
        """Return the line of `/status` on a thread's work tree, as it was last seen; none if it has none."""
        tree, last = self._projects.tree_of(thread_id), self._last.get(thread_id)
        if tree is None:
            return []
        if last is None or last.missing:
            return [f"Branch: {inline_code(tree.branch, 60)}"]
        return [f"Branch: {' · '.join(part for part in (branch_of(last), size_of(last)) if part)}"]

    def forget(self, thread_id: int) -> None:
        """Forget a thread that is gone."""
        self._last.pop(thread_id, None)
