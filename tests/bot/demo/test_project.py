"""The demo's project: a repository of its own, whatever git is set up to do on this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bot.demo import project
from bot.demo.project import FILES, GREETING, NoProject, make_project
from bot.work.workspace.worktrees import check_project

pytestmark = pytest.mark.asyncio


def git(path: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=path, capture_output=True, text=True, check=True).stdout


async def test_a_repository_has_one_commit_that_work_trees_can_begin_at(tmp_path: Path) -> None:
    """W1, W2."""
    made = await make_project(tmp_path, tmp_path / "state")
    await check_project(made.path, made.base)
    assert git(made.path, "log", "--format=%an %s", "main") == "Weft demo Begin\n"
    assert git(made.path, "ls-files").split() == sorted(FILES)
    assert git(made.path, "status", "--porcelain") == ""
    assert made.workspace.startswith(str(tmp_path / "state"))


async def test_nothing_of_how_git_is_set_up_here_gets_into_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W2: no hooks, no name, no signature, no other name of the branch."""
    hooks = tmp_path / "template/hooks"
    hooks.mkdir(parents=True)
    (hooks / "pre-commit").write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    (hooks / "pre-commit").chmod(0o755)
    (tmp_path / ".gitconfig").write_text(
        f"[user]\nname = me\n[commit]\ngpgSign = true\n[init]\ntemplateDir = {hooks.parent}\ndefaultBranch = other\n"
        f"[core]\nhooksPath = {hooks}\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    made = await make_project(tmp_path, tmp_path / "state")
    monkeypatch.delenv("GIT_DIR")
    assert git(made.path, "log", "--format=%an", "main") == "Weft demo\n"
    assert not (tmp_path / "sprung").exists()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("", "git is not installed"),
        ("#!/bin/sh\necho 'fatal: too old' >&2\nexit 128\n", "git init failed: fatal: too old"),
        ("#!/no/such/shell\n", "git does not work here (No such file or directory)"),
        ("#!/bin/sh\nexec sleep 60\n", "git init took more than 0.2 s"),
    ],
)
async def test_a_git_that_is_not_there_or_does_not_work_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    monkeypatch.setattr(project, "LIMIT", 0.2 if "sleep" in script else 10.0)
    programs = tmp_path / "bin"
    programs.mkdir()
    if script:
        (programs / "git").write_text(script)
        (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(NoProject) as caught:
        await make_project(tmp_path, tmp_path / "state")
    assert str(caught.value) == why
    assert not (tmp_path / "demo" / ".git").exists()
    assert (tmp_path / "demo" / GREETING).exists() is bool(script)
