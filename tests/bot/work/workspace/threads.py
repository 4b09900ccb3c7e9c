"""Projects with work trees of threads, for the tests of commits and merges."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bot.work.workspace import commits, merging
from bot.work.workspace.commits import Committed
from bot.work.workspace.merging import Merged
from bot.work.workspace.worktrees import WorkTree
from tests.bot.work.repositories import commit, make_repository, run_git


@dataclass
class Project:
    """A repository with ``main`` checked out, threads' work trees beside it, and where journals go."""

    beside: Path
    trusted: bool = False
    options: tuple[str, ...] = ()
    made: bool = True
    trees: dict[str, WorkTree] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.made:
            make_repository(self.path, "-b", "main", *self.options, a__txt="one\ntwo\nthree\n", b__txt="b\n")

    @property
    def path(self) -> Path:
        return self.beside / "project"

    @property
    def journals(self) -> Path:
        return self.beside / "state/merges"

    def tree(self, name: str = "7", base: str = "main") -> WorkTree:
        """Make a thread's work tree from the base."""
        directory = self.beside / "trees" / name
        branch = f"weft/thread-{name}"
        run_git(self.path, "worktree", "add", "-q", "-b", branch, str(directory), base)
        admin = self.path / ".git/worktrees" / name
        ours = admin.rename(admin.with_name(f"weft-{name}"))
        (directory / ".git").write_text(f"gitdir: {ours}\n")
        self.trees[name] = WorkTree(self.path, directory, branch, base, trusted=self.trusted)
        return self.trees[name]

    async def commit(self, tree: WorkTree, message: str = "Change things", asked_by: str = "Ada") -> Committed:
        return await commits.commit(tree, message, asked_by, journals=self.journals)

    async def merge(self, tree: WorkTree, *, squash: bool = False, base_commit: str | None = None) -> Merged:
        return await merging.merge(
            tree, f"Merge {tree.branch}", "Ada", squash=squash, journals=self.journals, base_commit=base_commit
        )

    def at(self, ref: str) -> str:
        return run_git(self.path, "rev-parse", ref)

    def status(self, directory: Path | None = None) -> str:
        return run_git(directory or self.path, "status", "--porcelain", "--untracked-files=all")

    def sound(self) -> None:
        """Make sure that nothing of ours is left, that the repository is whole, and that main looks untouched."""
        assert list(self.journals.glob("*")) == []
        left = [one for one in (self.path / ".git").rglob("*") if "weft-index" in one.name or one.suffix == ".lock"]
        assert left == []
        assert run_git(self.path, "fsck", "--strict", "--no-dangling", "--connectivity-only") == ""
        assert self.status() == ""


def edit(directory: Path, **files: str | None) -> None:
    """Write files, ``__`` for a dot, or delete them."""
    for name, text in files.items():
        path = directory / name.replace("__", ".")
        if text is None:
            path.unlink()
        else:
            path.write_text(text)


def committed(directory: Path, **files: str | None) -> str:
    """Change files and commit them as a person would; return the commit."""
    edit(directory, **files)
    return commit(directory)
