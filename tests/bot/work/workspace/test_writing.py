"""What git writes to a repository: into it alone, under its locks, and without running what it names."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.work.workspace import writing as module
from bot.work.workspace.git import GitFailed, locate
from bot.work.workspace.repository import Repository, Unreadable, has_links
from bot.work.workspace.writing import IndexChanged, release_index, writing
from tests.bot.work.repositories import commit, make_repository, needs_git, run_git
from tests.bot.work.workspace.hostile import hostile_attributes, hostile_environment, set_traps

pytestmark = [needs_git, pytest.mark.asyncio]

WHO = {f"GIT_{who}_{what}": "w@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


async def located(workspace: Path) -> tuple[Repository, str | None]:
    found = await locate(workspace)
    assert found is not None
    return found


async def test_a_commit_and_a_branch_are_those_of_the_repository(tmp_path: Path) -> None:
    """W4: as if a person had made them; `git status` knows of it, and nothing of ours is left."""
    base = make_repository(tmp_path)
    (tmp_path / "new").write_text("n\n")
    repository, head = await located(tmp_path)
    async with writing(repository, head, tmp_path) as git:
        await git.run("update-index", "--add", "new")
        tree = (await git.run("write-tree")).data.decode().strip()
        made = await git.run("commit-tree", tree, "-p", base, "-m", "x", variables=WHO)
        await git.put_index()
        await git.run("update-ref", "--no-deref", "refs/heads/master", made.data.decode().strip(), base)
        ours = git.directory
    assert run_git(tmp_path, "log", "--format=%s %an", "-1") == "x w@example.org"
    assert run_git(tmp_path, "status", "--porcelain") == ""
    assert run_git(tmp_path, "fsck", "--strict", "--no-dangling") == ""
    assert not ours.exists()
    assert [one.name for one in (tmp_path / ".git").iterdir() if "weft" in one.name or one.name.endswith(".lock")] == []


async def test_a_reference_is_replaced_only_where_it_is_what_was_expected(tmp_path: Path) -> None:
    """W2: also one that is packed, and one that is not there."""
    base = make_repository(tmp_path)
    run_git(tmp_path, "branch", "packed")
    run_git(tmp_path, "pack-refs", "--all")
    other = commit(tmp_path)
    repository, head = await located(tmp_path)
    async with writing(repository, head, tmp_path, index="none") as git:
        for name, old in (("packed", other), ("packed", "0" * 40), ("gone", base)):
            with pytest.raises(GitFailed, match="lock ref"):
                await git.run("update-ref", f"refs/heads/{name}", other, old)
        await git.run("update-ref", "refs/heads/new", other, "0" * 40)
        await git.run("update-ref", "-d", "refs/heads/packed", base)
    assert run_git(tmp_path, "branch", "--format=%(refname:short)").split() == ["master", "new"]


async def test_twenty_at_once_lose_no_reference(tmp_path: Path) -> None:
    """W2: also where each takes another one away, for which git locks all that are packed."""
    base = make_repository(tmp_path)
    for number in range(20):
        run_git(tmp_path, "branch", f"old/{number}")
    run_git(tmp_path, "pack-refs", "--all")
    repository, head = await located(tmp_path)

    async def one(number: int) -> None:
        async with writing(repository, head, tmp_path, index="none") as git:
            await git.run("update-ref", f"refs/heads/new/{number}", base, "0" * 40)
            await git.run("update-ref", "-d", f"refs/heads/old/{number}", base)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(one, number)
    names = run_git(tmp_path, "branch", "--format=%(refname:short)").split()
    assert sorted(names) == sorted(["master", *(f"new/{number}" for number in range(20))])


async def test_nothing_that_a_repository_names_is_run_by_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W5, R5"""
    workspace = tmp_path / "w"
    base = make_repository(workspace, a__0="x\n", a__1="x\n", __gitattributes=hostile_attributes())
    traps = set_traps(workspace, tmp_path)
    for name, value in hostile_environment(str(traps.program)).items():
        monkeypatch.setenv(name, value)
    (workspace / "a.0").write_text("y\n")
    (workspace / "a.new").write_text("y\n")
    repository, head = await located(workspace)
    async with writing(repository, head, workspace) as git:
        await git.run("add", "-A")
        tree = (await git.run("write-tree")).data.decode().strip()
        made = (await git.run("commit-tree", tree, "-p", base, "-m", "x", variables=WHO)).data.decode().strip()
        await git.run("merge-tree", "--write-tree", made, base)
        await git.put_index()
        await git.run("update-ref", "refs/heads/master", made, base)
    assert traps.sprung() == ""
    safe = ("-c", "core.bare=false", "-c", f"core.worktree={workspace}", "-c", "core.fsmonitor=false")
    run_git(workspace, *safe, "update-ref", "refs/heads/other", base, check=False)
    assert "reference-transaction" in traps.sprung(), "the traps are set"


async def test_a_trusted_repository_is_used_as_it_is_but_asks_nobody(tmp_path: Path) -> None:
    """W1: hooks and filters run; an editor, a pager and a question for a password do not hang."""
    workspace, trace = tmp_path / "w", tmp_path / "trace"
    base = make_repository(workspace)
    hook = workspace / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho ran >> {trace}\n")
    hook.chmod(0o755)
    run_git(workspace, "config", "filter.up.clean", "tr a-z A-Z")
    (workspace / ".gitattributes").write_text("*.up filter=up\n")
    (workspace / "a.up").write_text("loud\n")
    (workspace / "asks").write_text("#!/bin/sh\nread answer < /dev/tty\n")
    (workspace / "asks").chmod(0o755)
    run_git(workspace, "config", "core.editor", str(workspace / "asks"))
    repository, head = await located(workspace)
    with anyio.fail_after(30):
        async with writing(repository, head, workspace, trusted=True) as git:
            await git.run("add", "-A")
            await git.run("commit", variables=WHO, codes=(0, 1))  # an empty message, as the editor did nothing
            await git.run("commit", "-m", "x", variables=WHO)
            await git.put_index()
            asked = await git.run("credential", "fill", given=b"protocol=https\nhost=example.org\n\n", codes=(128,))
    assert asked.code == 128
    assert trace.read_text() == "ran\nran\n"
    assert run_git(workspace, "show", "HEAD:a.up") == "LOUD"
    assert run_git(workspace, "rev-parse", "HEAD^") == base


async def test_what_leads_elsewhere_is_not_written_to(tmp_path: Path) -> None:
    """W5, R5: references that are links or of another kind, objects from elsewhere."""
    workspace, elsewhere = tmp_path / "w", tmp_path / "elsewhere"
    make_repository(workspace)
    make_repository(elsewhere)
    repository, head = await located(workspace)

    async def refused(why: str) -> None:
        with pytest.raises(Unreadable, match=why):
            async with writing(repository, head, workspace):
                pass

    common = workspace / ".git"
    for name in ("refs/heads/weft", "refs/heads/a", "refs/tags/v/1", "packed-refs"):
        (common / name).parent.mkdir(parents=True, exist_ok=True)
        (common / name).symlink_to(elsewhere / ".git/refs/heads")
        await refused("links to elsewhere")
        (common / name).unlink()
    (common / "reftable").mkdir()
    await refused("reftable")
    (common / "reftable").rmdir()
    (common / "objects/info/alternates").write_text(f"{elsewhere}/.git/objects\n")
    await refused("borrows")
    (common / "objects/info/alternates").unlink()
    (common / "refs").rename(tmp_path / "refs")
    (common / "refs").symlink_to(elsewhere / ".git/refs")
    await refused("links to elsewhere")


async def test_an_index_is_put_in_place_under_its_lock_only_as_it_was_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W4: neither over what somebody else staged meanwhile, nor through a link; a lock that a death left is told."""
    make_repository(tmp_path)
    private = tmp_path / ".git"
    for name in ("mine", "theirs"):
        (tmp_path / name).write_text("x\n")
    repository, head = await located(tmp_path)
    async with writing(repository, head, tmp_path) as git:
        await git.run("add", "mine")
        run_git(tmp_path, "add", "theirs")
        with pytest.raises(IndexChanged):
            await git.put_index()
    assert run_git(tmp_path, "diff", "--cached", "--name-only") == "theirs"
    monkeypatch.setattr(module, "LOCK_WAIT", 0.1)
    (private / "index.lock").touch()
    async with writing(repository, head, tmp_path) as git:
        with pytest.raises(Unreadable, match=r"index\.lock"):
            await git.put_index()
    release_index(private)
    assert (private / "index.lock").exists(), "it is somebody else's"
    (private / "index.lock").unlink()
    os.link(private / "index", private / "weft-index.0")
    os.link(private / "weft-index.0", private / "index.lock")
    release_index(private)
    assert {one.name for one in private.iterdir() if "index" in one.name} == {"index"}
    target = tmp_path / "precious"
    target.write_text("p\n")
    async with writing(repository, head, tmp_path) as git:
        (private / "index").unlink()
        (private / "index").symlink_to(target)
        with pytest.raises(IndexChanged):
            await git.put_index()
    assert target.read_text() == "p\n"


async def test_git_that_is_given_up_lets_go_of_its_locks(tmp_path: Path) -> None:
    """W5: a kill would leave them, and nobody could write to the repository any more."""
    base = make_repository(tmp_path)
    repository, head = await located(tmp_path)
    heads = tmp_path / ".git/refs/heads"
    (heads / "b.lock").touch()  # so that it waits with the other one locked
    given = f"create refs/heads/a {base}\ncreate refs/heads/b {base}\n".encode()
    async with writing(repository, head, tmp_path, index="none") as git, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(git.run, "update-ref", "--stdin", given=given))
        with anyio.fail_after(20):
            while not (heads / "a.lock").exists():  # noqa: ASYNC110  git does not tell
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert sorted(one.name for one in heads.iterdir()) == ["b.lock", "master"]


@pytest.mark.parametrize("place", ["refs/heads", "packed-refs"])
async def test_a_link_that_comes_after_the_look_leads_into_no_other_repository(tmp_path: Path, place: str) -> None:
    """W4: a clone has the same branch at the same commit."""
    base = make_repository(tmp_path / "project")
    run_git(tmp_path, "clone", "-q", "project", "clone")
    other = commit(tmp_path / "project")
    run_git(tmp_path / "project", "update-ref", "refs/heads/master", base)
    for one in ("project", "clone"):
        run_git(tmp_path / one, "pack-refs", "--all")
        (tmp_path / one / ".git/refs/heads").mkdir(exist_ok=True)
    repository, head = await located(tmp_path / "project")
    async with writing(repository, head, tmp_path / "project", index="none") as git:
        link = tmp_path / "project/.git" / place
        link.rename(link.with_name("moved"))
        link.symlink_to(tmp_path / "clone/.git" / place)
        with pytest.raises(Unreadable, match="links to elsewhere"):
            await git.run("update-ref", "--no-deref", "refs/heads/master", other, base)
    assert run_git(tmp_path / "clone", "rev-parse", "master") == base


async def test_a_directory_of_references_may_go_while_they_are_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W2: git takes empty ones away whenever another thread's branch goes."""
    make_repository(tmp_path)
    refs = tmp_path / ".git" / "refs"
    (refs / "heads" / "weft").mkdir()
    scandir = os.scandir

    def gone_meanwhile(path: str) -> Any:
        if path.endswith("/weft"):
            Path(path).rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", gone_meanwhile)
    assert not has_links(refs, levels=8)
    assert not (refs / "heads" / "weft").exists()
