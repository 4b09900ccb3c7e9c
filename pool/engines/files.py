"""Files between this machine and an agent's directory on another one, through the way to the agent.

They go as tar archives to and from a shell beside the agent: images and accounts with an agent in them have both. What
comes back was named by agents there: only plain files below the target are made of it, and no more bytes are
taken than were asked for. There is no state.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import anyio.to_thread

from pool.engines.model import CommandResult, RemoteAgent

MOST_AT_ONCE = 16 * 2**20
"""Bytes of files that go in one archive, but for a single file that is larger."""

SECONDS = 60.0
"""For one archive."""

_NAMES, _NAME_BYTES = 200, 64 * 1024
_SIZE_DIGITS = 15  # no file has more; who names it may write down any number
_SAID = 300
_SLOW = "too slow"
_OVERHEAD = 2048  # of each file in an archive, in bytes: its heads and what fills its last block
_LIST = (
    'cd -- "$1" 2>/dev/null || exit 0; '
    "find . -type f -exec sh -c 'for file do "
    # One that can't be read is listed all the same, so that taking it says why.
    'size=$(wc -c <"$file") || size=0; printf "%d %s\\0" "$size" "$file"; done\' sh {} +'
)
_TAKE = 'cd -- "$1" && shift && tar -cf - -- "$@"'
_PUT = 'mkdir -p -- "$1" && cd -- "$1" && tar -xf -'
_WRITE = 'mkdir -p -- "$(dirname -- "$1")" && cat >"$1"'
_REMOVE = 'cd -- "$1" && shift && rm -f -- "$@"'
_CLEAR = 'find "$1" -mindepth 1 -maxdepth 1 -mtime "+$2" -exec rm -rf {} +'


class NotMoved(Exception):
    """Files could not be moved; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file there: where it is below the folder, and its size in bytes."""

    path: str
    size: int


async def put_files(agent: RemoteAgent, source: Path, paths: Sequence[str], directory: str) -> None:
    """Put files into a directory there, which is made; ``paths`` are below ``source``, and will be below it.

    Raises:
        AgentExited: the way to the agent is gone.
        NotMoved: they could not be put there.
    """
    files = [RemoteFile(path, (source / path).stat().st_size) for path in paths]
    for batch in _by_size(files):
        # In a worker thread: a large archive would hold up every other thread of Discord.
        archive = await anyio.to_thread.run_sync(_packed, source, [one.path for one in batch])
        _must(await agent.run(_sh(_PUT, directory), archive, limit=_SAID, seconds=SECONDS))


async def write_file(agent: RemoteAgent, path: str, content: bytes) -> None:
    """Write a small file there, with the directories that it is in.

    Raises:
        AgentExited: the way to the agent is gone.
        NotMoved: it could not be written.
    """
    _must(await agent.run(_sh(_WRITE, path), content, limit=_SAID, seconds=SECONDS))


async def list_files(agent: RemoteAgent, directory: str) -> list[RemoteFile]:
    """Return the plain files of a directory there and of those in it, the first few hundred; none if it is not there.

    Raises:
        AgentExited: the way to the agent is gone.
        NotMoved: they could not be listed.
    """
    ran = await agent.run(_sh(_LIST, directory), limit=_NAME_BYTES, seconds=SECONDS)
    # What was said until it failed, or was cut off by more names than are read, is whole but for the last: a directory
    # that nobody may look into keeps none of the others away.
    if not ran.stdout:
        _must(ran)
    found = []
    # By the zero bytes, as a name may have anything else in it; what is behind the last one may be cut.
    for entry in ran.stdout.split(b"\0")[:-1][:_NAMES]:
        size, _, path = entry.partition(b" ")
        if size.isdigit() and len(size) <= _SIZE_DIGITS and _is_plain(name := path.decode(errors="replace")):
            found.append(RemoteFile(str(PurePosixPath(name)), int(size)))
    return found


async def take_files(agent: RemoteAgent, directory: str, files: Sequence[RemoteFile], target: Path) -> None:
    """Take files out of a directory there, and remove them once they are here; ``target`` is ours alone.

    Raises:
        AgentExited: the way to the agent is gone; what did not arrive is still there.
        NotMoved: some could not be taken, as when one has grown meanwhile; the others are here.
    """
    troubles: list[str] = []
    for batch in _by_size(files):
        missing, trouble = await _take(agent, directory, batch, target)
        if not missing:
            continue
        # One that can't be read, or is being written to, fails the whole archive: each by itself, then.
        if len(batch) == 1 or trouble == _SLOW:
            troubles.append(trouble)
            continue
        for one in missing:
            left, trouble = await _take(agent, directory, [one], target)
            troubles += [trouble] if left else []
    if troubles:
        raise NotMoved("; ".join(troubles)[:_SAID])


async def _take(
    agent: RemoteAgent, directory: str, batch: Sequence[RemoteFile], target: Path
) -> tuple[list[RemoteFile], str]:
    """Take some files at once; return which did not come, and why."""
    names = [f"./{one.path}" for one in batch]
    # With what tar adds: a head before each, and what fills its last record.
    limit = sum(one.size + _OVERHEAD for one in batch) + 2 * _OVERHEAD * 8
    ran = await agent.run(_sh(_TAKE, directory, *names), limit=limit, seconds=SECONDS)
    if ran.returncode != 0:
        cut = ran.returncode is None and len(ran.stdout) >= limit
        return list(batch), f"{batch[0].path} has grown" if cut else _why(ran)
    here, trouble = await anyio.to_thread.run_sync(_unpack, ran.stdout, batch, target)
    # Only now: lost on the way, they would be nowhere. And each that is here: it would come, and be posted, again.
    if here:
        _must(await agent.run(_sh(_REMOVE, directory, *here), limit=_SAID, seconds=SECONDS))
    return [one for one in batch if f"./{one.path}" not in here], trouble


async def remove_old_files(agent: RemoteAgent, directory: str, days: int) -> None:
    """Remove what a directory there holds that was not changed for some days; that it can't be is no error.

    Raises:
        AgentExited: the way to the agent is gone.
    """
    await agent.run(_sh(_CLEAR, directory, str(days)), limit=_SAID, seconds=SECONDS)


def _sh(script: str, *arguments: str) -> list[str]:
    # Names are arguments and never part of the script: agents choose them.
    return ["sh", "-c", script, "sh", *arguments]


def _must(ran: CommandResult) -> None:
    if ran.returncode != 0:
        raise NotMoved(_why(ran))


def _why(ran: CommandResult) -> str:
    # The first line says what failed; the last one, as tar's does, only that something did.
    said = ran.stderr.decode(errors="replace").strip().splitlines()
    if ran.returncode is None or not said:
        return _SLOW if ran.returncode is None else f"exit status {ran.returncode}"
    return said[0][:_SAID]


def _is_plain(path: str) -> bool:
    """Whether a path leads below where it begins; agents name it."""
    parts = PurePosixPath(path).parts
    return bool(parts) and ".." not in parts and not path.startswith("/") and "\ufffd" not in path


def _by_size(files: Iterable[RemoteFile]) -> list[list[RemoteFile]]:
    batches: list[list[RemoteFile]] = []
    room = 0
    for one in files:
        if not batches or one.size > room:
            batches.append([])
            room = MOST_AT_ONCE
        batches[-1].append(one)
        room -= one.size
    return batches


def _packed(source: Path, paths: Sequence[str]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in paths:
            entry = tar.gettarinfo(source / path, arcname=path)
            # The owner here means nothing there: the account that unpacks it owns it.
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            with (source / path).open("rb") as content:
                tar.addfile(entry, content)
    return archive.getvalue()


def _unpack(archive: bytes, files: Sequence[RemoteFile], target: Path) -> tuple[list[str], str]:
    """Make plain files of what was asked for; return their names there, and why there are not all of them."""
    wanted = {one.path: one for one in files}
    here: list[str] = []
    trouble = ""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for entry in _forward(tar):
                one = wanted.get(str(PurePosixPath(entry.name)))
                content = tar.extractfile(entry) if one is not None and _is_whole(entry, len(archive)) else None
                if one is None or content is None:
                    continue
                del wanted[one.path]
                path = target / one.path
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content.read())
                except OSError as exc:
                    # The others need not stay there for a name that can't be here, such as one below a file's.
                    trouble = f"{one.path} can't be kept: {exc.strerror}"
                else:
                    here.append(f"./{one.path}")
    except Exception as exc:  # noqa: BLE001  an agent may have made it to break its reader
        trouble = f"what came is no archive: {exc}"
    return here, trouble or (f"{next(iter(wanted))} is gone" if wanted else "")


def _forward(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Return the entries, as long as each comes behind the one before: a size below zero would lead back, for ever."""
    last = -1
    for entry in tar:
        if entry.offset <= last:
            raise NotMoved("it leads back to its beginning")
        last = entry.offset
        yield entry


def _is_whole(entry: tarfile.TarInfo, most: int) -> bool:
    """Whether an entry is a plain file with all its bytes in the archive: a sparse one has as many as it claims."""
    return entry.isreg() and not entry.issparse() and 0 <= entry.size <= most
