"""Removes work trees: when somebody asks for it, and when they are done with and old (W4, W5).

Nothing that is in no commit, or in no branch but this, goes without a person who may say so; and then git keeps it
under a reference of ours. The row says "removing" from before the first file goes until the last one has gone, so that
the next run goes on where a kill came. Nothing is kept here.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace

import anyio
import orjson
import structlog

from bot.work.ports import Answer
from bot.work.projects.actions import NO_GIT, TreeActions
from bot.work.projects.service import READY, REMOVING, Projects
from bot.work.workspace import removal
from bot.work.workspace.repository import Unreadable
from bot.work.workspace.tree_state import look
from bot.work.workspace.worktrees import NotSafe, TreeState, WorkTree
from pool.pool import ConnectionPool
from pool.store import KeptWorkTree

log = structlog.get_logger(__name__)

LIMIT = 60.0
"""Seconds for the end of the agents and for git; what a disk still has to do then is done by the next pass."""

GONE_ALREADY = Answer("It is removed already.", accepted=False)
STILL_THERE = Answer("I couldn't stop its agent, so the work tree stays. Try again later.", accepted=False)
SLOW = Answer("This is taking longer than it should. I'll finish it within the hour.", accepted=False)
TOO_SLOW = Answer(f"Git took longer than {LIMIT:g} s, so nothing was removed. Try again later.", accepted=False)

_ANYWAY = "anyway"


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
        known = home in self.projects.rows
        try:
            with anyio.fail_after(LIMIT):
                async with nullcontext() if home is None else self.projects.holding(home):
                    # A second press waited for the first one.
                    if known and home not in self.projects.rows:
                        return GONE_ALREADY
                    return await self._remove(home, tree, anyway=anyway)
        except TimeoutError:
            row = self.projects.rows.get(home) if home is not None else None
            # Once the row says so it goes on, with the next pass or the next run.
            return SLOW if row is not None and row.state == REMOVING else TOO_SLOW
        except Unreadable as exc:
            return Answer(f"Nothing was removed: {exc}", accepted=False)
        except OSError:
            log.exception("worktree.not_removed", thread=home)
            return NO_GIT

    async def _remove(self, home: int | None, tree: WorkTree, *, anyway: bool) -> Removed | Answer:
        # 1. Is it safe? Asked before any agent is ended for nothing; git asks again at the very end.
        before = self.projects.rows.get(home) if home is not None else None
        going = before is not None and before.state == REMOVING
        # Of one that was going already, git alone knows what is left.
        if not (anyway or going) and (unsafe := why_unsafe(await look(tree))):
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
            await self.projects.keep(replace(row, state=REMOVING, payload=_noted(row, anyway=anyway)))
        try:
            gone = await removal.remove(tree, anyway=anyway)
        except NotSafe as exc:
            if row is not None:
                await self.projects.keep(replace(row, state=READY, payload=_noted(row, anyway=False)))
            return Removed(str(exc))
        if row is not None:
            # Last: as long as there is a row, what a kill leaves is found and finished.
            await self.projects.drop(row.thread_id)
        log.info("worktree.removed", thread=home, project=row.project if row else None, anyway=anyway)
        return Removed(kept=gone.kept, branch_gone=gone.branch_gone)


def goes_anyway(row: KeptWorkTree) -> bool:
    """Return whether somebody said of a work tree that is going that it may go although it is not safe."""
    try:
        return orjson.loads(row.payload).get(_ANYWAY) is True
    except (orjson.JSONDecodeError, AttributeError):
        return False


def _noted(row: KeptWorkTree, *, anyway: bool) -> str:
    try:
        known = dict(orjson.loads(row.payload))
    except (orjson.JSONDecodeError, TypeError, ValueError):
        known = {}
    return orjson.dumps(known | {_ANYWAY: anyway}).decode()


def why_unsafe(state: TreeState) -> str:
    """Return what would be nowhere else, as a sentence; "" if nothing would."""
    found = []
    if state.dirty:
        found.append("something in it is not committed")
    if state.ahead and not state.merged:
        commits = "1 commit is" if state.ahead == 1 else f"{state.ahead:,} commits are"
        found.append(f"{commits} not merged")
    return f"{' and '.join(found)}." if found else ""
