"""One paced editor per thread: every message Weft sends to a thread, and every edit, goes through it.

`LiveReply` says what to show, `Outbox` what to do next, `Recovery` and `Requests` do it; this module lets them, at the
right time, in one owner task for each thread. It leaves to the port how Discord is called and which errors are tried
again. The mutable state is the lists of open replies and notices, and what the owner task is to do next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

import anyio
import structlog
from anyio.abc import TaskGroup

from acp.snapshot import TurnSnapshot
from bot.reply.live import LiveReply, OnShown, tell_nobody
from bot.reply.outbox import NOTHING, Op, Outbox, OutgoingMessage
from bot.reply.pacing import Pacing
from bot.reply.pending_reply import SavedReply
from bot.reply.port import Body, Button, PortError, ThreadGone, ThreadPort
from bot.reply.recovery import Found, Recovery, finalize_interrupted

log = structlog.get_logger(__name__)


class Delivery:
    """One way of a notice to its thread: to be posted, or to be changed."""

    def __init__(self, cell: OutgoingMessage) -> None:
        self.cell = cell
        self._beside: list[OutgoingMessage] = []
        self._there = anyio.Event()
        self._done = anyio.Event()

    @property
    def message_id(self) -> int | None:
        """The id of the message, once it is there."""
        return self.cell.message_id

    async def delivered(self) -> bool:
        """Wait for its end; True: it is visible, False: it was given up."""
        await self._done.wait()
        return self.cell.message_id is not None

    async def posted(self) -> int | None:
        """Wait until the message is there and return its id; None: it was given up."""
        await self._there.wait()
        return self.cell.message_id

    def wait_for(self, cells: list[OutgoingMessage]) -> None:
        """Don't be done before these are."""
        self._beside += cells

    def settle(self, *, given_up: bool = False) -> None:
        """Wake those who wait, if it is delivered or given up."""
        if given_up or self.cell.given_up or self.cell.message_id is not None:
            self._there.set()
        if given_up or all(cell.settled for cell in (self.cell, *self._beside)):
            self._done.set()

    @property
    def done(self) -> bool:
        """Whether it is visible or given up."""
        return self._done.is_set()


log = structlog.get_logger(__name__)

LEAVE_LIMIT = 5.0
"""Seconds that requests under way may still take once the editor was cancelled; the port adds its own."""


class Requests:
    """Does requests and tells the outbox what came of them; ``on_end`` is called after each."""

    def __init__(
        self, port: ThreadPort, outbox: Outbox, clock: Callable[[], float], on_end: Callable[[], None]
    ) -> None:
        self._port = port
        self._outbox = outbox
        self._clock = clock
        self._on_end = on_end
        self._leave_by = inf
        self._under_way: set[anyio.CancelScope] = set()

    async def perform(self, op: Op) -> None:
        """Post, edit or delete a message."""
        with self._unbroken():
            try:
                message_id = await self._do(op)
            except PortError as error:
                log.debug("message.refused", error=repr(error), message=op.message_id)
                self._outbox.failed(op, error, self._clock())
            except Exception as error:
                log.exception("message.failed", message=op.message_id)
                self._outbox.failed(op, error, self._clock())
            else:
                self._outbox.succeeded(op, message_id)
        self._on_end()

    async def _do(self, op: Op) -> int:
        if op.message_id is None:
            return await self._port.send(op.body, nonce=op.nonce, reply_to=op.cell.reply_to)
        if op.body == NOTHING:
            await self._port.delete(op.message_id)
        else:
            await self._port.edit(op.message_id, op.body)
        return op.message_id

    async def show_typing(self) -> None:
        """Show the typing sign; it is no matter if that fails, unless the thread is gone."""
        with self._unbroken():
            try:
                await self._port.typing()
            except ThreadGone as error:
                self._outbox.end(str(error))
            except PortError as error:
                log.debug("typing.refused", error=repr(error))
        self._on_end()

    def leave(self) -> None:
        """Bound what is under way: a call that is tried again and again must not hold up the end of the bot (R1)."""
        self._leave_by = anyio.current_time() + LEAVE_LIMIT
        for scope in self._under_way:
            scope.deadline = self._leave_by

    @contextmanager
    def _unbroken(self) -> Iterator[None]:
        """Keep a cancellation away from a request until `leave()` has set it a bound, and that has passed."""
        with anyio.CancelScope(shield=True, deadline=self._leave_by) as scope:
            self._under_way.add(scope)
            try:
                yield
            finally:
                self._under_way.discard(scope)


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
        as_shown: Callable[[str], str] = str,
    ) -> None:
        self.on_idle: Callable[[], None] = lambda: None
        self._on_gone = on_gone
        self._clock = clock
        self._outbox = Outbox(pacing, nonces)
        self._requests = Requests(port, self._outbox, clock, self._look_again)
        self._recalls = Recovery(port, self._outbox, as_shown, self._look_again)
        self._replies: list[LiveReply] = []
        self._notices: list[Delivery] = []
        self._typing = False
        self._told_gone = False
        self._closing = False
        self._woken = anyio.Event()

    # --- what the work calls -----------------------------------------------------------------------------------

    @property
    def gone(self) -> bool:
        """Whether the thread can't be written to any more."""
        return self._outbox.gone is not None

    @property
    def idle(self) -> bool:
        """Whether there is nothing to deliver and no reply open."""
        return not self._replies and not self._notices and not self._recalls.pending and self._outbox.settled

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
        cell = OutgoingMessage(desired=body, reply_to=reply_to, given_up=self.gone)
        delivery = Delivery(cell)
        for reply in self._replies:
            with _guarded(reply):
                reply.look_now()
        self._outbox.post(cell)
        self._notices.append(delivery)
        self._look_again()
        return delivery

    def change(self, notice: Delivery, body: Body) -> Delivery:
        """Let a notice show something else, be it posted yet or not."""
        notice.cell.desired = body
        self._outbox.changed(notice.cell)
        return self._follow(notice.cell)

    def remove(self, notice: Delivery, instead: Body) -> Delivery:
        """Delete a notice, or let it show ``instead`` where Discord refuses that."""
        self._outbox.remove(notice.cell, instead)
        return self._follow(notice.cell)

    def adopt(self, message_id: int, body: Body) -> Delivery:
        """Let a notice of an earlier run show ``body``."""
        cell = OutgoingMessage(desired=body, given_up=self.gone)
        self._outbox.adopt(cell, message_id)
        return self._follow(cell)

    def _follow(self, cell: OutgoingMessage) -> Delivery:
        delivery = Delivery(cell)
        self._notices.append(delivery)
        self._look_again()
        return delivery

    def restore(
        self, key: int, owed: SavedReply, shown: tuple[int, ...], *, on_shown: OnShown = tell_nobody
    ) -> LiveReply:
        """Show a reply that an earlier run owes, exactly once; ``shown`` are the messages that show some of it."""
        reply = LiveReply(
            key, owed.snapshot, self._outbox, self._wake, self._clock, reply_to=owed.reply_to, on_shown=on_shown
        )
        reply.lay_out(owed)
        self._replies.append(reply)
        self._recalls.add(max(key, owed.after), shown, lambda found: self._rejoin(reply, owed, shown, found))
        self._wake()
        return reply

    def mark_interrupted(self, key: int, shown: tuple[int, ...], body: Body) -> Delivery:
        """Calm down the messages of a reply that an earlier run broke off, and say so with ``body``, once."""
        cell = OutgoingMessage(desired=body, reply_to=key, nonce=f"i{key}", given_up=self.gone)
        delivery = Delivery(cell)
        self._notices.append(delivery)

        def interrupt(found: Found) -> list[int]:
            calmed = finalize_interrupted(cell, self._outbox, shown, found)
            delivery.wait_for(calmed)
            return [one.message_id for one in (cell, *calmed) if one.message_id is not None]

        self._recalls.add(key, shown, interrupt)
        self._look_again()
        return delivery

    def close(self) -> None:
        """Take nothing more; `run()` returns when everything handed over is delivered or given up."""
        self._closing = True
        self._outbox.hurry(self._clock())
        for reply in self._replies:
            with _guarded(reply):
                reply.look_now()
        self._wake()

    # --- the owner task ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until closed; when cancelled, let requests that have begun end, and give up the rest."""
        try:
            async with anyio.create_task_group() as tasks:
                try:
                    while not self._finished():
                        self._pass(tasks)
                        await self._rest()
                finally:
                    self._requests.leave()
        finally:
            for reply in self._replies:
                reply.end(delivered=False)
            for notice in self._notices:
                notice.settle(given_up=True)
            self._replies, self._notices = [], []

    def _finished(self) -> bool:
        waiting = any(reply.finished for reply in self._replies) or self._notices or self._recalls.pending
        return self._closing and not waiting and self._outbox.settled

    def _pass(self, tasks: TaskGroup) -> None:
        """Look at what is due, and start what may start."""
        now = self._clock()
        for reply in self._replies:
            if reply.due_at() <= now:
                with _guarded(reply):
                    reply.look(now)
        if self._typing:
            self._typing = False
            if any(reply.speechless for reply in self._replies):
                tasks.start_soon(self._requests.show_typing)
        if self._recalls.pending:
            # Nothing is sent before it is known what is there already.
            self._recalls.begin(tasks)
        else:
            for op in self._outbox.next(now):
                tasks.start_soon(self._requests.perform, op)
        self._settle()

    async def _rest(self) -> None:
        """Wait until something happened or is due."""
        sending = inf if self._recalls.pending else self._outbox.wake_at()
        due = min([sending, *(reply.due_at() for reply in self._replies)])
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
            self._on_gone(self._outbox.gone)

    def _look_again(self) -> None:
        """Something came to its end or begins: let go of what is done, and let the owner task look at the rest."""
        self._settle()
        self._wake()

    def _rejoin(self, reply: LiveReply, owed: SavedReply, shown: tuple[int, ...], found: Found) -> tuple[int, ...]:
        """Let a reply of an earlier run go on from what is visible of it; return the messages that are its own."""
        if not self.gone:
            with _guarded(reply):
                return reply.rejoin(owed, shown, found)
        return ()


@contextmanager
def _guarded(reply: LiveReply) -> Iterator[None]:
    """Give a reply up that can't be rendered; the thread's others go on."""
    try:
        yield
    except Exception:
        log.exception("reply.failed", key=reply.key)
        reply.end(delivered=False)
