"""What `/merge` does with git: all or nothing, and a base that is checked out somewhere never looks changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.work.workspace import merging, trial
from bot.work.workspace.git import Git, Output
from bot.work.workspace.journal import Entry, Journal, Refused, begin
from bot.work.workspace.merging import Conflict, Conflicts, conflicts, resolve_prompt
from bot.work.workspace.repository import Unreadable
from bot.work.workspace.standing import identity
from bot.work.workspace.worktrees import WorkTree
from tests.bot.work.repositories import ENVIRONMENT, make_repository, needs_git, run_git
from tests.bot.work.workspace.hostile import hostile_attributes, hostile_environment, set_traps
from tests.bot.work.workspace.threads import Project, committed, edit
from tests.repeat import in_soak

pytestmark = [needs_git, pytest.mark.asyncio]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture(params=["objects", "work tree"])
def any_git(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Try merges as git does from 2.38 on, and as older ones do."""
    if request.param == "work tree":
        monkeypatch.setattr(trial, "MERGE_TREE_SINCE", (99, 0))


@pytest.mark.parametrize(
    ("any_git", "options"),
    [("work tree", ("--object-format=sha256",)), *in_soak([("objects", ())])],
    indirect=["any_git"],
)
@pytest.mark.usefixtures("any_git")
async def test_a_branch_is_merged_and_what_has_the_base_checked_out_comes_along(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """W4: a commit with both parents; files that are new, changed, gone, moved, executable; people's new files stay."""
    project = Project(tmp_path, options=options)
    lines = "".join(f"{number}\n" for number in range(30))
    committed(project.path, moved=lines, gone="x\n", swapped="s\n")
    tree = project.tree()
    edit(tree.directory, a__txt="one\ntwo\n3\n", gone=None, swapped=None, new="n\n")
    run_git(tree.directory, "mv", "moved", "elsewhere")
    (tree.directory / "swapped").mkdir()
    (tree.directory / "swapped/inside").write_text("i\n")
    (tree.directory / "run").write_text("#!/bin/sh\n")
    (tree.directory / "run").chmod(0o755)
    await project.commit(tree)
    ours = committed(project.path, a__txt="1\ntwo\nthree\n", moved=lines + "more\n")
    edit(project.path, notes="a person's\n")
    branch = project.at(tree.branch)
    merged = await project.merge(tree)
    assert (merged.id, merged.base, merged.commits) == (project.at("main"), "main", 1)
    assert (merged.files, merged.added, merged.removed) == (8, 35, 34)
    assert merged.checkouts == (project.path,)
    assert run_git(project.path, "log", "-1", "--format=%P%n%B") == (
        f"{ours} {branch}\nMerge {tree.branch}\n\nRequested-by: Ada"
    )
    assert (project.path / "a.txt").read_text() == "1\ntwo\n3\n"
    assert (project.path / "elsewhere").read_text() == lines + "more\n"
    assert (project.path / "swapped/inside").read_text() == "i\n"
    assert (project.path / "run").stat().st_mode & 0o111
    assert not (project.path / "gone").exists()
    assert project.status() == "?? notes"
    (project.path / "notes").unlink()
    project.sound()
    with pytest.raises(Refused, match="nothing to merge: `main` has everything already"):
        await project.merge(tree)


@pytest.mark.usefixtures("any_git")
async def test_conflicts_are_named_with_their_kind_and_nothing_changes(project: Project) -> None:
    """W4: the names and the base are what an agent needs to resolve them."""
    committed(project.path, deleted="x\n", kept="x\n")
    tree = project.tree()
    committed(tree.directory, a__txt="theirs\n", both="t\n", kept="t\n", deleted=None, binary="\0t")
    ours = committed(project.path, a__txt="ours\n", both="o\n", kept=None, deleted="o\n", binary="\0o")
    before = project.at(tree.branch)
    with pytest.raises(Conflicts) as caught:
        await project.merge(tree)
    expected = (
        Conflict("a.txt", "both changed it"),
        Conflict("binary", "both added it"),
        Conflict("both", "both added it"),
        Conflict("deleted", "changed in `main`, deleted here"),
        Conflict("kept", "changed here, deleted in `main`"),
    )
    assert (caught.value.files, caught.value.base, caught.value.base_commit) == (expected, "main", ours)
    assert str(caught.value).startswith("it conflicts with `main` in `a.txt` (both changed it), `binary`")
    assert (project.at("main"), project.at(tree.branch)) == (ours, before)
    project.sound()
    found = await conflicts(tree)
    assert found is not None
    assert found.files == expected
    assert "git merge main" in resolve_prompt(found)
    assert "- 'a.txt': both changed it" in resolve_prompt(found)


@pytest.mark.parametrize("count", [5, *in_soak([20])])
async def test_many_branches_are_merged_one_after_the_other(project: Project, count: int) -> None:
    """W4: those that conflict are refused until the agent has merged the base into its branch."""
    trees = [project.tree(str(number)) for number in range(count)]
    for number, tree in enumerate(trees):
        line = f"two of {number % 4}\n" if number < 4 else "two\n"
        committed(tree.directory, a__txt=f"one\n{line}three\n", **{f"n{number}": "x\n"})
    refused = []
    for number, tree in enumerate(trees):
        try:
            await project.merge(tree)
        except Conflicts as exc:
            refused.append((number, *exc.files))
            run_git(tree.directory, "merge", "main", check=False)
            edit(tree.directory, a__txt=f"one\ntwo of all and {number}\nthree\n")
            run_git(tree.directory, "add", "a.txt")
            await project.commit(tree)
            assert await conflicts(tree) is None
            await project.merge(tree)
    assert refused == [(number, Conflict("a.txt", "both changed it")) for number in (1, 2, 3)]
    assert (project.path / "a.txt").read_text() == "one\ntwo of all and 3\nthree\n"
    assert all((project.path / f"n{number}").exists() for number in range(count))
    project.sound()


@pytest.mark.soak
async def test_many_threads_commit_and_merge_at_once(project: Project) -> None:
    """W4: one after the other, while a person commits in the project's directory."""
    trees = [project.tree(str(number)) for number in range(6)]

    async def work(number: int) -> None:
        edit(trees[number].directory, **{f"n{number}": "x\n"})
        await project.commit(trees[number])
        for _ in range(20):
            with suppress(Refused):  # in the moment in which the person's own git works there
                await project.merge(trees[number])
                return
            await anyio.sleep(0.1)

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(work, number)
        for number in range(5):
            command = f"until git add p{number} && git commit -q -m p{number} -- p{number}; do sleep 0.01; done"
            (project.path / f"p{number}").write_text("a person's\n")
            await anyio.run_process(command, cwd=project.path, env=ENVIRONMENT, check=True)
    assert {one.name for one in project.path.glob("[np]?")} == {f"n{n}" for n in range(6)} | {f"p{n}" for n in range(5)}
    assert run_git(project.path, "rev-list", "--count", "--first-parent", "main") == "12"
    project.sound()


async def test_a_branch_is_squashed_and_may_go_on_from_there(project: Project) -> None:
    """W4: one commit; what is in the base by it is neither merged nor in the way again."""
    tree = project.tree()
    for text in ("1\n", "2\n"):
        committed(tree.directory, new=text)
    old = project.at("main")
    merged = await project.merge(tree, squash=True)
    assert merged.commits == 2
    assert run_git(project.path, "log", "-1", "--format=%P", "main") == old
    with pytest.raises(Refused, match="nothing to merge"):
        await project.merge(tree, squash=True)
    committed(tree.directory, new="3\n")
    committed(project.path, a__txt="ours\n")
    merged = await project.merge(tree, squash=True)
    assert (merged.commits, merged.files) == (1, 1)
    assert (project.path / "new").read_text() == "3\n"
    committed(tree.directory, new="4\n")
    assert (await project.merge(tree)).commits == 1
    assert (project.path / "new").read_text() == "4\n"
    project.sound()


async def test_a_squash_may_be_the_commit_that_the_branch_has(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W4: made in the same second, of the same words; the branch goes on all the same."""

    async def at_once(git: Git) -> dict[str, str]:
        return {**await identity(git), "GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}

    for name in ("commits", "merging"):
        monkeypatch.setattr(f"bot.work.workspace.{name}.identity", at_once)
    tree = project.tree()
    edit(tree.directory, new="x\n")
    done = await project.commit(tree, f"Merge {tree.branch}")
    assert (await project.merge(tree, squash=True)).id == done.id
    for text in ("y\n", "z\n"):
        edit(tree.directory, new=text)
        await project.commit(tree)
        assert (await project.merge(tree, squash=text == "y\n")).commits == 1
    project.sound()


async def test_a_work_tree_that_is_not_ready_is_not_merged(project: Project) -> None:
    """W4: changes, new files, detached, another branch, a merge half-way; a repository inside is in nobody's way."""
    tree = project.tree()
    head = committed(tree.directory, new="x\n")
    edit(tree.directory, a__txt="x\n")
    with pytest.raises(Refused, match="uncommitted changes: use `/commit` first"):
        await project.merge(tree)
    run_git(tree.directory, "checkout", "-q", "a.txt")
    edit(tree.directory, untracked="x\n")
    with pytest.raises(Refused, match="uncommitted changes: use `/commit` first"):
        await project.merge(tree)
    (tree.directory / "untracked").unlink()
    run_git(tree.directory, "checkout", "-q", "--detach")
    with pytest.raises(Refused, match="no branch is checked out"):
        await project.merge(tree)
    run_git(tree.directory, "checkout", "-q", tree.branch)
    committed(project.path, b__txt="ours\n")
    run_git(tree.directory, "merge", "--no-commit", "main")
    with pytest.raises(Refused, match="a merge is in progress there: ask the agent to finish it, or use `/commit`"):
        await project.merge(tree)
    run_git(tree.directory, "merge", "--abort")
    assert project.at(tree.branch) == head
    run_git(tree.directory, "init", "-q", "inner")
    (tree.directory / "inner/x").write_text("x\n")
    (tree.directory / ".weft").mkdir()
    (tree.directory / ".weft/x").write_text("x\n")
    await project.merge(tree)
    project.sound()


@pytest.mark.soak
async def test_a_checkout_of_the_base_that_a_person_works_in_is_left_alone(project: Project) -> None:
    """W4: changed, staged, with new or ignored files in the way, or in an operation: refused, and nothing changes."""
    committed(project.path, __gitignore="*.env\n", gone="x\n", dir="x\n")
    tree = project.tree()
    edit(tree.directory, a__txt="theirs\n", new="n\n", gone=None, dir=None, prod__env="theirs\n")
    (tree.directory / "deep").mkdir()
    (tree.directory / "deep/er").write_text("d\n")
    (tree.directory / "dir").mkdir()
    (tree.directory / "dir/x").write_text("x\n")
    run_git(tree.directory, "add", "-f", "prod.env")
    await project.commit(tree)
    here, old = project.path, project.at("main")

    async def refused(why: str) -> None:
        before = project.status()
        with pytest.raises(Refused, match=why):
            await project.merge(tree)
        assert (project.at("main"), project.status()) == (old, before)
        assert not list(project.journals.glob("*"))
        assert not (here / ".git/index.lock").exists()

    edit(here, b__txt="a person's\n")
    await refused("has uncommitted changes: commit or stash them first")
    run_git(here, "add", "b.txt")
    await refused("has uncommitted changes")
    run_git(here, "reset", "-q", "--hard")
    for name in ("new", "prod.env", "deep"):
        (here / name).write_text("a person's\n")
        await refused(f"are in the way: move `{name}` away first")
        assert (here / name).read_text() == "a person's\n"
        (here / name).unlink()
    (here / "new").mkdir()
    (here / "new/x.env").write_text("ignored\n")
    await refused("are in the way: move `new` away first")
    shutil.rmtree(here / "new")
    (here / "deep").symlink_to(project.beside)
    await refused("are in the way: move `deep` away first")
    (here / "deep").unlink()
    run_git(here, "update-index", "--assume-unchanged", "a.txt")
    edit(here, a__txt="a person's\n")
    await refused("can't come along: `.*a.txt.*not uptodate")
    assert (here / "a.txt").read_text() == "a person's\n"
    run_git(here, "update-index", "--no-assume-unchanged", "a.txt")
    run_git(here, "checkout", "-q", "a.txt")
    (here / ".git/index.lock").touch()
    with pytest.raises(Refused, match="git is running there"):
        await project.merge(tree)
    (here / ".git/index.lock").unlink()
    run_git(here, "checkout", "-q", "-b", "side")
    committed(here, a__txt="side\n")
    run_git(here, "checkout", "-q", "main")
    run_git(here, "merge", "--no-commit", "--no-ff", "side")
    await refused("a merge is in progress in")
    run_git(here, "merge", "--abort")
    run_git(here, "rebase", "-q", "-f", "-x", "false", "HEAD~1", check=False)
    await refused("a rebase of `main` is in progress in")
    run_git(here, "rebase", "--abort")
    await project.merge(tree)
    project.sound()


async def test_a_submodule_that_moves_is_in_nobodys_way(project: Project) -> None:
    """W4: as with `git merge` it waits for `git submodule update`, which no later merge has to."""
    make_repository(project.path / "sub")
    committed(project.path, b__txt="with it\n")
    tree = project.tree()
    shutil.copytree(project.path / "sub", tree.directory / "sub", dirs_exist_ok=True)
    committed(tree.directory / "sub", more="x\n")
    assert (await project.commit(tree)).files == 1
    await project.merge(tree)
    assert project.at("main:sub") == run_git(tree.directory / "sub", "rev-parse", "HEAD")
    assert project.status() == "M sub"
    committed(tree.directory, a__txt="x\n")
    await project.merge(tree)
    assert project.status() == "M sub"


async def test_a_base_that_is_checked_out_elsewhere_or_nowhere(project: Project) -> None:
    """W4: it comes along where it is, also in two places; a directory that only claims to be a work tree does not."""
    tree = project.tree()
    run_git(project.path, "checkout", "-q", "--detach")
    committed(tree.directory, a__txt="1\n")
    assert (await project.merge(tree)).checkouts == ()
    assert (project.path / "a.txt").read_text() == "one\ntwo\nthree\n"
    beside, second = project.beside / "beside", project.beside / "second"
    run_git(project.path, "worktree", "add", "-q", str(beside), "main")
    run_git(project.path, "worktree", "add", "-q", "--force", str(second), "main")
    committed(tree.directory, a__txt="2\n")
    assert set((await project.merge(tree)).checkouts) == {beside, second}
    assert (beside / "a.txt").read_text() == (second / "a.txt").read_text() == "2\n"
    assert project.status(beside) == project.status(second) == ""
    shutil.rmtree(second)
    victim = project.beside / "victim"
    victim.mkdir()
    planted = project.path / ".git/worktrees/evil"
    shutil.copytree(project.path / ".git/worktrees/beside", planted)
    (planted / "gitdir").write_text(f"{victim}/.git\n")
    (victim / ".git").write_text(f"gitdir: {project.path}/.git/worktrees/beside\n")
    for number, head in enumerate(("no head\n", "ref: refs/heads/../../x\n", None)):
        broken = shutil.copytree(planted, planted.with_name(f"broken-{number}"))
        (broken / "HEAD").unlink()
        (broken / "MERGE_HEAD").write_text("no commit\n")
        (broken / "HEAD").write_text(head) if head else (broken / "HEAD").symlink_to("/etc/passwd")
    committed(tree.directory, a__txt="3\n", evil="x\n")
    assert (await project.merge(tree)).checkouts == (beside,)
    assert [one.name for one in victim.iterdir()] == [".git"]
    (project.path / ".git/worktrees/second/locked").write_text("on a disk that is away\n")
    committed(tree.directory, a__txt="4\n")
    with pytest.raises(Refused, match=r"checked out in `.*/second`, which is not there now"):
        await project.merge(tree)


async def test_a_base_that_moved_was_rewritten_or_is_gone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """W4"""
    start = project.at("main")
    dropped = committed(project.path, secret="to be forgotten\n")
    tree = project.tree()
    run_git(project.path, "reset", "-q", "--hard", start)
    committed(tree.directory, new="x\n")
    with pytest.raises(Refused, match=r"`main` was rewritten.*`git rebase --onto main [0-9a-f]{12}`"):
        await project.merge(tree, base_commit=dropped)
    run_git(tree.directory, "rebase", "-q", "--onto", "main", dropped)

    moved = ""

    async def late(git: Git) -> dict[str, str]:
        nonlocal moved
        if not moved:
            moved = committed(project.path, b__txt="meanwhile\n")
        return await identity(git)

    monkeypatch.setattr("bot.work.workspace.merging.identity", late)
    merged = await project.merge(tree, base_commit=dropped)
    assert run_git(project.path, "rev-parse", f"{merged.id}^1") == moved
    assert not (project.path / "secret").exists()
    project.sound()
    committed(tree.directory, new="y\n")
    run_git(project.path, "checkout", "-q", "--orphan", "other")
    committed(project.path, new="z\n")
    run_git(project.path, "branch", "-q", "-D", "main")
    with pytest.raises(Refused, match="the branch `main` is gone"):
        await project.merge(tree)
    run_git(project.path, "update-ref", "refs/remotes/origin/main", start)
    with pytest.raises(Refused, match="only `origin/main`: make one with `git branch main origin/main`"):
        await project.merge(tree)
    run_git(project.path, "branch", "-q", "-m", "other", "main")
    with pytest.raises(Refused, match="no history in common"):
        await project.merge(tree)
    run_git(project.path, "symbolic-ref", "refs/heads/main", f"refs/heads/{tree.branch}")
    with pytest.raises(Unreadable, match="only leads to another branch"):
        await project.merge(tree)


async def test_a_branch_is_not_merged_into_itself(project: Project) -> None:
    """W4"""
    tree = project.tree()
    same = type(tree)(tree.repository, tree.directory, tree.branch, tree.branch)
    with pytest.raises(Refused, match="is the branch of this thread itself"):
        await project.merge(same)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "weft", disk], check=False).returncode != 0:
        pytest.skip("a small disk takes root to mount")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.soak
async def test_a_full_disk_refuses_and_changes_nothing(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W4: wherever it gets full; with room again all goes on."""
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    project = Project(small_disk)
    tree, filler = project.tree(), small_disk / "filler"
    committed(tree.directory, **{f"n{number}": os.urandom(200_000).hex() for number in range(10)})
    edit(tree.directory, big=os.urandom(500_000).hex())
    ended = []
    for action, name in ((project.commit, tree.branch), (project.merge, "main")):
        for room in (0, 8, 64, 300, 700, 1_500, 3_000, 5_000, 12_000):
            before = project.at(name)
            _fill(small_disk, filler, room * 1024)
            try:
                await action(tree)
            except Unreadable as exc:
                ended.append(str(exc))
            filler.unlink()
            # Taking it back may have been too much for the disk, too; the next try does that first.
            if not list(project.journals.glob("*")):
                project.sound()
            if project.at(name) != before:
                break
        assert project.at(name) != before
        project.sound()
    assert len(ended) > 4
    assert any("see that there is room on the disk" in why for why in ended)


def _fill(disk: Path, filler: Path, room: int) -> None:
    """Leave so many bytes on a disk."""
    with filler.open("wb") as file, suppress(OSError):
        while (free := shutil.disk_usage(disk).free) > room:
            file.write(bytes(min(free - room, 2**20)))
            file.flush()


@pytest.mark.usefixtures("any_git")
async def test_nothing_that_a_repository_names_is_run_by_a_merge(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W4, R5: hooks, filters, drivers, monitors, signers; not in the base's checkout either."""
    tree = project.tree()
    committed(tree.directory, a__txt="theirs\ntwo\nthree\n", new="n\n")
    (tree.directory / ".gitattributes").write_text("* diff=evil merge=evil ident\n")
    await project.commit(tree)
    committed(project.path, a__txt="one\ntwo\nours\n")
    traps = set_traps(project.path, project.beside)
    for name, value in hostile_environment(str(traps.program)).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Refused, match="through the filter `lfs`"):
        await project.merge(tree)
    (project.path / ".git/info/attributes").write_text("* merge=lfs diff=lfs\n")
    await project.merge(tree)
    assert (project.path / "a.txt").read_text() == "theirs\ntwo\nours\n"
    (tree.directory / ".gitattributes").write_text(hostile_attributes())
    with pytest.raises(Refused, match="through the filter `evil`"):
        await project.commit(tree)
    assert traps.sprung() == ""


async def test_a_tree_that_leads_outside_is_not_merged(project: Project) -> None:
    """W4, R5: git checks names when it checks out, and an agent can make trees without git."""
    tree = project.tree()
    blob = run_git(project.path, "rev-parse", "main:a.txt")
    for name in ("..", ".git", ".GIT", "git~1"):
        data = b"100644 %s\0%s" % (name.encode(), bytes.fromhex(blob))
        (project.beside / "tree").write_bytes(data)
        made = run_git(project.path, "hash-object", "-t", "tree", "--literally", "-w", str(project.beside / "tree"))
        evil = run_git(project.path, "commit-tree", made, "-p", "main", "-m", "evil")
        run_git(project.path, "update-ref", f"refs/heads/{tree.branch}", evil)
        run_git(tree.directory, "rm", "-q", "--cached", "-r", ".", check=False)
        for one in tree.directory.glob("*.txt"):
            one.unlink()
        with pytest.raises(Unreadable):
            await project.merge(tree)
        run_git(project.path, "update-ref", f"refs/heads/{tree.branch}", "main")
        run_git(tree.directory, "reset", "-q", "--hard")
    project.sound()


@pytest.mark.usefixtures("any_git")
async def test_what_git_can_merge_by_itself_is_merged(project: Project) -> None:
    """W4: both sides' lines where attributes ask for that, and branches that were merged into each other before."""
    committed(project.path, __gitattributes="*.md merge=union\nb.txt merge=unknown\n", log__md="old\n")
    tree = project.tree()
    for name, text in (("theirs", "t\n"), ("ours", "o\n")):
        where = tree.directory if name == "theirs" else project.path
        committed(where, log__md=f"old\n{name}\n", **{name: text})
    theirs, ours = project.at(tree.branch), project.at("main")
    run_git(tree.directory, "merge", "-q", ours)
    run_git(project.path, "merge", "-q", theirs)
    committed(tree.directory, b__txt="theirs\n")
    committed(project.path, a__txt="ours\n")
    await project.merge(tree)
    assert sorted((project.path / "log.md").read_text().split()) == ["old", "ours", "theirs"]
    assert (project.path / "b.txt").read_text() == "theirs\n"
    project.sound()


@pytest.mark.usefixtures("any_git")
async def test_a_clone_with_less_history_is_merged_in(tmp_path: Path, project: Project) -> None:
    """W4"""
    for number in range(3):
        committed(project.path, a__txt=f"{number}\n")
    clone = Project(tmp_path / "clone", made=False)
    run_git(tmp_path, "clone", "-q", "--depth", "1", f"file://{project.path}", str(clone.path))
    tree = clone.tree()
    edit(tree.directory, b__txt="x\n")
    await clone.commit(tree)
    committed(clone.path, a__txt="ours\n")
    assert (await clone.merge(tree)).commits == 1
    clone.sound()


async def test_a_project_may_be_a_work_tree_beside_a_repository_without_files(tmp_path: Path) -> None:
    """W4"""
    project = Project(tmp_path / "p", made=False)
    source = Project(tmp_path / "source")
    project.beside.mkdir()
    run_git(tmp_path, "clone", "-q", "--bare", str(source.path), str(project.beside / "x.git"))
    run_git(project.beside / "x.git", "worktree", "add", "-q", str(project.path), "main")
    directory = project.beside / "trees/7"
    run_git(project.path, "worktree", "add", "-q", "-b", "weft/thread-7", str(directory))
    admin = (project.beside / "x.git/worktrees/7").rename(project.beside / "x.git/worktrees/weft-7")
    (directory / ".git").write_text(f"gitdir: {admin}\n")
    tree = WorkTree(project.path, directory, "weft/thread-7", "main")
    committed(directory, a__txt="theirs\n")
    assert (await project.merge(tree)).checkouts == (project.path,)
    assert project.status() == ""
    committed(directory, a__txt="more\n")
    edit(project.path, a__txt="a person's\n")
    with pytest.raises(Refused, match="commit or stash them first"):
        await project.merge(tree)
    assert not list(project.journals.glob("*"))


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.soak)])
async def test_a_merge_that_is_given_up_is_done_or_not_begun(
    project: Project, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """W4, O4: whichever call of git it is given up at; and so is a commit."""
    tree, run, left = project.tree(), Git.run, 0

    async def counted(self: Git, *args: str, **kwargs: Any) -> Output:
        nonlocal left
        left -= 1
        if left == 0:
            scope.cancel()
        return await run(self, *args, **kwargs)

    monkeypatch.setattr(Git, "run", counted)
    for action, name in ((project.commit, tree.branch), (project.merge, "main")):
        edit(tree.directory, a__txt="theirs\n")
        before, ended = project.at(name), []
        for at in range(1, 100, step):
            left = at
            with anyio.CancelScope() as scope:
                await action(tree)
            project.sound()
            ended.append(project.at(name) != before)
            if ended[-1]:
                break
        assert ended[-1]
        assert not any(ended[:-1])
        assert len(ended) > 8 / step


async def test_a_merge_in_a_trusted_repository_uses_its_filters_and_drivers(tmp_path: Path) -> None:
    """W2, W4: `hooks = true`"""
    project = Project(tmp_path, trusted=True)
    run_git(project.path, "config", "filter.upper.clean", "tr a-z A-Z")
    run_git(project.path, "config", "filter.upper.smudge", "tr A-Z a-z")
    run_git(project.path, "config", "merge.ours.driver", "true")
    committed(project.path, __gitattributes="*.up filter=upper\n*.lock merge=ours\n", x__up="x\n", y__lock="y\n")
    tree = project.tree()
    committed(tree.directory, x__up="theirs\n", y__lock="theirs\n")
    committed(project.path, y__lock="ours\n")
    await project.merge(tree)
    assert (project.path / "x.up").read_text() == "theirs\n"
    assert run_git(project.path, "show", "main:x.up") == "THEIRS"
    assert (project.path / "y.lock").read_text() == "ours\n"
    project.sound()


async def test_a_link_that_comes_amid_a_merge_moves_no_branch_of_a_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W4: the merge says what is wrong, and goes through when that is mended."""
    project = Project(tmp_path)
    tree = project.tree()
    run_git(tmp_path, "clone", "-q", "project", "clone")
    before = run_git(tmp_path / "clone", "rev-parse", "main")
    edit(tree.directory, a__txt="x\n")
    await project.commit(tree)
    run_git(project.path, "checkout", "-q", "--detach")
    heads, aside = project.path / ".git/refs/heads", project.path / ".git/refs/aside"

    async def exchanged(directory: Path, entry: Entry) -> Journal:
        heads.rename(aside)
        heads.symlink_to(tmp_path / "clone/.git/refs/heads")
        return await begin(directory, entry)

    with monkeypatch.context() as patched:
        patched.setattr(merging, "begin", exchanged)
        with pytest.raises(Unreadable, match=r"^parts of its repository are links to elsewhere$"):
            await project.merge(tree)
    assert run_git(tmp_path / "clone", "rev-parse", "main") == before
    heads.unlink()
    aside.rename(heads)
    assert (await project.merge(tree)).commits == 1
    project.sound()


@pytest.mark.parametrize("place", ["trees/7/link/inner", *in_soak(["trees/7/inner", "project/.git/inner"])])
async def test_nothing_comes_along_where_an_agent_could_exchange_the_directory(tmp_path: Path, place: str) -> None:
    """W4: exchanged for a link meanwhile, it would have new files written to where that leads."""
    project = Project(tmp_path)
    tree = project.tree()
    run_git(project.path, "checkout", "-q", "--detach")
    edit(tree.directory, a__txt="x\n")
    (tmp_path / "people").mkdir()
    (tree.directory / "link").symlink_to(tmp_path / "people")
    await project.commit(tree)
    run_git(project.path, "worktree", "add", "-q", str(tmp_path / place), "main")
    for known in (project.path / ".git/worktrees").glob("inner*/gitdir"):
        known.write_text(f"{tmp_path / place}/.git\n")  # git has it without links
    before = project.at("main")
    with pytest.raises(Refused, match="where agents can write"):
        await project.merge(tree)
    assert project.at("main") == before
    run_git(project.path, "worktree", "remove", "--force", str(tmp_path / place))
    assert (await project.merge(tree)).commits == 1
