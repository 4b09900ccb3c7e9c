"""Keeps under a reference what would be lost with a work tree (W5): commits on no branch, and what is in no commit."""

from __future__ import annotations

from collections.abc import Sequence

from bot.work.workspace.git import HERE
from bot.work.workspace.repository import Unreadable
from bot.work.workspace.worktrees import KEPT, WorkTree
from bot.work.workspace.writing import Writer

_NAMES = 64 * 2**20  # bytes

AUTHOR = {
    f"GIT_{who}_{what}": word
    for who in ("AUTHOR", "COMMITTER")
    for what, word in (("NAME", "Weft"), ("EMAIL", "weft@localhost"))
}


async def tree_of_index(git: Writer, head: str) -> str | None:
    """Return the id of what is staged; None: what is in the commit already.

    Raises:
        GitFailed: it can't be told, as while a merge has conflicts.
    """
    staged = _word((await git.run("write-tree")).data)
    return None if staged == _word((await git.run("rev-parse", f"{head}^{{tree}}")).data) else staged


async def tree_of_files(git: Writer) -> str:
    """Return the id of what is in a work tree, by an index that is at its commit; what is ignored is not in it.

    Raises:
        GitFailed: something in it can't be read.
    """
    changed = await git.run("ls-files", "-z", "-m", "-d", "-o", "--exclude-standard", *HERE, most=_NAMES)
    if changed.cut:
        raise Unreadable("there is too much in it to be kept")
    # Not `git add`, which would ask submodules, by git as they have it.
    await git.run("update-index", "-z", "--add", "--remove", "--stdin", given=changed.data)
    return _word((await git.run("write-tree")).data)


async def is_reachable(git: Writer, commit: str) -> bool:
    """Return whether a branch or a tag of the repository leads to a commit."""
    heads = ("refs/heads", "refs/remotes", "refs/tags", KEPT)
    found = await git.run("for-each-ref", "--count=1", "--contains", commit, *heads, codes=(0, 129))
    return bool(found.data)


async def keep(git: Writer, tree: WorkTree, content: str | None, parents: Sequence[str], why: str) -> str:
    """Keep commits under a reference of their own, and files as a commit upon them; return the reference's name.

    Args:
        content: the id of the files; None: there are only commits.
        parents: the first one is what was checked out.
        why: the commit's message.

    Raises:
        GitFailed: it can't be kept.
    """
    commit = parents[0]
    if content is not None or len(parents) > 1:
        files = content or f"{commit}^{{tree}}"
        above = [word for parent in parents for word in ("-p", parent)]
        found = _word((await git.run("rev-parse", files)).data)
        made = await git.run("commit-tree", found, *above, "-m", f"{why}\n\nBranch: {tree.branch}", variables=AUTHOR)
        commit = _word(made.data)
    prefix = f"{KEPT}/{tree.directory.name}/"
    listed = await git.run("for-each-ref", "--format=%(refname)", prefix)
    numbers = [
        int(name) for name in (line.removeprefix(prefix) for line in listed.data.decode().split()) if name.isdigit()
    ]
    reference = f"{prefix}{max(numbers, default=0) + 1}"
    # With all zeros git makes it only if there is none: what is kept is never replaced.
    await git.run("update-ref", "--no-deref", reference, commit, "0" * len(commit))
    return reference


def _word(data: bytes) -> str:
    return data.decode().strip()
