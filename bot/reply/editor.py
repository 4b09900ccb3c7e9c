"""One paced editor per thread: every message Weft sends to a thread, and every edit, goes through it.

`LiveReply` says what to show, `Outbox` what to do next; this module does it, in one owner task for each thread. It
leaves to the port how Discord is called and which errors are tried again. The mutable state is the lists of open
replies and notices.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf

import anyio
import structlog
from anyio.abc import TaskGroup

from acp.snapshot import TurnSnapshot
from bot.reply.final import FinalReply
from bot.reply.live import LiveReply, OnShown, tell_nobody
from bot.reply.outbox import Cell, Op, Outbox
from bot.reply.owed import OwedText
from bot.reply.pacing import Pacing
from bot.reply.port import Body, Button, PortError, ThreadGone, ThreadPort, Unavailable
from bot.reply.rejoin import Found, calm_down, same_text

__all__ = ["Delivery", "FinalReply", "LiveReply", "OwedText", "Pacing", "ThreadEditor"]

log = structlog.get_logger(__name__)

READ_LIMIT = 200
"""Messages of a thread that are read to find out what is visible after a restart."""

READ_AGAIN, READ_PATIENCE = 5.0, 3600.0
"""Seconds until they are read again when Discord can't be reached, and after which the thread goes on without."""

LEAVE_LIMIT = 5.0
"""Seconds that requests under way may still take once the editor was cancelled; the port adds its own."""


@dataclass(frozen=True, slots=True)
class Recall:
    """What is to be done once Weft's own messages after ``after`` were read; an empty `Found`: they couldn't be."""

    after: int
    apply: Callable[[Found], None]


class Delivery:
    """A notice on its way."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._beside: list[Cell] = []
        self._done = anyio.Event()

    @property
    def message_id(self) -> int | None:
        """The id of the message, once it is there."""
        return self.cell.message_id

    async def delivered(self) -> bool:
        """Wait for its end; True: it is visible, False: it was given up."""
        await self._done.wait()
        return self.cell.message_id is not None

    def wait_for(self, cells: list[Cell]) -> None:
        """Don't be done before these are."""
        self._beside += cells

    def settle(self, *, given_up: bool = False) -> None:
        """Wake those who wait, if it is delivered or given up."""
        if given_up or all(cell.settled for cell in (self.cell, *self._beside)):
            self._done.set()

    @property
    def done(self) -> bool:
        """Whether it is visible or given up."""
        return self._done.is_set()


def _tell_nobody() -> None:
    """Do nothing."""


class ThreadEditor:
    """The one writer of a thread.

    Args:
        nonces: a new nonce (at most 25 characters) for each message; the same one is used when a send is tried again.
        clock: the clock of the turns' snapshots.
        on_gone: called once, with the reason, when the thread can't be written to any more.
        as_shown: what the port makes of a text before Discord gets it, where it takes something out.

    Attributes:
        on_idle: called whenever there is nothing left to deliver; it may close the editor.
    """

    def __init__(
        self,
        port: ThreadPort,
        pacing: Pacing,
        *,
        nonces: Callable[[], str],
        clock: Callable[[], float] = anyio.current_time,
        on_gone: Callable[[str], None] = lambda reason: None,
        as_shown: Callable[[str], str] = same_text,
    ) -> None:
        self.on_gone = on_gone
        self.on_idle: Callable[[], None] = _tell_nobody
        self._port = port
        self._clock = clock
        self._outbox = Outbox(pacing, nonces)
        self._replies: list[LiveReply] = []
        self._notices: list[Delivery] = []
        self._recalls: deque[Recall] = deque()
        self._recalling = False
        self._claimed: set[int] = set()
        self._as_shown = as_shown
        self._typing = False
        self._told_gone = False
        self._closing = False
        self._woken = anyio.Event()
        self._leave_by = inf
        self._under_way: set[anyio.CancelScope] = set()

    # --- what the work calls -----------------------------------------------------------------------------------

    @property
    def gone(self) -> bool:
        """Whether the thread can't be written to any more."""
        return self._outbox.gone is not None

    @property
    def idle(self) -> bool:
        """Whether there is nothing to deliver and no reply open."""
        return not self._replies and not self._notices and not self._recalls and self._outbox.settled

    def open(
        self,
        key: int,
        snapshot: Callable[[int], TurnSnapshot],
        *,
        reply_to: int | None = None,
        stop_button: Button | None = None,
        on_shown: OnShown = tell_nobody,
    ) -> LiveReply:
        """Return the live reply to the prompt ``key``; ``snapshot(offset)`` gives its text from the offset on."""
        reply = LiveReply(
            key,
            snapshot,
            self._outbox,
            self._wake,
            self._clock,
            reply_to=reply_to,
            stop_button=stop_button,
            on_shown=on_shown,
        )
        if self.gone:
            reply.end(delivered=False)
        else:
            self._replies.append(reply)
            self._typing = True
            self._wake()
        return reply

    def say(self, body: Body, *, reply_to: int | None = None) -> Delivery:
        """Post a notice, after everything that was said before."""
        cell = Cell(wanted=body, reply_to=reply_to, given_up=self.gone)
        delivery = Delivery(cell)
        for reply in self._replies:
            self._guarded(reply, reply.look_now)
        self._outbox.post(cell)
        self._notices.append(delivery)
        self._settle()
        self._wake()
        return delivery

    def change(self, notice: Delivery, body: Body) -> Delivery:
        """Let a notice show something else; one that is not posted yet is not worth it any more."""
        cell = notice.cell
        if cell.message_id is None and not cell.busy:
            self._outbox.abandon(cell)
        else:
            cell.wanted, cell.expendable = body, True
            self._outbox.changed(cell)
        changed = Delivery(cell)
        self._notices.append(changed)
        self._settle()
        self._wake()
        return changed

    def restore(
        self, key: int, owed: OwedText, shown: tuple[int, ...], *, on_shown: OnShown = tell_nobody
    ) -> LiveReply:
        """Show a reply that an earlier run owes, exactly once; ``shown`` are the messages that show some of it."""
        reply = LiveReply(
            key, owed.snapshot, self._outbox, self._wake, self._clock, reply_to=owed.reply_to, on_shown=on_shown
        )
        reply.lay_out(owed)
        self._replies.append(reply)
        after = max(key, owed.after)
        self._recall(after, shown, lambda found: self._rejoin(reply, owed, shown, self._mine(found, after, shown)))
        return reply

    def mark_interrupted(self, key: int, shown: tuple[int, ...], body: Body) -> Delivery:
        """Calm down the messages of a reply that an earlier run broke off, and say so with ``body``, once."""
        cell = Cell(wanted=body, reply_to=key, nonce=f"i{key}", given_up=self.gone)
        delivery = Delivery(cell)
        self._notices.append(delivery)

        def interrupt(found: Found) -> None:
            calmed = calm_down(cell, self._outbox, shown, self._mine(found, key, shown))
            delivery.wait_for(calmed)
            self._claimed.update(one.message_id for one in (cell, *calmed) if one.message_id is not None)

        self._recall(key, shown, interrupt)
        self._settle()
        return delivery

    def close(self) -> None:
        """Take nothing more; `run()` returns when everything handed over is delivered or given up."""
        self._closing = True
        self._outbox.hurry()
        for reply in self._replies:
            self._guarded(reply, reply.look_now)
        self._wake()

    # --- the owner task ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until closed; when cancelled, let requests that have begun end, and give up the rest."""
        try:
            async with anyio.create_task_group() as requests:
                try:
                    while not self._finished():
                        self._pass(requests)
                        await self._rest()
                finally:
                    self._leave()
        finally:
            for reply in self._replies:
                reply.end(delivered=False)
            for notice in self._notices:
                notice.settle(given_up=True)
            self._replies, self._notices = [], []

    def _leave(self) -> None:
        """Bound what is under way: a call that is tried again and again must not hold up the end of the bot (R1)."""
        self._leave_by = anyio.current_time() + LEAVE_LIMIT
        for scope in self._under_way:
            scope.deadline = self._leave_by

    @contextmanager
    def _unbroken(self) -> Iterator[None]:
        """Keep a cancellation away from a request until `_leave` has set it a bound, and that has passed."""
        with anyio.CancelScope(shield=True, deadline=self._leave_by) as scope:
            self._under_way.add(scope)
            try:
                yield
            finally:
                self._under_way.discard(scope)

    def _finished(self) -> bool:
        waiting = any(reply.finished for reply in self._replies) or self._notices or self._recalls
        return self._closing and not waiting and self._outbox.settled

    def _pass(self, requests: TaskGroup) -> None:
        """Look at what is due, and start what may start."""
        now = self._clock()
        for reply in self._replies:
            if reply.look_at() <= now:
                self._guarded(reply, reply.look, now)
        if self._typing:
            self._typing = False
            if any(reply.speechless for reply in self._replies):
                requests.start_soon(self._type)
        if self._recalls:
            # Nothing is sent before it is known what is there already.
            if not self._recalling:
                self._recalling = True
                requests.start_soon(self._read_up)
        else:
            for op in self._outbox.next(now):
                requests.start_soon(self._perform, op)
        self._settle()

    async def _rest(self) -> None:
        """Wait until something happened or is due."""
        sending = inf if self._recalls else self._outbox.wake_at()
        due = min([sending, *(reply.look_at() for reply in self._replies)], default=inf)
        if self.idle and not self._closing:
            self.on_idle()
        with anyio.move_on_after(max(0.0, due - self._clock())):
            await self._woken.wait()
        self._woken = anyio.Event()

    def _wake(self) -> None:
        self._woken.set()

    def _settle(self) -> None:
        """Let go of what came to its end."""
        for reply in self._replies:
            reply.settle()
            if self.gone:
                reply.end(delivered=False)
        for notice in self._notices:
            notice.settle(given_up=self.gone)
        self._replies = [reply for reply in self._replies if not reply.done]
        self._notices = [notice for notice in self._notices if not notice.done]
        if self._outbox.gone is not None and not self._told_gone:
            self._told_gone = True
            self.on_gone(self._outbox.gone)

    def _guarded(self, reply: LiveReply, look: Callable[..., None], *args: float) -> None:
        """Look at a reply; one that can't be rendered is given up, and the thread's others go on."""
        try:
            look(*args)
        except Exception:
            log.exception("reply.failed", key=reply.key)
            reply.end(delivered=False)

    # --- after a restart ---------------------------------------------------------------------------------------

    def _recall(self, after: int, shown: tuple[int, ...], apply: Callable[[Found], None]) -> None:
        self._claimed.update(shown)
        self._recalls.append(Recall(min([after, *shown]) - 1, apply))
        self._wake()

    async def _read_up(self) -> None:
        """Read what is there for one recall after the other, and apply it."""
        while self._recalls:
            found = await self._read(self._recalls[0].after)
            self._recalls.popleft().apply(found)
        self._recalling = False
        self._settle()
        self._wake()

    async def _read(self, after: int) -> Found:
        """Read until Discord answers: while it can't be reached, nothing could be sent either."""
        patience = anyio.current_time() + READ_PATIENCE
        while anyio.current_time() < patience:
            try:
                return await self._read_once(after)
            except Unavailable as error:
                log.warning("messages.not_read", error=repr(error), after=after)
                await anyio.sleep(READ_AGAIN)
        return Found(as_shown=self._as_shown)

    async def _read_once(self, after: int) -> Found:
        try:
            texts = {key: text.strip() for key, text in await self._port.own_messages(after, READ_LIMIT)}
            return Found(texts, as_shown=self._as_shown)
        except ThreadGone as error:
            self._outbox.end(str(error) or "the thread can't be written to")
        except Unavailable:
            raise
        except PortError as error:
            log.warning("messages.not_read", error=repr(error), after=after)
        except Exception:
            log.exception("messages.not_read", after=after)
        return Found(as_shown=self._as_shown)

    def _mine(self, found: Found, after: int, shown: tuple[int, ...]) -> Found:
        """Return what was read with the messages that can be those of a reply, and are nobody's as far as is known."""
        return found.unrecorded(max([after, *shown]), self._outbox.oldest, frozenset(self._claimed))

    def _rejoin(self, reply: LiveReply, owed: OwedText, shown: tuple[int, ...], found: Found) -> None:
        def rejoin() -> None:
            self._claimed.update(reply.rejoin(owed, shown, found))

        if not self.gone:
            self._guarded(reply, rejoin)

    # --- requests ----------------------------------------------------------------------------------------------

    async def _perform(self, op: Op) -> None:
        """Do one request to its end: one that was cancelled may have been done all the same (and slows the next)."""
        with self._unbroken():
            try:
                message_id = await self._request(op)
            except PortError as error:
                log.debug("message.refused", error=repr(error), message=op.message_id)
                self._outbox.failed(op, error, self._clock())
            except Exception as error:
                log.exception("message.failed", message=op.message_id)
                self._outbox.failed(op, error, self._clock())
            else:
                self._outbox.succeeded(op, message_id)
        self._settle()
        self._wake()

    async def _request(self, op: Op) -> int:
        if op.message_id is None:
            return await self._port.send(op.body, nonce=op.nonce, reply_to=op.cell.reply_to)
        await self._port.edit(op.message_id, op.body)
        return op.message_id

    async def _type(self) -> None:
        """Show the typing sign; it is no matter if that fails, unless the thread is gone."""
        with self._unbroken():
            try:
                await self._port.typing()
            except ThreadGone as error:
                self._outbox.end(str(error) or "the thread can't be written to")
            except PortError as error:
                log.debug("typing.refused", error=repr(error))
        self._settle()
        self._wake()
