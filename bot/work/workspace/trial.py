"""Tries a merge without touching any work tree, and says what is in its way (W4).

Git 2.38 merges objects alone; older ones get a work tree of ours to do it in. The repository's merge drivers are not
run, only what git has itself: files of a kind that names a driver are merged as text. There is no state.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from bot.reply.sanitise import inline_code
from bot.work.workspace.journal import Refused
from bot.work.workspace.keeping import AUTHOR
from bot.work.workspace.repository import Unreadable
from bot.work.workspace.standing import MOST_OUTPUT
from bot.work.workspace.writing import Writer

MERGE_TREE_SINCE = (2, 38)

_NAMED = 10
_VERSION = re.compile(r"(\d+)\.(\d+)")
_STAGED = re.compile(rb"[0-7]{6} [0-9a-f]+ ([1-3])\t(.+)", re.DOTALL)
_KINDS = {
    frozenset({1, 2, 3}): "both changed it",
    frozenset({2, 3}): "both added it",
    frozenset({1, 2}): "changed in {base}, deleted here",
    frozenset({1, 3}): "changed here, deleted in {base}",
    frozenset({1}): "renamed or deleted by both",
    frozenset({2}): "{base} has it where this has something else",
    frozenset({3}): "this has it where {base} has something else",
}
_BIG_FILES = ("-c", "core.bigFileThreshold=64m")
"""Files beyond this are not merged line by line: both sides are read into memory for that."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A file that two branches have changed each in its way; ``kind``: how, for people."""

    path: str
    kind: str


class Conflicts(Refused):
    """A branch can't be merged by itself.

    Attributes:
        branch, base: the two branches, by their short names.
        base_commit: where the base was.
        files: what is in the way.
    """

    def __init__(self, branch: str, base: str, base_commit: str, files: Sequence[Conflict]) -> None:
        shown = [f"{inline_code(one.path, 100)} ({one.kind})" for one in files[:_NAMED]]
        more = [f"{len(files) - _NAMED:,} more"] if len(files) > _NAMED else []
        super().__init__(f"it conflicts with {inline_code(base)} in {', '.join([*shown, *more])}")
        self.branch = branch
        self.base = base
        self.base_commit = base_commit
        self.files = tuple(files)


@dataclass(frozen=True, slots=True)
class Tried:
    """How a merge went: the tree that it makes, or the files that are in its way."""

    tree: str = ""
    files: tuple[Conflict, ...] = ()


async def try_merge(git: Writer, ours: str, theirs: str, base: str) -> Tried:
    """Merge the commit ``theirs`` into ``ours``, of the branch ``base``, as far as a tree; nothing else changes.

    Raises:
        Unreadable: git can't merge them at all.
    """
    await _take_attributes(git, ours)
    try_it = _by_merge_tree if await _version(git) >= MERGE_TREE_SINCE else _in_a_work_tree
    tree, staged = await try_it(git, ours, theirs)
    found: dict[bytes, set[int]] = {}
    for entry in staged:
        if match := _STAGED.fullmatch(entry):
            found.setdefault(match[2], set()).add(int(match[1]))
    files = [Conflict(path.decode(errors="replace"), _kind(stages, base)) for path, stages in sorted(found.items())]
    if files or tree:
        return Tried(tree, tuple(files))
    raise Unreadable("git could not merge it")


def _kind(stages: set[int], base: str) -> str:
    return _KINDS.get(frozenset(stages), "both changed it").format(base=inline_code(base))


async def _version(git: Writer) -> tuple[int, int]:
    match = _VERSION.search((await git.run("version")).data.decode(errors="replace"))
    return (int(match[1]), int(match[2])) if match else (0, 0)


async def _take_attributes(git: Writer, commit: str) -> None:
    """Have git go by the attributes at the top of a commit: where no files are, it would know of none."""
    if git.trusted:
        return
    size = await git.run("cat-file", "-s", f"{commit}:.gitattributes", codes=range(256))
    # It may be of any size, as an agent can have committed it.
    if size.code == 0 and int(size.data) < 2**20:
        text = await git.run("cat-file", "blob", f"{commit}:.gitattributes")

        def add() -> None:
            target = git.directory / "info/attributes"
            local = target.read_bytes() if target.exists() else b""
            target.write_bytes(text.data + b"\n" + local)

        await anyio.to_thread.run_sync(add)


async def _by_merge_tree(git: Writer, ours: str, theirs: str) -> tuple[str, list[bytes]]:
    command = (*_BIG_FILES, "merge-tree", "--write-tree", "-z", "--no-messages", ours, theirs)
    done = await git.run(*command, codes=(0, 1), most=MOST_OUTPUT)
    tree, *staged = done.data.split(b"\0")
    if done.cut or (done.code == 1 and not any(staged)):
        raise Unreadable("git says what conflicts in a format that I don't know")
    return ("" if done.code else tree.decode().strip()), staged


async def _in_a_work_tree(git: Writer, ours: str, theirs: str) -> tuple[str, list[bytes]]:
    """The same, by a merge in a work tree of ours, with files of its own."""
    scratch = git.directory / "scratch"
    await anyio.to_thread.run_sync(scratch.mkdir)
    variables = {
        **AUTHOR,
        "GIT_WORK_TREE": str(scratch),
        "GIT_INDEX_FILE": str(git.directory / "trial"),
    }
    await git.run("read-tree", "--reset", "-u", ours, variables=variables)
    bases = (await git.run("merge-base", "--all", ours, theirs)).data.decode().split()
    # Not `git merge`, which would write to the repository where it was.
    command = (*_BIG_FILES, "merge-recursive", *bases, "--", ours, theirs)
    done = await git.run(*command, codes=(0, 1), variables=variables)
    staged = (await git.run("ls-files", "-z", "--unmerged", variables=variables, most=MOST_OUTPUT)).data.split(b"\0")
    if done.code == 1 and not any(staged):
        raise Unreadable("git could not merge it")
    tree = "" if any(staged) else (await git.run("write-tree", variables=variables)).data.decode().strip()
    return tree, staged


async def check_tree(git: Writer, tree: str) -> None:
    """Make sure that a tree can be checked out: its names are below its directory, and none is git's own.

    Raises:
        Unreadable: it can't.
    """
    checked: Path = git.directory / "checked"
    await git.run("read-tree", tree, variables={"GIT_INDEX_FILE": str(checked)})
    with suppress(FileNotFoundError):
        await anyio.to_thread.run_sync(checked.unlink)
