"""Where a work tree stands, and who is named in commits: what is looked at before anything is changed.

A work tree's own files say which branch is checked out and whether an operation is half-way; git says what is in no
commit. Names and messages come from people and from configuration that agents can write, and are data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import anyio.to_thread

from bot.reply.sanitise import clean, clip, inline_code, one_line
from bot.work.files.inbox import WEFT
from bot.work.workspace.admin import BUSY
from bot.work.workspace.git import UNREADABLE, Git, GitFailed
from bot.work.workspace.journal import Refused, opened
from bot.work.workspace.keeping import AUTHOR
from bot.work.workspace.repository import Repository, Unreadable, head_of, open_file
from bot.work.workspace.writing import Writer

MOST_OUTPUT = 64 * 2**20
"""Bytes of a list of files."""

_MESSAGE = 20_000
_NAMED = 10
_SMALL = 4096
_OPERATIONS = {**{name: f"a {what}" for name, what in BUSY.items()}, "sequencer": "a series of commits"}
_OF_A_MERGE = ("MERGE_HEAD", "MERGE_MODE", "MERGE_MSG", "AUTO_MERGE", "MERGE_RR")
_NO_ROOM = re.compile(r"No space left|Disk quota|[Uu]nable to write|write error|failed to write")
_COMMITS = re.compile(r"(?:(?:[0-9a-f]{40}|[0-9a-f]{64})\n){1,32}")
_TRAILER = "Requested-by"
_OURS = re.compile(rf"\s*{_TRAILER}\s*:", re.IGNORECASE)
_ANY_TRAILER = re.compile(r"[A-Za-z][A-Za-z-]*: \S")
_NOT_IN_NAMES = re.compile(r"[<>\n\r\0\"\\]")

Looked = TypeVar("Looked")

EVERYTHING = ("--", ".", f":(exclude,top){WEFT}")
"""All of a work tree, seen from its top, but what is ours."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a work tree is.

    Attributes:
        branch: the full name of the branch that is checked out; None: the commit itself is.
        head: the commit; None: there is none yet.
        merging: what stands in ``MERGE_HEAD``, a line for each commit that is being merged; empty: none is.
        operation: what is half-way, for people; None: nothing.
    """

    branch: str | None
    head: str | None
    merging: str = ""
    operation: str | None = None


def standing_of(repository: Repository) -> Standing:
    """Return where a work tree is, from its own files.

    Raises:
        OSError, Unreadable: it can't be told.
    """
    with opened(repository) as fd:
        found = [what for name, what in _OPERATIONS.items() if _exists(name, fd)]
    # Alone: a rebase may have stopped in a merge, which is part of it and not to be ended by itself.
    merging = _text(repository, "MERGE_HEAD") if found == ["a merge"] else ""
    if merging and not _COMMITS.fullmatch(merging):
        raise Unreadable("I can't read which merge is half-way there")
    return Standing(branch_of(repository), head_of(repository), merging, found[0] if found else None)


def branch_of(repository: Repository) -> str | None:
    """Return the full name of the branch that is checked out; None: there is none.

    Raises:
        OSError: it can't be read.
    """
    head = _text(repository, "HEAD")
    return head.removeprefix("ref:").strip() if head.startswith("ref:") else None


async def look_at(look: Callable[[Repository], Looked], repository: Repository) -> Looked:
    """Return what a function reads in a repository, off the loop.

    Raises:
        Unreadable: it can't be read.
    """
    try:
        # Abandoned if it takes too long: the repository may lie on a disk that hangs.
        return await anyio.to_thread.run_sync(look, repository, abandon_on_cancel=True)
    except OSError as exc:
        raise Unreadable(UNREADABLE) from exc


def end_merge(repository: Repository, merging: str) -> None:
    """Take away what says that a merge is half-way, if it is still this one."""
    # Looked at again: somebody may have begun another one.
    if merging and standing_of(repository).merging == merging:
        with opened(repository) as fd:
            for name in _OF_A_MERGE:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=fd)


def check_branch(standing: Standing, branch: str) -> None:
    """Make sure that a work tree is on its branch.

    Raises:
        Refused: it is not.
    """
    if standing.operation not in (None, "a merge"):
        raise Refused(f"{standing.operation} is in progress there: ask the agent to finish or abort it")
    if standing.branch is None:
        raise Refused(f"no branch is checked out there: ask the agent to switch back to {inline_code(branch)}")
    if standing.branch != f"refs/heads/{branch}":
        other = inline_code(standing.branch.removeprefix("refs/heads/"))
        raise Refused(f"{other} is checked out there: ask the agent to switch back to {inline_code(branch)}")


def _exists(name: str, fd: int) -> bool:
    with suppress(FileNotFoundError):
        os.lstat(name, dir_fd=fd)
        return True
    return False


def _text(repository: Repository, name: str) -> str:
    with suppress(FileNotFoundError), open_file(repository.private, [name]) as file:
        return file.read(_SMALL).decode(errors="replace")
    return ""


@contextmanager
def explained() -> Iterator[None]:
    """Say it in people's words where git failed for want of room."""
    try:
        yield
    except GitFailed as exc:
        if _NO_ROOM.search(exc.said):
            raise Unreadable("git could not write its files: see that there is room on the disk") from exc
        raise


# --- what git says ----------------------------------------------------------------------------------------------------


async def tip_of(git: Git, ref: str) -> str | None:
    """Return the commit of a branch; None: there is no such branch.

    Raises:
        Unreadable: it is another name for a branch, which we would move then.
    """
    if (await git.run("symbolic-ref", "-q", ref, codes=(0, 1, 128))).code == 0:
        raise Unreadable(f"{inline_code(ref.removeprefix('refs/heads/'))} only leads to another branch")
    found = await git.run("rev-parse", "--verify", "-q", f"{ref}^{{commit}}", codes=(0, 1, 128))
    return found.data.decode().strip() or None if found.code == 0 else None


async def check_index(git: Git) -> None:
    """Make sure that an index has nothing in it that leads elsewhere, and no conflict.

    Raises:
        Unreadable: it leads elsewhere: git checks names when it writes an index, and not when it reads one.
        Refused: there are conflicts.
    """
    listed = await git.run("ls-files", "-z", "--stage", most=MOST_OUTPUT)
    conflicts: dict[str, None] = {}
    for entry in listed.data.split(b"\0"):
        info, _, name = entry.partition(b"\t")
        if name.startswith(b"/") or not {b"..", b".", b".git"}.isdisjoint(name.lower().split(b"/")):
            raise Unreadable("its index leads outside of its directory")
        if info and not info.endswith(b" 0"):
            conflicts[name.decode(errors="replace")] = None
    if listed.cut:
        raise Unreadable("it has too many files")
    if conflicts:
        raise Refused(f"there are conflicts in {named(list(conflicts))}: ask the agent to resolve and `git add` them")


async def is_clean(git: Git) -> bool:
    """Return whether a work tree has only what is committed, or ignored.

    A repository inside of it does not count: it can't be committed.
    """
    return not await has_changes(git) and not any(name[-1:] != b"/" for name in await new_files(git))


async def has_changes(git: Git, *, submodules: bool = True) -> bool:
    """Return whether files that git knows are different from those that are committed.

    Args:
        submodules: one that is at another commit counts.
    """
    ignored = "dirty" if submodules else "all"
    shape = ("--porcelain", "-z", "--no-renames", "--untracked-files=no", f"--ignore-submodules={ignored}")
    # One byte is enough: whatever is listed is a change, and the list could be long.
    return bool((await git.run("status", *shape, *EVERYTHING, most=1)).data)


async def new_files(git: Git) -> list[bytes]:
    """Return what is in no commit and not ignored; a repository inside of the work tree ends with a slash.

    Raises:
        Refused: it is too much.
    """
    listed = await git.run("ls-files", "-z", "--others", "--exclude-standard", *EVERYTHING, most=MOST_OUTPUT)
    if listed.cut:
        raise Refused("there are too many new files: ask the agent to put generated files into `.gitignore`")
    return [name for name in listed.data.split(b"\0") if name]


async def check_filters(git: Writer, names: Iterable[bytes]) -> None:
    """Make sure that files go in and out as they are: a filter that is not run would let a secret or a large file in.

    Raises:
        Refused: some go through a filter.
    """
    given = b"\0".join(names)
    if not given or git.trusted:
        return
    found = await git.run("check-attr", "-z", "--stdin", "filter", given=given + b"\0", most=MOST_OUTPUT)
    words = found.data.split(b"\0")
    filtered = [
        (name, value)
        for name, value in zip(words[::3], words[2::3], strict=False)
        if value not in (b"unspecified", b"unset")
    ]
    if filtered:
        which = inline_code(filtered[0][1].decode(errors="replace"))
        files = named(sorted(name.decode(errors="replace") for name, _ in filtered))
        go = "goes" if len(filtered) == 1 else "go"
        raise Refused(f"{files} {go} through the filter {which}, which I only run in a project with `hooks = true`")


@dataclass(frozen=True, slots=True)
class Counts:
    """How much is different between two commits."""

    files: int
    added: int
    removed: int


async def counts(git: Git, old: str, new: str) -> Counts:
    """Return how much is different between two commits or trees."""
    shape = ("-r", "-z", "--numstat", "--no-renames", "--no-ext-diff", "--no-textconv")
    output = await git.run("diff-tree", *shape, old, new, most=MOST_OUTPUT)
    rows = [row.split(b"\t", 2) for row in output.data.split(b"\0") if b"\t" in row]
    added, removed = (sum(int(row[at]) for row in rows if row[at] != b"-") for at in (0, 1))
    return Counts(len(rows), added, removed)


# --- names and messages -----------------------------------------------------------------------------------------------


def named(paths: Sequence[str]) -> str:
    """Return paths for people, the first of them and how many more."""
    shown = ", ".join(inline_code(path, 100) for path in paths[:_NAMED])
    more = len(paths) - _NAMED
    return f"{shown} and {more:,} more" if more > 0 else shown


async def identity(git: Git, home: Path | None = None) -> dict[str, str]:
    """Return the variables with who commits: as the repository's configuration says, else the user's, else Weft.

    What the repository says is read as data: nothing that it includes is.
    """
    home = home or Path.home()
    files = [git.directory / "theirs", home / ".gitconfig", home / ".config/git/config"]
    said = {}
    for key, default in (("user.name", AUTHOR["GIT_AUTHOR_NAME"]), ("user.email", AUTHOR["GIT_AUTHOR_EMAIL"])):
        value = ""
        for file in files:
            if not value and file.is_file():
                found = await git.run("config", "--file", str(file), "--no-includes", key, codes=range(256))
                value = _NOT_IN_NAMES.sub("", one_line(clean(found.data.decode(errors="replace"))))[:200].strip(
                    " .,;:'"
                )
        said[key] = value or default
    words = {"NAME": said["user.name"], "EMAIL": said["user.email"]}
    return {f"GIT_{who}_{what}": word for who in ("AUTHOR", "COMMITTER") for what, word in words.items()}


def full_message(message: str, asked_by: str) -> bytes:
    """Return a commit's message, with who asked for it in the last line; a line that says so by itself is left out."""
    lines = [line.rstrip() for line in clean(message).split("\n") if not _OURS.match(line)]
    text = clip("\n".join(lines).strip(), _MESSAGE) or "Changes of the agent"
    name = _NOT_IN_NAMES.sub("", clip(one_line(clean(asked_by)), 100)).strip()
    if not name:
        return f"{text}\n".encode()
    last = text.split("\n\n")[-1]
    # A block of trailers is one paragraph, and never the title.
    joined = "\n" if last != text and all(_ANY_TRAILER.match(line) for line in last.split("\n")) else "\n\n"
    return f"{text}{joined}{_TRAILER}: {name}\n".encode()
