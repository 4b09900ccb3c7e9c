"""Copies a file of the workspace to where it is posted from, while its turn runs (M2, F7).

The copy is an ordinary part of ``.weft/sending``: what a kill leaves there is found as everything else that is still to
be posted is. All of it blocks. There is no state.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from bot.work.files.inbox import (
    WEFT,
    IncomingFile,
    NotSaved,
    hide_from_git,
    open_below,
    owner_to_be,
    safe_name,
    write_marker,
)
from bot.work.files.outfolder import CAPTION, SENDING, Taken, remove_taken
from bot.work.files.plain_files import closing_fd, directory_below, open_plain, refusal, said, too_large

_CHUNK = 1024 * 1024


class NotTaken(Exception):
    """A file is not posted; the message says why, for its agent."""


class SentBefore(NotTaken):
    """The same file was sent in this turn already; the message is the name that it had."""


def copy_to_send(
    workspace: Path,
    path: Sequence[str],
    thread_id: int,
    call_id: int,
    limit: int,
    caption: str,
    check: Callable[[bytes], None],
) -> tuple[Taken, bytes]:
    """Copy a file of the workspace to where it is posted from; return it with the digest of its content.

    Args:
        path: the names of the folders below the workspace, and of the file.
        call_id: names the folder of the copy.
        check: is given the digest before the copy counts, and may raise `NotTaken`.

    Raises:
        NotTaken: it is none that is posted, or can't be copied.
    """
    # 1. The very file that is meant, through no link.
    *folders, name = path
    owner, shown = owner_to_be(workspace), "/".join(path)
    try:
        with directory_below(workspace, folders) as directory:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if reason := refusal(name, directory, found, limit, owner):
                raise NotTaken(f"{shown} {reason}")
            # Opened once and looked at again: whatever is put in its place meanwhile is not what is read.
            fd, _ = open_plain(name, directory, owner)
    except (FileNotFoundError, NotADirectoryError):
        raise NotTaken(f"There is no file {shown} in the workspace, or it lies behind a link") from None
    except OSError as exc:
        raise NotTaken(f"{shown} can't be read: {said(exc)}") from exc
    # 2. Its copy, or nothing of it.
    with os.fdopen(fd, "rb") as source:
        hide_from_git(workspace)
        try:
            with closing_fd(open_below(workspace, (WEFT, SENDING, str(call_id)), owner)) as target:
                # Before the file: whatever a kill leaves says to which thread it belongs, and what was said about it.
                write_marker(target, thread_id, owner)
                with _written(target, CAPTION, owner) as about:
                    about.write(caption.encode(errors="replace"))
                return _copied(source, target, safe_name(name), limit, owner, check, caption)
        except NotSaved as exc:
            raise _nothing_left(workspace, call_id, f"It can't be copied: {exc}") from exc
        except OSError as exc:
            raise _nothing_left(workspace, call_id, f"It can't be copied: {said(exc)}") from exc
        except NotTaken:
            remove_taken(workspace, call_id, ())
            raise


def _nothing_left(workspace: Path, call_id: int, why: str) -> NotTaken:
    remove_taken(workspace, call_id, ())
    return NotTaken(why)


def _copied(
    source: BinaryIO,
    target: int,
    name: str,
    limit: int,
    owner: tuple[int, int] | None,
    check: Callable[[bytes], None],
    caption: str,
) -> tuple[Taken, bytes]:
    digest, size = hashlib.sha256(), 0
    with _written(target, name, owner) as copy:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            # Counted, since it may grow while it is read.
            if size > limit:
                raise NotTaken(f"{name} {too_large(size, limit)}")
            digest.update(chunk)
            copy.write(chunk)
        # From the moment it is kept, a kill leaves it to the next run to post.
        check(digest.digest())
    return Taken(name, size, caption), digest.digest()


@contextmanager
def _written(directory: int, name: str, owner: tuple[int, int] | None) -> Iterator[IncomingFile]:
    """Let the body write a file, which is there in whole or not at all."""
    with closing(IncomingFile(directory, name, owner)) as file:
        yield file
        file.keep()
