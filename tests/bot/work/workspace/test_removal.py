"""Work trees that are removed: whole, and with nothing lost that is nowhere else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bot.work.workspace import removal
from bot.work.workspace.making import make
from bot.work.workspace.removal import Removed, remove
from bot.work.workspace.repository import Unreadable
from bot.work.workspace.worktrees import NotSafe, WorkTree, repository_of
from tests.bot.work.repositories import commit, make_repository, needs_git, run_git
from tests.bot.work.workspace.hostile import hostile_attributes, hostile_environment, set_traps
from tests.bot.work.workspace.trees import project, refs, tree_in, untouched
from tests.repeat import in_soak

pytestmark = [needs_git, pytest.mark.asyncio]


def assert_gone(tree: WorkTree, *, branch: bool = False) -> None:
    """Nothing is left of a work tree, and the git of people finds nothing amiss."""
    assert not list(tree.directory.parent.iterdir())
    assert not list((tree.repository / ".git/worktrees").iterdir())
    assert (tree.reference in refs(tree)) == branch
    assert len(run_git(tree.repository, "worktree", "list").splitlines()) == 1
    assert run_git(tree.repository, "fsck", "--strict", "--no-dangling") == ""


async def test_one_without_anything_of_its_own_goes_with_its_branch(tmp_path: Path) -> None:
    """W4, W5: what people work in is not touched; ignored files go, and links are not followed."""
    tree = project(tmp_path, a__txt="x\n", __gitignore="build/\n")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("p\n")
    before = untouched(tree.repository)
    await make(tree)
    closed = tree.directory / "build/closed"
    closed.mkdir(parents=True)
    (closed / "cached").write_text("c\n")
    (tree.directory / "build/link").symlink_to(tmp_path / "precious")
    deep = tree.directory / "build"
    for _ in range(200):
        deep = deep / "d"
        deep.mkdir()
    (tree.directory / ".weft/in").mkdir(parents=True)
    (tree.directory / ".weft/in/sent").write_text("ours\n")
    closed.chmod(0)
    assert await remove(tree) == Removed(branch_gone=True)
    assert_gone(tree)
    assert untouched(tree.repository) == before
    assert (tmp_path / "precious/file").read_text() == "p\n"
    assert await remove(tree) == Removed(), "it is gone already"


def stash(tree: WorkTree) -> None:
    (tree.directory / "a.txt").write_text("stashed\n")
    run_git(tree.directory, "stash", "-q")


def conflict(tree: WorkTree) -> None:
    run_git(tree.directory, "branch", "other")
    for branch in ("other", tree.branch):
        run_git(tree.directory, "checkout", "-q", branch)
        (tree.directory / "a.txt").write_text(f"{branch}\n")
        commit(tree.directory)
    run_git(tree.directory, "reset", "-q", "--hard")
    run_git(tree.directory, "merge", "-q", "other", check=False)


def detached(tree: WorkTree) -> None:
    run_git(tree.directory, "checkout", "-q", "--detach")
    (tree.directory / "new").write_text("n\n")
    commit(tree.directory)


def hidden(tree: WorkTree) -> None:
    run_git(tree.directory, "update-index", "--assume-unchanged", "a.txt")
    (tree.directory / "a.txt").write_text("hidden\n")


def committed(tree: WorkTree) -> None:
    (tree.directory / "new").write_text("n\n")
    commit(tree.directory)


def orphan(tree: WorkTree) -> None:
    run_git(tree.directory, "checkout", "-q", "--orphan", "other")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (hidden, "1 file is not committed"),
        (committed, "1 commit is not in `main`"),
        (stash, "1 entry in the stash"),
        *in_soak(
            [
                (lambda tree: (tree.directory / "new").write_text("n\n"), "1 file is not committed"),
                (lambda tree: (tree.directory / "a.txt").unlink(), "1 file is not committed"),
                (orphan, "2 files are not committed"),
                (detached, "it has commits on no branch"),
                (conflict, "a merge is in progress"),
            ]
        ),
    ],
)
async def test_what_is_nowhere_else_is_said_and_then_kept(
    tmp_path: Path, change: Callable[[WorkTree], object], why: str
) -> None:
    """W4: nothing changes while nobody says so; afterwards all of it can be had by a reference, or by the branch."""
    tree = project(tmp_path)
    await make(tree)
    change(tree)
    content = {one.name: one.read_text() for one in tree.directory.iterdir() if one.is_file() and one.name != ".git"}
    status, tip = run_git(tree.directory, "status", "--porcelain"), refs(tree)[tree.reference]
    stashes = run_git(tree.repository, "stash", "list")
    with pytest.raises(NotSafe, match=why) as caught:
        await remove(tree)
    assert not caught.value.final
    assert run_git(tree.directory, "status", "--porcelain") == status
    assert "refs/weft" not in "".join(refs(tree))
    removed = await remove(tree, anyway=True)
    assert_gone(tree, branch=change in (committed, conflict))
    assert run_git(tree.repository, "stash", "list") == stashes
    assert refs(tree).get(tree.reference, tip) == tip
    if removed.kept:
        kept = run_git(tree.repository, "ls-tree", "-r", "--name-only", removed.kept[0]).split()
        assert {name: run_git(tree.repository, "show", f"{removed.kept[0]}:{name}") + "\n" for name in kept} == content
    else:
        assert change in (committed, stash)


async def test_what_was_staged_is_kept_beside_the_files(tmp_path: Path) -> None:
    """W4: where the two differ; also where the directory was deleted."""
    tree = project(tmp_path)
    await make(tree)
    (tree.directory / "a.txt").write_text("staged\n")
    run_git(tree.directory, "add", "a.txt")
    (tree.directory / "a.txt").write_text("changed\n")
    kept = (await remove(tree, anyway=True)).kept
    assert kept == ("refs/weft/kept/7/1",)
    assert run_git(tree.repository, "show", f"{kept[0]}:a.txt") == "changed"
    assert run_git(tree.repository, "show", f"{kept[0]}^2:a.txt") == "staged"
    await make(tree)
    (tree.directory / "a.txt").write_text("staged again\n")
    run_git(tree.directory, "add", "a.txt")
    shutil.rmtree(tree.directory)
    assert (await remove(tree)).kept == ("refs/weft/kept/7/2",)
    assert run_git(tree.repository, "show", "refs/weft/kept/7/2:a.txt") == "staged again"
    assert_gone(tree)


async def test_a_squashed_branch_goes_and_its_commits_can_be_found(tmp_path: Path) -> None:
    """W5: its base has them as another commit."""
    tree = project(tmp_path)
    await make(tree)
    committed(tree)
    tip = refs(tree)[tree.reference]
    run_git(tree.repository, "merge", "-q", "--squash", tree.branch)
    run_git(tree.repository, "commit", "-q", "-m", "squashed")
    assert await remove(tree) == Removed(("refs/weft/kept/7/1",), branch_gone=True)
    assert refs(tree, "refs/weft") == {"refs/weft/kept/7/1": tip}
    assert not (tree.repository / ".git/logs" / tree.reference).exists()


async def test_a_branch_that_somebody_else_has_stays(tmp_path: Path) -> None:
    """W4"""
    tree = project(tmp_path)
    await make(tree)
    run_git(tree.directory, "checkout", "-q", "--detach")
    run_git(tree.repository, "checkout", "-q", tree.branch)
    assert await remove(tree) == Removed()
    assert tree.reference in refs(tree)


async def test_one_that_the_repository_knows_nothing_of_is_looked_at_all_the_same(tmp_path: Path) -> None:
    """W4: somebody took away what the repository kept of it, be it with the branch."""
    tree = project(tmp_path)
    for gone in ("worktrees", f"refs/heads/{tree.branch}"):
        await make(tree)
        (tree.directory / "new").write_text("n\n")
        shutil.rmtree(tree.repository / ".git/worktrees")
        (tree.repository / ".git" / gone).unlink() if gone.startswith("refs") else None
        with pytest.raises(NotSafe, match="not committed"):
            await remove(tree)
        kept = (await remove(tree, anyway=True)).kept
        assert run_git(tree.repository, "show", f"{kept[0]}:new") == "n"
        assert_gone(tree)


async def test_a_repository_in_it_can_not_be_kept(tmp_path: Path) -> None:
    """W4: a clone that the agent made, committed or not, or a submodule; once it is away, the rest can go."""
    tree = project(tmp_path)
    make_repository(tmp_path / "module")
    allowed = ("-c", "protocol.file.allow=always")
    run_git(tree.repository, *allowed, "submodule", "--quiet", "add", str(tmp_path / "module"), "module")
    commit(tree.repository)
    await make(tree)
    make_repository(tree.directory / "inner")
    with pytest.raises(NotSafe, match="`inner` in it is a repository of its own") as caught:
        await remove(tree, anyway=True)
    assert caught.value.final
    commit(tree.directory)
    with pytest.raises(NotSafe, match="`inner` in it is a repository of its own"):
        await remove(tree, anyway=True)
    shutil.rmtree(tree.directory / "inner")
    commit(tree.directory)
    run_git(tree.directory, *allowed, "submodule", "--quiet", "update", "--init")
    with pytest.raises(NotSafe, match="`module` in it is a repository of its own"):
        await remove(tree, anyway=True)
    run_git(tree.directory, "submodule", "--quiet", "deinit", "--all", "-f")
    with pytest.raises(NotSafe, match="repositories of submodules"):
        await remove(tree)
    await remove(tree, anyway=True)
    assert_gone(tree)
    assert len(refs(tree, "refs/weft")) == 1, "the commits that added and removed it"
    assert next((tree.repository / ".git/weft-kept").glob("weft-7-modules-*/module/HEAD")).is_file()


async def test_one_of_a_trusted_repository_goes_by_its_filters(tmp_path: Path) -> None:
    """W1, W4: a file that its filter changes is no change."""
    tree = replace(project(tmp_path, a__big="pointer\n", __gitattributes="*.big filter=up\n"), trusted=True)
    run_git(tree.repository, "config", "filter.up.smudge", "tr a-z A-Z")
    run_git(tree.repository, "config", "filter.up.clean", "tr A-Z a-z")
    await make(tree)
    assert await remove(tree) == Removed(branch_gone=True)
    await make(tree)
    (tree.directory / "new.big").write_text("LOUD\n")
    kept = (await remove(tree, anyway=True)).kept
    assert run_git(tree.repository, "show", f"{kept[0]}:new.big") == "loud"
    assert_gone(tree)


async def test_what_can_not_be_kept_is_not_removed(tmp_path: Path) -> None:
    """W4: such as a file that can't be read, here a git that refuses."""
    tree = project(tmp_path)
    await make(tree)
    (tree.directory / "new").write_text("n\n")
    (tree.directory / "large").write_text("l\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(removal, "tree_of_files", _refuses)
        with pytest.raises(Unreadable, match="can't read"):
            await remove(tree, anyway=True)
    assert (tree.directory / "new").read_text() == "n\n"
    assert [one.name for one in tree.directory.parent.iterdir() if one.name != ".7.lock"] == ["7"]


async def _refuses(git: object) -> str:
    raise Unreadable("can't read")


async def test_nothing_that_a_repository_names_is_run_by_removing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W4, W5, R5: neither where all is kept, nor where it goes as it is; a planted index leads nowhere."""
    tree = project(tmp_path, a__0="x\n", a__1="x\n", __gitattributes=hostile_attributes())
    other = tree_in(tmp_path, tree.repository, 8)
    await make(tree)
    await make(other)
    admin = (await repository_of(tree)).private
    (tmp_path / "state/worktrees/p/secret").write_text("s\n")
    (tree.directory / "zz").mkdir()
    (tree.directory / "zz/secret").write_text("x\n")
    run_git(tree.directory, "add", "zz/secret")
    traps = set_traps(tree.repository, tmp_path)
    for name, value in hostile_environment(str(traps.program)).items():
        monkeypatch.setenv(name, value)
    (admin / "index").write_bytes((admin / "index").read_bytes().replace(b"zz/secret", b"../secret"))
    (admin / "config.worktree").write_text(f"[core]\n\tfsmonitor = {traps.program}\n")
    (tree.directory / ".git").write_text(f"gitdir: {tree.repository}/.git\n")
    (tree.directory / "a.0").write_text("y\n")
    assert (await remove(tree, anyway=True)).kept
    assert (await remove(other)).branch_gone
    assert traps.sprung() == ""
    assert (tmp_path / "state/worktrees/p/secret").read_text() == "s\n"
    assert list((tree.repository / ".git/worktrees").iterdir()) == []


def on_develop(tree: WorkTree) -> None:
    run_git(tree.repository, "branch", "develop")
    run_git(tree.directory, "checkout", "-q", "develop")


def on_its_base(tree: WorkTree) -> None:
    run_git(tree.repository, "checkout", "-q", "--detach")
    run_git(tree.directory, "checkout", "-q", "main")


def unborn(tree: WorkTree) -> None:
    run_git(tree.directory, "checkout", "-q", "--orphan", "fresh")
    run_git(tree.directory, "reset", "-q")
    (tree.directory / "a.txt").unlink()


def forgotten(tree: WorkTree) -> None:
    shutil.rmtree(tree.repository / ".git/worktrees/weft-7")


def deleted(tree: WorkTree) -> None:
    shutil.rmtree(tree.directory)


@pytest.mark.parametrize("change", [on_its_base, forgotten, *in_soak([on_develop, detached, unborn, deleted])])
async def test_no_branch_goes_with_a_work_tree_of_which_no_row_says_which_is_its_own(
    tmp_path: Path, change: Callable[[WorkTree], None]
) -> None:
    """W4: an agent may have checked out whatever the team has."""
    tree = project(tmp_path, a__txt="x\n")
    await make(tree)
    change(tree)
    before = refs(tree)
    unknown = replace(tree, branch="")
    removed = await remove(unknown, anyway=True)
    assert not removed.branch_gone
    assert_gone(tree, branch=True)
    assert before.items() <= refs(tree).items()
    assert await remove(unknown) == Removed()


async def test_repositories_of_submodules_are_kept_nowhere_but_in_the_repository(tmp_path: Path) -> None:
    """W5: an agent may have put a link in the place for them."""
    tree = project(tmp_path)
    await make(tree)
    modules, kept = tree.repository / ".git/worktrees/weft-7/modules", tree.repository / ".git/weft-kept"
    (modules / "lib").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    kept.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unreadable, match="links to elsewhere"):
        await remove(tree, anyway=True)
    assert not list((tmp_path / "elsewhere").iterdir())
    assert (modules / "lib").is_dir()
    kept.unlink()
    await remove(tree, anyway=True)
    assert [(one / "lib").is_dir() for one in kept.iterdir()] == [True]
