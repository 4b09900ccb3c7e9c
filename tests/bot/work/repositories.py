"""Repositories for tests, made by the real git without anything of this machine's settings."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bot.work.workspace import git
from bot.work.workspace.git import Comparison, locate

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    **{f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def run_git(workspace: Path, *args: str, check: bool = True) -> str:
    """Run git as a person would, and return what it printed."""
    done = subprocess.run(
        ["git", *args],
        cwd=workspace,
        env=ENVIRONMENT,
        check=check,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def make_repository(workspace: Path, *options: str, **files: str) -> str:
    """Make a repository with one commit, and return its id; ``__`` in a name of a file stands for a dot."""
    workspace.mkdir(parents=True, exist_ok=True)
    run_git(workspace, "init", "-q", *options)
    for name, text in (files or {"a__txt": "one\ntwo\n"}).items():
        (workspace / name.replace("__", ".")).write_text(text)
    return commit(workspace)


def commit(workspace: Path) -> str:
    """Commit everything, and return the id."""
    run_git(workspace, "add", "-A")
    run_git(workspace, "commit", "-q", "--allow-empty", "-m", "x")
    return run_git(workspace, "rev-parse", "HEAD")


async def compared(workspace: Path, base: str | None = None) -> Comparison:
    """Compare as the bot does."""
    located = await locate(workspace)
    assert located is not None
    return await git.compare(*located, workspace, base)
