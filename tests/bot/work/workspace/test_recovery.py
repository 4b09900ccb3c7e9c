"""Commits and merges that a kill cuts off: at the next start each is done or not begun, and nothing is lost."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from bot.work.workspace import recovery
from bot.work.workspace.recovery import Recovered, recover_merges
from tests.bot.work.repositories import needs_git, run_git
from tests.bot.work.workspace.killed import Killer
from tests.bot.work.workspace.threads import Project, committed, edit
from tests.repeat import long_run

pytestmark = needs_git

NEW = "new content\n" * 3

STEP = long_run(1, 3)
"""How many steps lie between two kills."""


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    with Killer(tmp_path_factory.mktemp("scratch")) as made:
        yield made


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Have a branch with something to commit and to merge, and a person's new file beside."""
    project = Project(tmp_path)
    committed(project.path, gone="x\n", swapped="s\n")
    tree = project.tree()
    committed(tree.directory, a__txt="theirs\n", new=NEW, gone=None)
    edit(project.path, notes="a person's\n")
    return project


def recover(project: Project) -> tuple[Recovered, ...]:
    return anyio.run(recover_merges, project.journals)


def nothing_left(project: Project) -> None:
    assert list(project.journals.glob("*")) == []
    assert [
        one for one in (project.path / ".git").rglob("*") if "weft-index" in one.name or one.suffix == ".lock"
    ] == []
    assert run_git(project.path, "fsck", "--strict", "--no-dangling", "--connectivity-only") == ""


def copies(project: Project, count: int) -> Iterator[tuple[int, Project]]:
    """Give a project again and again as it was; all of its paths are the same."""
    kept = project.beside.with_name(f"{project.beside.name}-kept")
    copy = ("cp", "-a", "--")
    subprocess.run([*copy, project.beside, kept], check=True)
    for number in range(count):
        if number:
            shutil.rmtree(project.beside)
            # With the times of files, by which an index knows them; their numbers differ, so it has to be refreshed.
            subprocess.run([*copy, kept, project.beside], check=True)
            for directory in (project.path, *(tree.directory for tree in project.trees.values())):
                run_git(directory, "update-index", "-q", "--refresh", check=False)
        yield number, project


def sweep(project: Project, killer: Killer, action: str) -> list[bool]:
    """Kill an action before every step, or every few; return whether it was done, of each kill."""
    tree, found = project.trees["7"], []
    before = {ref: project.at(ref) for ref in ("main", tree.branch)}
    ref = tree.branch if action == "commit" else "main"
    theirs = project.status(tree.directory).split()[1::2]
    for number, _ in copies(project, 200):
        if not killer.kill(action, tree, project.journals, number * STEP):
            break
        told = recover(project)
        nothing_left(project)
        done = project.at(ref) != before[ref]
        assert project.status() == "?? notes", number
        assert (project.path / "a.txt").read_text() == run_git(project.path, "show", "main:a.txt") + "\n"
        assert [one.done for one in told] in ([], [done])
        assert done or action == "commit" or project.at("main") == before["main"]
        if action == "commit":
            # Not committed, they may be staged.
            assert project.status(tree.directory).split()[1::2] == ([] if done else theirs)
            assert (tree.directory / "b.txt").read_text() == "changed\n"
        else:
            assert project.at(tree.branch) == before[tree.branch]
            assert project.status(tree.directory) == ""
        found.append(done)
    else:
        pytest.fail("it never came to its end")
    return found


@pytest.mark.long(20)
@pytest.mark.soak
@pytest.mark.parametrize("action", ["merge", "squash"])
def test_a_merge_that_is_killed_is_done_or_not_begun(project: Project, killer: Killer, action: str) -> None:
    """W4, G9: at any step; the project's directory looks as before, with all that a person has in it."""
    found = sweep(project, killer, action)
    assert found == sorted(found), "once it is done it stays done"
    assert len(found) > 30 / STEP


@pytest.mark.soak
def test_a_commit_that_is_killed_is_done_or_not_begun(project: Project, killer: Killer) -> None:
    """W4, G9: the work tree keeps all that is in it, and its git is locked by nobody."""
    here = project.trees["7"].directory
    edit(here, b__txt="changed\n", extra="e\n")
    found = sweep(project, killer, "commit")
    assert found == sorted(found)
    assert len(found) > 20 / STEP


def interrupted(project: Project, killer: Killer) -> None:
    """Have a merge killed when the project's directory has come along, and the base has not moved."""
    assert killer.kill("merge", project.trees["7"], project.journals, until="update-ref")
    assert (project.path / "new").exists()


@pytest.mark.soak
@pytest.mark.parametrize("name", ["a.txt", "new"])
def test_a_file_that_git_had_only_begun_is_made_whole(project: Project, killer: Killer, name: str) -> None:
    """W4, G9"""
    assert killer.kill("merge", project.trees["7"], project.journals, torn=name)
    assert (project.path / name).read_text() == "n"
    (project.path / name).write_text(NEW[:5] if name == "new" else "the")
    if name == "new":
        (project.path / "a.txt").unlink()
    told = recover(project)
    assert [one.text for one in told] == [
        "The merge into `main` was interrupted when I stopped. Nothing was changed: try it again."
    ]
    assert (project.path / "a.txt").read_text() == "one\ntwo\nthree\n"
    assert project.status() == "?? notes"
    nothing_left(project)


@pytest.mark.soak
def test_what_a_person_changed_after_the_kill_is_left_and_told(project: Project, killer: Killer) -> None:
    """W4, G9"""
    interrupted(project, killer)
    edit(project.path, new="a person's own\n")
    told = recover(project)
    assert [one.text for one in told] == [
        "The merge into `main` was interrupted when I stopped. Nothing was changed: try it again. "
        "Somebody changed `new` meanwhile, which I left alone."
    ]
    assert (project.path / "new").read_text() == "a person's own\n"
    assert project.status() == "?? new\n?? notes"
    nothing_left(project)


@pytest.mark.soak
def test_a_base_that_went_on_after_the_kill_keeps_the_merge(project: Project, killer: Killer) -> None:
    """W4, G9: killed between the base and the last of its checkouts; somebody added a commit by another work tree."""
    old = project.at("main")
    assert killer.kill("merge", project.trees["7"], project.journals, until="place")
    merged = project.at("main")
    more = run_git(project.path, "commit-tree", "main^{tree}", "-p", "main", "-m", "more")
    run_git(project.path, "update-ref", "refs/heads/main", more)
    assert [one.done for one in recover(project)] == [True]
    assert run_git(project.path, "rev-parse", "main^", "main^^") == f"{merged}\n{old}"
    assert project.status() == "?? notes"
    nothing_left(project)


@pytest.mark.soak
def test_a_recovery_that_is_killed_is_recovered(project: Project, killer: Killer) -> None:
    """W4, G9"""
    interrupted(project, killer)
    for number, _ in copies(project, 200):
        if not killer.kill("recover", project.trees["7"], project.journals, number * STEP):
            break
        recover(project)
        assert project.status() == "?? notes"
        nothing_left(project)
    assert number > 15 / STEP
    assert project.status() == "?? notes"


@pytest.mark.soak
def test_a_recovery_waits_for_the_last_git_of_the_bot_before(project: Project, killer: Killer) -> None:
    """W4, G9: it may still be writing; one that never ends is left for the next start."""
    interrupted(project, killer)
    (path,) = project.journals.glob("*.json")
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        holder = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=(held.fileno(),)
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "WAIT", 0.1)
        assert recover(project) == ()
    assert path.exists()
    holder.communicate(b"", timeout=30)
    assert len(recover(project)) == 1
    nothing_left(project)


@pytest.mark.soak
def test_what_can_not_be_recovered_keeps_nothing_else_waiting(project: Project, killer: Killer) -> None:
    """W4, G9: a journal that can't be read, or whose repository is gone."""
    assert anyio.run(recover_merges, project.beside / "none") == ()
    interrupted(project, killer)
    (project.journals / "0.json").write_text("no journal")
    (project.journals / "1.tmp").write_text("not begun")
    (other,) = (path for path in project.journals.glob("*.json") if path.name != "0.json")
    gone = other.read_text().replace(str(project.path), str(project.beside / "gone"))
    (project.journals / "2.json").write_text(gone)
    assert sorted(one.text != "" for one in recover(project)) == [False, True]
    assert [one.name for one in project.journals.iterdir()] == ["0.json"]
    assert project.status() == "?? notes"
