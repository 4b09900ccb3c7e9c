"""What git is asked: complete, and without anything that a repository names being run or changed."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import anyio
import pytest

from bot.reply.changes import ChangedFile
from bot.work.workspace import git
from bot.work.workspace.git import NO_COMMIT, GitMissing, Output, is_dirty, locate, parse
from bot.work.workspace.repository import Unreadable
from tests.agents import alive
from tests.bot.work.repositories import commit, compared, make_repository, needs_git, run_git
from tests.clock import passing

pytestmark = [needs_git, pytest.mark.asyncio]


def contents(directory: Path) -> dict[str, bytes]:
    return {str(one.relative_to(directory)): one.read_bytes() for one in directory.rglob("*") if one.is_file()}


async def dirty(workspace: Path) -> bool:
    located = await locate(workspace)
    assert located is not None
    return await is_dirty(*located, workspace)


async def test_all_that_changed_is_shown_and_nothing_is_touched(tmp_path: Path) -> None:
    """V3: committed, staged and new; in subdirectories, with any name; not what is ignored, nor what is ours."""
    lines = "".join(f"{number}\n" for number in range(20))
    base = make_repository(tmp_path, a__txt="one\ntwo\n", gone="x\n", old__name=lines, __gitignore="*.log\n")
    assert not await dirty(tmp_path)
    (tmp_path / "committed").write_text("c\n")
    commit(tmp_path)
    (tmp_path / "a.txt").write_text("one\n2\n3\n")
    (tmp_path / "gone").unlink()
    run_git(tmp_path, "mv", "old.name", "new.name")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/run me").write_text("#!/bin/sh\n")
    (tmp_path / "sub/run me").chmod(0o755)
    (tmp_path / 'ü "x\ny').write_text("odd\n")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "binary").write_bytes(b"\0\1")
    (tmp_path / "build.log").write_text("ignored\n")
    (tmp_path / ".weft/in").mkdir(parents=True)
    (tmp_path / ".weft/in/sent.txt").write_text("ours\n")
    before = contents(tmp_path)
    assert await dirty(tmp_path)
    found = await compared(tmp_path, base)
    assert contents(tmp_path) == before, "neither the index nor the objects"
    assert sorted(found.changes.files, key=lambda file: file.path) == [
        ChangedFile("a.txt", 2, 1),
        ChangedFile("binary", None, None),
        ChangedFile("committed", 1, 0),
        ChangedFile("gone", 0, 1),
        ChangedFile("link", 1, 0),
        ChangedFile("new.name", 0, 0),
        ChangedFile("sub/run me", 1, 0),
        ChangedFile('ü "x\ny', 1, 0),
    ]
    patch = found.changes.patch.decode()
    assert "rename from old.name\nrename to new.name\n" in patch
    assert "new file mode 100755" in patch
    assert "+/etc/passwd\n" in patch, "where a link leads, and not what is there"
    assert "root:" not in patch
    assert (found.commit, found.left_out, found.changes.cut) == (base, (), False)


async def test_a_directory_below_the_top_shows_its_own(tmp_path: Path) -> None:
    """V3: by names as they are there; a directory that is not there yet has nothing."""
    base = make_repository(tmp_path, a__txt="x\n")
    below = tmp_path / "threads/7"
    assert not await dirty(below)
    below.mkdir(parents=True)
    (tmp_path / "a.txt").write_text("y\n")
    assert not await dirty(below)
    (below / "new").write_text("n\n")
    (below / ".weft").mkdir()
    (below / ".weft/x").write_text("ours\n")
    assert (await compared(below, base)).changes.files == (ChangedFile("new", 1, 0),)


# --- what a repository might do ---


def booby_trap(workspace: Path, trace: Path) -> None:
    """Have everything that can name a program name one that leaves a trace."""
    program = trace.parent / "trap"
    program.write_text(f'#!/bin/sh\necho "$0 $*" >> {trace}\ncat\n')
    program.chmod(0o755)
    names = ["evil", "lfs", 'odd "name\\" x', "a.b.c", "übel"]
    settings: dict[str, str] = {
        "core.fsmonitor": str(program),
        "core.hooksPath": str(workspace / ".git/traps"),
        "core.pager": str(program),
        "core.sshCommand": str(program),
        "core.askPass": str(program),
        "core.alternateRefsCommand": str(program),
        "core.worktree": "/",
        "diff.external": str(program),
        "pager.diff": str(program),
        "alias.diff": f"!{program}",
        "extensions.partialClone": "origin",
        "remote.origin.url": f"ext::{program}",
        "remote.origin.promisor": "true",
        "remote.origin.uploadpack": str(program),
        "submodule.recurse": "true",
        "status.submoduleSummary": "true",
        "include.path": str(workspace / "more"),
        "includeIf.gitdir:/**.path": str(workspace / "more"),
        "core.attributesFile": str(workspace / "more"),
    }
    for name in names:
        settings |= {f"filter.{name}.{key}": str(program) for key in ("clean", "smudge", "process")}
        settings |= {f"filter.{name}.required": "true"}
        settings |= {f"diff.{name}.{key}": str(program) for key in ("textconv", "command")}
        settings |= {f"merge.{name}.driver": str(program)}
    (workspace / "more").write_text(f"[core]\n\tfsmonitor = {program}\n")
    for key, value in settings.items():
        run_git(workspace, "config", "--file", ".git/config", key, value)
    (workspace / ".git/config.worktree").write_text(f"[core]\n\tfsmonitor = {program}\n")
    (workspace / ".git/traps").mkdir()
    for hook in ("post-index-change", "pre-commit", "fsmonitor-watchman", "reference-transaction"):
        for directory in ("traps", "hooks"):
            (workspace / ".git" / directory).mkdir(exist_ok=True)
            (workspace / ".git" / directory / hook).symlink_to(program)
    lines = [f"*.{number} filter={name} diff={name} merge={name}" for number, name in enumerate(names)]
    (workspace / ".gitattributes").write_text("\n".join(["* filter=evil diff=evil", *lines]))
    (workspace / ".git/info/attributes").write_text("* filter=lfs diff=lfs\n")


async def test_nothing_that_a_repository_names_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """V3, R5: filters, drivers, hooks, monitors, remotes; not even where git itself would obey the environment."""
    workspace, trace = tmp_path / "w", tmp_path / "trace"
    base = make_repository(workspace, a__0="x\n", a__1="x\n", a__2="x\n", a__3="x\n")
    make_repository(workspace / "module")
    booby_trap(workspace / "module", trace)
    run_git(workspace, "-c", "core.fsmonitor=false", "add", "module")
    run_git(workspace, "commit", "-q", "-m", "module")
    booby_trap(workspace, trace)
    trap = str(tmp_path / "trap")
    for name in ("GIT_EXTERNAL_DIFF", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_PAGER", "GIT_PROXY_COMMAND"):
        monkeypatch.setenv(name, trap)
    for name, value in {"COUNT": "1", "KEY_0": "core.fsmonitor", "VALUE_0": trap}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    for number in range(4):
        (workspace / f"a.{number}").write_text(f"{number}\n")
        (workspace / f"new.{number}").write_text(f"{number}\n")
    (workspace / "module/a.txt").write_text("dirty\n")
    trace.unlink(missing_ok=True)
    assert await dirty(workspace)
    found = await compared(workspace, base)
    assert not trace.exists(), trace.read_text()
    assert ChangedFile("a.0", 1, 1) in found.changes.files
    assert ChangedFile("new.3", 1, 0) in found.changes.files
    # The traps are set: whoever asks git as it is walks into them.
    run_git(workspace, "-c", "core.worktree=" + str(workspace), "status", check=False)
    assert trace.exists()


async def test_git_sees_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R5"""
    make_repository(tmp_path / "w")
    program = tmp_path / "git"
    program.write_text(f"#!/bin/sh\nenv >> {tmp_path}/seen\n")
    program.chmod(0o755)
    monkeypatch.setenv("DISCORD_TOKEN", "a token")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert not await dirty(tmp_path / "w")
    names = {line.partition("=")[0] for line in (tmp_path / "seen").read_text().splitlines()}
    assert {name for name in names if not name.startswith("GIT_")} <= {
        *("PATH", "HOME", "LC_ALL", "XDG_CONFIG_HOME", "SSH_ASKPASS", "PWD", "OLDPWD", "SHLVL", "_")
    }


async def test_somebody_elses_repository_is_not_shown(tmp_path: Path) -> None:
    """V3, R5: by a file, a link, borrowed objects or linked ones; a work tree beside the first is one's own."""
    theirs, workspace = tmp_path / "theirs", tmp_path / "w"
    secret = make_repository(theirs, secret="s\n")
    workspace.mkdir()
    run_git(theirs, "worktree", "add", "-q", str(tmp_path / "other"))
    for repository in (".git", ".git/worktrees/other"):
        (workspace / ".git").write_text(f"gitdir: {theirs}/{repository}\n")
        with pytest.raises(Unreadable, match="kept somewhere else"):
            await compared(workspace)
    (workspace / "fake").mkdir()
    (workspace / "fake/HEAD").write_text(f"{secret}\n")
    (workspace / "fake/gitdir").write_text(f"{workspace}/.git\n")
    (workspace / "fake/commondir").write_text(f"{theirs}/.git\n")
    (workspace / ".git").write_text(f"gitdir: {workspace}/fake\n")
    assert await locate(workspace) is None
    (workspace / ".git").unlink()
    (workspace / ".git").symlink_to(theirs / ".git")
    assert await locate(workspace) is None
    (workspace / ".git").unlink()
    base = make_repository(workspace)
    alternates = workspace / ".git/objects/info/alternates"
    alternates.write_text(f"{theirs}/.git/objects\n")
    with pytest.raises(Unreadable, match="borrows from another one"):
        await compared(workspace, base)
    alternates.unlink()
    loose = theirs / ".git/objects" / secret[:2]
    link = workspace / ".git/objects" / secret[:2] / "x"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(next(loose.iterdir()))
    with pytest.raises(Unreadable, match="links to elsewhere"):
        await compared(workspace, base)
    link.unlink()
    heads = workspace / ".git/refs/heads"
    heads.rename(workspace / "heads")
    heads.symlink_to(theirs / ".git/refs/heads")
    located = await locate(workspace)
    assert located is not None
    assert located[1] is None
    heads.unlink()
    (workspace / "heads").rename(heads)
    run_git(workspace, "worktree", "add", "-q", str(tmp_path / "beside"))
    (tmp_path / "beside/new").write_text("n\n")
    assert (await compared(tmp_path / "beside", base)).changes.files == (ChangedFile("new", 1, 0),)


async def test_an_index_leads_to_no_file_outside_of_the_work_tree(tmp_path: Path) -> None:
    """V3, R5: by its names, which git checks when it writes them only, or through a link."""
    workspace, secret = tmp_path / "w", "what only the bot can read"
    base = make_repository(workspace)
    (tmp_path / "secret").write_text(f"{secret}\n")
    (workspace / "zz").mkdir()
    (workspace / "zz/secret").write_text("x\n")
    (workspace / ".git/index").unlink()
    run_git(workspace, "update-index", "--add", "a.txt", "zz/secret")
    index = (workspace / ".git/index").read_bytes()
    (workspace / "zz/secret").unlink()
    (workspace / "zz").rmdir()
    (workspace / "zz").symlink_to(tmp_path)
    assert secret not in (await compared(workspace, base)).changes.patch.decode()
    (workspace / ".git/index").write_bytes(index.replace(b"zz/secret", b"../secret"))
    assert secret in run_git(workspace, "diff", base), "git itself would show it"
    with pytest.raises(Unreadable, match="outside of its directory"):
        await compared(workspace, base)


# --- where it is ---


async def test_where_a_workspace_is_is_read_in_every_way_it_is_written(tmp_path: Path) -> None:
    """V3: a branch, a packed one, none, before the first commit; a way that is not known is said."""
    assert await locate(tmp_path) is None
    base = make_repository(tmp_path)
    for make in (
        (),
        ("pack-refs", "--all"),
        ("checkout", "-q", "--detach"),
        ("checkout", "-q", "-b", "deep/er"),
        ("symbolic-ref", "refs/heads/by-name", "refs/heads/deep/er"),
        ("symbolic-ref", "HEAD", "refs/heads/by-name"),
    ):
        if make:
            run_git(tmp_path, *make)
        located = await locate(tmp_path)
        assert located is not None
        assert located[1] == base, make
    (tmp_path / ".git/HEAD").write_text("ref: refs/heads/none\n")
    located = await locate(tmp_path)
    assert located is not None
    assert located[1] is None
    (tmp_path / ".git/reftable").mkdir()
    for head in ("ref: refs/heads/.invalid", "ref: refs/heads/../../x", "ref: /etc/passwd", "root:x:0:0", ""):
        (tmp_path / ".git/HEAD").write_text(f"{head}\n")
        with pytest.raises(Unreadable, match="at which commit"):
            await locate(tmp_path)
    (tmp_path / ".git/HEAD").unlink()
    os.mkfifo(tmp_path / ".git/HEAD")
    with pytest.raises(Unreadable):
        await locate(tmp_path)


async def test_a_repository_without_a_commit_is_compared_with_nothing(tmp_path: Path) -> None:
    """V3: so is one whose first commit came later; a commit that is gone is replaced by the one checked out."""
    run_git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("x\n")
    assert await dirty(tmp_path)
    assert (await compared(tmp_path)).changes.files == (ChangedFile("a", 1, 0),)
    head = commit(tmp_path)
    first = await compared(tmp_path, NO_COMMIT)
    assert (first.changes.files, first.commit) == ((ChangedFile("a", 1, 0),), NO_COMMIT)
    gone = await compared(tmp_path, "1" * 40)
    assert (gone.changes.files, gone.commit) == ((), head)


async def test_other_kinds_of_repositories(tmp_path: Path) -> None:
    """V3: longer ids, a divided index, line ends that git converts, modes that do not count, a broken index."""
    base = make_repository(tmp_path, "--object-format=sha256", a__txt="one\ntwo\n")
    assert len(base) == 64
    (tmp_path / "new").write_text("n\n")
    assert (await compared(tmp_path, base)).changes.files == (ChangedFile("new", 1, 0),)
    if os.geteuid() == 0:  # it may belong to anybody, as nothing in it is obeyed
        for one in (tmp_path / ".git", tmp_path):
            os.chown(one, 12345, 12345)
        assert (await compared(tmp_path, base)).changes.files == (ChangedFile("new", 1, 0),)
        for one in (tmp_path / ".git", tmp_path):
            os.chown(one, 0, 0)
    run_git(tmp_path, "update-index", "--split-index")
    run_git(tmp_path, "config", "core.autocrlf", "true")
    run_git(tmp_path, "config", "core.filemode", "false")
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\r\n")
    (tmp_path / "a.txt").chmod(0o755)
    assert (await compared(tmp_path, base)).changes.files == (ChangedFile("new", 1, 0),)
    (tmp_path / ".git/index").write_bytes(b"DIRC broken")
    with pytest.raises(Unreadable, match=r"git refused: `.+`$"):
        await compared(tmp_path, base)


# --- bounds ---


async def test_new_files_are_bounded_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """V3"""
    base = make_repository(tmp_path)
    make_repository(tmp_path / "inner")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(3 * 2**20)
    for number in range(4):
        (tmp_path / f"n{number}").write_text("x\n")
    monkeypatch.setattr(git, "MOST_NEW", 2)
    found = await compared(tmp_path, base)
    assert [file.path for file in found.changes.files] == ["n0", "n1"]
    assert found.left_out == (("inner/", "a repository of its own"), ("large", "3 MiB"), ("n2", "too much"))
    assert (found.more_left_out, found.uncounted) == (1, False)
    monkeypatch.setattr(git, "LIST", 10)
    assert (await compared(tmp_path, base)).uncounted


async def test_a_diff_without_end_is_cut_and_one_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V3, O4: nothing of it is left, neither the process nor its directory."""
    base = make_repository(tmp_path / "w")
    (tmp_path / "w/new").write_text("a line of it\n" * 1_000)
    monkeypatch.setattr(git, "MOST_BYTES", 5_000)
    found = await compared(tmp_path / "w", base)
    assert found.changes.cut
    assert found.changes.files == (ChangedFile("new", 1_000, 0),)
    assert 4_000 < len(found.changes.patch) < 5_000
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    program = tmp_path / "git"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid\nsleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    async with passing(10, (tmp_path / "pid").exists):
        with pytest.raises(TimeoutError), anyio.fail_after(10):
            await compared(tmp_path / "w", base)
    assert not alive(int((tmp_path / "pid").read_text()))
    assert list(scratch.iterdir()) == []
    monkeypatch.setenv("PATH", str(scratch))
    with pytest.raises(GitMissing):
        await compared(tmp_path / "w", base)


async def test_our_directory_is_for_us_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R5: it has parts of what the workspace has."""
    make_repository(tmp_path / "w")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    located = await locate(tmp_path / "w")
    assert located is not None
    async with git.borrowed(*located, tmp_path / "w") as ours:
        assert stat.S_IMODE(os.lstat(ours.environment["GIT_DIR"]).st_mode) == 0o700


async def test_the_list_of_files_may_be_cut() -> None:
    """V3"""
    whole = b"1\t2\ta\0-\t-\tb\0" + b"0\t0\t\0old\0new\0" + b"\0diff --git\n"
    files = (ChangedFile("a", 1, 2), ChangedFile("b", None, None), ChangedFile("new", 0, 0))
    assert (parse(Output(whole)).files, parse(Output(whole)).patch) == (files, b"diff --git\n")
    for end in range(len(whole)):
        found = parse(Output(whole[:end], cut=True))
        assert found.files == files[: len(found.files)]
        assert b"diff --git\n".startswith(found.patch)
