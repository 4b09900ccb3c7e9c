"""The work trees of threads: made and set up before an agent starts in them, and found again by every later run.

Git does what is done to a repository (`bot.work.workspace`); here is for which thread, when, and what the thread reads
about it. A row in the store says what a work tree is before it is there, and outlives its thread. The mutable state is
these rows, by the thread in whose directory the work tree is, and what is being done in which.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread
import structlog

from acp.command import CommandEnd, run_command
from acp.errors import AgentSpawnError, SpawnFailure
from bot.agents.model import Project
from bot.reply.port import MESSAGE_LIMIT, Body
from bot.reply.render import duration, last_lines
from bot.reply.sanitise import clip, code_block, inline_code, units
from bot.work.editors import Editors
from bot.work.thread_settings import ThreadSettings
from bot.work.workspace.branches import branch_name, taken_branches
from bot.work.workspace.making import make
from bot.work.workspace.removal import remove
from bot.work.workspace.repository import Unreadable
from bot.work.workspace.tree_state import look
from bot.work.workspace.worktrees import Made, WorkTree
from pool.launcher import LauncherByName
from pool.storage.durable import SessionStore
from pool.store import KeptWorkTree

MAKING, READY, REMOVING = "making", "ready", "removing"
"""The states of a work tree."""

RUNNING, DONE, FAILED = "running", "done", "failed"
"""The states of its set-up; "" if it has not begun."""

LOOK_LIMIT = 10.0
"""Seconds for the disk to say whether a work tree is there."""

STORE_LIMIT = 60.0
"""Seconds for the state file to take a row."""

AT_ONCE = 4
"""Work trees that are made at the same time: each of them writes all files of a repository."""

_LINES, _LINE_LIMIT, _OUTPUT_ROOM = 15, 200, 1_200
_COMMAND_LIMIT = 60

GONE = "the project {name} is no longer in weft.toml. Put it back and restart Weft, or go on in a new thread with /new"
MOVED = "this thread works on {old}, but {name} is {new} in weft.toml now. Put the path back, or go on in a new thread"
NOT_MADE = "the work tree on {name} could not be made: {why}"
MADE_ANEW = (
    "-# This thread's work tree was gone, so I recreated it from its branch {branch}. Uncommitted changes are lost."
)
NOT_SET_UP = "⚠️ Set-up failed: {command} {how}. The agent continues anyway and may fix it."
AGAIN = "-# I'll try it again the next time the agent starts."

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Branched:
    """A work tree that begins where that of a thread is.

    Attributes:
        directory: where it is, as the thread's agent sees it.
        left: the other one has something that is in no commit, and so not in this one.
    """

    directory: str
    left: bool


@dataclass(eq=False)
class Projects:
    """Sees to it that threads have their work trees.

    Args:
        launcher: says how a command is run in the directory of a thread; None: there are no projects.
        redact: takes secrets out of what commands say.

    Attributes:
        rows: of all work trees, by the thread in whose directory each is (`ThreadSettings.home_of`).
    """

    store: SessionStore
    settings: ThreadSettings
    editors: Editors
    launcher: LauncherByName | None
    redact: Callable[[str], str]
    wall: Callable[[], float] = time.time
    rows: dict[int, KeptWorkTree] = field(default_factory=dict)
    _doing: dict[int, str] = field(default_factory=dict)
    _locks: WeakValueDictionary[int, anyio.Lock] = field(default_factory=WeakValueDictionary)
    _makers: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(AT_ONCE))

    async def load(self) -> None:
        """Read which work trees there are, and make the directories for them; call it before anything starts."""
        self.rows = {row.thread_id: row for row in await self.store.work_trees()}
        for project in self.settings.agents.projects.values():
            if project.worktree:
                try:
                    with anyio.move_on_after(LOOK_LIMIT):
                        await anyio.to_thread.run_sync(_make_base, project.worktrees, abandon_on_cancel=True)
                except OSError as exc:
                    # Its threads try again, and say so; the others have nothing to do with it.
                    log.warning("worktrees.not_made", directory=str(project.worktrees), error=exc.strerror)

    # --- what others ask ---------------------------------------------------------------------------------------------

    def row_of(self, thread_id: int) -> KeptWorkTree | None:
        """Return what is kept of a thread's work tree; None: it has none, or none yet."""
        project = self.settings.project_of(thread_id)
        # The settings may have changed since it was made: what is shown of a thread is where its agent works.
        if project is None or not project.worktree:
            return None
        return self.rows.get(self.settings.home_of(thread_id))

    def tree_of(self, thread_id: int) -> WorkTree | None:
        """Return a thread's work tree, which may be missing on the disk; None: it has none, or none yet."""
        row = self.row_of(thread_id)
        return self.tree(row) if row is not None else None

    def tree(self, row: KeptWorkTree) -> WorkTree:
        """Return the work tree of a row, also where its project is gone from the settings."""
        project = self.settings.agents.projects.get(row.project)
        here = project if project is not None and str(project.path) == row.repository else None
        trusted, remote = (here.hooks, here.remote) if here is not None else (False, "origin")
        return WorkTree(Path(row.repository), Path(row.directory), row.branch, row.base, trusted, remote)

    def users_of(self, home: int) -> list[int]:
        """Return the threads that work in a work tree and are still there; one at most."""
        return self.settings.at_home(home)

    def doing(self, thread_id: int) -> str:
        """Return what is being done for a thread before its agent can start, as Discord Markdown; "" if nothing."""
        return self._doing.get(self.settings.home_of(thread_id), "")

    def busy(self, home: int) -> bool:
        """Return whether a work tree is being made or set up, or something else holds it."""
        lock = self._locks.get(home)
        return lock is not None and lock.locked()

    def prepared(self, thread_id: int) -> bool:
        """Return whether an agent may be started for a thread before anybody knows that it is going to be prompted.

        A work tree is made for a thread that is there, is called something, and has a prompt that may run.
        """
        project = self.settings.project_of(thread_id)
        return project is None or not project.worktree or self.settings.home_of(thread_id) in self.rows

    @asynccontextmanager
    async def holding(self, home: int) -> AsyncIterator[None]:
        """Keep everybody else from making, setting up or removing a work tree."""
        # The map holds it weakly: it lasts as long as somebody has it here.
        lock = self._locks.setdefault(home, anyio.Lock())
        async with lock:
            yield

    async def keep(self, row: KeptWorkTree) -> None:
        """Keep a row, in place of what was kept of its work tree."""
        # At once: whoever looks while it is being written must see it.
        self.rows[row.thread_id] = row
        with anyio.fail_after(STORE_LIMIT):
            await self.store.keep_work_tree(row)

    async def drop(self, home: int) -> None:
        """Forget a work tree that was removed."""
        self.rows.pop(home, None)
        with anyio.fail_after(STORE_LIMIT):
            await self.store.drop_work_tree(home)

    # --- before an agent starts --------------------------------------------------------------------------------------

    async def prepare(self, thread_id: int) -> None:
        """Make sure that a thread has its work tree, made and set up; bounded, and to be cancelled at any time.

        Raises:
            AgentSpawnError: it can't have it; the text is for people.
        """
        name = self.settings.project_name(thread_id)
        if name is None:
            return
        project = self.settings.project_of(thread_id)
        if project is None:
            raise _refused(GONE.format(name=name))
        if not project.worktree:
            return
        home = self.settings.home_of(thread_id)
        async with self.holding(home):
            try:
                row = await self._made(project, thread_id, home)
                if project.setup and row.setup != DONE:
                    await self._set_up(project, thread_id, row)
            except TimeoutError as exc:
                why = "the disk or the state file took too long to answer"
                raise AgentSpawnError(why, failure=SpawnFailure.OTHER) from exc
            finally:
                self._doing.pop(home, None)

    async def _made(self, project: Project, thread_id: int, home: int) -> KeptWorkTree:
        """Return the row of a work tree that is there."""
        row = self.rows.get(home)
        if row is not None and row.repository != str(project.path):
            # Another repository has no such branch; nor may this one's work be taken for it.
            raise _refused(MOVED.format(old=row.repository, name=project.name, new=project.path))
        if row is not None and row.state == READY and row.directory == str(project.worktrees / str(home)):
            with anyio.fail_after(LOOK_LIMIT):
                if await anyio.to_thread.run_sync(_is_there, Path(row.directory), abandon_on_cancel=True):
                    return row
        before = row
        if row is not None:
            # Its files come from its branch: what set it up is gone with the others.
            directory = str(project.worktrees / str(home))
            row = replace(row, state=MAKING, directory=directory, setup="", used_at=int(self.wall()))
        else:
            with anyio.fail_after(STORE_LIMIT):
                record = await self.store.thread(thread_id)
            row = await self._begun(project, home, (record.title if record is not None else None) or "")
        row, made = await self._make(project, row)
        if before is not None and not made.made:
            # Its files were there all the time.
            row = replace(row, setup=before.setup)
            await self.keep(row)
        notes = [f"-# {note}" for note in made.notes]
        if before is not None and before.state == READY and made.made:
            notes.insert(0, MADE_ANEW.format(branch=inline_code(row.branch, 100)))
        if notes:
            self.editors.of(thread_id).say(Body("\n".join(notes)))
        return row

    async def _begun(self, project: Project, home: int, title: str) -> KeptWorkTree:
        """Return the row of a work tree that is to be made; no await comes between this and its being kept."""
        try:
            taken = await taken_branches(project.path)
        except Unreadable as exc:
            raise _refused(NOT_MADE.format(name=project.name, why=exc)) from exc
        # No await from here to the row: of two threads, the other one sees this one's branch.
        taken |= {one.branch for one in self.rows.values() if one.repository == str(project.path)}
        branch, directory = branch_name(self.redact(title), home, taken), str(project.worktrees / str(home))
        now = int(self.wall())
        return KeptWorkTree(
            home, project.name, str(project.path), directory, branch, project.base, "", MAKING, "", now, now
        )

    async def _make(self, project: Project, row: KeptWorkTree, start: str | None = None) -> tuple[KeptWorkTree, Made]:
        """Have a work tree made, or made anew; return its row then. ``start``: where a new branch begins."""
        self._doing[row.thread_id] = "making a work tree"
        # Written down before it is there: whatever a kill leaves is found by the row.
        await self.keep(row)
        try:
            await anyio.to_thread.run_sync(_make_base, project.worktrees, abandon_on_cancel=True)
            async with self._makers:
                made = await make(self.tree(row), start=start)
        except Unreadable as exc:
            raise _refused(NOT_MADE.format(name=project.name, why=exc)) from exc
        except OSError as exc:
            raise _refused(NOT_MADE.format(name=project.name, why=exc.strerror or exc)) from exc
        row = replace(row, state=READY, base_commit=row.base_commit or made.base_commit)
        await self.keep(row)
        log.info("worktree.made", home=row.thread_id, project=project.name, branch=row.branch, again=made.again)
        return row, made

    # --- for copies of conversations ---------------------------------------------------------------------------------

    async def branch_off(self, thread_id: int, home: int, title: str) -> Branched:
        """Make a work tree that begins at the commit where that of a thread is; ``home``: an id that no thread has.

        Raises:
            AgentSpawnError: that can't be; the text is for people.
        """
        project, origin = self.settings.project_of(thread_id), self.tree_of(thread_id)
        if project is None or origin is None or self.launcher is None:
            raise _refused("its work tree is not there")
        try:
            state = await look(origin)
        except Unreadable as exc:
            raise _refused(NOT_MADE.format(name=project.name, why=exc)) from exc
        async with self.holding(home):
            try:
                await self._make(project, await self._begun(project, home, title), state.head)
            finally:
                self._doing.pop(home, None)
        return Branched(self.launcher.directory(thread_id, home), state.dirty)

    async def discard(self, home: int) -> None:
        """Remove a work tree that was made for a thread that is not to be; nothing that is in it is lost."""
        # Or a thread works in it after all.
        if home not in self.rows or self.users_of(home):
            return
        async with self.holding(home):
            try:
                await remove(self.tree(self.rows[home]), anyway=True)
            except Unreadable as exc:
                # It stays in the list of those that there are.
                log.warning("worktree.not_discarded", home=home, reason=str(exc))
            else:
                await self.drop(home)

    # --- set-up ------------------------------------------------------------------------------------------------------

    async def _set_up(self, project: Project, thread_id: int, row: KeptWorkTree) -> None:
        """Run the project's command in a new work tree; that it fails is said, and keeps no agent from starting."""
        command = inline_code(self.redact(shlex.join(project.setup)), _COMMAND_LIMIT)
        self._doing[row.thread_id] = f"setting up: {command}"
        # Before it begins: one that a kill cuts off is run again.
        row = replace(row, setup=RUNNING)
        await self.keep(row)
        how, output = "", ""
        try:
            assert self.launcher is not None  # there is a project
            end = await run_command(self.launcher.command(project.setup, thread_id), project.setup_timeout)
        except AgentSpawnError as exc:
            how = f"could not be started ({inline_code(self.redact(str(exc)), 200)})"
        else:
            how, output = _how(end, project.setup_timeout), end.output
        # As it is now: it may have been used meanwhile.
        await self.keep(replace(self.rows.get(row.thread_id, row), setup=FAILED if how else DONE))
        log.info("worktree.set_up", thread=thread_id, project=project.name, failed=bool(how))
        if how:
            self.editors.of(thread_id).say(self._failure(command, how, output))

    def _failure(self, command: str, how: str, output: str) -> Body:
        # Redacted whole, before lines are taken: a secret may go over several.
        lines = [clip(line, _LINE_LIMIT) for line in last_lines(self.redact(output), _LINES)]
        while lines and units(code_block("\n".join(lines))) > _OUTPUT_ROOM:
            del lines[0]  # the last ones say why
        shown = [code_block("\n".join(lines))] if lines else []
        return Body(clip("\n".join([NOT_SET_UP.format(command=command, how=how), *shown, AGAIN]), MESSAGE_LIMIT))


def _how(end: CommandEnd, limit: float) -> str:
    """Return how a command failed; "" if it did not."""
    if end.exit is None:
        return f"took longer than {duration(limit)}"
    return "" if end.succeeded else f"ended with {end.exit.describe()}"


def _refused(text: str) -> AgentSpawnError:
    return AgentSpawnError(text, failure=SpawnFailure.BAD_DIRECTORY)


def _make_base(directory: Path) -> None:
    """Make the directory of a project's work trees, which is for us alone: agents can be kept apart below it."""
    for one in (directory.parent, directory):
        one.mkdir(mode=0o700, parents=True, exist_ok=True)


def _is_there(directory: Path) -> bool:
    # Not asked of git, at every start of an agent; what an agent has made of its work tree since is for people to see.
    return os.path.lexists(directory / ".git")
