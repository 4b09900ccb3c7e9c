"""What changed in a thread's workspace since the thread began: by git, else as its tools reported it (V3, W4).

Where a workspace was when its thread began is looked up once, beside the start of the first session, and kept with the
thread. The mutable state is which threads were looked at, and what their tools reported, both bounded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from acp.snapshot import Diff, TurnSnapshot
from bot.recent import RecentMap
from bot.reply.changes import changes_message, reported_changes
from bot.reply.sanitise import inline_code
from bot.work.files.handouts import Place
from bot.work.ports import Answer
from bot.work.task_tracker import TaskTracker
from bot.work.workspace import git
from bot.work.workspace.git import NO_COMMIT, Comparison, Start
from bot.work.workspace.repository import Unreadable
from bot.work.workspace.worktrees import TreeState, WorkTree
from pool.pool import SessionLease
from pool.storage.durable import SessionStore

log = structlog.get_logger(__name__)

LIMIT = 20.0
"""Seconds that git has for an answer."""

LOOK_LIMIT, WAIT_LIMIT = 5.0, 1.0
"""Seconds for the look at where a thread begins, and of these how many its first prompt waits at most."""

AT_ONCE = 2
"""How many git may be at work for answers: each can take a processor."""

SHORT = 7
_DIRTY = " dirty"
_REMEMBERED = 1_000
_KEPT_THREADS = 100
_KEPT = 256 * 1024  # characters of what was reported in a thread

NOTHING = "Nothing has changed here"
REPORTED = "Only what the agent's tools have reported since I started, as {why}."
NO_REPORTS = "Nothing to show: the agent's tools have reported no change since I started, and {why}."
BEFORE = "Some of this may be from before the thread began."
SHARED = "Threads share this directory, so this includes what others changed."
UNKNOWN = "It isn't known at which commit this thread began."
GONE = "The commit at which this thread began, {base}, no longer exists."


@dataclass(slots=True, eq=False)
class Look:
    """A look at where a thread begins; ``start`` is None while, or if, there is nothing to tell."""

    done: anyio.Event = field(default_factory=anyio.Event)
    start: Start | None = None


@dataclass(slots=True)
class Reported:
    """What the tools of a thread reported, in order; ``cut``: how many changes were let go for later ones."""

    diffs: list[Diff] = field(default_factory=list)
    cut: int = 0

    def add(self, snapshot: TurnSnapshot) -> None:
        """Take what the tools of a turn have changed."""
        done = [tool for tool in snapshot.tools if tool.status == "completed" and not tool.rejected]
        latest = {diff.path: at for at, diff in enumerate(self.diffs)}
        for tool in done:
            self.cut += tool.diffs_cut
            for diff in tool.diffs:
                last = latest.get(diff.path)
                # Some tools report a whole file, others the lines around a change: only what fits together is one.
                if last is not None and self.diffs[last].new == diff.old:
                    self.diffs[last] = Diff(diff.path, self.diffs[last].old, diff.new)
                else:
                    latest[diff.path] = len(self.diffs)
                    self.diffs.append(diff)
        self.diffs = [diff for diff in self.diffs if diff.old != diff.new]
        size = sum(len(diff.old or "") + len(diff.new) for diff in self.diffs)
        while size > _KEPT:
            oldest = self.diffs.pop(0)
            size -= len(oldest.old or "") + len(oldest.new)
            self.cut += 1


class WorkspaceChanges:
    """Keeps where threads began, and says what has changed since.

    Args:
        place_of: tells a thread's directory; None: it has none on this machine.
        tree_of: tells its work tree, if it has one of its own; ``changes_of`` has git look at that.
    """

    def __init__(
        self,
        tracker: TaskTracker,
        store: SessionStore,
        place_of: Callable[[int], Place | None],
        tree_of: Callable[[int], WorkTree | None],
        changes_of: Callable[[WorkTree], Awaitable[tuple[TreeState, Comparison]]],
    ) -> None:
        self._tracker = tracker
        self._store = store
        self._place_of = place_of
        self._tree_of, self._changes_of = tree_of, changes_of
        self._begun: RecentMap[int, None] = RecentMap(_REMEMBERED)
        self._reported: RecentMap[int, Reported] = RecentMap(_KEPT_THREADS)
        self._at_once = anyio.Semaphore(AT_ONCE)

    # --- where a thread begins ---------------------------------------------------------------------------------------

    def look(self, thread_id: int) -> Look:
        """Begin to look where a thread's workspace is, if that could be news; `begin` takes the result."""
        look, place = Look(), self._place_of(thread_id)
        if place is None or thread_id in self._begun:
            look.done.set()
        else:
            self._tracker.begin(self._look, thread_id, place.directory, look, name=f"look {thread_id}")
        return look

    async def _look(self, thread_id: int, workspace: Path, look: Look) -> None:
        try:
            with anyio.move_on_after(LOOK_LIMIT):
                record = await self._store.thread(thread_id)
                # Also one whose session was reset: it began long ago, and keeps what is known of that, or not.
                if record is not None and (record.base or record.previous_session_id):
                    return
                found = await git.locate(workspace)
                if found is None:
                    return
                repository, head = found
                # At once, and taken for dirty until git says that it is not: the prompt may not wait for that.
                look.start = Start(head or NO_COMMIT)
                look.start = Start(head or NO_COMMIT, await git.is_dirty(repository, head, workspace))
        except (Unreadable, OSError) as exc:
            log.info("base.unknown", thread=thread_id, reason=str(exc))
        finally:
            look.done.set()

    async def begin(self, thread_id: int, lease: SessionLease, look: Look) -> None:
        """Keep where a thread begins if this is the start of its first session; its prompt is to follow."""
        # Noted before the wait: a session that is opened meanwhile is not the thread's first.
        known = thread_id in self._begun
        self._begun.put(thread_id, None)
        if lease.how == "new" and not lease.lost and not known:
            with anyio.move_on_after(WAIT_LIMIT):
                await look.done.wait()
            if look.start is not None:
                base = look.start.commit + (_DIRTY if look.start.dirty else "")
                # Not waited for: a disk that hangs keeps no prompt waiting for this.
                self._tracker.begin(partial(self._store.bind, thread_id, base=base), name=f"base {thread_id}")

    # --- what tools say ----------------------------------------------------------------------------------------------

    def report(self, thread_id: int, snapshot: TurnSnapshot) -> None:
        """Remember what the tools of a turn that is over have changed."""
        if any(tool.diffs or tool.diffs_cut for tool in snapshot.tools):
            reported = self._reported.get(thread_id) or Reported()
            reported.add(snapshot)
            self._reported.put(thread_id, reported)

    def forget(self, thread_id: int) -> None:
        """Forget a thread that is gone."""
        self._begun.pop(thread_id, None)
        self._reported.pop(thread_id, None)

    # --- the answer --------------------------------------------------------------------------------------------------

    async def show(self, thread_id: int, running: Iterable[TurnSnapshot]) -> Answer:
        """Return what changed in a thread's workspace, in at most `LIMIT` seconds; ``running``: turns at work there."""
        place, why = self._place_of(thread_id), "its directory is not on this machine"
        tree = self._tree_of(thread_id)
        if place is not None:
            try:
                with anyio.fail_after(LIMIT):
                    if tree is not None:
                        return await self._compare_tree(tree)
                    # Within the limit: the wait for a place counts as the answer's, too.
                    async with self._at_once:
                        found = await self._compare(thread_id, place)
                if found is not None:
                    return found
                why = "its directory is in no git repository"
            except TimeoutError:
                why = f"git took longer than {LIMIT:g} s"
            except Unreadable as exc:
                why = str(exc)
            except OSError as exc:
                log.warning("git.not_started", thread=thread_id, error=str(exc))
                why = "git could not be started"
        return await self._as_reported(thread_id, running, why)

    async def _compare(self, thread_id: int, place: Place) -> Answer | None:
        located = await git.locate(place.directory)
        if located is None:
            return None
        repository, head = located
        record = await self._store.thread(thread_id)
        base = record.base if record is not None else None
        began = (base or "").removesuffix(_DIRTY) or None
        found = await git.compare(repository, head, place.directory, began)
        notes = _notes(found, began)
        if found.changes.files:
            notes += [BEFORE] if began == found.commit and base != began else []
            notes += [] if place.own else [SHARED]
        commit = inline_code(found.commit[:SHORT])
        since = f"since {commit}" if found.commit == began else f"since the last commit, {commit}"
        if found.commit == NO_COMMIT:
            since = "in a repository without a commit"
        return _answer(found, since, notes)

    async def _compare_tree(self, tree: WorkTree) -> Answer:
        """Compare the work tree of a thread with its base (W4)."""
        state, found = await self._changes_of(tree)
        branch, base = inline_code(state.branch or (state.head or "")[:SHORT]), inline_code(tree.base)
        since = f"on {branch} since it left {base} at {inline_code(found.commit[:SHORT])}"
        if found.commit != state.merge_base:
            since = f"on {branch} since its last commit, as it has none in common with {base}"
        return _answer(found, since, _left_out(found))

    async def _as_reported(self, thread_id: int, running: Iterable[TurnSnapshot], why: str) -> Answer:
        known = self._reported.get(thread_id) or Reported()
        # A copy: what running turns have reported is kept once they are over, and not twice.
        reported = Reported(list(known.diffs), known.cut)
        for snapshot in running:
            reported.add(snapshot)
        if not reported.diffs:
            return Answer(NO_REPORTS.format(why=why), accepted=True)
        changes = await anyio.to_thread.run_sync(reported_changes, reported.diffs, git.MOST_BYTES)
        notes = [REPORTED.format(why=why)]
        notes += [f"{reported.cut:,} older or larger changes are not kept."] if reported.cut else []
        text, file = changes_message(changes, "by the agent's tools", notes)
        return Answer(text, accepted=True, file=file)


def _notes(found: Comparison, began: str | None) -> list[str]:
    notes: list[str] = []
    if began is None:
        notes.append(UNKNOWN)
    elif found.commit != began:
        notes.append(GONE.format(base=inline_code(began[:SHORT])))
    return notes + _left_out(found)


def _left_out(found: Comparison) -> list[str]:
    if not found.left_out:
        return []
    names = [f"{inline_code(name, 60)} ({reason})" for name, reason in found.left_out]
    more = [f"{'at least ' if found.uncounted else ''}{found.more_left_out:,} more"] if found.more_left_out else []
    return [f"New, and not shown: {', '.join([*names, *more])}."]


def _answer(found: Comparison, since: str, notes: Sequence[str]) -> Answer:
    if not found.changes.files:
        return Answer("\n".join([f"{NOTHING} {since}.", *(f"-# {note}" for note in notes)]), accepted=True)
    text, file = changes_message(found.changes, since, notes)
    return Answer(text, accepted=True, file=file)
