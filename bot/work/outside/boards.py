"""Boards: messages that list the threads of a server and are kept up to date where somebody asked for one (A3).

A board lists only what everybody who sees its channel may see. It lives over restarts, until it is ended or a person
deletes it. The mutable state is the boards there are, each with a task that alone edits its message.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import structlog
from anyio.abc import TaskGroup

from bot.model import posted_at, snowflake_at
from bot.reply.port import Body, MessageGone, PortError, ThreadDeleted, ThreadGone, ThreadPort, Unavailable
from bot.work.budget.budgets import Budgets
from bot.work.outside.board_text import HEADING, Line, alive, board
from bot.work.ports import Answer, Chat
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from bot.work.thread_states import ThreadState, ThreadStates
from pool.storage.durable import SessionStore

log = structlog.get_logger(__name__)

PACE = 10.0
"""Seconds between two edits of a board: what it says is at most so old, and a moment."""
LOOK = 4.0
"""Seconds until a board is compared with the queues again, which tell nobody when a message waits."""
RENEW_AFTER = 3300.0
"""Seconds after which a board is posted anew instead of edited: of a message that is older than an hour Discord takes
few edits (code 30046)."""
AGAIN, FORBIDDEN_AGAIN = 30.0, 600.0
"""Seconds until a board is tried again that Discord did not take, or forbade."""
SKEW = 60.0
"""Seconds by which Discord's clock may differ from ours."""
MOST_BOARDS = 20
_LOOKED_THROUGH = 100
_KEY = "board"

HERE = Answer("The board is below. `/board off` removes it.", accepted=True, lasting=True)
MOVED = Answer("The board is moving down here.", accepted=True, lasting=True)
ENDED = Answer("The board is removed.", accepted=True, lasting=True)
NONE_HERE = Answer("There is no board in this channel.", accepted=False)
TOO_MANY = Answer(
    f"There are {MOST_BOARDS} boards already. Remove one with `/board off` in its channel.", accepted=False
)


@dataclass(slots=True, eq=False)
class _Board:
    """A board.

    Attributes:
        since: the snowflake after which its message is, if that is not known.
        message_id: of its message as far as it is known; ``shown``: what that says.
        due: it is not edited before this time.
        restored: it was put up in an earlier run, and its message has not been looked for since.
        over: it has ended; its task sees that.
    """

    guild_id: int
    channel_id: int
    since: int
    message_id: int | None = None
    shown: str = ""
    due: float = 0.0
    restored: bool = False
    over: bool = False


class Boards:
    """Keeps boards up to date.

    Args:
        tasks: owns a task for each board.
        nonces: makes those of messages.
        budgets: knows what threads have cost today.
        clock: the wall clock, in seconds.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        tracker: TaskTracker,
        chat: Chat,
        store: SessionStore,
        settings: ThreadSettings,
        states: ThreadStates,
        budgets: Budgets,
        nonces: Callable[[], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tasks, self._tracker, self._chat, self._store = tasks, tracker, chat, store
        self._settings, self._states, self._budgets = settings, states, budgets
        self._nonces, self._clock = nonces, clock
        self._boards: dict[int, _Board] = {}

    def load(self) -> None:
        """Go on with the boards of earlier runs; call once the settings of places are read."""
        for channel_id, kept in self._settings.all_kept(_KEY).items():
            found = _read(channel_id, kept)
            if found is None:
                log.warning("board.ignored", channel=channel_id)
            elif len(self._boards) < MOST_BOARDS:
                self._begin(found)

    # --- what people ask for -------------------------------------------------------------------------------------

    def put_up(self, guild_id: int, channel_id: int) -> Answer:
        """Put a board up in a channel; one that is there already moves down."""
        before = self._boards.get(channel_id)
        if before is None and len(self._boards) >= MOST_BOARDS:
            return TOO_MANY
        if before is not None:
            # Not dropped: what is kept under this channel is the new one's in the next step.
            self._take_down(before)
        new = _Board(guild_id, channel_id, self._now_as_snowflake())
        self._keep(new)
        self._begin(new)
        log.info("board.begun", channel=channel_id)
        return HERE if before is None else MOVED

    def end(self, channel_id: int) -> Answer:
        """End the board of a channel, and delete its message."""
        found = self._boards.get(channel_id)
        if found is None:
            return NONE_HERE
        self._take_down(found)
        self._drop(found, "ended by command")
        return ENDED

    # --- what happens in Discord ---------------------------------------------------------------------------------

    def deleted(self, message_id: int) -> None:
        """End the board whose message somebody deleted."""
        found = next((one for one in self._boards.values() if one.message_id == message_id), None)
        if found is not None:
            self._drop(found, "its message was deleted")

    def forget(self, place_id: int) -> None:
        """Drop the boards of a channel or a server that is gone."""
        for one in [one for one in self._boards.values() if place_id in (one.channel_id, one.guild_id)]:
            self._drop(one, "its channel is gone")

    # --- the boards ----------------------------------------------------------------------------------------------

    def _begin(self, new: _Board) -> None:
        self._boards[new.channel_id] = new
        self._tasks.start_soon(self._keep_up, new, name=f"board {new.channel_id}")

    def _drop(self, found: _Board, why: str) -> None:
        found.over = True
        # By identity: the channel may have another board by now.
        if self._boards.get(found.channel_id) is found:
            del self._boards[found.channel_id]
            self._settings.keep(found.channel_id, {_KEY: None})
            log.info("board.ended", channel=found.channel_id, reason=why)

    def _take_down(self, found: _Board) -> None:
        found.over = True
        if found.message_id is not None:
            self._tracker.begin(self._delete, found.channel_id, found.message_id, name=f"board {found.channel_id}")

    def _keep(self, one: _Board) -> None:
        kept = {"guild": one.guild_id, "since": one.since, "message": one.message_id}
        self._settings.keep(one.channel_id, {_KEY: kept})

    def _now_as_snowflake(self) -> int:
        return snowflake_at(self._clock() - SKEW)

    async def _keep_up(self, one: _Board) -> None:
        """Edit a board's message whenever it is out of date, until the board is over."""
        port = self._chat.thread(one.channel_id)
        while not one.over:
            await anyio.sleep(max(0.0, one.due - anyio.current_time()))
            # The event before the look, with no await in between, or a change would be missed.
            changed, text = self._states.changed, self._text(one)
            if text == one.shown and not one.over:
                with anyio.move_on_after(LOOK):
                    await changed.wait()
                continue
            one.due = anyio.current_time() + PACE
            try:
                if not one.over:
                    await self._show(one, port, text)
            except (MessageGone, ThreadDeleted) as exc:
                self._drop(one, str(exc))
            except PortError as exc:
                pause = FORBIDDEN_AGAIN if isinstance(exc, ThreadGone) else AGAIN
                wanted = exc.retry_after if isinstance(exc, Unavailable) else 0.0
                one.due = anyio.current_time() + max(pause, wanted)
                log.warning("board.refused", channel=one.channel_id, error=str(exc))
            except Exception:
                # The task group is everybody's.
                log.exception("board.failed", channel=one.channel_id)
                one.due = anyio.current_time() + FORBIDDEN_AGAIN

    def _text(self, one: _Board) -> str:
        now, seen = self._clock(), self._chat.channels.seen_by_all
        return board(
            [
                self._line(thread)
                for thread in self._states.all()
                if thread.place.guild_id == one.guild_id
                and alive(thread, now)
                and seen(thread.place.thread_id, one.channel_id)
            ]
        )

    def _line(self, thread: ThreadState) -> Line:
        thread_id, budgets = thread.place.thread_id, self._budgets
        spent = budgets.worded(budgets.spent_today(thread_id))
        return Line(thread, spent, self._settings.project_name(thread_id))

    async def _show(self, one: _Board, port: ThreadPort, text: str) -> None:
        # 1. The last run may have posted one in its last moment.
        if one.restored:
            await self._find(one, port)
            one.restored = False
            if one.over:
                return
        # 2. A message that takes edits.
        before = one.message_id
        if before is not None and self._clock() - posted_at(before) < RENEW_AFTER:
            await port.edit(before, Body(text))
            one.shown = text
            return
        # 3. A new one. Since when it may be there is recorded first, or a kill would leave one that nobody knows.
        one.since = self._now_as_snowflake()
        self._keep(one)
        # What was kept is handed in by a task that begins in this moment.
        await anyio.lowlevel.checkpoint()
        await self._store.flush()
        new = await port.send(Body(text), nonce=self._nonces())
        if one.over:
            await self._delete(one.channel_id, new)
            return
        one.message_id, one.shown = new, text
        self._keep(one)
        if before is not None:
            await self._delete(one.channel_id, before)

    async def _find(self, one: _Board, port: ThreadPort) -> None:
        """Find the message of a board that was posted and not recorded; take one away that it replaced.

        Raises:
            MessageGone: a person deleted it while nobody listened.
        """
        own = await port.own_messages(one.since, _LOOKED_THROUGH)
        boards = [message.message_id for message in own if message.text.startswith(HEADING)]
        known = one.message_id
        # Not left to the next edit: a message that is too old for one would be posted anew.
        if known is not None and not boards:
            following = await port.own_messages(known - 1, 1)
            if known not in [message.message_id for message in following]:
                raise MessageGone
        # Ended or moved meanwhile: what is kept, and what else was found, is of its successor.
        if one.over:
            return
        if boards:
            one.message_id = boards[-1]
            self._keep(one)
        for left in {known, *boards} - {one.message_id, None}:
            await self._delete(one.channel_id, left)

    async def _delete(self, channel_id: int, message_id: int | None) -> None:
        if message_id is not None:
            try:
                await self._chat.thread(channel_id).delete(message_id)
            except PortError as exc:
                # Most likely a person was faster.
                log.info("board.not_deleted", channel=channel_id, message=message_id, error=str(exc))


def _read(channel_id: int, kept: Any) -> _Board | None:
    """Return a board as it was kept; None if that can't be read."""
    if not isinstance(kept, dict):
        return None
    guild_id, since, message_id = (kept.get(key) for key in ("guild", "since", "message"))
    if type(guild_id) is not int or type(since) is not int or type(message_id) not in (int, type(None)):
        return None
    return _Board(guild_id, channel_id, since, message_id, restored=True)
