"""Work trees of threads, with the real git: what is kept before and after each step, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from acp.engine import LaunchSpec
from acp.errors import AgentSpawnError, SpawnFailure
from bot.agents.model import AgentProfile, Agents, Project
from bot.model import QueueMode
from bot.reply.port import Body
from bot.work.projects.service import Projects
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from tests.bot.work.repositories import ENVIRONMENT, commit, make_repository, needs_git, run_git
from tests.pool.memory import MemoryStore

pytestmark = [pytest.mark.asyncio, needs_git]

THREAD, OTHER = 1576877379668672512, 1576877379668672513


@dataclass
class Scene:
    projects: Projects
    project: Project
    store: MemoryStore
    said: list[str] = field(default_factory=list)

    @property
    def settings(self) -> ThreadSettings:
        return self.projects.settings

    async def refused(self, thread_id: int = THREAD) -> str:
        with pytest.raises(AgentSpawnError) as caught:
            await self.projects.prepare(thread_id)
        assert caught.value.failure is SpawnFailure.BAD_DIRECTORY
        return str(caught.value)

    async def states(self) -> list[tuple[str, str]]:
        return [(row.state, row.setup) for row in await self.store.work_trees()]


@asynccontextmanager
async def scene(tmp_path: Path, store: MemoryStore | None = None, **fields: Any) -> AsyncIterator[Scene]:
    if not (tmp_path / "web").exists():
        make_repository(tmp_path / "web", "-b", "main")
    store, said = store or MemoryStore(), list[str]()
    project = Project("web", tmp_path / "web", tmp_path / "state/worktrees/web", **fields)
    profile = AgentProfile("red", ("red",), str(tmp_path))
    agents = Agents({"red": profile}, "red", projects={"web": project})
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            settings = ThreadSettings(TaskTracker(tasks), store, agents, QueueMode.QUEUE)
            await settings.load()
            for thread_id in (THREAD, OTHER):
                settings.begin(thread_id, 7, project="web")
                await store.bind(thread_id, title="Fix the login!")

            def say(body: Body) -> None:
                said.append(body.text)

            def command(argv: tuple[str, ...], thread_id: int) -> LaunchSpec:
                return LaunchSpec(argv, str(project.worktrees / str(thread_id)), ENVIRONMENT)

            editors = SimpleNamespace(of=lambda _: SimpleNamespace(say=say))
            launcher = SimpleNamespace(command=command, directory=lambda _, home: f"/inside/{home}")
            projects = Projects(store, settings, cast("Any", editors), cast("Any", launcher), str)
            await projects.load()
            yield Scene(projects, project, store, said)


async def test_a_work_tree_is_written_down_before_it_is_made_and_found_by_the_next_run(tmp_path: Path) -> None:
    """W2, W5"""
    store = MemoryStore()
    async with scene(tmp_path, store) as at:
        assert not at.projects.prepared(THREAD)
        assert at.projects.tree_of(THREAD) is None
        await at.projects.prepare(THREAD)
        (row,) = await store.work_trees()
        assert (row.thread_id, row.project, row.repository, row.base) == (THREAD, "web", str(tmp_path / "web"), "main")
        assert row.branch.startswith("weft/fix-the-login-")
        assert (row.state, row.setup, row.base_commit) == ("ready", "", run_git(tmp_path / "web", "rev-parse", "main"))
        tree = at.projects.tree_of(THREAD)
        assert tree is not None
        assert (tree.directory, tree.branch, tree.trusted) == (Path(row.directory), row.branch, False)
        assert run_git(tree.directory, "branch", "--show-current") == row.branch
        assert at.projects.prepared(THREAD)
    async with scene(tmp_path, store) as at:
        await at.projects.prepare(THREAD)
        assert await store.work_trees() == [row]
    assert at.said == []


async def test_one_that_could_not_be_made_is_made_with_the_next_try(tmp_path: Path) -> None:
    """W2: under the name that was written down."""
    async with scene(tmp_path, base="next") as at:
        assert "the work tree on web could not be made: " in await at.refused()
        assert await at.states() == [("making", "")]
        before = at.projects.rows[THREAD]
        run_git(tmp_path / "web", "branch", "next")
        await at.projects.prepare(THREAD)
        assert at.projects.rows[THREAD].branch == before.branch
        assert (await at.states(), at.said) == ([("ready", "")], [])


async def test_one_whose_removal_was_cut_off_is_there_again(tmp_path: Path) -> None:
    """W5: nobody did that by hand, so nobody is told."""
    async with scene(tmp_path) as at:
        await at.projects.prepare(THREAD)
        await at.projects.keep(replace(at.projects.rows[THREAD], state="removing"))
        await at.projects.prepare(THREAD)
        assert (await at.states(), at.said) == ([("ready", "")], [])


async def test_a_project_that_is_another_repository_now_is_told(tmp_path: Path) -> None:
    """W1: the work of one is not taken for that of another."""
    async with scene(tmp_path) as at:
        await at.projects.prepare(THREAD)
        make_repository(tmp_path / "shop", "-b", "main")
        moved = replace(at.project, path=tmp_path / "shop")
        at.settings.agents = replace(at.settings.agents, projects={"web": moved})
        assert await at.refused() == (
            f"this thread works on {tmp_path}/web, but web is {tmp_path}/shop in weft.toml now. "
            "Put the path back, or go on in a new thread"
        )
        await at.projects.prepare(OTHER)
        assert at.projects.rows[OTHER].repository == str(tmp_path / "shop")


async def test_a_thread_with_a_project_without_work_trees_has_none(tmp_path: Path) -> None:
    """W1"""
    async with scene(tmp_path, worktree=False) as at:
        await at.projects.prepare(THREAD)
        assert (at.projects.rows, at.projects.tree_of(THREAD), at.projects.prepared(THREAD)) == ({}, None, True)


async def test_two_that_are_made_at_once_have_different_branches_and_one_is_made_once(tmp_path: Path) -> None:
    """W2: with the same title, and asked for twice."""
    async with scene(tmp_path, setup=(sys.executable, "-c", "open('n', 'a').write('x')")) as at:
        async with anyio.create_task_group() as tasks:
            for thread_id in (THREAD, OTHER, THREAD):
                tasks.start_soon(at.projects.prepare, thread_id)
        assert await at.states() == [("ready", "done")] * 2
        assert len({row.branch for row in at.projects.rows.values()}) == 2
        found = [at.project.worktrees / str(thread_id) / "n" for thread_id in (THREAD, OTHER)]
        assert [file.read_text() for file in found] == ["x", "x"]
        assert not at.projects.busy(THREAD)


async def test_what_is_done_is_told_while_it_lasts_and_a_cancelled_set_up_is_run_again(tmp_path: Path) -> None:
    """W2"""
    gate = tmp_path / "gate"
    program = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)"
    async with scene(tmp_path, setup=(sys.executable, "-c", program)) as at:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(at.projects.prepare, THREAD)
            while not at.projects.doing(THREAD).startswith("setting up: `"):  # noqa: ASYNC110  git runs meanwhile
                await anyio.sleep(0.01)
            assert at.projects.busy(THREAD)
            tasks.cancel_scope.cancel()
        assert (at.projects.doing(THREAD), at.projects.busy(THREAD)) == ("", False)
        assert await at.states() == [("ready", "running")]
        gate.touch()
        await at.projects.prepare(THREAD)
        assert await at.states() == [("ready", "done")]


async def test_a_set_up_that_can_not_be_started_keeps_no_agent_from_starting(tmp_path: Path) -> None:
    """W2"""
    async with scene(tmp_path, setup=("no-such-program", "x" * 300)) as at:
        await at.projects.prepare(THREAD)
        assert await at.states() == [("ready", "failed")]
        (told,) = at.said
        assert told.startswith("⚠️ Set-up failed: `no-such-program xxx")
        assert "could not be started (`no-such-program could not be started: not found`). The agent continues" in told


async def test_a_work_tree_branches_off_where_another_is_and_goes_with_nothing_lost(tmp_path: Path) -> None:
    """S2, W2: for a copy of a conversation, with what is committed; of what is not it is told that it is left."""
    async with scene(tmp_path) as at:
        await at.projects.prepare(THREAD)
        first = at.project.worktrees / str(THREAD)
        (first / "new.txt").write_text("new")
        done = commit(first)
        clean = await at.projects.branch_off(THREAD, 50, "Fix the login!")
        assert (clean.directory, clean.left) == ("/inside/50", False)
        assert (run_git(at.project.worktrees / "50", "rev-parse", "HEAD"), at.projects.rows[50].state) == (
            done,
            "ready",
        )
        assert at.projects.rows[50].branch != at.projects.rows[THREAD].branch
        assert at.projects.rows[50].base_commit == run_git(tmp_path / "web", "rev-parse", "main")
        (first / "draft.txt").write_text("not committed")
        assert (await at.projects.branch_off(THREAD, 51, "")).left
        assert not (at.project.worktrees / "51/draft.txt").exists()
        await at.projects.discard(50)
        assert [row.thread_id for row in await at.store.work_trees()] == [51, THREAD]
        assert not (at.project.worktrees / "50").exists()
        # One that a thread works in by now stays, and so does one that there is not.
        at.settings.inherit(OTHER, "red", 51, project="web")
        for home in (51, 52):
            await at.projects.discard(home)
        assert 51 in at.projects.rows


async def test_one_that_is_only_repaired_is_not_set_up_again(tmp_path: Path) -> None:
    """W2, W5: an agent may remove what leads from its files to the repository; they stay, and nobody is told."""
    async with scene(tmp_path, setup=(sys.executable, "-c", "open('n', 'a').write('x')")) as at:
        await at.projects.prepare(THREAD)
        directory = at.project.worktrees / str(THREAD)
        (directory / "draft").touch()
        (directory / ".git").unlink()
        await at.projects.prepare(THREAD)
        assert (await at.states(), at.said) == ([("ready", "done")], [])
        assert run_git(directory, "status", "--short").splitlines() == ["?? draft", "?? n"]
        assert (directory / "n").read_text() == "x"
