"""Where a work tree stands: as git would say it, in every state that an agent can bring it into."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from bot.work.workspace import tree_state
from bot.work.workspace.making import make
from bot.work.workspace.repository import Unreadable
from bot.work.workspace.tree_state import look
from bot.work.workspace.worktrees import SQUASHED, TreeState, WorkTree, in_thread, repository_of
from tests.bot.work.repositories import commit, needs_git, run_git
from tests.bot.work.workspace.hostile import hostile_attributes, hostile_environment, set_traps
from tests.bot.work.workspace.trees import project, tree_in, untouched

pytestmark = [needs_git, pytest.mark.asyncio]


async def made(place: Path, **files: str) -> tuple[WorkTree, str]:
    tree = project(place, **files)
    return tree, (await make(tree)).base_commit


async def test_what_changed_is_counted_against_where_it_began(tmp_path: Path) -> None:
    """W3: committed, staged, changed and new; nothing is touched by the look."""
    tree, base = await made(tmp_path, a__txt="one\ntwo\n", gone="x\n", __gitignore="*.log\n")
    fresh = TreeState(missing=False, branch=tree.branch, merged=True, head=base, merge_base=base)
    assert await look(tree) == fresh
    (tree.directory / "committed").write_text("c\n")
    head = commit(tree.directory)
    (tree.directory / "a.txt").write_text("one\n2\n3\n")
    (tree.directory / "gone").unlink()
    (tree.directory / "staged").write_text("s\n")
    run_git(tree.directory, "add", "staged")
    (tree.directory / "new dir").mkdir()
    (tree.directory / "new dir/ü\nx").write_text("1\n2\nno end")
    (tree.directory / "binary").write_bytes(b"\0\n\n")
    (tree.directory / "link").symlink_to("/etc/passwd")
    (tree.directory / "build.log").write_text("ignored\n")
    (tree.directory / ".weft/in").mkdir(parents=True)
    (tree.directory / ".weft/in/sent").write_text("ours\n")
    (tree.repository / "more").write_text("m\n")
    commit(tree.repository)
    before = untouched(tree.directory) | untouched(tree.repository)
    assert await look(tree) == TreeState(
        missing=False,
        branch=tree.branch,
        dirty=True,
        files=7,
        added=1 + 2 + 1 + 3 + 1,
        removed=2,
        ahead=1,
        behind=1,
        head=head,
        merge_base=base,
    )
    assert untouched(tree.directory) | untouched(tree.repository) == before


async def test_a_merge_is_known_however_it_was_made(tmp_path: Path) -> None:
    """W4, W5: as it is, as one commit, of a base that went on, on the remote alone; not what is there in part."""
    tree, _ = await made(tmp_path)
    (tree.directory / "a.txt").write_text("one\nTWO\n")
    commit(tree.directory)
    (tree.directory / "new").write_text("n\n")
    tip = commit(tree.directory)
    assert not (await look(tree)).merged
    start = run_git(tree.repository, "rev-parse", "main")

    async def merged_by(*commands: tuple[str, ...]) -> bool:
        run_git(tree.repository, "reset", "-q", "--hard", start)
        for command in commands:
            run_git(tree.repository, *command)
        return (await look(tree)).merged

    assert await merged_by(("merge", "-q", "--no-ff", "-m", "m", tree.branch))
    assert await merged_by(("merge", "-q", "--squash", tree.branch), ("commit", "-q", "-m", "s"))
    (tree.repository / "b.txt").write_text("went on\n")
    commit(tree.repository)
    assert (await look(tree)).merged, "though its base went on"
    assert not await merged_by(("cherry-pick", f"{tip}^"))
    squash = (("merge", "-q", "--squash", tree.branch), ("commit", "-q", "-m", "s"))
    rewrite = (("rm", "-q", "a.txt", "new"), ("commit", "-q", "-m", "again"))
    assert not await merged_by(*squash, *rewrite), "that can't be told any more"
    squashed = run_git(tree.repository, "rev-parse", "main^")
    mark = run_git(tree.repository, "commit-tree", f"{tip}^{{tree}}", "-p", squashed, "-p", tip, "-m", "mark")
    run_git(tree.repository, "update-ref", f"{SQUASHED}/{tree.branch}", mark)
    assert (await look(tree)).merged, "unless it was marked"
    (tree.directory / "more").write_text("m\n")
    commit(tree.directory)
    assert not (await look(tree)).merged, "for as long as nothing was added"
    run_git(tree.repository, "update-ref", "refs/remotes/origin/main", tree.branch)
    assert (await look(tree)).merged, "by the remote"


async def test_other_states_that_a_work_tree_can_be_in(tmp_path: Path) -> None:
    """W3, W5: no branch, another one, something in progress, a deleted directory, a base that is gone."""
    tree, base = await made(tmp_path)
    run_git(tree.directory, "checkout", "-q", "--detach")
    found = await look(tree)
    assert (found.branch, found.detached, found.head) == (None, True, base)
    run_git(tree.directory, "checkout", "-q", "-b", "other")
    (tree.directory / "a.txt").write_text("other\n")
    commit(tree.directory)
    assert (await look(tree)).branch == "other"
    run_git(tree.directory, "checkout", "-q", tree.branch)
    (tree.directory / "a.txt").write_text("mine\n")
    mine = commit(tree.directory)
    run_git(tree.directory, "merge", "-q", "other", check=False)
    found = await look(tree)
    assert (found.busy, found.dirty) == ("merge", True)
    run_git(tree.directory, "merge", "--abort")
    run_git(tree.directory, "rebase", "-q", "other", check=False)
    found = await look(tree)
    assert (found.busy, found.detached) == ("rebase", True)
    run_git(tree.directory, "rebase", "--abort")
    shutil.rmtree(tree.directory)
    found = await look(tree)
    assert (found.missing, found.head, found.ahead, found.files, found.added) == (True, mine, 1, 1, 1)
    run_git(tree.repository, "checkout", "-q", "--detach")
    run_git(tree.repository, "branch", "-D", "main")
    found = await look(tree)
    assert (found.merge_base, found.merged, found.ahead) == (None, False, 0)
    never = tree_in(tmp_path, tree.repository, 8)
    assert await look(never) == TreeState(missing=True)
    run_git(tree.repository, "checkout", "-q", "--orphan", "main")
    (tree.repository / "a.txt").write_text("another beginning\n")
    commit(tree.repository)
    found = await look(tree)
    assert (found.merge_base, found.merged) == (None, False), "nothing in common"


async def test_nothing_that_a_repository_names_is_run_by_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W3, R5: nor does a `.git` file that was rewritten lead us to another repository."""
    tree, _ = await made(tmp_path, a__0="x\n", a__1="x\n", __gitattributes=hostile_attributes())
    admin = (await repository_of(tree)).private
    (tree.directory / "a.1").write_text("committed\n")
    commit(tree.directory)
    (tree.directory / "a.0").write_text("y\n")
    traps = set_traps(tree.repository, tmp_path)
    for name, value in hostile_environment(str(traps.program)).items():
        monkeypatch.setenv(name, value)
    (admin / "config.worktree").write_text(f"[core]\n\tfsmonitor = {traps.program}\n")
    (tree.directory / ".git").write_text(f"gitdir: {tree.repository}/.git\n")
    found = await look(tree)
    assert (found.branch, found.dirty, found.files) == (tree.branch, True, 2)
    assert traps.sprung() == ""


async def test_a_look_takes_no_longer_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W3"""
    tree, _ = await made(tmp_path)
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(tree_state, "LIMIT", 0.3)
    with pytest.raises(Unreadable, match="longer than"):
        await look(tree)


async def test_a_disk_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W3"""
    tree, _ = await made(tmp_path)
    goes_on = threading.Event()
    monkeypatch.setattr(tree_state, "find_project", lambda path: goes_on.wait(60))
    monkeypatch.setattr(tree_state, "LIMIT", 0.05)
    try:
        with anyio.fail_after(30), pytest.raises(Unreadable, match="longer than"):
            await look(tree)
    finally:
        goes_on.set()


async def test_disks_that_hang_leave_room_for_all_else() -> None:
    """W2: of the threads that everybody shares there are 40."""
    goes_on = threading.Event()
    async with anyio.create_task_group() as tasks:
        for _ in range(60):
            tasks.start_soon(in_thread, goes_on.wait, 60)
        await anyio.wait_all_tasks_blocked()
        try:
            with anyio.fail_after(30):
                assert await anyio.to_thread.run_sync(int, "1") == 1
        finally:
            goes_on.set()
