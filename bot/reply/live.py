"""The reply to one prompt while its turn runs, and its final state.

It looks at a snapshot of the turn when the editor says so and writes what each message should show into its cells; when
and whether that is sent is `bot.reply.outbox`' business. The mutable state is the pages, the cards and a few flags.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import anyio

from acp.snapshot import TurnSnapshot
from bot.reply.final import MESSAGE_LIMIT, FinalReply, below, without_text
from bot.reply.outbox import Cell, Outbox
from bot.reply.pages import Page, Pages
from bot.reply.port import Attachment, Body, Button
from bot.reply.render import final_text, status_line, tools_summary, worth_showing
from bot.reply.sanitise import clip, units, visible
from bot.reply.split import take

__all__ = ["FinalReply", "LiveReply"]

_REST = "-# The rest of the answer ({size:,} characters) is in the file."
_HELD = "-# What the agent wrote while this thread was archived ({size:,} characters) is in the file."
_ABOVE = "-# The reply goes on below."
_MOST_REFUSALS = 2
_OLD = 3000.0
"""Seconds; Discord allows few edits of a message older than an hour, so a long turn goes on in a new one before."""


class LiveReply:
    """What the work holds of a reply; made by `ThreadEditor.open()`."""

    def __init__(
        self,
        key: int,
        snapshot: Callable[[int], TurnSnapshot],
        outbox: Outbox,
        wake: Callable[[], None],
        clock: Callable[[], float],
        *,
        reply_to: int | None = None,
        stop_button: Button | None = None,
    ) -> None:
        self.key = key
        self._snapshot = snapshot
        self._outbox = outbox
        self._wake = wake
        self._clock = clock
        self._stop = (stop_button,) if stop_button else ()
        self._pages = Pages(reply_to)
        self._cards: dict[str, Cell] = {}
        self._final: FinalReply | None = None
        self._composed = False
        self._instead = ""
        self._ending: list[Cell] = []
        self._refusals = 0
        self._dirty = True
        self._urgent = False
        self._held = False
        self._looked_at = -inf
        self._opened_at: float | None = None
        self._done = anyio.Event()
        self._delivered = False

    # --- what the work calls -----------------------------------------------------------------------------------

    def touch(self, *, urgent: bool = False) -> None:
        """Tell that the turn changed; ``urgent``: the response arrived, bring the text up to date at once."""
        if urgent and not self._urgent:
            self._urgent = True
            self._wake()
        if not self._dirty:
            self._dirty = True
            self._wake()

    def card(self, key: str, body: Body) -> None:
        """Post a card below the text so far; with a key that was used before, edit that card."""
        cell = self._cards.get(key)
        if cell is not None:
            cell.wanted, cell.final, cell.expendable = body, not body.buttons, not body.buttons
            self._outbox.changed(cell)
        elif not self._done.is_set():
            self._cards[key] = cell = Cell(wanted=body, expendable=not body.buttons)
            self.look_now()
            self._pages.cut_here()
            self._outbox.post(cell)
        self._dirty = True
        self._wake()

    def finish(self, final: FinalReply) -> None:
        """Take the reply to its final state; only the first call counts."""
        if self._final is None:
            self._final = final
            self._wake()

    async def delivered(self) -> bool:
        """Wait for the final state; True: it is visible, False: it was given up."""
        await self._done.wait()
        return self._delivered

    # --- what the editor calls ---------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether the final state is visible or given up."""
        return self._done.is_set()

    @property
    def finished(self) -> bool:
        """Whether the turn is over."""
        return self._final is not None

    @property
    def speechless(self) -> bool:
        """Whether it has no message yet."""
        return not any(page.cell.posted for page in self._pages.all)

    def look_at(self) -> float:
        """Return when the next look at the turn is due."""
        pacing = self._outbox.pacing
        if self._done.is_set() or self._composed:
            return inf
        if self._held:
            return inf if self._final is None or self._under_way() else 0.0
        if self._final is not None or self._urgent:
            return 0.0
        if not self._dirty:
            return self._looked_at + pacing.refresh
        paced = 0.0 if self.speechless else self._outbox.pacer.ready_at(final=False)
        return max(paced, self._looked_at + pacing.glance)

    def look(self, now: float) -> None:
        """Bring what the messages should show up to date with the turn."""
        self._looked_at, self._dirty = now, False
        self._opened_at = now if self._opened_at is None else self._opened_at
        urgent, self._urgent = self._urgent, False
        if self._final is not None:
            self._compose_end(self._final)
        elif not self._held:
            self._compose(now, text_only=urgent)
            carrier = self._pages.carrier()
            carrier.cell.urgent = urgent and carrier.cell.shown_mark < carrier.end

    def look_now(self) -> None:
        """Look at the turn outside the pace, so that what was said before is in the queue first."""
        if not self._done.is_set() and not self._composed and (self._dirty or self._final is not None):
            self.look(self._clock())

    def settle(self) -> None:
        """Notice that everything of the final state is delivered or given up."""
        cells = [page.cell for page in self._pages.all if page.cell.posted] + self._ending
        if self._done.is_set() or not self._composed or not all(cell.settled for cell in cells):
            return
        if self._final is not None and any(cell.refused for cell in cells) and self._say_refused(self._final, cells):
            return
        self.end(delivered=all(not cell.given_up for cell in (self._ending or cells)[-1:]))

    def end(self, *, delivered: bool) -> None:
        """Wake those who wait for the delivery."""
        if not self._done.is_set():
            self._delivered = delivered
            self._done.set()

    # --- while the turn runs -----------------------------------------------------------------------------------

    def _compose(self, now: float, *, text_only: bool) -> None:
        """Write what the messages should show; ``text_only``: a change of the status alone can wait for the end."""
        renewed = self._renew(now)
        snapshot = self._snapshot(self._pages.start)
        self._pages.grow(snapshot.text)
        carrier = self._pages.last if renewed else self._pages.carrier()
        if text_only and carrier.cell.posted and carrier.cell.mark == carrier.end:
            return
        status = self._status(snapshot, carrier, now)
        self._seal_before(carrier, snapshot)
        self._want(carrier, below(carrier.text, status), self._stop)

    def _renew(self, now: float) -> bool:
        """Go on in a new message if the last one is too old to be edited often; not while a person is asked."""
        too_old = now - self._pages.carrier().cell.created_at > _OLD
        return too_old and not self._card_open() and self._pages.go_on_below()

    def _status(self, snapshot: TurnSnapshot, carrier: Page, now: float) -> str:
        """Return the status line; empty where it alone would make a message that is not worth it."""
        if not carrier.text and not carrier.cell.posted:
            waited = now - (self._opened_at or now) >= self._outbox.pacing.first_status
            if self._card_open() or not (waited or worth_showing(snapshot)):
                return ""
        return status_line(snapshot, now)

    def _card_open(self) -> bool:
        return any(cell.wanted is not None and cell.wanted.buttons for cell in self._cards.values())

    def _seal_before(self, carrier: Page, snapshot: TurnSnapshot) -> None:
        """Let the pages above the carrier show their text only; each is looked at once."""
        for page in self._pages.all:
            if page is carrier:
                return
            if not page.sealed:
                page.sealed = True
                self._want_text(page, snapshot)

    def _want_text(self, page: Page, snapshot: TurnSnapshot) -> None:
        """Let a page show its text only, or, where it has none, what the agent did."""
        text = page.text or (tools_summary(snapshot) or _ABOVE if page.cell.posted else "")
        self._want(page, text)

    def _want(self, page: Page, text: str, buttons: tuple[Button, ...] = ()) -> None:
        """Let a page's message show ``text``; it is posted when there is something to show."""
        if not text:
            return
        cell, body = page.cell, Body(text, buttons)
        cell.mark, cell.on_archived = page.end, self._archived
        if cell.wanted != body:
            cell.wanted = body
            self._outbox.changed(cell)
        self._outbox.post(cell)

    def _archived(self) -> None:
        """No edit is possible any more: what is not shown yet is kept for one message at the end (D10)."""
        self._held = True
        for page in self._pages.all:
            self._outbox.abandon(page.cell)
        if self._composed:
            self._composed = False
            for cell in self._ending:
                self._outbox.abandon(cell)
            self._ending = [cell for cell in self._ending if cell.message_id is not None or cell.busy]

    # --- the end -----------------------------------------------------------------------------------------------

    def _compose_end(self, final: FinalReply) -> None:
        if self._held:
            self._compose_held(final)
            return
        snapshot = self._snapshot(self._pages.start)
        self._pages.grow(snapshot.text)
        self._say_something(final)
        if self._pages.overflow is not None:
            overflow = self._pages.overflow
            rest = self._instead[overflow:] if self._instead else self._snapshot(overflow).text
            self._compose_pages(snapshot, "")
            fence = self._pages.last.fence_at_end
            self._add(final, _REST.format(size=len(rest)), (fence.opening if fence else "") + rest)
        elif self._tail_fits(final):
            self._compose_pages(snapshot, final.tail())
        else:
            self._compose_pages(snapshot, "")
            self._add(final)
        self._composed = True

    def _say_something(self, final: FinalReply) -> None:
        """Where the agent said nothing, put what it did in place of its text (T4)."""
        if not self._pages.blank:
            return
        self._instead = final_text(self._snapshot(0), final.outcome)
        if not self._instead and not final.tail():
            self._instead = f"-# {final.outcome}"
        if self._instead:
            self._pages.restart()
            self._pages.grow(self._instead)

    def _tail_fits(self, final: FinalReply) -> bool:
        """Return whether lines and footer can stand in the last message of text."""
        carrier = self._pages.carrier()
        below_card = self._pages.cut is not None and carrier.cell.posted
        fits = units(below(carrier.text, final.tail())) <= MESSAGE_LIMIT
        return fits and not below_card and (final.ping is None or not carrier.cell.posted)

    def _compose_pages(self, snapshot: TurnSnapshot, tail: str) -> None:
        """Let every page show its final text; the last one with ``tail`` below, and none with a button."""
        carrier = self._pages.carrier()
        for page in self._pages.all:
            page.cell.final = True
        self._seal_before(carrier, snapshot)
        if tail:
            self._want(carrier, below(carrier.text, tail))
            self._let_ping(carrier.cell)
        else:
            self._want_text(carrier, snapshot)

    def _let_ping(self, cell: Cell) -> None:
        final = self._final
        if final is not None and final.ping is not None and cell.wanted is not None:
            cell.wanted = Body(cell.wanted.text, ping=final.ping)

    def _add(self, final: FinalReply, text: str = "", rest: str = "") -> None:
        """Post one more message below: ``text``, lines and footer, and ``rest`` as a file."""
        if not (text or final.tail()):
            return
        file = Attachment("answer.md", rest.encode("utf-8", "replace")) if rest else None
        body = Body(clip(below(text, final.tail()), MESSAGE_LIMIT), file=file, ping=final.ping)
        cell = Cell(wanted=body, final=True)
        self._ending.append(cell)
        self._outbox.post(cell)

    def _say_refused(self, final: FinalReply, cells: list[Cell]) -> bool:
        """Tell the end without the text that Discord refuses: first with the text as a file, then without; else False.

        What is above in `cells` was shown, or is in the file; only the end itself is never told twice.
        """
        last = cells[-1]
        if self._refusals >= _MOST_REFUSALS or (self._refusals and not last.refused):
            return False
        self._refusals += 1
        rest, _ = self._pages.unshown(self._instead or self._snapshot(0).text)
        body = without_text(final, rest if self._refusals == 1 else "", told=not last.refused)
        self._ending.append(Cell(wanted=body, final=True))
        self._outbox.post(self._ending[-1])
        self._wake()
        return True

    def _under_way(self) -> bool:
        """Return whether a request for a message of text is under way."""
        return any(cell.busy for cell in (*(page.cell for page in self._pages.all), *self._ending))

    def _compose_held(self, final: FinalReply) -> None:
        """Send what no message shows as one new message."""
        if self._under_way():
            return
        snapshot = self._snapshot(0)
        text = self._instead or snapshot.text
        if not visible(text):
            text = final_text(snapshot, final.outcome)
        rest, fence = self._pages.unshown(text)
        part = take(rest if rest.strip() else "", 0, fence=fence)
        if part.source in (rest, "") and units(below(part.shown, final.tail())) <= MESSAGE_LIMIT:
            self._add(final, part.shown if part.source else "")
        else:
            rest = f"{fence.opening if fence else ''}{rest}"
            self._add(final, _HELD.format(size=len(rest)), rest)
        self._composed = True
