"""What a thread's messages should show, what they show, and which request to Discord comes next (pure).

New messages go out one after another, in the order they were put in. Edits go beside them: one at a time for a message,
at the pace of `bot.reply.pacing`, final ones first. The latest wanted body wins; what was overtaken is never sent.
The mutable state is the messages, the queue of new messages and the pacer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf

from bot.reply.pacing import Pacer
from bot.reply.port import Body, MessageGone, PortError, ThreadArchived, ThreadGone, Unavailable, UploadRefused

NOTHING = Body("")
"""What a message is to show that is to be deleted."""

MAX_TRIES = 3
"""Tries of anything that is gone, archived, or fails without a reason we know."""


@dataclass(slots=True, eq=False)
class OutgoingMessage:
    """One message: what it should show and what it shows.

    Attributes:
        mark: the offset in the reply's text up to which ``desired`` goes; ``displayed_mark`` is that of ``displayed``.
        final: its edits may use the token that is kept.
        urgent: as ``final``, for one edit.
        expendable: not worth a new message when somebody deleted it.
        instead: what it is to show where it can't be deleted.
        on_archived: called when the thread is archived and the message can't be edited; without it, the edit is made
            once the thread is open again.
        on_refused: called when Discord refuses it; somebody waits for it, so it is not tried again.
        on_shown: called with its id and what it shows, each time that Discord has taken that.
        given_up: nothing more is tried.
        refused: given up since Discord does not take what it should show, or fails on it each time.
        why_not: why its files were not taken, for people; "" if that is not the reason.
        busy: a request for it is under way.
        posted: it was put in the queue of new messages, or is on Discord.
        nonce: of the new message; chosen when it is first sent, unless it was before.
        tried: what it should show when that nonce first went out.
        anew: the nonce of the message that takes its place when somebody deleted it; None: any new one.
        retry_at: not before is anything tried again.
        failures: refusals in a row that time may cure; ``dead_ends`` counts those that it hardly will, in all.
        edited_at: when the last request for it began; ``created_at``: when that did that created it.
    """

    desired: Body | None = None
    mark: int = 0
    reply_to: int | None = None
    final: bool = False
    urgent: bool = False
    expendable: bool = False
    instead: Body | None = None
    on_archived: Callable[[], None] | None = None
    on_refused: Callable[[], None] | None = None
    on_shown: Callable[[int, Body], None] | None = None
    message_id: int | None = None
    displayed: Body | None = None
    displayed_mark: int = 0
    given_up: bool = False
    refused: bool = False
    why_not: str = ""
    busy: bool = False
    posted: bool = False
    nonce: str | None = None
    anew: str | None = None
    tried: Body | None = None
    retry_at: float = 0.0
    failures: int = 0
    dead_ends: int = 0
    edited_at: float = -inf
    created_at: float = inf

    @property
    def settled(self) -> bool:
        """Whether there is nothing left to do for it."""
        return self.given_up or self.desired is None or (not self.busy and self.desired == self.displayed)

    @property
    def wants_edit(self) -> bool:
        """Whether it is on Discord, and not as it should be."""
        return self.message_id is not None and not self.busy and not self.settled


@dataclass(frozen=True, slots=True)
class Op:
    """A request to Discord: a new message where ``message_id`` is None, else an edit; with `NOTHING`, its deletion."""

    message: OutgoingMessage
    body: Body
    mark: int
    message_id: int | None
    nonce: str = ""


@dataclass(slots=True)
class Outbox:
    """Decides; the editor does. Times are those of the clock that the editor passes in as ``now``.

    ``oldest`` and ``newest`` are the ids of the first and the last message that was created here; 0 before.
    """

    pacer: Pacer
    nonces: Callable[[], str]
    gone: str | None = None
    oldest: int = 0
    newest: int = 0
    # The new messages, in order: a dictionary, as one may have to leave from the middle. All of them are in the second
    # list, too, which has everything that is not settled.
    _posts: dict[OutgoingMessage, None] = field(default_factory=dict)
    _unsettled: list[OutgoingMessage] = field(default_factory=list)
    _parked: list[OutgoingMessage] = field(default_factory=list)

    def post(self, message: OutgoingMessage) -> None:
        """Put a new message after those that were put in before; a second call for the same message changes nothing."""
        if self.gone is not None:
            message.given_up = True
        if not message.posted and not message.given_up:
            message.posted = True
            self._posts[message] = None
            self._unsettled.append(message)

    def adopt(self, message: OutgoingMessage, message_id: int, *, as_wanted: bool = False) -> None:
        """It is on Discord already: it is edited, not sent; or left alone, if it is ``as_wanted``."""
        self._posts.pop(message, None)
        message.message_id, message.posted = message_id, True
        if as_wanted:
            message.displayed, message.displayed_mark = message.desired, message.mark
        self.changed(message)

    def abandon(self, message: OutgoingMessage) -> None:
        """Try nothing more for a message; a request that is under way still counts."""
        message.given_up = True
        if not message.busy:  # a request under way needs its place in the queue until its end is known
            self._posts.pop(message, None)

    def remove(self, message: OutgoingMessage, instead: Body) -> None:
        """Delete a message, or let it show ``instead`` where that is refused; one that is not there yet never comes."""
        if message.message_id is None and not message.busy:
            self.abandon(message)
            return
        # Where a send is under way its message may come yet: it is deleted once its id is known.
        message.desired, message.instead, message.expendable = NOTHING, instead, True
        self.changed(message)

    def park(self, message: OutgoingMessage) -> None:
        """Leave a message as it is until the thread, which is archived, is seen to be open again."""
        self.abandon(message)
        self._parked.append(message)

    @property
    def settled(self) -> bool:
        """Whether nothing is under way or waiting."""
        return all(message.settled and not message.busy for message in self._unsettled)

    def next(self, now: float) -> Iterator[Op]:
        """Yield the requests that may start now, each marked as started."""
        self._unsettled = [message for message in self._unsettled if message.busy or not message.settled]
        if self.gone is not None:
            return
        first = next(iter(self._posts), None)
        # While one is under way no other starts: Discord orders messages by arrival, and people read them in order.
        if first is not None and not first.busy and first.retry_at <= now:
            assert first.desired is not None
            # A try keeps the nonce of the one before: whether Discord has done that is not known, and with the same
            # nonce it posts no second message.
            first.nonce = first.nonce or self.nonces()
            first.tried = first.tried or first.desired
            first.busy, first.created_at, first.edited_at = True, now, now
            yield Op(first, first.desired, first.mark, None, first.nonce)
        # Asked anew for each: an edit that starts takes a token, and the next may have to wait for one.
        while ready := [one for one in self._unsettled if one.wants_edit and self._edit_ready_at(one) <= now]:
            message = min(ready, key=lambda one: (not one.final, not one.urgent, one.edited_at))
            assert message.desired is not None
            # Marked before anything is awaited: two edits of one message could arrive in the wrong order.
            message.busy, message.urgent, message.edited_at = True, False, now
            self.pacer.started(now)
            yield Op(message, message.desired, message.mark, message.message_id)

    def edits_closed(self, now: float) -> bool:
        """Return whether Discord takes no edit for longer than a final text waits for one."""
        return self.pacer.closed_until - now > self.pacer.pacing.patience

    def wake_at(self) -> float:
        """Return when `next()` is worth a call, if nothing happens before."""
        posts = [message.retry_at for message in list(self._posts)[:1] if not message.busy]
        edits = [self._edit_ready_at(message) for message in self._unsettled if message.wants_edit]
        return min([*posts, *edits], default=inf)

    def changed(self, message: OutgoingMessage) -> None:
        """The wanted body of a message on Discord changed: have an eye on it again."""
        if message.posted and message not in self._unsettled and not message.given_up:
            self._unsettled.append(message)

    def hurry(self, now: float) -> None:
        """Retry at once what waits after a refusal, but give up edits that only look better and would have to wait."""
        for message in self._unsettled:
            message.retry_at = 0.0
            # The end of the bot does not wait for what only looks better.
            if message.expendable and message.wants_edit and self.edits_closed(now):
                message.given_up = True

    def _edit_ready_at(self, message: OutgoingMessage) -> float:
        return max(message.retry_at, self.pacer.ready_at(final=message.final or message.urgent))

    def succeeded(self, op: Op, message_id: int | None = None) -> None:
        """The request was done; for a new message with the id it got."""
        message = op.message
        message.busy, message.failures = False, 0
        # What was sent, not what is desired by now: the difference is the next edit.
        message.displayed, message.displayed_mark = op.body, op.mark
        if op.message_id is not None:
            self.pacer.succeeded()
            if message.on_shown is not None:
                message.on_shown(op.message_id, op.body)
            return
        self._posts.pop(message, None)
        message.message_id = message_id
        if message.on_shown is not None and message_id is not None:
            message.on_shown(message_id, op.body)
        self.newest = max(self.newest, message_id or 0)
        self.oldest = self.oldest or self.newest
        # A new message takes a thread out of the archive: what could not be edited in it can be now.
        for parked in self._parked:
            parked.given_up = False
            self.changed(parked)
        self._parked.clear()
        if message.tried != op.body:
            # The same nonce went out with another body before: which of the two is visible is not known.
            message.displayed = None
        message.tried = None  # it may hold a file

    def failed(self, op: Op, error: Exception, now: float) -> None:
        """The request was not done, or not as far as is known."""
        message, is_post = op.message, op.message_id is None
        message.busy = False
        match error:
            case ThreadGone():
                self.end(str(error))
            case _ if message.given_up:
                self._posts.pop(message, None)
            case _ if message.desired == NOTHING and is_post:
                self.abandon(message)  # it was not posted, and is no longer wanted
            case Unavailable() if error.retry_after > 0:
                # Discord takes none of its kind in this thread for long; that it was not done is certain.
                if is_post:
                    message.retry_at = now + error.retry_after
                else:
                    self.pacer.closed_until = max(self.pacer.closed_until, now + error.retry_after)
            case Unavailable():
                self._retry(op, now)
            case ThreadArchived() if not is_post:
                # Only the owner of the message knows whether its text has to get through in another way.
                if message.on_archived is None:
                    self.park(message)
                else:
                    message.on_archived()
            case UploadRefused():
                # Another try would end in the same way; what becomes of the files is for their owner to say.
                message.why_not = str(error)
                self.abandon(message)
            case MessageGone() if op.body == NOTHING:
                message.displayed = NOTHING
            case MessageGone() if not is_post:
                # Once: somebody who deletes the new message as well means it.
                message.dead_ends += 1
                if message.expendable or message.dead_ends > 1:
                    self.abandon(message)
                else:
                    message.message_id = message.displayed = message.tried = message.reply_to = None
                    # The old nonce would only give back the message that was deleted.
                    message.nonce, message.anew = message.anew, None
                    self._posts[message] = None
            case _ if op.body == NOTHING:
                message.desired = message.instead
            case _:
                # Time will hardly cure it: a few more tries, then it is given up.
                message.dead_ends += 1
                # Somebody waits for a card: a plain refusal is reported at once, so that the request does not hang.
                hopeless = message.on_refused is not None and type(error) is PortError
                if message.dead_ends < MAX_TRIES and not hopeless:
                    self._retry(op, now)
                elif isinstance(error, ThreadArchived):
                    self.end("the thread is archived and can't be opened")
                else:
                    message.refused = not isinstance(error, MessageGone)
                    self.abandon(message)
                    if message.on_refused is not None and is_post:
                        message.on_refused()

    def end(self, reason: str) -> None:
        """Give everything up, as the thread can no longer be written to; an empty ``reason``: that is all we know."""
        self.gone = self.gone or reason or "the thread can't be written to"
        for message in [*self._posts, *self._unsettled]:
            message.given_up = True
        self._posts.clear()

    def _retry(self, op: Op, now: float) -> None:
        message = op.message
        message.failures += 1
        message.retry_at = now + self.pacer.backoff(message.failures)
        if op.message_id is not None:
            self.pacer.refused()
            # It may have been done nevertheless: otherwise the same body would count as displayed already.
            message.displayed = None
