"""The reply to one prompt while its turn runs, and its final state.

It looks at a snapshot of the turn when the editor says so and lets the messages show it: which of them shows what is
decided in `bot.reply.reply_messages`, when and whether that is sent in `bot.reply.outbox`. The mutable state is the
messages of the reply, the cards and a few flags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf

import anyio
import structlog

from acp.snapshot import TurnSnapshot
from bot.model import Verbosity
from bot.reply.live_status import live_block
from bot.reply.outbox import Outbox, OutgoingMessage
from bot.reply.pending_reply import FinalReply, SavedReply, below
from bot.reply.port import MESSAGE_LIMIT, Body, Button
from bot.reply.recovery import Found, pages_beside_file, take_places, told_in_file
from bot.reply.reply_messages import LATE, ReplyMessages
from bot.reply.sanitise import units
from bot.reply.tools import worth_showing

log = structlog.get_logger(__name__)

OnShown = Callable[[tuple[int, ...]], None]
"""Called with all messages that show a reply so far, in order, whenever one was created."""

_OLD = 3000.0
"""Seconds; Discord allows few edits of a message older than an hour, so a long turn goes on in a new one before."""


class LiveReply:
    """What the work holds of a reply; made by `ThreadEditor.open()`.

    Attributes:
        messages: which of them shows what; the editor's, not the work's.
        final: the end of the turn, once `finish()` was called.
        done: set when the final state is visible or given up.
    """

    def __init__(
        self,
        key: int,
        snapshot: Callable[[int], TurnSnapshot],
        outbox: Outbox,
        wake: Callable[[], None],
        clock: Callable[[], float],
        reply_to: int | None = None,
        stop_button: Button | None = None,
        on_shown: OnShown | None = None,
        *,
        long_as_file: bool = False,
        redact: Callable[[str], str] = str,
        verbosity: Verbosity = Verbosity.NORMAL,
    ) -> None:
        self.key = key
        self._redact = redact
        self._verbosity = verbosity
        self._snapshot = snapshot
        self._outbox = outbox
        self._wake = wake
        self._clock = clock
        self._stop = (stop_button,) if stop_button else ()
        self.messages = ReplyMessages(snapshot, outbox, reply_to, long_as_file=long_as_file, redact=redact)
        self._on_shown = on_shown
        self._told: tuple[int, ...] = ()
        self._after = max(key, outbox.newest)
        self._cards: dict[str, OutgoingMessage] = {}
        self._announced: FinalReply | None = None
        self.final: FinalReply | None = None
        self._dirty = True
        self._urgent = False
        self._looked_at = -inf
        self._opened_at: float | None = None
        self.done = anyio.Event()
        self._delivered = False
        self._folding: list[OutgoingMessage] | None = None

    # --- what the work calls -----------------------------------------------------------------------------------

    def touch(self, *, urgent: bool = False) -> None:
        """Note that the turn changed; ``urgent``: the response arrived, bring the text up to date at once."""
        if urgent and not self._urgent:
            self._urgent = True
            self._wake()
        if not self._dirty:
            self._dirty = True
            self._wake()

    @property
    def verbosity(self) -> Verbosity:
        """How much of the turn is shown besides its text; another one holds from the next look on (V1)."""
        return self._verbosity

    @verbosity.setter
    def verbosity(self, verbosity: Verbosity) -> None:
        self._verbosity = verbosity
        self.touch()

    def card(
        self,
        key: str,
        body: Body,
        on_refused: Callable[[], None] | None = None,
        on_shown: Callable[[int, Body], None] | None = None,
        *,
        held: bool = False,
    ) -> None:
        """Post a card below the text so far; with a key that was used before, edit that card.

        Args:
            on_refused: called when it can't be shown, or Discord does not take it: then nobody will ever see it.
            on_shown: called with the message and what it shows, each time that Discord has taken that.
            held: it keeps its place, with all that comes after it, until `release`.
        """
        message = self._cards.get(key)
        # 1. A card that is there, posted or not.
        if message is not None:
            if message.message_id is not None and not body.buttons:
                body = replace(body, file=None)  # it is on Discord; a turn may have hundreds of cards
            message.desired, message.final, message.expendable = body, not body.buttons, not body.buttons
            self._outbox.changed(message)
        elif self.done.is_set():
            # 2. The reply was given up while its turn goes on: nobody would answer, and the agent would wait.
            if on_refused is not None:
                on_refused()
        else:
            # 3. A new one, below all that was said before it: that is put into the queue first.
            self._cards[key] = message = OutgoingMessage(
                desired=body,
                expendable=not body.buttons,
                on_refused=on_refused,
                on_shown=on_shown,
                retry_at=inf if held else 0.0,
            )
            self.look_now()
            self.messages.pages.cut = self.messages.pages.last.end
            self._outbox.post(message)
        self._dirty = True
        self._wake()

    def release(self, key: str) -> None:
        """Let a card be posted that was held."""
        if (message := self._cards.get(key)) is not None:
            message.retry_at = 0.0
            self._wake()

    def announce(self, final: FinalReply) -> None:
        """Show the end already, although text may still come; `finish()` is to follow."""
        if self._announced is None:
            self._announced = final
            self.touch(urgent=True)

    def finish(self, final: FinalReply) -> None:
        """Take the reply to its final state; only the first call counts."""
        if self.final is None:
            self.final = final
            self._wake()

    def owed(self, final: FinalReply | None = None, *, ended: bool = True) -> str | None:
        """Return what to keep so that `ThreadEditor.restore()` can show the reply; None: there is nothing to deliver.

        ``final`` is what `finish()` will be given, if that was not called yet: so the payload can be written down
        before anything of the end is visible. With ``ended``, nothing more is taken from the turn from here on.
        """
        final = self.final or final
        if final is None or self.done.is_set() or (self.messages.held and not ended):
            return None
        try:
            if ended:
                # What is kept and what is shown must be the same, so late text is in both or in neither.
                self.messages.freeze(final)
            return self.messages.saved(final, self._after).to_json()
        except Exception:
            log.exception("reply.failed", key=self.key)
            if ended:
                self.end(delivered=False)
            return None

    async def delivered(self) -> bool:
        """Wait for the final state; True: it is visible, False: it was given up."""
        await self.done.wait()
        return self._delivered

    # --- what the editor calls ---------------------------------------------------------------------------------

    @property
    def speechless(self) -> bool:
        """Whether it has no message yet."""
        return not any(page.message.posted for page in self.messages.pages.all)

    def due_at(self) -> float:
        """Return when the next look at the turn is due."""
        pacing = self._outbox.pacer.pacing
        # 1. It is over, and what is left of it is the outbox's; or its end is not to be seen yet.
        if self._folding is not None:
            return inf
        if self.done.is_set() or (self.messages.apart is not None and self.final is None):
            return inf  # it is written down now, and nothing of the end may be visible before that
        # 2. The end is laid out: looked at once more only if Discord takes no edit of it (D3).
        if self.messages.composed:
            return 0.0 if self._must_be_sent() else inf
        if self.messages.held:
            # What an edit under way shows is known at its end; until then, so is what is left to send.
            return inf if self.final is None or self.messages.under_way else 0.0
        # 3. The end, or the agent's response, is shown at once (T3).
        if self.final is not None or self._urgent:
            return 0.0
        # 4. While the turn runs: a change when the pace allows it; without one, now and then for the times it shows.
        if not self._dirty:
            return self._looked_at + pacing.refresh
        # A first message is no edit, and waits for no pace.
        paced = 0.0 if self.speechless else self._outbox.pacer.ready_at(final=False)
        return max(paced, self._looked_at + pacing.glance)

    def look(self, now: float) -> None:
        """Bring what the messages should show up to date with the turn."""
        self._looked_at, self._dirty = now, False
        self._opened_at = now if self._opened_at is None else self._opened_at
        urgent, self._urgent = self._urgent, False
        if self.final is not None:
            self.messages.compose_end(self.final)
            if self._must_be_sent():
                self.messages.hold(LATE)
                self.messages.compose_end(self.final)
        elif self._announced is not None and not self.messages.held and self.messages.apart is None:
            self.messages.announce(self._announced)
        elif not self.messages.held and self.messages.apart is None:
            self._compose(now, text_only=urgent)
            carrier = self.messages.pages.carrier()
            carrier.message.urgent = urgent and carrier.message.displayed_mark < carrier.end

    def _must_be_sent(self) -> bool:
        """Return whether the end would wait for an edit that Discord does not take for long."""
        if not self.messages.composed or self.messages.held or not self._outbox.edits_closed(self._clock()):
            return False
        return any(page.message.wants_edit for page in self.messages.pages.all)

    def look_now(self) -> None:
        """Look at the turn outside the pace, so that what was said before is in the queue first."""
        over = self.done.is_set() or self.messages.composed or self._folding is not None
        if not over and (self._dirty or self.final is not None):
            self.look(self._clock())

    def settle(self) -> None:
        """Report which messages there are; notice when everything of the final state is delivered or given up."""
        messages = (*self.messages.outgoing, *self.messages.surplus)
        ids = tuple(message.message_id for message in messages if message.message_id is not None)
        if self._on_shown is not None and not set(ids) <= set(self._told):
            self._told = ids
            try:
                self._on_shown(ids)
            except Exception:
                # A fault in keeping the ids must not hold up the end of the reply.
                log.exception("shown.failed", key=self.key)
        if self.done.is_set():
            return
        if self._folding is None and (delivered := self.messages.delivered) is not None:
            if self.final is not None and self.messages.say_refused(self.final):
                self._wake()
                return
            self._delivered = delivered
            with self.guarded():
                # What the thread shows of a long answer is complete, and only becomes shorter.
                self._folding = self.messages.fold()
        # Not before: what a kill leaves unfolded, the next run folds, for as long as the reply is kept.
        if self._folding is not None and all(message.settled for message in self._folding):
            self.end(delivered=self._delivered)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Give the reply up if it can't be rendered; the thread's others go on."""
        try:
            yield
        except Exception:
            log.exception("reply.failed", key=self.key)
            self.end(delivered=False)

    def end(self, *, delivered: bool) -> None:
        """Wake those who wait for the delivery."""
        if not self.done.is_set():
            self._delivered = delivered
            self.done.set()

    def _compose(self, now: float, *, text_only: bool) -> None:
        """Write what the messages should show; ``text_only``: a change of the status alone can wait for the end."""
        pages = self.messages.pages
        card_open = any(card.desired is not None and card.desired.buttons for card in self._cards.values())
        # A card has to stay the last message: people look for the question at the end of the thread.
        renewed = not card_open and now - pages.carrier().message.created_at > _OLD and pages.go_on_below()
        snapshot = self._snapshot(pages.start)
        pages.grow(snapshot.text)
        carrier = pages.last if renewed else pages.carrier()
        if text_only and carrier.message.posted and carrier.message.mark == carrier.end:
            return
        status = ""
        waited = now - (self._opened_at or now) >= self._outbox.pacer.pacing.first_status
        # A status line alone is worth a message only once something was done, or nothing was for long.
        at_work = self._verbosity is not Verbosity.QUIET and (worth_showing(snapshot.tools) or snapshot.plan)
        worth = not card_open and (waited or at_work)
        if carrier.text or carrier.message.posted or worth:
            room = MESSAGE_LIMIT - units(carrier.text) - 1
            status = live_block(snapshot, now, room, self._verbosity, self._redact)
        self.messages.seal_before(carrier, snapshot)
        self.messages.want(carrier, below(carrier.text, status), self._stop)

    def rejoin(self, saved: SavedReply, shown: tuple[int, ...], found: Found) -> tuple[int, ...]:
        """Take its final state, from the messages on that show some of it; return those that are its own."""
        self._told = shown  # the store knows these
        if self._outbox.gone is not None:
            return ()
        # What is in a file can't be compared with the text: all of it was sent, so none of it is sent again.
        if told_in_file(found, shown, saved.final.tail()):
            with self.guarded():
                folded = {key: OutgoingMessage() for key in pages_beside_file(found, shown)}
                for key, message in folded.items():
                    self._outbox.adopt(message, key)
                self.messages.put_summary([*folded.values()], saved.text)
                self._folding, self._delivered = [*folded.values()], True
            return ()
        ids: list[int] = []
        with self.guarded():
            self.finish(saved.final)
            self.look(self._clock())
            # A run that is killed in a send leaves a message that nobody recorded; the same nonce posts no second one.
            prefix = self.messages.nonce_prefix = f"r{self.key}-"
            for number, message in enumerate(self.messages.outgoing):
                message.nonce, message.anew = f"{prefix}{number}", f"{prefix}a{number}"
            ids += take_places(self.messages, self._outbox, shown, found)
        return tuple(ids)
