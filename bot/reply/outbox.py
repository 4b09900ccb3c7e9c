"""What a thread's messages should show, what they show, and which request to Discord comes next (pure).

New messages go out one after another, in the order they were put in. Edits go beside them: one at a time for a message,
at the pace of `bot.reply.pacing`, final ones first. The latest wanted body wins; what was overtaken is never sent.
The mutable state is the cells, the queue of new messages and the pacer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf

from bot.reply.pacing import Pacer, Pacing
from bot.reply.port import Body, MessageGone, PortError, ThreadArchived, ThreadGone, Unavailable

NOTHING = Body("")
"""What a message is to show that is to be deleted."""

MAX_TRIES = 3
"""Tries of anything that is gone, archived, or fails without a reason we know."""


@dataclass(slots=True, eq=False)
class OutgoingMessage:
    """One message: what it should show and what it shows.

    Attributes:
        mark: the offset in the reply's text up to which ``desired`` goes; ``displayed_mark`` is that of ``shown``.
        final: its edits may use the token that is kept.
        urgent: as ``final``, for one edit.
        expendable: not worth a new message when somebody deleted it.
        instead: what it is to show where it can't be deleted.
        on_archived: told that the message can't be edited, since the thread is archived; without it, the edit is made
            once the thread is open again.
        on_refused: told that Discord does not take it; somebody waits for it, so it is not tried again.
        given_up: nothing more is tried.
        refused: given up since Discord does not take what it should show, or fails on it each time.
        busy: a request for it is under way.
        posted: it was put in the queue of new messages, or is on Discord.
        nonce: of the new message; chosen when it is first sent, unless it was before.
        tried: what it should show when that nonce first went out.
        anew: the nonce of the message that takes its place when somebody deleted it; None: any new one.
        retry_at: not before is anything tried again.
        failures: refusals in a row that time may mend; ``dead_ends`` are those that it hardly will, in all.
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
    message_id: int | None = None
    displayed: Body | None = None
    displayed_mark: int = 0
    given_up: bool = False
    refused: bool = False
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

    cell: OutgoingMessage
    body: Body
    mark: int
    message_id: int | None
    nonce: str = ""


@dataclass(slots=True)
class Outbox:
    """Decides; the editor does. Times are those of the clock that the editor passes in as ``now``.

    ``oldest`` and ``newest`` are the ids of the first and the last message that was created here; 0 before.
    """

    pacing: Pacing
    nonces: Callable[[], str]
    gone: str | None = None
    oldest: int = 0
    newest: int = 0
    pacer: Pacer = field(init=False)
    # Posts go out one after another, in this order; everything that is not settled is in the second list, too.
    _posts: deque[OutgoingMessage] = field(default_factory=deque)
    _cells: list[OutgoingMessage] = field(default_factory=list)
    _parked: list[OutgoingMessage] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pacer = Pacer(self.pacing)

    def post(self, cell: OutgoingMessage) -> None:
        """Put a new message after those that were put in before; a second call for the same cell changes nothing."""
        if self.gone is not None:
            cell.given_up = True
        if not cell.posted and not cell.given_up:
            cell.posted = True
            self._posts.append(cell)
            self._cells.append(cell)

    def adopt(self, cell: OutgoingMessage, message_id: int, *, as_wanted: bool = False) -> None:
        """A cell's message is on Discord already: it is edited, not sent; or left alone, if it is ``as_wanted``."""
        self._unqueue(cell)
        cell.message_id, cell.posted = message_id, True
        if as_wanted:
            cell.displayed, cell.displayed_mark = cell.desired, cell.mark
        self.changed(cell)

    def abandon(self, cell: OutgoingMessage) -> None:
        """Try nothing more for a message; a request that is under way still counts."""
        cell.given_up = True
        if not cell.busy:  # a request under way needs its place in the queue until its end is known
            self._give_up(cell)

    def remove(self, cell: OutgoingMessage, instead: Body) -> None:
        """Delete a message, or let it show ``instead`` where that is refused; one that is not there yet never comes."""
        if cell.message_id is None and not cell.busy:
            self.abandon(cell)
            return
        # Where a send is under way its message may come yet: it is deleted once its id is known.
        cell.desired, cell.instead, cell.expendable = NOTHING, instead, True
        self.changed(cell)

    def park(self, cell: OutgoingMessage) -> None:
        """Leave a message as it is until the thread, which is archived, is seen to be open again."""
        self._give_up(cell)
        self._parked.append(cell)

    @property
    def settled(self) -> bool:
        """Whether nothing is under way or waiting."""
        return all(cell.settled and not cell.busy for cell in self._cells)

    def next(self, now: float) -> Iterator[Op]:
        """Yield the requests that may start now, each marked as started."""
        self._cells = [cell for cell in self._cells if cell.busy or not cell.settled]
        if self.gone is not None:
            return
        if self._posts and self._post_ready_at() <= now:
            cell = self._posts[0]
            assert cell.desired is not None
            # A try keeps the nonce of the one before: whether Discord has done that is not known, and with the same
            # nonce it posts no second message.
            cell.nonce = cell.nonce or self.nonces()
            cell.tried = cell.tried or cell.desired
            cell.busy, cell.created_at, cell.edited_at = True, now, now
            yield Op(cell, cell.desired, cell.mark, None, cell.nonce)
        # Asked anew for each: an edit that starts takes a token, and the next may have to wait for one.
        while ready := [cell for cell in self._cells if cell.wants_edit and self._edit_ready_at(cell) <= now]:
            cell = min(ready, key=lambda cell: (not cell.final, not cell.urgent, cell.edited_at))
            assert cell.desired is not None
            # Marked before anything is awaited: two edits of one message could arrive in the wrong order.
            cell.busy, cell.urgent, cell.edited_at = True, False, now
            self.pacer.started(now)
            yield Op(cell, cell.desired, cell.mark, cell.message_id)

    def edits_closed(self, now: float) -> bool:
        """Return whether Discord takes no edit for longer than a final text waits for one."""
        return self.pacer.closed_for(now) > self.pacing.patience

    def wake_at(self) -> float:
        """Return when `next()` is worth a call, if nothing happens before."""
        edits = [self._edit_ready_at(cell) for cell in self._cells if cell.wants_edit]
        return min([self._post_ready_at(), *edits])

    def changed(self, cell: OutgoingMessage) -> None:
        """The wanted body of a message on Discord changed: have an eye on it again."""
        if cell.posted and cell not in self._cells and not cell.given_up:
            self._cells.append(cell)

    def hurry(self, now: float) -> None:
        """Try once more at once what waits after a refusal; an edit that is not worth it waits for no limit."""
        for cell in self._cells:
            cell.retry_at = 0.0
            # The end of the bot does not wait for what only looks better.
            if cell.expendable and cell.wants_edit and self.edits_closed(now):
                cell.given_up = True

    def _post_ready_at(self) -> float:
        # While one is under way no other starts: Discord orders messages by arrival, and people read them in order.
        return inf if not self._posts or self._posts[0].busy else self._posts[0].retry_at

    def _edit_ready_at(self, cell: OutgoingMessage) -> float:
        return max(cell.retry_at, self.pacer.ready_at(final=cell.final or cell.urgent))

    # --- the result of a request -------------------------------------------------------------------------------

    def succeeded(self, op: Op, message_id: int | None = None) -> None:
        """The request was done; for a new message with the id it got."""
        cell = op.cell
        cell.busy, cell.failures = False, 0
        # What was sent, not what is desired by now: the difference is the next edit.
        cell.displayed, cell.displayed_mark = op.body, op.mark
        if op.message_id is not None:
            self.pacer.succeeded()
            return
        self._unqueue(cell)
        cell.message_id = message_id
        self.newest = max(self.newest, message_id or 0)
        self.oldest = self.oldest or self.newest
        # A new message takes a thread out of the archive: what could not be edited in it can be now.
        for parked in self._parked:
            parked.given_up = False
            self.changed(parked)
        self._parked.clear()
        if cell.tried != op.body:
            # The same nonce went out with another body before: which of the two is visible is not known.
            cell.displayed = None
        cell.tried = None  # it may hold a file

    def failed(self, op: Op, error: Exception, now: float) -> None:
        """The request was not done, or not as far as is known."""
        cell, is_post = op.cell, op.message_id is None
        cell.busy = False
        match error:
            case ThreadGone():
                self.end(str(error))
            case _ if cell.given_up:
                self._unqueue(cell)
            case _ if cell.desired == NOTHING and is_post:
                self._give_up(cell)  # it was not posted, and is not wanted any more
            case Unavailable() if error.retry_after > 0:
                # Discord takes none of its kind in this thread for long; that it was not done is certain.
                if is_post:
                    cell.retry_at = now + error.retry_after
                else:
                    self.pacer.closed(now + error.retry_after)
            case Unavailable():
                self._retry(op, now)
            case ThreadArchived() if not is_post:
                # Only whoever owns the message knows whether its text has to get through in another way.
                if cell.on_archived is None:
                    self.park(cell)
                else:
                    cell.on_archived()
            case MessageGone() if op.body == NOTHING:
                cell.displayed = NOTHING
            case MessageGone() if not is_post:
                # Once: somebody who deletes the new message as well means it.
                cell.dead_ends += 1
                if cell.expendable or cell.dead_ends > 1:
                    self._give_up(cell)
                else:
                    cell.message_id = cell.displayed = cell.tried = cell.reply_to = None
                    # The old nonce would only give back the message that was deleted.
                    cell.nonce, cell.anew = cell.anew, None
                    self._posts.append(cell)
            case _ if op.body == NOTHING:
                cell.desired = cell.instead
            case _:
                self._dead_end(op, error, now)

    def end(self, reason: str) -> None:
        """The thread can't be written to any more: give everything up; an empty ``reason``: that is all we know."""
        self.gone = self.gone or reason or "the thread can't be written to"
        for cell in [*self._posts, *self._cells]:
            cell.given_up = True
        self._posts.clear()

    def _retry(self, op: Op, now: float) -> None:
        cell = op.cell
        cell.failures += 1
        cell.retry_at = now + self.pacer.backoff(cell.failures)
        if op.message_id is not None:
            self.pacer.refused()
            # It may have been done all the same: the same body again would else count as displayed already.
            cell.displayed = None

    def _dead_end(self, op: Op, error: Exception, now: float) -> None:
        """Try a few times more what time will hardly mend, then give up."""
        cell = op.cell
        cell.dead_ends += 1
        # Somebody waits for a card: a plain refusal is told at once, so that the request does not hang.
        hopeless = cell.on_refused is not None and type(error) is PortError
        if cell.dead_ends < MAX_TRIES and not hopeless:
            self._retry(op, now)
        elif isinstance(error, ThreadArchived):
            self.end("the thread is archived and can't be opened")
        else:
            cell.refused = not isinstance(error, MessageGone)
            self._give_up(cell)
            if cell.on_refused is not None and op.message_id is None:
                cell.on_refused()

    def _give_up(self, cell: OutgoingMessage) -> None:
        cell.given_up = True
        self._unqueue(cell)

    def _unqueue(self, cell: OutgoingMessage) -> None:
        if cell in self._posts:  # by identity: two messages may look alike
            self._posts.remove(cell)
