"""Keeps work trees from piling up: those that are merged, clean and old are removed (W5).

Also goes on with what a kill cut off, and notes when each was last used. What is not safe stays, however old it is, and
so does what somebody works in. There is no state beside the rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import anyio
import structlog

from bot.reply.port import Body
from bot.reply.sanitise import inline_code
from bot.work.editors import Editors
from bot.work.ending import TurnEnd
from bot.work.ports import Answer
from bot.work.projects.removal import Removal, goes_anyway
from bot.work.projects.service import READY, REMOVING, Projects
from bot.work.running_turn import RunningTurn
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from bot.work.turn_events import TurnListener
from pool.pool import ConnectionPool
from pool.store import KeptWorkTree

log = structlog.get_logger(__name__)

FIRST, EVERY = 60.0, 3600.0
"""Seconds until the first pass, which leaves the start to those who wait for it, and between two."""

DAY = 24 * 3600
KEEP_DAYS = 14
"""For a project that is not in the settings any more."""

REMOVED = (
    "-# 🌿 This thread's work tree was removed: {branch} is merged into {base}, and nobody used it for {days} days. "
    "Your next message brings it back."
)


@dataclass(eq=False)
class Upkeep(TurnListener):
    """Removes what nobody needs.

    Args:
        wall: seconds since the epoch.
    """

    projects: Projects
    removal: Removal
    settings: ThreadSettings
    editors: Editors
    tracker: TaskTracker
    pool: ConnectionPool
    wall: Callable[[], float] = time.time

    def ended(self, running: RunningTurn, end: TurnEnd) -> None:
        row = self.projects.row_of(running.thread_id)
        if row is not None and row.state == READY:
            used = replace(row, used_at=int(self.wall()))
            self.tracker.begin(self.projects.keep, used, name=f"work tree of {row.thread_id} used")

    def archived(self, thread_id: int) -> None:
        """End the idle agent of a thread that somebody has archived; its work tree stays, and its session is kept."""
        # Of threads without a tree an agent that can't resume would lose the conversation, and nothing be gained.
        if self.projects.row_of(thread_id) is not None:
            self.pool.evict(thread_id)

    async def run(self) -> None:
        """Make a pass now and then; never returns."""
        await anyio.sleep(FIRST)
        while True:
            try:
                await self.pass_once()
            except Exception:  # a maintenance pass: a fault in it must not end the bot
                log.exception("upkeep.failed")
            await anyio.sleep(EVERY)

    async def pass_once(self) -> None:
        """Remove what may go, one after the other: nobody waits for it."""
        # A copy, as each removal changes the rows.
        for row in list(self.projects.rows.values()):
            if row.state == REMOVING:
                # As it was begun: what is nowhere else goes only if somebody said so.
                await self._remove(row, anyway=goes_anyway(row))
            elif row.state == READY and self._is_old(row):
                await self._remove(row, anyway=False)

    def _is_old(self, row: KeptWorkTree) -> bool:
        # One that nobody ever used is as old as it is.
        return self.wall() - max(row.used_at, row.made_at) >= self._keep_days(row) * DAY

    def _keep_days(self, row: KeptWorkTree) -> int:
        project = self.settings.agents.projects.get(row.project)
        return KEEP_DAYS if project is None else project.keep_days

    async def _remove(self, row: KeptWorkTree, *, anyway: bool) -> None:
        home, tree = row.thread_id, self.projects.tree(row)
        done = await self.removal.remove(home, tree, anyway=anyway)
        if isinstance(done, Answer) or done.unsafe:
            why = done.text if isinstance(done, Answer) else done.unsafe
            log.info("worktree.kept", thread=home, project=row.project, reason=why)
            return
        if row.state != REMOVING:
            days = self._keep_days(row)
            told = REMOVED.format(branch=inline_code(row.branch, 60), base=inline_code(row.base, 60), days=days)
            # Of a thread that is gone nobody is left.
            for thread_id in self.projects.users_of(home):
                self.editors.of(thread_id).say(Body(told))
