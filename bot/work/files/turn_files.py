"""The files of turns: brought to the agent when a turn starts, removed with the thread's session or after some days.

`bot.work.files.attachments` makes of a message's files what the agent takes; here is for which turn, in which
directory, and what the thread reads about it. There is no state.
"""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from acp.errors import AgentExited
from bot.model import Inbound
from bot.reply.port import Body
from bot.reply.sanitise import clip
from bot.work.files.attachments import Attachments, Workspace, described
from bot.work.files.handouts import Place, RunningOut
from bot.work.files.inbox import KEPT, remove_old, remove_thread
from bot.work.files.remote_files import bring, fetch
from bot.work.files.transcription import Transcriber
from bot.work.limits import FileLimits
from bot.work.ports import Fetch
from bot.work.prompt import NOTHING, Brought
from bot.work.queue.entry import Entry
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from pool.engines.model import RemoteAgent
from pool.launcher import THREAD_FIELD
from pool.pool import SessionLease

log = structlog.get_logger(__name__)

DAY = 86_400.0
FETCH_LIMIT = 120.0
"""Seconds for all that an agent on another machine hands out in a turn, which is not over before."""

NOT_THERE = "-# ⚠️ The files could not be brought to the agent's machine: {why}. Send them again later."
NONE_LEFT = "none of the files could be passed on: {files}"


@dataclass(eq=False)
class TurnFiles:
    """Brings files to turns.

    Attributes:
        limits: those of turns that start from now on.
        mirrors: where the files of agents on other machines are kept on this one.
    """

    tracker: TaskTracker
    fetch: Fetch
    thread_settings: ThreadSettings
    limits: FileLimits
    mirrors: Path
    transcriber: Transcriber | None = None
    wall: Callable[[], float] = time.time

    async def bring(self, entry: Entry, lease: SessionLease) -> list[Body]:
        """Fetch the files of all messages of an entry; return what its thread is to read about them."""
        notices: list[Body] = []
        work = Attachments(self.fetch, self.limits, self.transcriber)
        can = lease.connection.agent.agent_capabilities.prompt_capabilities
        # Again and again: until the prompt is settled, messages may join the entry.
        while missing := [one for one in entry.messages if one.attachments and one.message_id not in entry.brought]:
            place = Workspace(self.workspace_of(entry.thread_id), lease.directory)
            if lease.remote is not None:
                await anyio.to_thread.run_sync(partial(place.here.mkdir, parents=True, exist_ok=True, mode=0o700))
            prepared = await work.prepare(missing, place, can)
            ids = [one.message_id for one in missing]
            why = await bring(lease.remote, place.here, ids) if lease.remote is not None else ""
            for one in missing:
                brought = prepared.brought.get(one.message_id, NOTHING)
                entry.brought[one.message_id] = _not_there(one, why) if why else brought
            notices += [Body(NOT_THERE.format(why=clip(why, 200)))] if why else prepared.notices
        return notices

    def workspace_of(self, thread_id: int) -> Path:
        """Return where the thread's agent works, on this machine; of one on another, its mirror."""
        home, profile = self.thread_settings.home_of(thread_id), self.thread_settings.profile_of(thread_id)
        if profile.engine is not None:
            return self.mirrors / str(home)
        return Path(profile.workspace.replace(THREAD_FIELD, str(home)))

    async def fetch_handouts(self, turn: RunningOut, agent: RemoteAgent, limit: int) -> None:
        """Bring what an agent on another machine hands out to where it is collected; "no way there" is only logged."""
        if turn.place is None:
            return
        own = THREAD_FIELD in self.thread_settings.profile_of(turn.thread_id).workspace
        reason = f"it took more than {FETCH_LIMIT:g} s"
        with anyio.move_on_after(FETCH_LIMIT):
            try:
                await fetch(agent, turn.place.directory, turn.thread_id, limit, own=own)
            except AgentExited as exc:
                reason = str(exc)
            else:
                return
        # What is there is taken after the next turn.
        log.warning("files.not_fetched", thread=turn.thread_id, reason=reason)

    def place_of(self, thread_id: int) -> Place | None:
        """Return the same, and whether no other thread works there; None: the agent has no directory."""
        workspace = self.thread_settings.profile_of(thread_id).workspace
        own = THREAD_FIELD in workspace and not self.thread_settings.shares_home(thread_id)
        if self.thread_settings.profile_of(thread_id).engine is not None:
            own = not self.thread_settings.shares_home(thread_id)  # each thread has its mirror
        return Place(self.workspace_of(thread_id), own) if workspace else None

    def place_here(self, thread_id: int) -> Place | None:
        """Return the same of an agent on this machine; None of one on another, whose mirror has none of its work."""
        here = self.thread_settings.profile_of(thread_id).engine is None
        return self.place_of(thread_id) if here else None

    def remove(self, thread_id: int) -> None:
        """Remove the files of a thread whose session is given up."""
        if self.thread_settings.profile_of(thread_id).workspace:
            job = partial(remove_thread, self.workspace_of(thread_id), thread_id)
            # Left behind at the end of the bot, should the disk hang.
            run = partial(anyio.to_thread.run_sync, job, abandon_on_cancel=True)
            self.tracker.begin(run, name=f"remove files {thread_id}")

    async def remove_old_ones(self) -> None:
        """Remove what is older than `KEPT`, now and once a day; never returns."""
        while True:
            agents = self.thread_settings.agents
            here = (one.workspace for one in agents if one.engine is None)
            mirrors = (f"{self.mirrors}/{THREAD_FIELD}" for one in agents if one.engine is not None)
            of_projects = (one.workspace for one in agents.projects.values())
            for workspace in dict.fromkeys((*here, *mirrors, *of_projects)):
                # Without a directory there is nothing to look at, and no reason to start a worker thread.
                if workspace:
                    await anyio.to_thread.run_sync(self._remove_old, workspace, abandon_on_cancel=True)
            await anyio.sleep(DAY)

    def _remove_old(self, pattern: str) -> None:
        try:
            removed = sum(remove_old(workspace, self.wall() - KEPT) for workspace in _workspaces(pattern))
        except Exception:
            # Whatever lies there: a fault in clearing up must not end the bot.
            log.exception("files.not_removed", workspace=pattern)
            return
        if removed:
            log.info("files.removed", workspace=pattern, messages=removed)


def _not_there(message: Inbound, why: str) -> Brought:
    names = (described(one.name, one.content_type, one.size) for one in message.attachments)
    return Brought(left_out=tuple(f"{name}: it could not be brought to your machine ({why})" for name in names))


def nothing_left(entry: Entry) -> str:
    """Return why an entry has nothing to ask, its files having been brought; "" if it has something."""
    files = [line for brought in entry.brought.values() for line in brought.left_out]
    something = any(one.text.strip() or one.quotes for one in entry.messages)
    blocks = any(brought.blocks for brought in entry.brought.values())
    return "" if something or blocks or not files else NONE_LEFT.format(files="; ".join(files))


def _workspaces(pattern: str) -> Iterator[Path]:
    """Return the working directories that there are for an agent."""
    if THREAD_FIELD not in pattern:
        return iter([Path(pattern)])
    head, *rest = (glob.escape(part) for part in pattern.split(THREAD_FIELD))
    return (Path(found) for found in glob.iglob("[0-9]*".join([head, *rest])))  # noqa: PTH207  the pattern is absolute
