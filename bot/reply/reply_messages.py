"""The messages of one reply: which of them shows what, from the first text to the last word (pure).

When to look at the turn is decided in `bot.reply.live_reply`, when and whether something is sent in `bot.reply.outbox`.
The mutable state is the pages, the messages below them, and how the end is laid out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from acp.snapshot import TurnSnapshot
from bot.model import Outcome
from bot.reply.fallback import fallback_text, tools_summary
from bot.reply.long_answer import LONG, file_note, summary
from bot.reply.outbox import Outbox, OutgoingMessage
from bot.reply.pages import Page, Pages
from bot.reply.pending_reply import FinalReply, SavedPage, SavedReply, below
from bot.reply.port import MESSAGE_LIMIT, Attachment, Body, Button
from bot.reply.render import HEADLINES
from bot.reply.sanitise import clip, code_block, units, visible
from bot.reply.split import PAGE, reopened, take

ABOVE = "-# Continued below."
HELD = "-# What the agent wrote while this thread was archived ("
LATE = "-# What Discord could not show in time ("
_IN_FILE = "{size:,} characters) is in the file."
_REST = "-# The rest of the answer ({size:,} characters) is in the file."
_CHANGES = "-# The changes of more than 30 lines are in the file."
_NO_CHANGES = "-# Discord refused the file with the changes of more than 30 lines."
_REFUSED = "-# Discord refused to show this answer ({size:,} characters); it is in the file."
_REFUSED_ALL = "-# Discord refused to show this answer."
_MOST_REFUSALS = 2


class ReplyMessages:
    """The messages of a reply in order: pages of text, what was added below them, and what is left of an earlier run.

    Attributes:
        held: messages are no longer edited: the thread was archived, or Discord takes no edit for long.
        apart: lines and footer stand in a message of their own; None until it is decided which messages there will be.
        composed: every message has its final state, as far as is decided here.
        surplus: messages of an earlier run that no longer have a place in the reply.
        nonce_prefix: begins the nonces of messages that must not be posted twice even across restarts.
    """

    def __init__(
        self,
        snapshot: Callable[[int], TurnSnapshot],
        outbox: Outbox,
        reply_to: int | None = None,
        *,
        long_as_file: bool = False,
        redact: Callable[[str], str] = str,
    ) -> None:
        self.pages = Pages(reply_to, redact)
        self._redact = redact
        self.held = False
        self.composed = False
        self.snapshot = snapshot
        self._outbox = outbox
        self._reply_to = reply_to
        self._long_as_file = long_as_file
        self._instead = ""
        self._changes = ""
        self.apart: bool | None = None
        self._told_above = False
        self._pinged = False
        self._ending: list[OutgoingMessage] = []
        self.surplus: list[OutgoingMessage] = []
        self._held_note = HELD
        self._refusals = 0
        self.nonce_prefix: str | None = None

    @property
    def outgoing(self) -> list[OutgoingMessage]:
        """Return the messages that are sent, in order."""
        return [page.message for page in self.pages.all if page.message.posted] + self._ending

    @property
    def delivered(self) -> bool | None:
        """Return whether the end is visible; None while something of it is neither delivered nor given up."""
        if not self.composed or not all(message.settled for message in (*self.outgoing, *self.surplus)):
            return None
        return self._told_above or all(not message.given_up for message in self.outgoing[-1:])

    @property
    def under_way(self) -> bool:
        """Return whether a request for a message of text is under way."""
        return any(message.busy for message in (*(page.message for page in self.pages.all), *self._ending))

    def seal_before(self, carrier: Page, snapshot: TurnSnapshot) -> None:
        """Let the pages above the carrier show their text only; each is looked at once."""
        for page in self.pages.all:
            if page is carrier:
                return
            if not page.sealed:
                page.sealed = True
                self.want(page, page.text or self._note(page, snapshot))

    def want(self, page: Page, text: str, buttons: tuple[Button, ...] = ()) -> None:
        """Let a page's message show ``text``; it is posted when there is something to show."""
        if not text:
            return
        message, body = page.message, Body(text, buttons)
        message.mark, message.on_archived = page.end, self.hold
        if message.desired != body:
            message.desired = body
            self._outbox.changed(message)
        self._outbox.post(message)

    def _note(self, page: Page, snapshot: TurnSnapshot) -> str:
        """Return what a page shows that has no text: what the agent did, as Discord takes no empty message."""
        return page.note or (tools_summary(snapshot) or ABOVE if page.message.posted else "")

    def hold(self, note: str = "") -> None:
        """Edits are no longer possible: what is not shown yet is kept for one new message at the end (D10, D3).

        ``note``: how its file is announced, where that is not for an archived thread.
        """
        self.held = True
        self._held_note = note or self._held_note
        for page in self.pages.all:
            self._outbox.abandon(page.message)
        # Composed anew, with one message; of those that were to come below, what is there already stays.
        self.composed = False
        for message in self._ending:
            self._outbox.abandon(message)
        self._ending = [message for message in self._ending if message.message_id is not None or message.busy]

    def announce(self, final: FinalReply) -> None:
        """Let the messages show the end while text may still come; what that changes, `compose_end()` puts right."""
        self.pages.grow(self.snapshot(self.pages.start).text)
        apart = self._stands_apart(final)
        self._compose_pages(self.snapshot(self.pages.start), final, "" if apart else final.tail())
        # What stands in the place of text, and the rest of a long one, are known at the very end, and are above it.
        above = self.pages.overflow is not None or self._goes_into_file
        if apart and not (self._ending or self.pages.blank or above):
            self._add(final)

    def freeze(self, final: FinalReply) -> None:
        """Take over the last of the text and decide which messages there will be; only the first call counts."""
        if self.apart is not None:
            return
        self.pages.grow(self.snapshot(self.pages.start).text)
        if self.pages.blank:
            # Where the agent said nothing, what it did stands in place of its text (T4).
            files: list[str] = []
            self._instead = _instead_of_text(self.snapshot(0), final, files)
            self._changes = "\n".join(files)
            if not self._instead and not final.tail():
                self._instead = f"-# {HEADLINES[final.outcome]}."
            if self._instead:
                # The message of text that shows nothing, if there is one, stays the first: it would be empty otherwise.
                pages = self.pages
                pages.all, pages.overflow, pages.cut = [pages.last], None, None if pages.cut is None else 0
                pages.last.start, pages.last.fence, pages.last.part = 0, None, None
                pages.grow(self._instead)
        self.apart = self._stands_apart(final)

    def _stands_apart(self, final: FinalReply) -> bool:
        """Return whether lines and footer stand in a message of their own."""
        if self._ending or self.pages.overflow is not None or self._goes_into_file or self._changes:
            return True
        carrier = self.pages.carrier()
        # Below a card that was posted since: the end is looked for at the end of the thread.
        below_card = self.pages.cut is not None and carrier.message.posted
        # An edit notifies nobody, so a ping needs a new message, once.
        needs_ping = final.ping is not None and not self._pinged and carrier.message.posted
        return below_card or needs_ping or units(below(carrier.text, final.tail())) > MESSAGE_LIMIT

    def saved(self, final: FinalReply, after: int) -> SavedReply:
        """Return what must be kept to show the reply after a restart; before `freeze()`: as far as it goes.

        ``after``: the newest message older than all of it.
        """
        apart = self.apart
        if apart is None:
            self.pages.grow(self.snapshot(self.pages.start).text)
            apart = self._stands_apart(final)
        snapshot = self.snapshot(0)
        return SavedReply(
            self._instead or snapshot.text,
            final,
            # With their borders: cut anew, the text could be laid out otherwise than what is there.
            tuple(SavedPage(page.start, "" if page.text else self._note(page, snapshot)) for page in self.pages.all),
            overflow=self.pages.overflow,
            apart=apart,
            reply_to=self._reply_to,
            after=after,
            changes=self._changes,
        )

    def lay_out(self, saved: SavedReply) -> None:
        """Become the messages that ``saved`` was made of, of which nothing is posted yet."""
        self.apart, self._changes = saved.apart, saved.changes
        pages, text = self.pages, saved.text
        for number, page in enumerate(saved.pages):
            if number:
                # Up to each border only, or the text would be cut where there is room and not where it was.
                pages.grow(text[pages.start : page.start])
                pages.go_on_below()
            pages.last.note = page.note
        pages.grow(text[pages.start : saved.overflow])
        if saved.overflow is not None:
            pages.overflow, pages.seen = saved.overflow, len(text)

    def compose_end(self, final: FinalReply) -> None:
        """Let every message show its final state."""
        if self.held:
            self._compose_held(final)
            return
        self.freeze(final)
        snapshot = self.snapshot(self.pages.start)
        self._compose_pages(snapshot, final, "" if self.apart else final.tail())
        if self._goes_into_file:
            text = self._instead or self.snapshot(0).text
            self._add(final, file_note(text), text + self._fenced_changes)
        elif self.pages.overflow is not None:
            overflow = self.pages.overflow
            rest = self._instead[overflow:] if self._instead else self.snapshot(overflow).text
            rest = reopened(self.pages.last.fence_at_end, rest) + rest + self._fenced_changes
            self._add(final, _REST.format(size=len(rest)), rest)
        elif self._changes:
            self._add(final, _CHANGES, self._changes, "changes.diff")
        elif self._ending:
            # It was announced; costs may have come late.
            message = self._ending[0]
            if message.desired is not None and not message.given_up:
                message.desired = replace(message.desired, text=final.tail())
                self._outbox.changed(message)
        elif self.apart:
            self._add(final)
        self.composed = True

    @property
    def _fenced_changes(self) -> str:
        return f"\n\n{code_block(self._changes, 'diff')}\n" if self._changes else ""

    @property
    def _goes_into_file(self) -> bool:
        """Return whether all of the text becomes a file, and its messages a summary (V5)."""
        return self._long_as_file and sum(bool(page.text) for page in self.pages.all) > LONG

    def fold(self) -> list[OutgoingMessage]:
        """Put the summary in place of the pages of a long answer, if its file is visible; return what that changes."""
        there = any(message.displayed and message.displayed.file for message in self._ending)
        # What was shown never goes before the file is there; a thread that takes no edit keeps it.
        if there and self._goes_into_file and not self.held:
            pages = [page.message for page in self.pages.all if page.message.message_id is not None]
            pages = [message for message in pages if not message.given_up]
            self.put_summary(pages, self._instead or self.snapshot(0).text)
            return pages
        return []

    def put_summary(self, messages: Sequence[OutgoingMessage], text: str) -> None:
        """Let the first of these messages show the summary of ``text``, and delete the others."""
        for number, message in enumerate(messages):
            # The reply is complete without: should the thread be archived, this waits until it is open again.
            message.on_archived, message.final, message.expendable = None, True, True
            if number:
                self._outbox.remove(message, Body(ABOVE))
            else:
                message.desired = Body(summary(text, self._redact))
                self._outbox.changed(message)

    def _compose_pages(self, snapshot: TurnSnapshot, final: FinalReply, tail: str) -> None:
        """Let every page show its final text; the last one with ``tail`` below, and none with a Stop button."""
        carrier = self.pages.carrier()
        for page in self.pages.all:
            page.message.final = True  # the token that is kept is for these edits
        self.seal_before(carrier, snapshot)
        if not tail:
            self.want(carrier, carrier.text or self._note(carrier, snapshot))
            return
        self.want(carrier, below(carrier.text, tail), final.buttons)
        if final.ping is not None and carrier.message.desired is not None:
            carrier.message.desired, self._pinged = replace(carrier.message.desired, ping=final.ping), True

    def _add(self, final: FinalReply, text: str = "", rest: str = "", name: str = "answer.md") -> None:
        """Post one more message below: ``text``, lines and footer, and ``rest`` as a file."""
        tail = "" if self._told_above or self._ending else final.tail()
        if not (text or tail):
            return
        self._post("h" if self.held else "e", below(text, tail), rest, final if tail else None, name)

    def _post(self, sign: str, text: str, rest: str, final: FinalReply | None, name: str = "answer.md") -> None:
        """Post a message, with ``rest`` as a file and what belongs to the end, if it is ``final``."""
        file = Attachment(name, rest.encode("utf-8", "replace")) if rest else None
        ping, buttons = (final.ping, final.buttons) if final else (None, ())
        body = Body(clip(text, MESSAGE_LIMIT), buttons, file, ping)
        nonce = None if self.nonce_prefix is None else f"{self.nonce_prefix}{sign}{self._refusals}"
        message = OutgoingMessage(desired=body, final=True, nonce=nonce, on_archived=self.hold)
        self._ending.append(message)
        self._outbox.post(message)

    def say_refused(self, final: FinalReply) -> bool:
        """Show the end without the text that Discord refuses: first with the text as a file, then without; else False.

        What is above is shown, or is in the file; only the end itself is never shown twice.
        """
        messages = self.outgoing
        last = messages[-1:]
        if not any(message.refused for message in messages) or self._refusals >= _MOST_REFUSALS:
            return False
        if self._refusals and not last[0].refused:
            return False  # the file got through
        self._refusals += 1
        rest, _ = self.pages.unshown(self._instead or self.snapshot(0).text)
        if self._refusals == 1 and (self._goes_into_file or self._changes) and not rest.strip():
            self._post(
                "f", below(_NO_CHANGES if self._changes else "", final.tail()), "", final
            )  # of what is in the file nothing is lost: it all stands above
            return True
        if self._refusals > 1 or not rest.strip():
            self._post("f", f"{_REFUSED_ALL}\n-# {HEADLINES[final.outcome]}.", "", None)
            return True
        # A text that Discord's rules refuse is refused in any message; in a file it is not looked at.
        unsaid = final if last[0].refused else None
        self._post("f", below(_REFUSED.format(size=len(rest)), unsaid.tail() if unsaid else ""), rest, unsaid)
        return True

    def _compose_held(self, final: FinalReply) -> None:
        """Send what no message shows as one new message."""
        if self.under_way:
            return  # what it shows is known at its end
        tail = final.tail()
        # Lines and footer are never shown twice, even where the text above them is not complete.
        self._told_above = bool(tail) and any(
            message.displayed is not None and message.displayed.text.endswith(tail) for message in self.outgoing
        )
        snapshot = self.snapshot(0)
        text = self._instead or snapshot.text
        if not visible(text):
            text = _instead_of_text(snapshot, final)
        # Messages that took no edit lose status and buttons when that can be done; the reply does not wait for it. They
        # keep the text that they show, and show no other in the end, even where it is unknown whether an
        # edit went through: the new message has the rest, and no text is visible twice.
        for page in self.pages.all:
            there = text[page.start : max(page.start, page.message.displayed_mark)]
            part = take(there, 0, PAGE, page.fence, self._redact)
            final_body = Body(part.shown if visible(part.source) else page.note or ABOVE)
            if page.message.message_id is not None and page.message.displayed != final_body:
                message = OutgoingMessage(desired=final_body, expendable=True)
                self._outbox.adopt(message, page.message.message_id)
                if self._held_note == HELD:
                    self._outbox.park(message)  # the new message makes edits possible again
        rest, fence = self.pages.unshown(text)
        self._told_above = self._told_above or not (tail or rest.strip())
        part = take(rest if rest.strip() else "", 0, fence=fence, redact=self._redact)
        if part.source in (rest, "") and units(below(part.shown, tail)) <= MESSAGE_LIMIT:
            self._add(final, part.shown if part.source else "")
        else:
            rest = reopened(fence, rest) + rest
            self._add(final, (self._held_note + _IN_FILE).format(size=len(rest)), rest)
        self.composed = True


def _instead_of_text(snapshot: TurnSnapshot, final: FinalReply, files: list[str] | None = None) -> str:
    # A file is an answer: nothing has to stand in place of words (F7).
    if final.outcome is Outcome.ANSWERED and final.handout is not None and final.handout.has_files:
        return ""
    return fallback_text(snapshot, final.outcome, files)
