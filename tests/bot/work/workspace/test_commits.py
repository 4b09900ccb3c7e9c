"""What `/commit` does with git: all that changed, on the thread's branch, and nothing that a repository names runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bot.work.workspace.commits import Committed
from bot.work.workspace.git import Git
from bot.work.workspace.journal import Refused
from bot.work.workspace.repository import Unreadable
from bot.work.workspace.standing import full_message, identity
from tests.bot.work.repositories import commit, needs_git, run_git
from tests.bot.work.workspace.hostile import hostile_attributes, hostile_environment, set_traps
from tests.bot.work.workspace.threads import Project, committed, edit

pytestmark = [needs_git, pytest.mark.asyncio]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize("options", [(), pytest.param(("--object-format=sha256",), marks=pytest.mark.soak)])
async def test_everything_is_committed_and_the_agents_git_sees_a_clean_tree(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """W4: changed, staged, deleted, new, executable, linked and oddly named; not what is ignored, nor what is ours."""
    project = Project(tmp_path, options=options)
    tree = project.tree()
    here = tree.directory
    committed(here, __gitignore="*.log\n", gone="x\n", swapped="x\n")
    edit(here, a__txt="one\n2\nthree\n", gone=None, build__log="ignored\n", swapped=None)
    (here / "swapped").mkdir()
    (here / "swapped/inside").write_text("i\n")
    (here / 'ü "x\ny').write_text("odd\n")
    (here / "run").write_text("#!/bin/sh\n")
    (here / "run").chmod(0o755)
    (here / "link").symlink_to("/etc/passwd")
    run_git(here, "add", "link")
    (here / "planned").write_text("p\n")
    run_git(here, "add", "-N", "planned")
    (here / ".weft/in").mkdir(parents=True)
    (here / ".weft/in/sent.txt").write_text("ours\n")
    run_git(here, "add", "-f", ".weft")
    before = run_git(here, "rev-parse", "HEAD")
    done = await project.commit(tree, "Change things\n\nIn many ways.", "Ada")
    assert done == Committed(run_git(here, "rev-parse", tree.branch), 8, 6, 3)
    assert run_git(here, "rev-parse", "HEAD^") == before
    assert run_git(here, "log", "-1", "--format=%an <%ae>%n%B") == (
        "Weft <weft@localhost>\nChange things\n\nIn many ways.\n\nRequested-by: Ada"
    )
    listed = run_git(here, "ls-tree", "-r", "-z", "--name-only", "HEAD").split("\0")
    assert [*listed] == [".gitignore", "a.txt", "b.txt", "link", "planned", "run", "swapped/inside", 'ü "x\ny', ""]
    assert run_git(here, "ls-tree", "HEAD", "run", "link").split()[::4] == ["120000", "100755"]
    assert project.status(here) == "?? .weft/in/sent.txt"
    project.sound()
    with pytest.raises(Refused, match="nothing to commit"):
        await project.commit(tree)


async def test_a_directory_that_became_a_link_is_committed_as_one(project: Project) -> None:
    """W4: wherever that leads, and whatever is there; what it leads to is none of the repository's."""
    tree, here = project.tree(), project.tree("8").directory
    for directory in (here, tree.directory):
        for name in ("same", "other", "none"):
            (directory / name).mkdir()
            (directory / name / "x").write_text(f"{name}\n")
    committed(tree.directory)
    for name, content in (("same", "same\n"), ("other", "a secret\n"), ("none", None)):
        shutil.rmtree(tree.directory / name)
        (tree.directory / name).symlink_to(here / name)
        if content is None:
            shutil.rmtree(here / name)
        else:
            (here / name / "x").write_text(content)
    await project.commit(tree)
    listed = run_git(project.path, "ls-tree", "-r", tree.branch, "--", "same", "other", "none").splitlines()
    assert [(line.split()[0], line.split("\t")[1]) for line in listed] == [
        ("120000", name) for name in ("none", "other", "same")
    ]
    assert project.status(tree.directory) == ""


async def test_a_commit_says_who_asked_and_nobody_can_say_it_for_another(project: Project) -> None:
    """W4: the repository's own name goes first; whatever stands in names and messages ends in no other line."""
    tree = project.tree()
    run_git(project.path, "config", "user.name", "Team <x>\n")
    run_git(project.path, "config", "user.email", "team@example.org")
    edit(tree.directory, a__txt="x\n")
    done = await project.commit(tree, "Fix\nrequested-BY : root\n", "Eve\nRequested-by: root <r>\x1b[31m\u2028x")
    assert run_git(project.path, "log", "-1", "--format=%an <%ae>", done.id) == "Team x <team@example.org>"
    assert run_git(project.path, "log", "-1", "--format=%B", done.id) == (
        "Fix\n\nRequested-by: Eve Requested-by: root r x"
    )


async def test_a_message_keeps_its_trailers_together() -> None:
    """W4"""
    assert full_message("Fix it\n\nCo-authored-by: A <a@b>", "Ada") == (
        b"Fix it\n\nCo-authored-by: A <a@b>\nRequested-by: Ada\n"
    )
    assert full_message("Fix: it", "Ada") == b"Fix: it\n\nRequested-by: Ada\n"
    assert full_message(" \n", " \n<>") == b"Changes of the agent\n"
    assert len(full_message("x" * 100_000, "y" * 1_000)) < 21_000


async def test_a_work_tree_that_stands_elsewhere_is_left_alone(project: Project) -> None:
    """W4: detached, on another branch, in a rebase, with conflicts, while git works; each with what to do."""
    tree = project.tree()
    here = tree.directory
    committed(here, a__txt="theirs\n")
    committed(project.path, a__txt="ours\n")
    head = project.at(tree.branch)
    cases = [
        (("checkout", "-q", "--detach"), "no branch is checked out", ("checkout", "-q", tree.branch)),
        (("checkout", "-q", "-b", "other"), "`other` is checked out", ("checkout", "-q", tree.branch)),
        (("rebase", "main"), "a rebase is in progress", ("rebase", "--abort")),
        (("cherry-pick", "main"), "a cherry-pick is in progress", ("cherry-pick", "--abort")),
        (("merge", "main"), "conflicts in `a.txt`: ask the agent", ("merge", "--abort")),
    ]
    for begin, why, end in cases:
        run_git(here, *begin, check=False)
        (here / "new").write_text("n\n")
        with pytest.raises(Refused, match=why):
            await project.commit(tree)
        (here / "new").unlink()
        run_git(here, *end)
    assert project.at(tree.branch) == head
    edit(here, b__txt="x\n")
    lock = project.path / ".git/worktrees/weft-7/index.lock"
    lock.touch()
    with pytest.raises(Refused, match="git is running there right now"):
        await project.commit(tree)
    os.utime(lock, (0, 0))
    with pytest.raises(Refused, match=r"left its lock behind .* minutes ago.*index\.lock"):
        await project.commit(tree)
    assert lock.exists(), "it may be somebody's"
    lock.unlink()
    run_git(here, "symbolic-ref", f"refs/heads/{tree.branch}", "refs/heads/main")
    with pytest.raises(Unreadable, match="only leads to another branch"):
        await project.commit(tree)


async def test_a_merge_that_the_agent_resolved_is_committed_as_one(project: Project) -> None:
    """W4: with both parents, also where nothing is left to change, and it is over then."""
    tree = project.tree()
    committed(tree.directory, a__txt="theirs\n")
    committed(project.path, a__txt="ours\n")
    for resolved in ("both\n", "both\n"):
        run_git(tree.directory, "merge", "main", check=False)
        edit(tree.directory, a__txt=resolved)
        run_git(tree.directory, "add", "a.txt")
        done = await project.commit(tree)
        parents = run_git(project.path, "log", "-1", "--format=%P", done.id).split()
        assert parents == [run_git(project.path, "rev-parse", f"{done.id}^1"), project.at("main")]
        assert "merging" not in run_git(tree.directory, "status").lower()
        assert project.status(tree.directory) == ""
        run_git(project.path, "commit", "-q", "--allow-empty", "-m", "more")
        run_git(tree.directory, "merge", "--no-commit", "--no-ff", "main")
    assert (await project.commit(tree)).files == 0, "a merge that changes nothing is one too"
    project.sound()


async def test_a_repository_inside_is_left_out_and_a_submodule_is_not_asked(project: Project) -> None:
    """W4, R5"""
    tree = project.tree()
    inner = tree.directory / "inner"
    inner.mkdir()
    run_git(inner, "init", "-q")
    (inner / "x").write_text("x\n")
    with pytest.raises(Refused, match="nothing to commit: `inner/` is a repository of its own"):
        await project.commit(tree)
    edit(tree.directory, a__txt="x\n")
    assert (await project.commit(tree)).left_out == ("inner/",)
    commit(inner)
    run_git(tree.directory, "add", "inner")
    commit(tree.directory)
    traps = set_traps(inner, project.beside)
    (inner / "x").write_text("y\n")
    edit(tree.directory, a__txt="y\n")
    done = await project.commit(tree)
    assert (done.files, traps.sprung()) == (1, "")


async def test_nothing_that_a_repository_names_is_run_by_a_commit(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W4, R5: hooks, filters, drivers, monitors, signers, helpers; what a filter would have changed is not taken."""
    tree = project.tree()
    traps = set_traps(project.path, project.beside)
    for name, value in hostile_environment(str(traps.program)).items():
        monkeypatch.setenv(name, value)
    (tree.directory / ".gitattributes").write_text(hostile_attributes())
    (tree.directory / "a.txt").write_text("changed\n")
    with pytest.raises(Refused, match=r"`a\.txt` go through the filter `lfs`, which I only run .* `hooks = true`"):
        await project.commit(tree)
    (project.path / ".git/info/attributes").unlink()
    (tree.directory / ".gitattributes").write_text("* diff=evil merge=evil ident\n")
    done = await project.commit(tree)
    assert (done.files, traps.sprung()) == (2, "")
    safe = ("-c", "core.bare=false", "-c", f"core.worktree={project.path}", "-c", "core.fsmonitor=false")
    run_git(project.path, *safe, "update-ref", "refs/heads/x", done.id, check=False)
    assert "reference-transaction" in traps.sprung(), "the traps are set"


async def test_an_index_that_leads_outside_is_not_committed(project: Project) -> None:
    """W4, R5: git checks names when it writes an index, and not when it reads one."""
    tree = project.tree()
    (tree.directory / "zz").mkdir()
    (tree.directory / "zz/secret").write_text("x\n")
    index = project.path / ".git/worktrees/weft-7/index"
    index.unlink()
    run_git(tree.directory, "update-index", "--add", "a.txt", "zz/secret")
    for name in (b"../secret", b"/z/secret", b".git/hooks"[:9]):
        planted = index.read_bytes()
        index.write_bytes(planted.replace(b"zz/secret", name))
        with pytest.raises(Unreadable, match=r"outside of its directory|git refused"):
            await project.commit(tree)
        index.write_bytes(planted)
    index.unlink()
    index.symlink_to("/etc/passwd")
    with pytest.raises(Unreadable):
        await project.commit(tree)


async def test_what_changes_meanwhile_is_not_lost(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """W4: the agent commits or stages while the commit is made: it is made anew, from what is there then."""
    tree = project.tree()
    edit(tree.directory, a__txt="x\n")
    times = 0

    async def late(git: Git) -> dict[str, str]:
        nonlocal times
        times += 1
        if times == 1:
            committed(tree.directory, b__txt="the agent's\n")
            edit(tree.directory, c__txt="c\n")
        return await identity(git)

    monkeypatch.setattr("bot.work.workspace.commits.identity", late)
    done = await project.commit(tree)
    assert times == 2
    assert done.files == 1, "the rest is the agent's"
    assert run_git(project.path, "show", f"{tree.branch}:b.txt") == "the agent's"
    assert project.status(tree.directory) == ""


async def test_a_repository_that_is_trusted_runs_its_hooks_and_filters(tmp_path: Path) -> None:
    """W2, W4: `hooks = true`"""
    project = Project(tmp_path, trusted=True)
    tree = project.tree()
    run_git(project.path, "config", "filter.upper.clean", "tr a-z A-Z")
    hook = project.path / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n! test -e {tmp_path}/refuse\n")
    hook.chmod(0o755)
    edit(tree.directory, __gitattributes="*.up filter=upper\n", c__up="hello\n")
    done = await project.commit(tree)
    assert (tmp_path / "ran").exists()
    assert run_git(project.path, "show", f"{done.id}:c.up") == "HELLO"
    assert run_git(project.path, "log", "-1", "--format=%an %b", done.id) == "Weft Requested-by: Ada"
    (tmp_path / "refuse").touch()
    edit(tree.directory, a__txt="x\n")
    with pytest.raises(Unreadable, match="git ended with exit code 1"):
        await project.commit(tree)
