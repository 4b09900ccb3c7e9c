"""Where a thread begins is kept once, and what has changed since is told by git, else by what tools reported."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from acp.snapshot import Diff, ToolState, TurnSnapshot
from bot.work.files.handouts import Place
from bot.work.task_tracker import TaskTracker
from bot.work.workspace import changes, git
from bot.work.workspace.changes import BEFORE, SHARED, UNKNOWN, Reported, WorkspaceChanges
from bot.work.workspace.git import NO_COMMIT
from pool.pool import SessionLease
from tests.bot.work.fakes import NotedStore
from tests.bot.work.repositories import commit, make_repository, needs_git, run_git
from tests.clock import let_pass

pytestmark = pytest.mark.asyncio

THREAD = 100


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a prompt wait for git, on a busy machine too."""
    monkeypatch.setattr(changes, "WAIT_LIMIT", 60.0)
    monkeypatch.setattr(changes, "LOOK_LIMIT", 60.0)


@dataclass
class Thread:
    """A thread with a directory."""

    tracker: TaskTracker
    place: Place | None
    store: NotedStore = field(default_factory=NotedStore)

    def __post_init__(self) -> None:
        self.changes = WorkspaceChanges(
            self.tracker, self.store, lambda _thread_id: self.place, lambda _thread_id: None, cast("Any", None)
        )

    async def begin(self, how: str = "new", *, lost: bool = False) -> str | None:
        """Begin a turn as its session came about; return what is kept then."""
        look = self.changes.look(THREAD)
        await self.changes.begin(THREAD, cast("SessionLease", SimpleNamespace(how=how, lost=lost)), look)
        await self.tracker.until(lambda: self.tracker.under_way == 0)
        record = await self.store.thread(THREAD)
        return record.base if record is not None else None

    def restarted(self) -> Thread:
        return Thread(self.tracker, self.place, self.store)

    async def shown(self, *running: TurnSnapshot) -> list[str]:
        answer = await self.changes.show(THREAD, running)
        assert answer.accepted
        return answer.text.split("\n")


@asynccontextmanager
async def thread(directory: Path | None, *, own: bool = True) -> AsyncIterator[Thread]:
    async with anyio.create_task_group() as tasks:
        yield Thread(TaskTracker(tasks), None if directory is None else Place(directory, own))


def turn(*diffs: Diff, status: str = "completed", **fields: Any) -> TurnSnapshot:
    return TurnSnapshot(tools=(ToolState("t", status=status, diffs=diffs, **fields),))


@needs_git
async def test_a_thread_begins_where_its_first_session_does(tmp_path: Path) -> None:
    """V3: kept over later sessions, resets and restarts, whatever is committed meanwhile."""
    base = make_repository(tmp_path)
    async with thread(tmp_path) as at:
        assert await at.begin() == base
        (tmp_path / "a.txt").write_text("one\n")
        commit(tmp_path)
        expected = [f"1 file +0 −1 since `{base[:7]}`", "`a.txt` +0 −1", "```diff"]
        assert (await at.shown())[:3] == expected
        await at.store.bind(THREAD, session_id="s")
        await at.store.bind(THREAD, session_id=None)
        for again in (at, at.restarted(), at.restarted()):
            assert await again.begin() == base
            assert (await again.shown())[:3] == expected
        (tmp_path / "a.txt").write_text("one\ntwo\n")
        assert await at.shown() == [f"Nothing has changed here since `{base[:7]}`."]


@needs_git
async def test_what_was_there_before_the_thread_is_told_apart_as_far_as_that_goes(tmp_path: Path) -> None:
    """V3: nothing is passed off as the thread's; a directory that others work in is named as such."""
    base = make_repository(tmp_path)
    (tmp_path / "a.txt").write_text("dirty\n")
    async with thread(tmp_path, own=False) as at:
        assert await at.begin() == f"{base} dirty"
        text = await at.shown()
        assert text[0] == f"1 file +1 −2 since `{base[:7]}`"
        assert text[2:4] == [f"-# {BEFORE}", f"-# {SHARED}"]


@needs_git
@pytest.mark.parametrize("how", ["resumed", "loaded", "lost", "reset"])
async def test_a_thread_that_began_long_ago_says_that_it_does_not_know_where(tmp_path: Path, how: str) -> None:
    """V3: what it has now is compared with the last commit."""
    base = make_repository(tmp_path)
    async with thread(tmp_path) as at:
        if how == "reset":
            await at.store.bind(THREAD, session_id="s")
            await at.store.bind(THREAD, session_id=None)
        assert await at.begin("new" if how in ("lost", "reset") else how, lost=how == "lost") is None
        (tmp_path / "new").write_text("n\n")
        text = await at.shown()
        assert text[0] == f"1 file +1 −0 since the last commit, `{base[:7]}`"
        assert f"-# {UNKNOWN}" in text


@needs_git
async def test_a_repository_without_a_commit_and_a_commit_that_is_gone(tmp_path: Path) -> None:
    """V3"""
    run_git(tmp_path, "init", "-q")
    async with thread(tmp_path) as at:
        assert await at.begin() == NO_COMMIT
        (tmp_path / "new").write_text("n\n")
        head = commit(tmp_path)
        assert (await at.shown())[:2] == ["1 file +1 −0 in a repository without a commit", "`new` +1 −0"]
        await at.store.bind(THREAD, base="1" * 40)
        assert await at.shown() == [
            f"Nothing has changed here since the last commit, `{head[:7]}`.",
            "-# The commit at which this thread began, `1111111`, no longer exists.",
        ]


@needs_git
async def test_a_look_that_takes_long_keeps_no_prompt_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """V3, O4: what is known by then is kept, and taken for dirty; a fault keeps nothing."""
    base = make_repository(tmp_path)

    async def slow(*_: object) -> bool:
        let_pass(10)
        await anyio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(changes, "WAIT_LIMIT", 10.0)
    monkeypatch.setattr(changes, "LOOK_LIMIT", 10.3)
    monkeypatch.setattr(git, "is_dirty", slow)
    async with thread(tmp_path) as at:
        with anyio.fail_after(30):
            assert await at.begin() == f"{base} dirty"
        (tmp_path / ".git/HEAD").write_text("nonsense\n")
        assert await Thread(at.tracker, at.place).begin() is None


async def test_without_git_it_is_what_the_tools_of_the_thread_reported(tmp_path: Path) -> None:
    """V3: of turns that are over and of those that run; what was not done or not allowed is not in there."""
    async with thread(tmp_path) as at:
        assert await at.begin() is None
        nothing = "Nothing to show: the agent's tools have reported no change since I started, and "
        assert await at.shown() == [f"{nothing}its directory is in no git repository."]
        at.changes.report(THREAD, turn(Diff("a", None, "x\n")))
        at.changes.report(THREAD, turn(Diff("b", None, "x\n"), status="failed"))
        at.changes.report(THREAD, turn(Diff("c", None, "x\n"), rejected=True))
        at.changes.report(THREAD + 1, turn(Diff("d", None, "x\n")))
        assert await at.shown(turn(Diff("a", "x\n", "y\n"), diffs_cut=2)) == [
            "1 file +1 −0 by the agent's tools",
            "`a` +1 −0",
            "-# Only what the agent's tools have reported since I started, as its directory is in no git repository.",
            "-# 2 older or larger changes are not kept.",
            *("```diff", "--- /dev/null", "+++ a", "@@ -0,0 +1 @@", "+y", "```"),
        ]
        assert (await at.shown())[-2:] == ["+x", "```"]
        at.place = None
        assert "as its directory is not on this machine." in (await at.shown())[2]
        at.changes.forget(THREAD)
        assert await at.shown() == [f"{nothing}its directory is not on this machine."]


@needs_git
async def test_a_git_that_fails_is_named_with_what_tools_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V3"""
    make_repository(tmp_path)
    async with thread(tmp_path) as at:
        (tmp_path / ".git/objects/info/alternates").write_text("/elsewhere\n")
        assert (await at.shown())[0].endswith("and its repository borrows from another one.")
        (tmp_path / ".git/objects/info/alternates").unlink()
        monkeypatch.setattr(changes, "LIMIT", 0.0)
        assert (await at.shown())[0].endswith("and git took longer than 0 s.")
        monkeypatch.undo()
        monkeypatch.setenv("PATH", "")
        assert (await at.shown())[0].endswith("and git is not installed where I run.")


async def test_what_was_reported_is_one_change_where_it_fits_together_and_is_bounded() -> None:
    """V3: half a file is no whole one, and what was taken back is none."""
    reported = Reported()
    reported.add(turn(Diff("a", "1", "2"), Diff("b", "1", "2"), Diff("a", "2", "3")))
    reported.add(turn(Diff("a", "9", "8")))
    assert reported.diffs == [Diff("a", "1", "3"), Diff("b", "1", "2"), Diff("a", "9", "8")]
    reported.add(turn(Diff("b", "2", "1")))
    assert reported.diffs == [Diff("a", "1", "3"), Diff("a", "9", "8")]
    for number in range(4):
        reported.add(turn(Diff("large", None, str(number) * 100_000)))
    assert (len(reported.diffs), reported.cut) == (2, 4)
