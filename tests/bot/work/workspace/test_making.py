"""Work trees that are made: complete, for the git of people as for ours, and again after whatever came between."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from bot.work.workspace import making, writing
from bot.work.workspace.making import FILTERED, SUBMODULES, make
from bot.work.workspace.repository import Unreadable
from bot.work.workspace.tree_state import look
from bot.work.workspace.worktrees import Made, WorkTree, check_project, repository_of
from tests.bot.work.repositories import commit, make_repository, needs_git, run_git
from tests.bot.work.workspace.hostile import hostile_attributes, hostile_environment, set_traps
from tests.bot.work.workspace.trees import project, refs, tree_in, untouched

pytestmark = [needs_git, pytest.mark.asyncio]


def assert_sound(tree: WorkTree) -> None:
    """The git of people finds nothing amiss in a work tree, nor in the repository, and keeps it when it tidies up."""
    assert run_git(tree.directory, "status", "--porcelain") == ""
    for _ in range(2):
        listed = run_git(tree.repository, "worktree", "list", "--porcelain")
        assert f"worktree {tree.directory}\n" in listed
        assert f"branch {tree.reference}\n" in listed
        assert "prunable" not in listed
        assert run_git(tree.repository, "fsck", "--strict", "--no-dangling") == ""
        run_git(tree.repository, "worktree", "prune", "--expire=now")
        run_git(tree.repository, "gc", "-q", "--prune=now")
    assert [one.name for one in tree.directory.parent.iterdir() if "lock" not in one.name] == [tree.directory.name]


async def test_a_work_tree_is_one_for_the_git_of_people_too(tmp_path: Path) -> None:
    """W2: with every file, clean, on its branch at the tip of the base; what the team works in is not touched."""
    tree = project(tmp_path, a__txt="one\n", run="#!/bin/sh\n")
    (tree.repository / "run").chmod(0o755)
    (tree.repository / "link").symlink_to("a.txt")
    (tree.repository / "deep/er").mkdir(parents=True)
    (tree.repository / "deep/er/ü \n").write_text("x\n")
    tip = commit(tree.repository)
    (tree.repository / "a.txt").write_text("not committed\n")
    (tree.repository / "new").write_text("n\n")
    run_git(tree.repository, "checkout", "-q", "--detach")
    before = untouched(tree.repository)
    assert await make(tree) == Made(tip, made=True)
    assert untouched(tree.repository) == before
    assert (tree.directory / "run").stat().st_mode & 0o100
    assert (tree.directory / "link").readlink() == Path("a.txt")
    assert (tree.directory / "deep/er/ü \n").read_text() == "x\n"
    assert_sound(tree)
    (tree.directory / "mine").write_text("m\n")
    commit(tree.directory)
    assert run_git(tree.repository, "log", "--format=%s", f"main..{tree.branch}") == "x"
    assert await make(tree) == Made(tip, made=False), "it is left as it is"
    assert (tree.directory / "mine").exists()
    run_git(tree.repository, "reset", "-q", "--hard")


async def test_one_whose_directory_was_deleted_is_made_anew_from_its_branch(tmp_path: Path) -> None:
    """W5: with what was committed on it; commits on no branch, and what was staged, are kept by a reference."""
    tree = project(tmp_path)
    tip = (await make(tree)).base_commit
    (tree.directory / "mine").write_text("m\n")
    commit(tree.directory)
    run_git(tree.directory, "checkout", "-q", "--detach")
    (tree.directory / "lost").write_text("l\n")
    detached = commit(tree.directory)
    shutil.rmtree(tree.directory)
    assert await make(tree) == Made(tip, made=True, again=True)
    assert (tree.directory / "mine").read_text() == "m\n"
    assert refs(tree, "refs/weft") == {"refs/weft/kept/7/1": detached}
    (tree.directory / "staged").write_text("s\n")
    run_git(tree.directory, "add", "staged")
    shutil.rmtree(tree.directory)
    run_git(tree.repository, "worktree", "prune", "--expire=now")
    assert (await make(tree)).again
    assert run_git(tree.repository, "show", "refs/weft/kept/7/2:staged") == "s"
    assert_sound(tree)


async def test_whatever_went_missing_around_a_work_tree_is_put_back(tmp_path: Path) -> None:
    """W5: files in it are left as they are."""
    tree = project(tmp_path)
    await make(tree)
    admin = (await repository_of(tree)).private
    for break_it in (
        (tree.directory / ".git").unlink,
        lambda: (tree.directory / ".git").write_text(f"gitdir: {tmp_path}/elsewhere\n"),
        lambda: (admin / "gitdir").write_text(f"{tmp_path}/elsewhere/.git\n"),
        (admin / "index").unlink,
        (admin / "HEAD").unlink,
        lambda: shutil.rmtree(admin),
    ):
        (tree.directory / "a.txt").write_text("changed\n")
        (tree.directory / "new").write_text("n\n")
        break_it()
        assert not (await make(tree)).made
        assert run_git(tree.directory, "status", "--porcelain").split("\n") == ["M a.txt", "?? new"]
        (tree.directory / "new").unlink()
        run_git(tree.directory, "checkout", "-q", "a.txt")
        assert_sound(tree)
    (tree.directory / ".git").unlink()
    make_repository(tree.directory)
    with pytest.raises(Unreadable, match="a repository of its own"):
        await make(tree)


async def test_what_is_in_the_way_is_said_and_left_alone(tmp_path: Path) -> None:
    """W2: files of nobody's work tree, a branch that somebody else has, or that leads to another, or is in the way."""
    tree = project(tmp_path)
    tree.directory.mkdir(parents=True)
    (tree.directory / "precious").write_text("p\n")
    with pytest.raises(Unreadable, match="to no work tree"):
        await make(tree)
    (tree.directory / "precious").unlink()
    run_git(tree.repository, "checkout", "-q", "-b", tree.branch)
    with pytest.raises(Unreadable, match=f"checked out in `{tree.repository}`"):
        await make(tree)
    run_git(tree.repository, "checkout", "-q", "main")
    run_git(tree.repository, "symbolic-ref", tree.reference, "refs/heads/main")
    with pytest.raises(Unreadable, match="stands for another one"):
        await make(tree)
    run_git(tree.repository, "symbolic-ref", "-d", tree.reference)
    run_git(tree.repository, "branch", "weft")
    with pytest.raises(Unreadable, match="a branch in the way"):
        await make(tree)
    run_git(tree.repository, "branch", "-D", "weft")
    assert (await make(tree)).made, "a directory that is empty is none"
    assert_sound(tree)


async def test_a_base_that_moved_or_went_takes_no_work_tree_with_it(tmp_path: Path) -> None:
    """W2, W5: it is made from its own branch; a new one needs a base, of the repository or of its remote."""
    tree = project(tmp_path)
    (tree.repository / "next").write_text("n\n")
    commit(tree.repository)
    made = await make(tree)
    run_git(tree.repository, "reset", "-q", "--hard", "HEAD^")
    first = run_git(tree.repository, "rev-parse", "HEAD")
    shutil.rmtree(tree.directory)
    assert await make(tree) == Made(first, made=True, again=True)
    run_git(tree.repository, "checkout", "-q", "--detach")
    run_git(tree.repository, "branch", "-D", "main")
    shutil.rmtree(tree.directory)
    assert await make(tree) == Made(made.base_commit, made=True, again=True)
    other = tree_in(tmp_path, tree.repository, 8)
    with pytest.raises(Unreadable, match="no branch `main`"):
        await make(other)
    run_git(tree.repository, "update-ref", "refs/remotes/origin/main", first)
    assert (await make(other, start=made.base_commit)).base_commit == first
    assert run_git(other.directory, "rev-parse", "HEAD") == made.base_commit


async def test_what_is_no_project_is_said(tmp_path: Path) -> None:
    """W1: nothing there, no repository, a bare one, one without a commit, a directory below its top."""
    (tmp_path / "plain").mkdir()
    run_git(tmp_path, "init", "-q", "--bare", "bare")
    run_git(tmp_path, "init", "-q", "--initial-branch=main", "empty")
    make_repository(tmp_path / "good", "--initial-branch=main")
    (tmp_path / "good/below").mkdir()
    for name, why in {
        "gone": "is not there",
        "plain": "is not a git repository",
        "bare": "is a bare repository",
        "empty": "has no commit yet",
        "good/below": "is inside the repository",
    }.items():
        with pytest.raises(Unreadable, match=why):
            await check_project(tmp_path / name, "main")
        with pytest.raises(Unreadable, match=why):
            await make(tree_in(tmp_path, tmp_path / name))
    with pytest.raises(Unreadable, match="no branch `ma in`"):
        await check_project(tmp_path / "good", "ma in")
    await check_project(tmp_path / "good", "main")


async def test_submodules_and_filters_are_left_out_and_said(tmp_path: Path) -> None:
    """W2"""
    make_repository(tmp_path / "module")
    tree = project(
        tmp_path, a__big="pointer\n", __gitattributes="*.big filter=lfs\n*.txt text eol=crlf\n", a__txt="x\n"
    )
    allowed = ("-c", "protocol.file.allow=always")
    run_git(tree.repository, *allowed, "submodule", "--quiet", "add", str(tmp_path / "module"), "module")
    commit(tree.repository)
    assert (await make(tree)).notes == (SUBMODULES, FILTERED)
    assert list((tree.directory / "module").iterdir()) == []
    assert (tree.directory / "a.txt").read_bytes() == b"x\r\n"
    assert_sound(tree)


async def test_a_partial_clone_is_not_completed_by_us(tmp_path: Path) -> None:
    """W2, R5: git would fetch what is missing by a program that the repository names."""
    make_repository(tmp_path / "origin", "--initial-branch=main")
    run_git(tmp_path / "origin", "config", "uploadpack.allowFilter", "true")
    clone = ("clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{tmp_path}/origin", "project")
    run_git(tmp_path, *clone)
    tree = tree_in(tmp_path, tmp_path / "project")
    trace = tmp_path / "trace"
    run_git(tree.repository, "config", "remote.origin.uploadpack", f"touch {trace}; git-upload-pack")
    with pytest.raises(Unreadable, match="a partial clone"):
        await make(tree)
    assert not trace.exists()
    assert not (await look(tree)).dirty
    run_git(tree.repository, "checkout", "-q", "main")
    assert trace.exists(), "the trap is set"
    assert (await make(tree)).made
    assert_sound(tree)


async def test_a_trusted_repository_runs_its_filters_and_its_hook(tmp_path: Path) -> None:
    """W1"""
    tree = replace(project(tmp_path, a__big="pointer\n", __gitattributes="*.big filter=up\n"), trusted=True)
    run_git(tree.repository, "config", "filter.up.smudge", "tr a-z A-Z")
    run_git(tree.repository, "config", "filter.up.clean", "tr A-Z a-z")
    hook = tree.repository / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\npwd > hooked; exit 1\n")
    hook.chmod(0o755)
    assert (await make(tree)).notes == ()
    assert (tree.directory / "a.big").read_text() == "POINTER\n"
    assert (tree.directory / "hooked").read_text() == f"{tree.directory}\n"
    (tree.directory / "hooked").unlink()
    assert_sound(tree)


async def test_nothing_that_a_repository_names_is_run_by_making(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W2, W5, R5: neither at first nor anew; and a `.git` file that was rewritten leads nowhere."""
    tree = project(tmp_path, a__0="x\n", a__1="x\n", a__2="x\n", __gitattributes=hostile_attributes())
    tip = run_git(tree.repository, "rev-parse", "HEAD")
    traps = set_traps(tree.repository, tmp_path)
    for name, value in hostile_environment(str(traps.program)).items():
        monkeypatch.setenv(name, value)
    assert await make(tree) == Made(tip, made=True, notes=(FILTERED,))
    admin = (await repository_of(tree)).private
    (admin / "config.worktree").write_text(f"[core]\n\tfsmonitor = {traps.program}\n")
    (tree.directory / ".git").write_text(f"gitdir: {tree.repository}/.git\n")
    assert await make(tree) == Made(tip, made=False)
    assert (tree.directory / ".git").read_text() == f"gitdir: {admin}\n"
    shutil.rmtree(tree.directory)
    assert await make(tree) == Made(tip, made=True, again=True, notes=(FILTERED,))
    assert traps.sprung() == ""


async def test_links_in_the_place_of_our_files_are_not_followed(tmp_path: Path) -> None:
    """W5, R5: whoever can write to the repository can't have us write elsewhere."""
    tree = project(tmp_path)
    await make(tree)
    admin, precious = (await repository_of(tree)).private, tmp_path / "precious"
    precious.write_text("p\n")
    for path in (admin / "gitdir", admin / "commondir", admin / "locked", tree.directory / ".git"):
        path.unlink()
        path.symlink_to(precious)
        await make(tree)
        assert path.is_file()
        assert not path.is_symlink()
    shutil.rmtree(tree.directory)
    elsewhere = tmp_path / "elsewhere"
    admin.rename(elsewhere)
    admin.symlink_to(elsewhere)
    before = sorted(one.name for one in elsewhere.iterdir())
    with pytest.raises(Unreadable, match="links to elsewhere"):
        await make(tree)
    assert sorted(one.name for one in elsewhere.iterdir()) == before
    assert precious.read_text() == "p\n"


@pytest.mark.soak
async def test_twenty_at_once_in_one_repository(tmp_path: Path) -> None:
    """W2"""
    first = project(tmp_path)
    trees = [tree_in(tmp_path, first.repository, number) for number in range(20)]
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for tree in trees:
                tasks.start_soon(make, tree)
                tasks.start_soon(make, tree)  # and each of them twice
    assert set(refs(first, "refs/heads")) == {"refs/heads/main", *(tree.reference for tree in trees)}
    for tree in trees:
        assert run_git(tree.directory, "status", "--porcelain") == ""


async def test_a_disk_that_is_full_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    """W2: it is said, and the next try goes well; on a disk of its own, as only root can make one."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk takes root")
    tree = project(tmp_path)
    (tree.repository / "large").write_bytes(os.urandom(4 * 2**20))
    commit(tree.repository)
    disk = tmp_path / "state"
    disk.mkdir()
    mounted = await anyio.run_process(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(Unreadable, match="disk is full"):
            await make(tree)
        assert [one.name for one in tree.directory.parent.iterdir()] == [".7.lock"]
        await anyio.run_process(["mount", "-o", "remount,size=64m", str(disk)])
        assert (await make(tree)).made
        assert_sound(tree)
    finally:
        await anyio.run_process(["umount", str(disk)])


async def test_a_lock_that_a_killed_git_left_on_a_branch_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W2: unless it is so young that somebody may still hold it."""
    monkeypatch.setattr(writing, "LOCK_WAIT", 0.1)
    tree = project(tmp_path)
    lock = tree.repository / f".git/{tree.reference}.lock"
    lock.parent.mkdir()
    lock.touch()
    with pytest.raises(Unreadable, match=r"\.lock"):
        await make(tree)
    os.utime(lock, (0, 0))
    assert (await make(tree)).made
    assert_sound(tree)


async def test_one_that_is_given_up_leaves_nothing_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W2: after its time limit, or stopped."""
    tree = project(tmp_path)
    real = shutil.which("git")
    slow = tmp_path / "bin/git"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\ncase "$*" in *read-tree*) sleep 60;; esac\nexec {real} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent), prepend=os.pathsep)
    monkeypatch.setattr(making, "LIMIT", 1.0)
    with pytest.raises(Unreadable, match="was not complete after 1 s"):
        await make(tree)
    slow.unlink()
    monkeypatch.setattr(making, "LIMIT", 60.0)
    assert (await make(tree)).made
    assert_sound(tree)
