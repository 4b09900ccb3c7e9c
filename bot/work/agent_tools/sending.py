"""The tool that sends a file: copied at the call, posted as soon as the thread's editor comes to it (M2, F7).

The call does not wait for Discord. The copy is what `bot.work.files.handouts` knows as still to be posted: a kill loses
nothing of it, and what Discord does not take goes back into the folder for people, which says so. There is no state.
"""

from __future__ import annotations

import os
import posixpath
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePosixPath

import anyio
import anyio.to_thread
import structlog

from bot.mcp.tools import ToolRefused
from bot.model import Inbound, snowflake_at
from bot.reply.editor import Delivery
from bot.reply.pending_reply import FileMessage, Handout
from bot.reply.port import Body, Upload
from bot.reply.sanitise import units
from bot.work.editors import Editors
from bot.work.files import outfolder
from bot.work.files.handouts import LONGEST_CAPTION, Handouts, RunningOut, caption_as_shown, sent_message
from bot.work.files.inbox import safe_name
from bot.work.files.sending import NotTaken, SentBefore, copy_to_send
from bot.work.running_turn import RunningTurn
from bot.work.task_tracker import TaskTracker

log = structlog.get_logger(__name__)

MOST_SENT = 20
"""Files that may be sent in one turn."""

COPY_LIMIT = 20.0
"""Seconds for the copy: a disk may hang, and an agent waits."""

NO_DIRECTORY = "This agent has no directory on the machine of Weft, so there are no files to send."
ENOUGH = (
    f"{MOST_SENT} files were sent in this turn. Pack further ones into an archive, or leave them for the next turn."
)
TOO_LONG = "The caption is too long for one message. Shorten it, or say the rest in your answer."
TOO_SLOW = "The file could not be read in time. Try again, or leave it out."
OUTSIDE = "Only files in your workspace can be sent: give a path relative to it, or copy the file there first."


@dataclass(eq=False)
class FileSender:
    """Sends files.

    Attributes:
        wall: tells the seconds since the epoch.
    """

    tracker: TaskTracker
    editors: Editors
    handouts: Handouts
    wall: Callable[[], float] = time.time
    _deciding: threading.Lock = field(init=False, default_factory=threading.Lock)

    async def send(self, running: RunningTurn, path: str, caption: str) -> str:
        """Copy a file and have it posted as a reply to the turn's prompt; return what its agent is told.

        Raises:
            ToolRefused: it is not posted.
        """
        turn = self.handouts.running(running.first.message_id)
        if turn is None or turn.place is None or running.lease is None:
            raise ToolRefused(NO_DIRECTORY)
        if running.tools.sent >= MOST_SENT:
            raise ToolRefused(ENOUGH)
        if units(caption_as_shown(caption)) > LONGEST_CAPTION:
            raise ToolRefused(TOO_LONG)
        names = names_below(path, running.lease.directory)
        # In the form of a prompt's id, and newer than the prompt's: what lies in the folders of prompts is found by it.
        call_id = snowflake_at(self.wall()) | (time.monotonic_ns() & 0x3FFFFF)
        running.tools.sent += 1  # before the await: calls may come side by side
        queued = False
        try:
            with self.handouts.sending(call_id) as keep:
                copied, digest = await self._copy(turn, names, call_id, caption)
                # No await from here on: what is told to be queued is queued, whoever cancels the call.
                self._queue(running.first, turn, call_id, copied, digest)
                keep()
                queued = True
        except SentBefore as exc:
            return f"Not posted again: the same file was sent in this turn already, as {exc}."
        finally:
            # What is not queued counts for nothing: the next call may be right.
            running.tools.sent -= not queued
        return f"{copied.name} is on its way into the thread."

    async def _copy(
        self, turn: RunningOut, names: tuple[str, ...], call_id: int, caption: str
    ) -> tuple[outfolder.Taken, bytes]:
        assert turn.place is not None
        given_up, mine = False, set[bytes]()

        def check(digest: bytes) -> None:
            # In a worker thread: of the same file twice at once, one is the first.
            with self._deciding:
                if given_up:
                    raise NotTaken("nobody waits for it any more")
                if digest in turn.sent:
                    raise SentBefore(turn.sent[digest])
                turn.sent[digest] = safe_name(names[-1])
                mine.add(digest)

        job = partial(
            copy_to_send, turn.place.directory, names, turn.thread_id, call_id, self.handouts.limit_of(turn), caption,
            check,
        )  # fmt: skip
        try:
            with anyio.fail_after(COPY_LIMIT):
                return await anyio.to_thread.run_sync(job, abandon_on_cancel=True)
        # Its digest stays: a copy that is complete all the same is posted after the turn, and must not be sent twice.
        except TimeoutError:
            log.warning("file.not_sent", thread=turn.thread_id, limit=COPY_LIMIT)
            raise ToolRefused(TOO_SLOW) from None
        except SentBefore:
            raise
        except NotTaken as exc:
            for digest in mine:
                turn.sent.pop(digest, None)
            raise ToolRefused(f"Not posted: {exc}.") from exc
        finally:
            # A copy that goes on without anybody waiting for it must not turn up in the thread after all.
            given_up = True

    def _queue(self, first: Inbound, turn: RunningOut, call_id: int, copied: outfolder.Taken, digest: bytes) -> None:
        assert turn.place is not None
        workspace, name = turn.place.directory, copied.name
        text = sent_message(copied.caption or "", name)
        upload = Upload(name, partial(outfolder.open_taken, workspace, call_id, name), self.handouts.limit_of(turn))
        delivery = self.editors.of(first.thread_id).say_once(
            first.message_id,
            Body(text, uploads=(upload,)),
            nonce=f"f{call_id}-0",
            # The message that opened the thread is not in it, and can't be replied to there.
            reply_to=None if first.opens_thread else first.message_id,
            maybe_said=False,
        )
        # The folder of the copy has the id of the call in place of the prompt's.
        owner = replace(first, message_id=call_id)
        handout = Handout(str(workspace), (FileMessage(text, (name,)),))
        self.tracker.begin(self._settle, owner, turn, handout, delivery, digest, name=f"file {call_id}")

    async def _settle(
        self, owner: Inbound, turn: RunningOut, handout: Handout, delivery: Delivery, digest: bytes
    ) -> None:
        if not await delivery.delivered():
            # It goes back to where the end of the turn finds it, as a file that nobody has sent yet.
            turn.sent.pop(digest, None)
        await self.handouts.settle(owner, handout, [delivery])
        self.editors.let_go(owner.thread_id)


def names_below(path: str, directory: str) -> tuple[str, ...]:
    """Return the folders and the name of a file below the agent's directory; ``path`` as the agent sees it.

    Raises:
        ToolRefused: it is not below.
    """
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise ToolRefused("This is not a path: it has characters that no path can have.") from None
    if "\0" in path or not directory:
        raise ToolRefused(OUTSIDE)
    # By the words alone: no link below the workspace is followed, so ".." means what it says.
    place = PurePosixPath(posixpath.normpath(posixpath.join(directory, path)))
    root = posixpath.normpath(directory)
    names = place.relative_to(root).parts if place.is_relative_to(root) else ()
    if not names:
        raise ToolRefused(OUTSIDE)
    return names
