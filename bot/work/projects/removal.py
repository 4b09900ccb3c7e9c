"""Removes work trees: when somebody asks for it, and when they are done with and old (W4, W5).

Nothing that is in no commit, or in no branch but this, goes without a person who may say so; and then git keeps it
under a reference of ours. The row says "removing" from before the first file goes until the last one has gone, so that
the next run goes on where a kill came. Nothing is kept here.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace

import anyio
import structlog

from bot.work.ports import Answer
from bot.work.projects.actions import NO_GIT, TreeActions
from bot.work.projects.service import Projects
from bot.work.workspace import removal
from bot.work.workspace.repository import Unreadable
from bot.work.workspace.tree_state import look
from bot.work.workspace.worktrees import NotSafe, TreeState, WorkTree
from pool.pool import ConnectionPool

log = structlog.get_logger(__name__)

LIMIT = 60.0
"""Seconds for the end of the agents and for git; what a disk still has to do then is done by the next pass."""

REMOVING = "removing"
"""The state of a row whose work tree is going."""

STILL_THERE = Answer("Its agent could not be ended, so the work tree stays. Try again later.", accepted=False)
SLOW = Answer("This takes longer than it should. I go on with it in the next hour.", accepted=False)


@dataclass(frozen=True, slots=True)
class Removed:
    """A work tree that is gone.

    Attributes:
        unsafe: it is not, as something in it is nowhere else.
        kept: the references under which git keeps what was in no branch.
        branch_gone: its branch, which was merged, is gone with it.
    """

    unsafe: str = ""
    kept: tuple[str, ...] = ()
    branch_gone: bool = False


@dataclass(frozen=True, slots=True)
class Removal:
    """Takes work trees away."""

    projects: Projects
    actions: TreeActions
    pool: ConnectionPool

    async def remove(self, home: int | None, tree: WorkTree, *, anyway: bool = False) -> Removed | Answer:
        """Remove a work tree and end the agents in it; an `Answer` says why nothing was done.

        Args:
            home: the thread that it was made for; None: nobody knows, and so nobody works in it.
            anyway: also what is nowhere else; git keeps that under ``refs/weft/kept/``.
        """
        if home is not None and (hindrance := self.actions.hindrance(home)):
            return hindrance
        try:
            with anyio.fail_after(LIMIT):
                async with nullcontext() if home is None else self.projects.holding(home):
                    return await self._remove(home, tree, anyway=anyway)
        except TimeoutError:
            return SLOW
        except Unreadable as exc:
            return Answer(f"Nothing was removed: {exc}", accepted=False)
        except OSError:
            log.exception("worktree.not_removed", thread=home)
            return NO_GIT

    async def _remove(self, home: int | None, tree: WorkTree, *, anyway: bool) -> Removed | Answer:
        # 1. Is it safe? Asked before any agent is ended for nothing; git asks again at the very end.
        if not anyway and (unsafe := why_unsafe(await look(tree))):
            return Removed(unsafe)
        # No await from here to the end of the agents: a turn that began in between would lose its directory.
        if home is not None and (hindrance := self.actions.hindrance(home)):
            return hindrance
        # `end` tells them in its first step.
        if home is not None and not await self.pool.end(*self.projects.users_of(home)):
            return STILL_THERE
        row = self.projects.rows.get(home) if home is not None else None
        # 2. What comes now waits in `prepare` for the lock, and makes the tree anew.
        if row is not None:
            await self.projects.keep(replace(row, state=REMOVING))
        try:
            gone = await removal.remove(tree, anyway=anyway)
        except NotSafe as exc:
            if row is not None:
                await self.projects.keep(replace(row, state="ready"))
            return Removed(str(exc))
        if row is not None:
            await self.projects.drop(row.thread_id)
        log.info("worktree.removed", thread=home, project=row.project if row else None, anyway=anyway)
        return Removed(kept=gone.kept, branch_gone=gone.branch_gone)


def why_unsafe(state: TreeState) -> str:
    """Return what would be nowhere else, as a sentence; "" if nothing would."""
    found = []
    if state.dirty:
        found.append("something in it is not committed")
    if state.ahead and not state.merged:
        commits = "1 commit is" if state.ahead == 1 else f"{state.ahead:,} commits are"
        found.append(f"{commits} not merged")
    return f"{' and '.join(found)}." if found else ""
