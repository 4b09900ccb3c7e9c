"""One paced editor per thread: every message Weft sends to a thread, and every edit, goes through it.

`LiveReply` says what to show, `Outbox` what to do next; the editor does it at the right time, in one owner task for
each thread. It leaves to the port how Discord is called and which errors are tried again. The mutable state is the
lists of open replies and notices, the requests under way, and what the owner task is to do next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf

import anyio
import structlog
from anyio.abc import TaskGroup

from acp.snapshot import TurnSnapshot
from bot.reply.live_reply import LiveReply, OnShown
from bot.reply.outbox import NOTHING, Op, Outbox, OutgoingMessage
from bot.reply.pacing import Pacer, Pacing
from bot.reply.pending_reply import SavedReply
from bot.reply.port import MESSAGE_LIMIT, Body, Button, PortError, ThreadGone, ThreadPort
from bot.reply.recovery import Found, LeftBehind, Recovery, finalize_interrupted, post_unless_there
from bot.reply.sanitise import units

log = structlog.get_logger(__name__)

LEAVE_LIMIT = 5.0
"""Seconds that requests under way may still take once the editor was cancelled; the port adds its own."""


@dataclass(slots=True, eq=False)
class Delivery:
    """One way of a notice to its thread: to be posted, or to be changed.

    Attributes:
        beside: messages that must be settled, too, before it is done.
    """

    message: OutgoingMessage
    beside: list[OutgoingMessage] = field(default_factory=list)
    _there: anyio.Event = field(default_factory=anyio.Event)
    _done: anyio.Event = field(default_factory=anyio.Event)

    async def delivered(self) -> bool:
        """Wait for its end; True: it is visible, False: it was given up."""
        await self._done.wait()
        return self.message.message_id is not None

    async def posted(self) -> int | None:
        """Wait until the message is there and return its id; None: it was given up."""
        await self._there.wait()
        return self.message.message_id

    def settle(self, *, given_up: bool = False) -> bool:
        """Wake those who wait, if it is delivered or given up; True: it needs no further look."""
        if given_up or self.message.given_up or self.message.message_id is not None:
            self._there.set()
        if given_up or all(message.settled for message in (self.message, *self.beside)):
            self._done.set()
        return self._done.is_set()


class ThreadEditor:
    """The one writer of a thread.

    Args:
        nonces: a new nonce (at most 25 characters) for each message; the same one is used when a send is tried again.
        clock: the clock of the turns' snapshots.
        on_gone: called once, with the reason, when the thread can no longer be written to.
        on_idle: called whenever there is nothing left to deliver; it may close the editor.
        as_shown: what the port makes of a text before Discord gets it, where it takes something out.
        long_as_file: a long answer ends as a summary and a file (V5).
    """

    def __init__(
        self,
        port: ThreadPort,
        pacing: Pacing,
        *,
        nonces: Callable[[], str],
        clock: Callable[[], float] = anyio.current_time,
        on_gone: Callable[[str], None] | None = None,
        on_idle: Callable[[], None] | None = None,
        as_shown: Callable[[str], str] = str,
        long_as_file: bool = False,
    ) -> None:
        self._port = port
        self._long_as_file = long_as_file
        self._as_shown = as_shown
        self._clock = clock
        self._on_gone = on_gone
        self._on_idle = on_idle
        self._outbox = Outbox(Pacer(pacing), nonces)
        self._recovery = Recovery(port, self._outbox, as_shown, self._look_again)
        self._under_way: set[anyio.CancelScope] = set()
        self._leave_by = inf
        self._replies: list[LiveReply] = []
        self._notices: list[Delivery] = []
        self._typing = False
        self._closing = False
        self._woken = anyio.Event()

    # --- what the work calls -----------------------------------------------------------------------------------

    @property
    def gone(self) -> bool:
        """Whether the thread can no longer be written to."""
        return self._outbox.gone is not None

    @property
    def idle(self) -> bool:
        """Whether there is nothing to deliver and no reply open."""
        return not self._replies and not self._notices and not self._recovery.pending and self._outbox.settled

    def open(
        self,
        key: int,
        snapshot: Callable[[int], TurnSnapshot],
        *,
        reply_to: int | None = None,
        stop_button: Button | None = None,
        on_shown: OnShown | None = None,
    ) -> LiveReply:
        """Return the live reply to the prompt ``key``; ``snapshot(offset)`` gives its text from the offset on."""
        reply = LiveReply(
            key,
            snapshot,
            self._outbox,
            self._wake,
            self._clock,
            reply_to,
            stop_button,
            on_shown,
            long_as_file=self._long_as_file,
            redact=self._as_shown,
        )
        if self.gone:
            reply.end(delivered=False)
        else:
            self._replies.append(reply)
            # Not sent here: only the owner task calls Discord.
            self._typing = True
            self._wake()
        return reply

    def say(self, body: Body, *, reply_to: int | None = None) -> Delivery:
        """Post a notice, after everything that was said before."""
        # Given up at once where the thread is gone, so that nobody waits for it.
        message = OutgoingMessage(desired=body, reply_to=reply_to, given_up=self.gone)
        delivery = Delivery(message)
        # What was said before stands above: text that is not in the queue yet must not be overtaken.
        for reply in self._replies:
            with reply.guarded():
                reply.look_now()
        self._outbox.post(message)
        self._notices.append(delivery)
        self._look_again()
        return delivery

    def say_once(self, key: int, body: Body, *, nonce: str, reply_to: int | None, maybe_said: bool) -> Delivery:
        """Post a message that no run may post twice, after everything that was said before.

        Args:
            key: no message of it is older than this one.
            nonce: the same one in every run.
            maybe_said: an earlier run may have posted it, so the thread is read first.
        """
        if not maybe_said:
            delivery = self.say(body, reply_to=reply_to)
            delivery.message.nonce = nonce
            return delivery
        message = OutgoingMessage(desired=body, reply_to=reply_to, nonce=nonce, given_up=self.gone)
        delivery = Delivery(message)
        self._notices.append(delivery)
        apply = partial(post_unless_there, message, self._outbox)
        self._recovery.pending.append(LeftBehind(key, (), apply))
        self._look_again()
        return delivery

    def change(self, notice: Delivery, body: Body) -> Delivery:
        """Let a notice show something else, be it posted yet or not."""
        notice.message.desired = body
        self._outbox.changed(notice.message)
        return self._follow(notice.message)

    def amend(self, reply: LiveReply, ending: str, more: str) -> None:
        """Add to the last line, ``ending``, of a reply that was delivered; a thread that takes no edit goes without."""
        shown = [(message, message.desired) for message in reply.messages.outgoing if message.message_id is not None]
        ends = ((message, body) for message, body in reversed(shown) if body and body.text.endswith(ending))
        message, body = next(ends, (None, None))
        if self.gone or message is None or body is None or units(body.text + more) > MESSAGE_LIMIT:
            return
        # Nothing is lost without it: not worth a new message where somebody deleted this one, nor an edit that waits.
        message.on_archived, message.final, message.expendable = None, True, True
        message.desired = replace(body, text=body.text + more, file=None)
        self._outbox.changed(message)
        self._look_again()

    def remove(self, notice: Delivery, instead: Body) -> Delivery:
        """Delete a notice, or let it show ``instead`` where Discord refuses that."""
        self._outbox.remove(notice.message, instead)
        return self._follow(notice.message)

    def take_over(
        self, since: int, ours: Callable[[str, tuple[str, ...]], bool], body: Body, instead: Body
    ) -> Delivery:
        """Let the notice of an earlier run show ``body``; it is given up if there is none.

        Args:
            since: no notice is older than this message.
            ours: tells a notice by its text and the custom_ids of its buttons. Of several the newest stays; the others
                are deleted, or show ``instead`` where Discord refuses that.
        """
        # Busy until the thread was read: one that is to be removed before that has to be found all the same.
        message = OutgoingMessage(desired=body, given_up=self.gone, busy=True)
        delivery = self._follow(message)

        def take(found: Found) -> tuple[int, ...]:
            message.busy = False
            mine = [key for key in found.unknown if ours(found.texts[key], found.custom_ids.get(key, ()))]
            for key in mine[:-1]:
                delivery.beside.append(surplus := OutgoingMessage(given_up=self.gone))
                self._outbox.adopt(surplus, key)
                self._outbox.remove(surplus, instead)
            if mine:
                self._outbox.adopt(message, mine[-1])
            else:
                self._outbox.abandon(message)
            return tuple(mine)

        self._recovery.pending.append(LeftBehind(since - 1, (), take))
        self._look_again()
        return delivery

    def end_card(self, since: int, ours: Callable[[tuple[str, ...]], bool], ended: Callable[[str], str]) -> Delivery:
        """Let a card of an earlier run show its end, without buttons; it is given up if it is not there.

        Args:
            since: the card is no older than this message.
            ours: tells it by the custom_ids of its buttons.
            ended: makes the text of its end of the one that it shows.
        """
        # Busy until the thread was read: its end is not known to be settled before that.
        message = OutgoingMessage(desired=Body(ended("")), final=True, expendable=True, given_up=self.gone, busy=True)
        delivery = self._follow(message)

        def take(found: Found) -> tuple[int, ...]:
            message.busy = False
            mine = [key for key in found.texts if ours(found.custom_ids.get(key, ()))]
            if not mine:
                self._outbox.abandon(message)
                return ()
            message.desired = Body(ended(found.texts[mine[0]]))
            self._outbox.adopt(message, mine[0])
            return (mine[0],)

        self._recovery.pending.append(LeftBehind(since - 1, (), take))
        self._look_again()
        return delivery

    def _follow(self, message: OutgoingMessage) -> Delivery:
        delivery = Delivery(message)
        self._notices.append(delivery)
        self._look_again()
        return delivery

    def restore(
        self, key: int, saved: SavedReply, shown: tuple[int, ...], *, on_shown: OnShown | None = None
    ) -> LiveReply:
        """Show a reply that an earlier run left pending, exactly once; ``shown`` are the messages that show it."""
        reply = LiveReply(
            key,
            saved.snapshot,
            self._outbox,
            self._wake,
            self._clock,
            reply_to=saved.reply_to,
            on_shown=on_shown,
            long_as_file=self._long_as_file,
            redact=self._as_shown,
        )
        # Laid out as it was, or the messages that are there could not be told apart by their texts.
        reply.messages.lay_out(saved)
        self._replies.append(reply)

        self._recovery.pending.append(
            LeftBehind(max(key, saved.after), shown, lambda found: reply.rejoin(saved, shown, found))
        )
        self._wake()
        return reply

    def mark_interrupted(self, key: int, shown: tuple[int, ...], body: Body) -> Delivery:
        """Finalize the messages of a reply that an earlier run broke off, and say so with ``body``, once."""
        # The nonce is the prompt's: a run that was killed while it said so may have said it.
        message = OutgoingMessage(desired=body, reply_to=key, nonce=f"i{key}", given_up=self.gone)
        delivery = Delivery(message)
        self._notices.append(delivery)

        beside, outbox = delivery.beside, self._outbox
        self._recovery.pending.append(
            LeftBehind(key, shown, lambda found: finalize_interrupted(message, beside, outbox, shown, found))
        )
        self._look_again()
        return delivery

    def close(self) -> None:
        """Take nothing more; `run()` returns when everything handed over is delivered or given up."""
        self._closing = True
        self._outbox.hurry(self._clock())
        for reply in self._replies:
            with reply.guarded():
                reply.look_now()
        self._wake()

    # --- the owner task ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until closed; when cancelled, let requests that have begun end, and give up the rest."""
        try:
            async with anyio.create_task_group() as tasks:
                try:
                    while True:
                        # A reply whose turn has not ended by now keeps nothing open: nobody brings its end any more.
                        unfinished = any(reply.final is not None for reply in self._replies) or not self._outbox.settled
                        if self._closing and not (unfinished or self._notices or self._recovery.pending):
                            break
                        self._pass(tasks)
                        # Until the thread is read nothing is sent, and the reading wakes this task.
                        sending = inf if self._recovery.pending else self._outbox.wake_at()
                        due = min([sending, *(reply.due_at() for reply in self._replies)])
                        # Before the wait: it may close the editor.
                        if self.idle and not self._closing and self._on_idle is not None:
                            self._on_idle()
                        with anyio.move_on_after(max(0.0, due - self._clock())):
                            await self._woken.wait()
                        # Renewed with no await since: whatever wakes from here on is seen in the next pass.
                        self._woken = anyio.Event()
                finally:
                    # A call that is tried again and again must not hold up the end of the bot (R1).
                    self._leave_by = anyio.current_time() + LEAVE_LIMIT
                    for scope in self._under_way:
                        scope.deadline = self._leave_by
        finally:
            # Those who wait for a delivery must wake whatever ended the task, or they would wait forever.
            for reply in self._replies:
                reply.end(delivered=False)
            for notice in self._notices:
                notice.settle(given_up=True)
            self._replies, self._notices = [], []

    def _pass(self, tasks: TaskGroup) -> None:
        """Look at what is due, and start what may start; nothing here awaits, so that all is seen in one state."""
        now = self._clock()
        for reply in self._replies:
            if reply.due_at() <= now:
                with reply.guarded():
                    reply.look(now)
        if self._typing:
            self._typing = False
            if any(reply.speechless for reply in self._replies):
                tasks.start_soon(self._show_typing)
        if self._recovery.pending:
            # Nothing is sent before it is known what is there already: it would be visible twice.
            if not self._recovery.reading:
                self._recovery.reading = True
                tasks.start_soon(self._recovery.read_up)
        else:
            for op in self._outbox.next(now):
                tasks.start_soon(self._perform, op)
        self._settle()

    async def _perform(self, op: Op) -> None:
        message_id = op.message_id
        with self._unbroken():
            try:
                if message_id is None:
                    message_id = await self._port.send(op.body, nonce=op.nonce, reply_to=op.message.reply_to)
                elif op.body == NOTHING:
                    await self._port.delete(message_id)
                else:
                    await self._port.edit(message_id, op.body)
            except PortError as error:
                log.debug("message.refused", error=repr(error), message=op.message_id)
                self._outbox.failed(op, error, self._clock())
            except Exception as error:
                # A fault of ours in one message must not end the thread's others.
                log.exception("message.failed", message=op.message_id)
                self._outbox.failed(op, error, self._clock())
            else:
                self._outbox.succeeded(op, message_id)
        self._look_again()

    async def _show_typing(self) -> None:
        """Show the typing sign; a failure does not matter unless the thread is gone."""
        with self._unbroken():
            try:
                await self._port.typing()
            except ThreadGone as error:
                self._outbox.end(str(error))
            except PortError as error:
                log.debug("typing.refused", error=repr(error))
        self._look_again()

    @contextmanager
    def _unbroken(self) -> Iterator[None]:
        """Shield a request from a cancellation until the bound that the end of `run()` sets has passed."""
        # One that was cancelled may have been done nevertheless, and the next run would do it again.
        with anyio.CancelScope(shield=True, deadline=self._leave_by) as scope:
            self._under_way.add(scope)
            try:
                yield
            finally:
                self._under_way.discard(scope)

    def _wake(self) -> None:
        self._woken.set()

    def _settle(self) -> None:
        """Let go of what came to its end."""
        for reply in self._replies:
            reply.settle()
            if self.gone:
                reply.end(delivered=False)
        self._replies = [reply for reply in self._replies if not reply.done.is_set()]
        self._notices = [notice for notice in self._notices if not notice.settle(given_up=self.gone)]
        if self._outbox.gone is not None and self._on_gone is not None:
            on_gone, self._on_gone = self._on_gone, None  # once
            on_gone(self._outbox.gone)

    def _look_again(self) -> None:
        """Something came to its end or begins: let go of what is done, and let the owner task look at the rest."""
        self._settle()
        self._wake()
