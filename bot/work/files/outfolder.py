"""What an agent hands out in its workspace: taken from ``.weft/out``, kept in ``.weft/sending`` until Discord has it.

A thread's folder is ``.weft/out/<thread id>``; what lies in ``.weft/out`` itself belongs to the thread whose turn ends,
where that can be told. A file is taken by a rename, so a kill leaves it in one place or in the other, and whatever lies
in ``.weft/sending/<prompt id>`` is still to be posted, for that prompt, or, if its turn could not wait, for the next
one of the thread that is named in there. What is sent amid a turn is copied there, under an id of its own. As in
`bot.work.files.inbox`, no link below the workspace is followed and everything blocks. There is no state.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Self

import structlog

from acp.handed import HandedFile
from bot.work.files.inbox import (
    MARKER,
    WEFT,
    NotSaved,
    distinct,
    hide_from_git,
    open_below,
    owner_to_be,
    read_marker,
    safe_name,
    write_marker,
)
from bot.work.files.plain_files import (
    READING,
    closing_fd,
    directory_below,
    open_plain,
    refusal,
    said,
    too_large,
)

log = structlog.get_logger(__name__)

OUT, SENDING = "out", "sending"

MOST = 20
"""Files of one turn."""

_LOOKED_AT = 1000  # names of one folder
CAPTION, _CAPTION_BYTES = ".caption", 16 * 1024
_DIGITS = 20  # of a snowflake
_ENDINGS = {"image/jpeg": ".jpg", "audio/mpeg": ".mp3", "audio/wav": ".wav"}
"""Where the table of this machine has several, or none."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that is to be posted; ``size`` in bytes.

    Attributes:
        caption: what its agent says about it, in a message of its own; None: it was not sent but only left there.
        call_id: of the call that sent it; 0: none did.
        sent_as: its name then; by now another file may have that.
    """

    name: str
    size: int
    caption: str | None = None
    call_id: int = 0
    sent_as: str = ""


@dataclass(frozen=True, slots=True)
class Left:
    """A file that is not posted.

    Attributes:
        version: tells it from another one of that name, and from itself after a change.
        reason: a half sentence for people, after the name; "" if there were only too many.
        folder: where it is; "" if it is nowhere.
    """

    name: str
    version: tuple[int, int]
    reason: str
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a turn hands out, and what it would have."""

    taken: tuple[Taken, ...] = ()
    left: tuple[Left, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """What of the folder ``.weft/out`` itself is a thread's.

    Attributes:
        own: all of it, since no other thread works in the directory.
        since: else what was changed after that (seconds of the wall clock) ...
        mixed: ... unless other threads had turns in the meantime.
    """

    own: bool
    since: float = 0.0
    mixed: bool = False


def collect(
    workspace: Path,
    thread_id: int,
    prompt_id: int,
    share: Share,
    limit: int,
    handed: Sequence[HandedFile] = (),
    busy: frozenset[int] = frozenset(),
    sent: Collection[bytes] = (),
) -> Collected:
    """Take what a turn hands out, with what an earlier run took for its prompt and did not post.

    Args:
        limit: bytes that a file may have.
        sent: digests of files that were sent amid the turn: what is the same is not posted again. It may change
            while this runs.
        handed: files from content blocks; one that lies in the folder as well is taken once.
        busy: prompts whose files somebody posts; what was taken for others of the thread is taken over.
    """
    try:
        weft = open_below(workspace, (WEFT,), owner_to_be(workspace), make=bool(handed))
    except FileNotFoundError:
        return Collected()
    except OSError as exc:
        return Collected(left=(Left(WEFT, (exc.errno or 0, 0), f"can't be used for files: {said(exc)}"),))
    os.close(weft)
    hide_from_git(workspace)
    with _Sending(workspace, thread_id, prompt_id, sent) as sending:
        left: list[Left] = []
        # First what was left by earlier turns: it has waited for longer than what is new.
        _take_over(workspace, thread_id, share.own, busy | {prompt_id}, sending)
        for folder, is_own in ((str(thread_id), True), (None, share.own)):
            left += _empty(workspace, folder, None if is_own else share, sending, limit)
        left += [one for file in handed if (one := sending.add(file, limit)) is not None]
        return Collected(sending.files(), tuple(left))


def open_taken(workspace: Path, prompt_id: int, name: str) -> BinaryIO:
    """Open a file that was taken.

    Raises:
        OSError: it is gone, or something else is in its place.
    """
    with _directory(workspace, SENDING, str(prompt_id)) as directory:
        fd, _ = open_plain(name, directory, owner_to_be(workspace))
    return os.fdopen(fd, "rb")


def remove_taken(workspace: Path, prompt_id: int, names: Iterable[str]) -> bool:
    """Remove files that Discord has; False: they may still be there."""
    try:
        with _directory(workspace, SENDING, str(prompt_id)) as directory:
            for name in names:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)
        _remove_empty(workspace, prompt_id)
    except OSError as exc:
        log.warning("files.not_removed", prompt=prompt_id, error=said(exc))
        return False
    return True


def put_back(workspace: Path, thread_id: int, prompt_id: int, names: Iterable[str]) -> None:
    """Move files that could not be posted back into the thread's folder."""
    try:
        with (
            _directory(workspace, SENDING, str(prompt_id)) as source,
            closing_fd(open_below(workspace, (WEFT, OUT, str(thread_id)), owner_to_be(workspace))) as target,
        ):
            for name in names:
                with suppress(FileNotFoundError):
                    os.rename(name, _free(name, target), src_dir_fd=source, dst_dir_fd=target)
        _remove_empty(workspace, prompt_id)
    except OSError as exc:
        log.warning("files.not_put_back", prompt=prompt_id, error=said(exc))


class _Sending:
    """The directory of what is to be posted for one prompt; made when there is something to put into it."""

    def __init__(self, workspace: Path, thread_id: int, prompt_id: int, sent: Collection[bytes] = ()) -> None:
        self._workspace = workspace
        self._sent = sent
        self._thread_id = thread_id
        self._owner = owner_to_be(workspace)
        self._names = (WEFT, SENDING, str(prompt_id))
        self._fd: int | None = None
        self._taken: list[Taken] = []

    def __enter__(self) -> Self:
        with suppress(OSError):
            self._fd = open_below(self._workspace, self._names, None, make=False)
            # What an earlier run took comes first.
            for name in sorted(os.listdir(self._fd))[:MOST]:  # noqa: PTH208  a Path has no descriptor
                if name != safe_name(name):
                    continue  # not ours
                size = os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_size
                self._taken.append(Taken(name, size))
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            os.close(self._fd)

    @property
    def full(self) -> bool:
        return len(self._taken) >= MOST

    @property
    def fd(self) -> int:
        if self._fd is None:
            self._fd = open_below(self._workspace, self._names, self._owner)
            with suppress(NotSaved):  # without it only a thread that has the workspace for itself finds the files again
                write_marker(self._fd, self._thread_id, self._owner)
        return self._fd

    def files(self) -> tuple[Taken, ...]:
        return tuple(self._taken)

    def take(self, name: str, size: int, source: int, caption: str | None = None, call_id: int = 0) -> None:
        """Move a file here, under a name that is safe; unless it is one that was left and had been sent already."""
        free = _free(safe_name(name), self.fd)
        os.rename(name, free, src_dir_fd=source, dst_dir_fd=self.fd)
        if caption is None and self._was_sent(free):
            os.unlink(free, dir_fd=self.fd)
            return
        taken = Taken(free, size)
        self._taken.append(taken if caption is None else replace(taken, caption=caption, call_id=call_id, sent_as=name))

    def _was_sent(self, name: str) -> bool:
        if not self._sent:
            return False
        with suppress(OSError):
            fd, _ = open_plain(name, self.fd, self._owner)
            with os.fdopen(fd, "rb") as file:
                return hashlib.file_digest(file, "sha256").digest() in self._sent
        return False

    def add(self, file: HandedFile, limit: int) -> Left | None:
        """Write a file here that came in a content block, unless it is here already."""
        name = _name_of(file)
        if self._sent and hashlib.sha256(file.data).digest() in self._sent:
            return None
        if any(one.size == len(file.data) and self._is(one.name, file.data) for one in self._taken):
            return None
        if len(file.data) > limit:
            return Left(name, (len(file.data), 0), too_large(len(file.data), limit))
        if self.full:
            return Left(name, (len(file.data), 0), "was too much for one turn")
        try:
            free = _free(name, self.fd)
        except OSError as exc:
            return Left(name, (0, 0), f"can't be saved: {said(exc)}")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(free, flags, 0o600, dir_fd=self.fd), "wb") as target:
                target.write(file.data)
        except OSError as exc:
            with suppress(OSError):
                os.unlink(free, dir_fd=self.fd)
            return Left(name, (0, 0), f"can't be saved: {said(exc)}")
        self._taken.append(Taken(free, len(file.data)))
        return None

    def _is(self, name: str, data: bytes) -> bool:
        try:
            fd, _ = open_plain(name, self.fd, self._owner)
        except OSError:
            return False
        with os.fdopen(fd, "rb") as file:
            return file.read(len(data) + 1) == data


def _take_over(workspace: Path, thread_id: int, own: bool, busy: frozenset[int], sending: _Sending) -> None:
    """Take over what was taken for earlier prompts of a thread and is posted by nobody; ``own``: no other has it."""
    with suppress(OSError), _directory(workspace, SENDING) as directory:
        for prompt in sorted(os.listdir(directory))[:_LOOKED_AT]:  # noqa: PTH208  a Path has no descriptor
            if not (prompt.isascii() and prompt.isdecimal() and len(prompt) <= _DIGITS) or int(prompt) in busy:
                continue
            with suppress(OSError), _directory(workspace, SENDING, prompt) as source:
                if read_marker(source) not in (thread_id, None if own else thread_id):
                    continue
                caption = _read_caption(source)
                for name in sorted(os.listdir(source))[:_LOOKED_AT]:  # noqa: PTH208
                    if name == safe_name(name) and not sending.full:
                        size = os.stat(name, dir_fd=source, follow_symlinks=False).st_size
                        sending.take(name, size, source, caption, int(prompt))
            _remove_empty(workspace, int(prompt))


def _read_caption(directory: int) -> str | None:
    try:
        fd = os.open(CAPTION, READING, dir_fd=directory)
    except OSError:
        return None
    with os.fdopen(fd, "rb", buffering=0) as file, suppress(OSError):
        return (file.read(_CAPTION_BYTES) or b"").decode(errors="replace")
    return None


def _empty(workspace: Path, folder: str | None, share: Share | None, sending: _Sending, limit: int) -> Iterator[Left]:
    """Take what lies in a folder; yield what is left there. ``share``: what of it is this thread's; None: all."""
    path = (WEFT, OUT, folder) if folder else (WEFT, OUT)
    try:
        source = open_below(workspace, path, None, make=False)
    except FileNotFoundError:
        return
    except OSError as exc:
        yield Left("/".join(path), (exc.errno or 0, 0), f"can't be looked into: {said(exc)}")
        return
    with closing_fd(source), os.scandir(source) as entries:
        for name in sorted(entry.name for entry in islice(entries, _LOOKED_AT)):
            try:
                found = os.stat(name, dir_fd=source, follow_symlinks=False)
                # Other threads' folders.
                if folder is None and stat.S_ISDIR(found.st_mode) and name.isascii() and name.isdecimal():
                    continue
                # By the time of its last change of any kind, which nobody can set: a file that is copied here may look
                # as old as it likes.
                if share is not None and found.st_ctime < share.since:
                    continue  # there before this turn: another thread's, or told of before
                reason = refusal(name, source, found, limit, owner_to_be(workspace))
                if not reason and share is not None and share.mixed:
                    reason = f"is in {WEFT}/{OUT} itself, which other threads use, too"
                if not reason and not sending.full:
                    sending.take(name, found.st_size, source)
                    continue
            except FileNotFoundError:
                continue  # gone meanwhile
            except OSError as exc:
                found, reason = os.stat_result([0] * 10), f"can't be taken: {said(exc)}"
            yield Left(name, (found.st_ino, found.st_ctime_ns), reason, "/".join(path))


def _name_of(file: HandedFile) -> str:
    """Return a safe name for a file from a content block, with an ending that lets Discord show it."""
    name = safe_name(file.name or file.kind)
    kind = file.mime_type.partition(";")[0].strip().lower()
    ending = _ENDINGS.get(kind) or mimetypes.guess_extension(kind) or ""
    return name if "." in name or not ending else f"{name}{ending}"


def _free(name: str, directory: int) -> str:
    """Return a name that is not taken in a directory."""
    taken = (one for one in os.listdir(directory) if not one.startswith("."))
    return distinct([*taken, name])[-1]


@contextmanager
def _directory(workspace: Path, *names: str) -> Iterator[int]:
    with directory_below(workspace, (WEFT, *names)) as fd:
        yield fd


def _remove_empty(workspace: Path, prompt_id: int) -> None:
    """Remove the directories of what was posted; those that have something in them stay."""
    with suppress(OSError), _directory(workspace, SENDING, str(prompt_id)) as directory:
        # Last: files that stay are found by it.
        if set(os.listdir(directory)) <= {MARKER, CAPTION}:  # noqa: PTH208
            for name in (CAPTION, MARKER):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)
    for names, last in (((SENDING,), str(prompt_id)), ((), SENDING)):
        with suppress(OSError), _directory(workspace, *names) as directory:
            os.rmdir(last, dir_fd=directory)
