"""The only caller of git: what changed in a workspace, without letting its repository run or change anything.

Git runs programs that a repository's configuration names: filters, drivers, hooks, monitors. So it never sees that
configuration. It gets a directory of ours in its place, with our configuration, a copy of the index, and the objects
of the repository to read; what it writes goes there, and is thrown away. Attributes in the work tree may name what they
like: nothing of that name is configured. `bot.work.workspace.repository` finds the repository. There is no state.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.abc
import anyio.to_thread
import structlog

from bot.programs import running
from bot.reply.changes import ChangedFile, Changes
from bot.reply.sanitise import inline_code
from bot.work.files.inbox import WEFT
from bot.work.workspace.repository import Repository, Unreadable, check_own, find_repository, head_of, open_file

NO_COMMIT = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""The empty tree, which every git knows: what a repository without a commit is compared with."""

MOST_BYTES = 8 * 2**20
"""Of a diff: the rest is cut. Every server takes a file of that size."""

MOST_NEW, LARGEST_NEW, MOST_NEW_BYTES = 1_000, 2**20, 16 * 2**20
"""New files that are shown, bytes of each, and of all."""

UNREADABLE = "I can't read its repository"

_EMPTY_FILE = {
    40: b"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
    64: b"473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
}
"""The id of a file with nothing in it, by the length of ids."""

_LARGEST_COPY = 256 * 2**20  # bytes of an index
LIST = 4 * 2**20  # bytes
_STDERR = 2_000

_SETTINGS = (
    # The repository has no say in these any more; they stand against what a version of git to come may do by itself.
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.sshCommand=false",
    "core.pager=cat",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.commitGraph=false",
    "protocol.allow=never",
    "credential.helper=",
    "gc.auto=0",
    "core.quotePath=false",
    # Larger files count as binary: they are not read into memory.
    f"core.bigFileThreshold={LARGEST_NEW}",
)
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "false",
    "SSH_ASKPASS": "false",
    "GIT_PAGER": "cat",
    # For one object at a time: a small pack can hold one that fills the memory.
    "GIT_ALLOC_LIMIT": "512m",
}
_TAKEN_OVER = re.compile(r"core\.(autocrlf|eol|filemode|ignorecase|symlinks|precomposeunicode)")
"""What decides how files compare, with the values that it may have; it makes nothing run."""
_VALUES = re.compile(
    r"true|false|yes|no|on|off|1|0|input|lf|crlf|native|umask|group|all|world|everybody|0?[0-7]{3}", re.IGNORECASE
)

log = structlog.get_logger(__name__)


class GitMissing(Unreadable):
    """Git is not installed where Weft runs."""


class GitFailed(Unreadable):
    """A command of git's failed.

    Attributes:
        code: its exit code; negative: the signal that ended it.
        said: the first line on stderr, as git wrote it.
    """

    def __init__(self, code: int, said: str) -> None:
        # As code: it may quote what a repository has in it.
        super().__init__(f"git refused: {inline_code(said, 200)}" if said else f"git ended with exit code {code}")
        self.code = code
        self.said = said


@dataclass(frozen=True, slots=True)
class Output:
    """What a command of git's printed, and its exit code; ``cut``: there was more, and it was ended."""

    data: bytes
    cut: bool = False
    code: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """Where a workspace is: a commit, or `NO_COMMIT`; ``dirty``: there may be changes that are not in it."""

    commit: str
    dirty: bool = True


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is different from a commit, and which new files are not in there, with the reason.

    Attributes:
        commit: what was compared with; the commit that is checked out, where the one that was asked for is gone.
        uncounted: there are so many new files that the last of them were not even looked at.
    """

    changes: Changes
    commit: str
    left_out: tuple[tuple[str, str], ...] = ()
    more_left_out: int = 0
    uncounted: bool = False


class Git:
    """Git in one work tree, in the directory of ours; see `borrowed`.

    Attributes:
        settings: what stands above every configuration, as ``key=value``.
        patience: seconds for a command to end by itself when it is given up, before it is killed.
        inherited: descriptors that its processes keep open: a lock on one is held until the last of them has ended.
        directory: ours, with the configuration; git's own directory, where nothing else is said.
    """

    def __init__(self, program: str, directory: Path, repository: Repository, workspace: Path) -> None:
        self._program = program
        self._workspace = workspace
        self.settings: Sequence[str] = _SETTINGS
        self.patience = 0.0
        self.inherited: tuple[int, ...] = ()
        self.directory = directory
        self.environment = {
            **_ENVIRONMENT,
            "PATH": os.defpath,
            "HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory),
            "GIT_DIR": str(directory),
            "GIT_WORK_TREE": str(repository.root),
        }

    async def run(
        self,
        *args: str,
        most: int = LIST,
        given: bytes = b"",
        codes: Collection[int] = (0,),
        variables: Mapping[str, str] | None = None,
    ) -> Output:
        """Run a command to its end, or until it has printed more than ``most`` bytes; nothing of it is left.

        Args:
            given: its standard input.
            codes: the exit codes that are no failure.
            variables: more of its environment.

        Raises:
            GitFailed: it failed.
        """
        settings = [word for setting in self.settings for word in ("-c", setting)]
        started = running(
            [self._program, "--no-pager", *settings, *args],
            # At SIGTERM git lets go of its locks; killed, it would leave them to block everybody who uses them.
            patience=self.patience,
            cwd=self._workspace,
            env={**self.environment, **(variables or {})},
            pass_fds=self.inherited,
        )
        said = bytearray()
        output = Output(b"", cut=True)
        async with started as process, anyio.create_task_group() as tasks:
            tasks.start_soon(_feed, process, given)
            tasks.start_soon(_listen, process, said)
            output = await _read(process, most)
            if output.cut:
                tasks.cancel_scope.cancel()
            else:
                output = replace(output, code=await process.wait())
        if not output.cut and output.code not in codes:
            why = said.decode(errors="replace").strip().split("\n")[0].removeprefix("fatal: ")
            log.warning("git.failed", command=args[0], exit_code=output.code, said=why)
            raise GitFailed(output.code, why)
        return output


@asynccontextmanager
async def borrowed(repository: Repository, head: str | None, workspace: Path) -> AsyncIterator[Git]:
    """Give a git that reads a repository; what it writes is gone afterwards.

    Raises:
        GitMissing: there is no git.
        Unreadable: the repository is not to be read.
    """
    async with our_directory() as (program, directory):
        await set_up(directory, repository, head)
        git = Git(program, directory, repository, workspace)
        await take_over(git, _TAKEN_OVER)
        yield git


@asynccontextmanager
async def our_directory() -> AsyncIterator[tuple[str, Path]]:
    """Give the program and an empty directory for it, which is gone afterwards.

    Raises:
        GitMissing: there is no git.
    """
    program = shutil.which("git")
    if program is None:
        raise GitMissing("git is not installed where I run")
    directory = Path(await anyio.to_thread.run_sync(partial(tempfile.mkdtemp, prefix="weft-git-")))
    try:
        yield program, directory
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(partial(shutil.rmtree, directory, ignore_errors=True))


async def set_up(directory: Path, repository: Repository, head: str | None, *, index: bool = True) -> None:
    """Make a directory of ours one with which git reads a repository; ``index``: with a copy of its index.

    Raises:
        Unreadable: the repository is not to be read.
    """
    # Abandoned if it takes too long: the repository may lie on a disk that hangs.
    try:
        call = partial(_set_up, directory, repository, head, index)
        await anyio.to_thread.run_sync(call, abandon_on_cancel=True)
    except OSError as exc:
        raise Unreadable(UNREADABLE) from exc


async def take_over(git: Git, names: re.Pattern[str]) -> None:
    """Have git go by those settings of a repository that decide how files compare, and no others."""
    directory = git.directory
    # Without includes, which could name any file of this machine.
    listed = await git.run("config", "--file", str(directory / "theirs"), "--no-includes", "-z", "--list")
    taken = [entry.split("\n", 1) for entry in listed.data.decode(errors="replace").split("\0")]
    lines = [
        f"\t{key.removeprefix('core.')} = {value}\n"
        for key, value in (entry for entry in taken if len(entry) == 2)
        if names.fullmatch(key) and _VALUES.fullmatch(value)
    ]
    with (directory / "config").open("a") as config:
        config.writelines(lines)


def _set_up(directory: Path, repository: Repository, head: str | None, index: bool) -> None:
    # Before anything of it is read.
    check_own(repository)
    objects = str((repository.common / "objects").absolute())
    if "\n" in objects:
        raise Unreadable("the name of its directory has a line break in it")
    for name in ("objects/info", "refs", "info"):
        (directory / name).mkdir(parents=True)
    (directory / "objects/info/alternates").write_text(f"{objects}\n")
    (directory / "HEAD").write_text(f"{head or 'ref: refs/heads/none'}\n")
    # Longer ids are those of another hash, which has to be announced.
    version, extension = (1, "[extensions]\n\tobjectFormat = sha256\n") if head and len(head) > 40 else (0, "")
    # The section of `core` last: what is taken over follows it.
    (directory / "config").write_text(f"{extension}[core]\n\trepositoryFormatVersion = {version}\n\tbare = false\n")
    (directory / "theirs").touch()
    shared = [one.name for one in os.scandir(repository.private) if one.name.startswith("sharedindex.")]
    for source, name, target in (
        *((repository.private, name, name) for name in (["index", *shared] if index else [])),
        (repository.common, "info/exclude", "info/exclude"),
        (repository.common, "info/attributes", "info/attributes"),
        # Where history ends that was not fetched in full.
        (repository.common, "shallow", "shallow"),
        (repository.common, "config", "theirs"),
    ):
        with suppress(FileNotFoundError), open_file(source, name.split("/")) as file:
            _copy(file, directory / target)


def _copy(file: BinaryIO, target: Path) -> None:
    if os.fstat(file.fileno()).st_size > _LARGEST_COPY:
        raise Unreadable("its index is too large")
    with target.open("wb") as copy:
        shutil.copyfileobj(file, copy)
    # Git looks into files that are as young as their index: with a younger one it would miss a change.
    found = os.fstat(file.fileno())
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


async def _read(process: anyio.abc.Process, most: int) -> Output:
    assert process.stdout is not None
    data = bytearray()
    async for chunk in process.stdout:
        data += chunk
        if len(data) > most:
            return Output(bytes(data[:most]), cut=True)
    return Output(bytes(data))


async def _feed(process: anyio.abc.Process, given: bytes) -> None:
    assert process.stdin is not None
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # it ended early, and its exit code says why
        if given:
            await process.stdin.send(given)
        await process.stdin.aclose()


async def _listen(process: anyio.abc.Process, said: bytearray) -> None:
    assert process.stderr is not None
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for chunk in process.stderr:
            # Read to its end although little is kept: git would wait for ever with a full pipe.
            said += chunk[: _STDERR - len(said)]


# --- what is asked of it ----------------------------------------------------------------------------------------------


async def locate(workspace: Path) -> tuple[Repository, str | None] | None:
    """Return the repository of a workspace and the commit that is checked out; None: it is in none.

    Raises:
        OSError, Unreadable: it can't be read.
    """

    def look() -> tuple[Repository, str | None] | None:
        found = find_repository(workspace)
        return None if found is None else (found, head_of(found))

    try:
        return await anyio.to_thread.run_sync(look, abandon_on_cancel=True)
    except (OSError, ValueError) as exc:
        raise Unreadable(UNREADABLE) from exc


async def is_dirty(repository: Repository, head: str | None, workspace: Path) -> bool:
    """Return whether a workspace has changes that are in no commit; one that is not there yet has none.

    Raises:
        Unreadable: that can't be told.
    """
    if not await anyio.Path(workspace).is_dir():
        return False
    async with borrowed(repository, head, workspace) as git:
        shape = ("--porcelain", "-z", "--no-renames", "--ignore-submodules=dirty")
        # One byte tells that there is something.
        found = await git.run("status", *shape, *HERE, most=1)
        return bool(found.data)


async def compare(repository: Repository, head: str | None, workspace: Path, base: str | None) -> Comparison:
    """Return what is different in a workspace from a commit, new files with it; None: from the one checked out.

    Raises:
        Unreadable: git can't say.
    """
    async with borrowed(repository, head, workspace) as git:
        commit = head or NO_COMMIT
        if base is not None:
            # It may be gone: what no branch leads to is thrown away some day.
            found = await git.run("cat-file", "--batch-check", given=f"{base}^{{tree}}\n".encode())
            commit = base if b" tree " in found.data else commit
        listed = await git.run("ls-files", "-z", "--others", "--exclude-standard", *HERE, most=LIST)
        names = [name for name in listed.data.split(b"\0") if name]
        taken, left_out = await anyio.to_thread.run_sync(new_files, workspace, names, abandon_on_cancel=True)
        if taken:
            # As if they had been empty: no filter runs for that, nothing is read yet, and one may go meanwhile. The
            # paths are those of the work tree, whatever directory this is.
            empty, top = _EMPTY_FILE[len(commit)], await git.run("rev-parse", "--show-prefix")
            prefix = top.data.removesuffix(b"\n")
            entries = [b"%o %s\t%s%s\0" % (mode, empty, prefix, name) for name, mode in taken]
            await git.run("update-index", "-z", "--replace", "--index-info", given=b"".join(entries))
        shape = ("-z", "--numstat", "--patch", "--relative", "--find-renames", "-l200", "--no-color")
        safe = ("--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty")
        output = await git.run("diff", *shape, *safe, commit, *HERE, most=MOST_BYTES)
        return Comparison(parse(output), commit, tuple(left_out[:3]), max(0, len(left_out) - 3), listed.cut)


HERE = ("--", ".", f":(exclude){WEFT}")
"""What is below the workspace, which need not be the top of the work tree; and not what is ours."""


def new_files(workspace: Path, names: Sequence[bytes]) -> tuple[list[tuple[bytes, int]], list[tuple[str, str]]]:
    """Return the new files that are shown, with git's mode of each, and the others, with the reason."""
    taken: list[tuple[bytes, int]] = []
    left_out: list[tuple[str, str]] = []
    room = MOST_NEW_BYTES
    for name in names:
        try:
            # Of a link itself: what it leads to may be anywhere.
            found = os.lstat(os.path.join(os.fsencode(workspace), name))  # noqa: PTH118  names are bytes
        except OSError:
            continue  # it has just gone
        reason = ""
        if stat.S_ISDIR(found.st_mode):
            reason = "a repository of its own"
        elif found.st_size > LARGEST_NEW:
            reason = f"{found.st_size / 2**20:,.0f} MiB"
        elif len(taken) >= MOST_NEW or found.st_size > room:
            reason = "too much"
        if reason:
            left_out.append((name.decode(errors="replace"), reason))
        else:
            plain = 0o100755 if found.st_mode & stat.S_IXUSR else 0o100644
            taken.append((name, stat.S_IFLNK if stat.S_ISLNK(found.st_mode) else plain))
            room -= found.st_size
    return taken, left_out


def parse(output: Output) -> Changes:
    """Return what ``git diff -z --numstat --patch`` printed.

    Raises:
        Unreadable: it has a file that is not below the directory.
    """
    files: list[ChangedFile] = []
    at, data, patch = 0, output.data, b""
    # A record is `added TAB removed TAB path NUL`, or without the path, and old and new path after it, of what has got
    # another name. An empty one ends them.
    while (end := data.find(b"\0", at)) >= 0:
        record, at = data[at:end], end + 1
        if not record:
            patch = data[at:]
            break
        added, removed, path = record.split(b"\t", 2)
        if not path:
            names = data[at:].split(b"\0", 2)
            if len(names) < 3:
                break
            path, at = names[1], len(data) - len(names[2])
        # Git checks the names in an index when it writes them, and not when it reads them: one that was planted would
        # have it read any file that we may read.
        if path.startswith(b"/") or b".." in path.split(b"/"):
            raise Unreadable("its index leads outside of its directory")
        counts = [None if count == b"-" else int(count) for count in (added, removed)]
        files.append(ChangedFile(path.decode(errors="replace"), *counts))
    return Changes(tuple(files), patch, cut=output.cut)
