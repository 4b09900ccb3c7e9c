"""A project with a work tree for a thread, for tests."""

from __future__ import annotations

from pathlib import Path

from bot.work.workspace.worktrees import WorkTree
from tests.bot.work.repositories import make_repository, run_git

PROJECT = {"a__txt": "one\ntwo\n", "b__txt": "three\n"}


def project(place: Path, **files: str) -> WorkTree:
    """Make the repository of a project, and return a work tree of it that is not there yet."""
    repository = place / "project"
    make_repository(repository, "--initial-branch=main", **(files or PROJECT))
    return tree_in(place, repository)


def tree_in(place: Path, repository: Path, thread: int = 7) -> WorkTree:
    return WorkTree(repository, place / f"state/worktrees/p/{thread}", f"weft/fix-{thread}", "main")


def refs(tree: WorkTree, below: str = "refs") -> dict[str, str]:
    listed = run_git(tree.repository, "for-each-ref", "--format=%(refname) %(objectname)", below)
    return dict(line.split() for line in listed.splitlines())


def untouched(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Return what tells whether anything in a work tree of people, or its index, was touched."""
    found = [one for one in directory.rglob("*") if ".git" not in one.parts]
    found += [one for one in (directory / ".git").glob("*") if one.is_file()]
    return {str(one): (one.lstat().st_mtime_ns, one.lstat().st_ctime_ns, one.lstat().st_ino) for one in found}
