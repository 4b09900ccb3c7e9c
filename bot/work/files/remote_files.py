"""The files of agents on other machines: those in a thread's mirror go there, and what agents hand out comes back.

A mirror is a directory of this machine for each thread that has the same `.weft` as the workspace there: so files are
saved, taken and posted as those of any agent. There is no state but the mirrors.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from bot.work.files.inbox import IN, WEFT
from bot.work.files.outfolder import MOST, OUT
from pool.engines.files import NotMoved, RemoteFile, list_files, put_files, remove_old_files, take_files, write_file
from pool.engines.model import RemoteAgent

DAYS = 7
"""After which the files of a message are removed there."""

_IGNORED = ".gitignore"
_LARGEST = 2**40  # bytes that a file of every filesystem may seem to have

log = structlog.get_logger(__name__)


async def bring(agent: RemoteAgent, mirror: Path, message_ids: Sequence[int]) -> str:
    """Put the files of messages from the mirror to where the agent works; return why that failed, or "".

    Raises:
        AgentExited: the way to the agent is gone.
    """
    paths = await anyio.to_thread.run_sync(_saved, mirror, message_ids)
    if not paths:
        return ""
    try:
        await put_files(agent, mirror, paths, ".")
    except NotMoved as exc:
        log.warning("files.not_put", place=agent.place, reason=str(exc))
        return str(exc)
    await remove_old_files(agent, f"{WEFT}/{IN}", DAYS)
    return ""


async def hide_there(agent: RemoteAgent) -> None:
    """Keep the folder out of what git shows there; that it can't be is only logged.

    Raises:
        AgentExited: the way to the agent is gone.
    """
    try:
        await write_file(agent, f"{WEFT}/{_IGNORED}", b"*\n")
    except NotMoved as exc:
        log.warning("git.not_excluded", place=agent.place, error=str(exc))


async def fetch(agent: RemoteAgent, mirror: Path, thread_id: int, limit: int, *, own: bool) -> None:
    """Bring what the agent hands out into the mirror; what can't be had stays there, and only the log says so.

    Args:
        limit: bytes that a file may have; of a larger one only its name and its size come.
        own: all of the folder is the thread's, and not only what is in the one with its id.

    Raises:
        AgentExited: the way to the agent is gone.
    """
    folder = f"{WEFT}/{OUT}" if own else f"{WEFT}/{OUT}/{thread_id}"
    target = mirror / folder
    found: list[RemoteFile] = []
    try:
        found = await list_files(agent, folder)
        # By what was listed: if one has grown since, `take_files` takes no more bytes than that.
        small = [one for one in found if one.size <= limit][:MOST]
        await take_files(agent, folder, small, target)
    except NotMoved as exc:
        # Those that are too large are told all the same: what can't be had may be like that for long.
        log.warning("files.not_fetched", place=agent.place, thread=thread_id, reason=str(exc))
    large = [one for one in found if one.size > limit][:MOST]
    if not await anyio.to_thread.run_sync(_stand_in, target, large):
        log.warning("files.not_named", place=agent.place, thread=thread_id)


def _saved(mirror: Path, message_ids: Sequence[int]) -> list[str]:
    """Return the files of messages, below the mirror."""
    found: list[str] = []
    for message_id in message_ids:
        directory = mirror / WEFT / IN / str(message_id)
        found += [str(path.relative_to(mirror)) for path in sorted(directory.rglob("*")) if path.is_file()]
    return found


def _stand_in(target: Path, files: Sequence[RemoteFile]) -> bool:
    """Make empty files of the sizes of those that are too large: the collector then reports them as any other.

    Returns whether that could be done: the names and the sizes are what somebody there says.
    """
    done = True
    for one in files:
        path = target / one.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                os.truncate(file.fileno(), min(one.size, _LARGEST))
        except OSError:
            done = False
    return done
