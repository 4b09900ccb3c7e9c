"""A kill of the bot at every step that makes or removes a work tree: nothing is lost, and the next try completes it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.work.workspace.worktrees import WorkTree
from tests.bot.work.repositories import commit, needs_git, run_git
from tests.bot.work.workspace.killed_trees import Killer
from tests.bot.work.workspace.trees import project, refs, untouched
from tests.repeat import long_run

pytestmark = [needs_git, pytest.mark.timeout(600)]

TOO_MANY = 400


@dataclass(frozen=True)
class How:
    """Where it is killed: before each step, or in each call of git's, or at some of them."""

    every: int = 1
    call: bool = False


@contextmanager
def killed_at_each_step(place: Path, killer: Killer, action: str, tree: WorkTree, how: How) -> Iterator[Iterator[int]]:
    """Give the numbers of steps of an action; at each, it was killed there, from the same beginning."""
    before = place / "before"
    before.mkdir()
    for name in ("project", "state"):
        if (place / name).exists():
            shutil.copytree(place / name, before / name, symlinks=True)

    def steps() -> Iterator[int]:
        for at in range(0, TOO_MANY, how.every):
            for name in ("project", "state"):
                shutil.rmtree(place / name, ignore_errors=True)
                if (before / name).exists():
                    shutil.copytree(before / name, place / name, symlinks=True)
            if not killer.kill(action, tree, at, call=how.call):
                assert at > 4, "it was killed at several"
                return
            yield at
        pytest.fail("it has no end")

    yield steps()


def assert_there(tree: WorkTree, at: int) -> None:
    assert run_git(tree.directory, "status", "--porcelain") == "", at
    assert run_git(tree.directory, "symbolic-ref", "HEAD") == tree.reference, at
    assert f"worktree {tree.directory}\n" in run_git(tree.repository, "worktree", "list", "--porcelain"), at
    assert {one.name for one in tree.directory.parent.iterdir()} <= {".7.lock", "7"}, at
    locks = [one for one in (tree.repository / ".git").rglob("*") if one.name.endswith(".lock") or "weft-" in one.name]
    assert [one.name for one in locks] == ["weft-7"], at


def assert_gone(tree: WorkTree, at: int) -> None:
    assert list(tree.directory.parent.iterdir()) == [], at
    assert list((tree.repository / ".git/worktrees").iterdir()) == [], at


def kept(tree: WorkTree) -> set[str]:
    """The lines, as these tests write them, that are in any commit that is kept."""
    names = [*refs(tree, "refs/weft/kept"), *refs(tree, "refs/heads")]
    lines = run_git(tree.repository, "log", "-p", "-m", *names).splitlines()
    return {line[1:] for line in lines if line.startswith(("+what was", "+commit on"))}


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    with Killer(tmp_path_factory.mktemp("temporary")) as killer:
        yield killer


HOW = pytest.mark.parametrize("how", [How(long_run(1, 6)), How(long_run(1, 4), call=True)], ids=["step", "call"])


@pytest.mark.soak
@HOW
def test_a_work_tree_is_made_whatever_killed_the_one_who_made_it(tmp_path: Path, killer: Killer, how: How) -> None:
    """W2, R2: and what was written into one that was there already stays."""
    tree = project(tmp_path)
    tip = run_git(tree.repository, "rev-parse", "main")
    with killed_at_each_step(tmp_path, killer, "make", tree, how) as steps:
        for at in steps:
            there = tree.directory.exists()
            if there:
                (tree.directory / "written").write_text("by the agent\n")
            killer.kill("make", tree, -1)
            if there:
                (tree.directory / "written").unlink()
            assert_there(tree, at)
            assert refs(tree) == {"refs/heads/main": tip, tree.reference: tip}, at
    assert run_git(tree.repository, "fsck", "--strict", "--no-dangling") == ""


@pytest.mark.soak
@HOW
def test_one_that_is_made_anew_loses_nothing(tmp_path: Path, killer: Killer, how: How) -> None:
    """W5: neither what was staged, nor commits on no branch."""
    tree = project(tmp_path)
    killer.kill("make", tree, -1)
    run_git(tree.directory, "checkout", "-q", "--detach")
    (tree.directory / "a.txt").write_text("commit on no branch\n")
    commit(tree.directory)
    (tree.directory / "a.txt").write_text("what was staged\n")
    run_git(tree.directory, "add", "a.txt")
    shutil.rmtree(tree.directory)
    with killed_at_each_step(tmp_path, killer, "make", tree, how) as steps:
        for at in steps:
            killer.kill("make", tree, -1)
            assert_there(tree, at)
            assert kept(tree) == {"commit on no branch", "what was staged"}, at


@pytest.mark.long(20)
@pytest.mark.soak
@HOW
def test_one_that_is_removed_goes_on_going(tmp_path: Path, killer: Killer, how: How) -> None:
    """W5"""
    tree = project(tmp_path)
    killer.kill("make", tree, -1)
    with killed_at_each_step(tmp_path, killer, "remove", tree, how) as steps:
        for at in steps:
            killer.kill("remove", tree, -1)
            assert_gone(tree, at)
            assert set(refs(tree)) == {"refs/heads/main"}, at


@pytest.mark.long(40)
@pytest.mark.soak
@HOW
def test_what_was_nowhere_else_is_kept(tmp_path: Path, killer: Killer, how: How) -> None:
    """W4, W5: be the removal completed, or the work tree wanted again."""
    tree = project(tmp_path)
    killer.kill("make", tree, -1)
    (tree.directory / "b.txt").write_text("commit on its branch\n")
    commit(tree.directory)
    run_git(tree.directory, "checkout", "-q", "--detach")
    (tree.directory / "b.txt").write_text("commit on no branch\n")
    commit(tree.directory)
    (tree.directory / "a.txt").write_text("what was staged\n")
    run_git(tree.directory, "add", "a.txt")
    (tree.directory / "a.txt").write_text("what was not staged\n")
    (tree.directory / "new").write_text("what was new\n")
    everything = {"what was staged", "what was not staged", "what was new", "commit on no branch"}
    with killed_at_each_step(tmp_path, killer, "anyway", tree, how) as steps:
        for at in steps:
            killer.kill("make", tree, -1)
            if (tree.directory / "new").exists():
                assert_as_it_was(tree)
            else:
                assert_there(tree, at)
                assert kept(tree) == everything | {"commit on its branch"}, at
                continue
            killer.kill("anyway", tree, -1)
            assert_gone(tree, at)
            assert kept(tree) == everything | {"commit on its branch"}, at


@pytest.mark.soak
def test_a_look_that_is_killed_has_changed_nothing(tmp_path: Path, killer: Killer) -> None:
    """W3: in the work tree, nor in the one that people use."""
    tree = project(tmp_path)
    killer.kill("make", tree, -1)
    (tree.directory / "new").write_text("n\n")
    before = untouched(tree.directory) | untouched(tree.repository)
    killed = 0
    while killer.kill("look", tree, killed, call=True):
        assert untouched(tree.directory) | untouched(tree.repository) == before
        killed += 1
    assert killed > 1


def assert_as_it_was(tree: WorkTree) -> None:
    assert run_git(tree.directory, "status", "--porcelain").split("\n") == ["MM a.txt", "?? new"]
    assert run_git(tree.directory, "show", ":a.txt") == "what was staged"
    assert (tree.directory / "a.txt").read_text() == "what was not staged\n"
    assert run_git(tree.directory, "show", "HEAD:b.txt") == "commit on no branch"
