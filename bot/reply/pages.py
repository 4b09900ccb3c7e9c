"""The text of one reply in messages, of which only the last one grows (pure).

A page that is full is sealed and never looked at again; so a pass costs what the last page costs, whatever came before.
What else a message shows (status, buttons, footer) is added in `bot.reply.reply_messages`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bot.reply.outbox import OutgoingMessage
from bot.reply.sanitise import visible
from bot.reply.split import PAGE, Open, Part, open_after, take

MAX_PAGES = 8
"""Messages of text in one reply; the rest is a file (D4)."""


@dataclass(slots=True, eq=False)
class Page:
    """One message of text: the offsets it covers, and the code block or table that is open where it begins.

    ``note`` is what it shows in the end where it has a message, but no text.
    """

    start: int
    fence: Open | None = None
    part: Part | None = None
    message: OutgoingMessage = field(default_factory=OutgoingMessage)
    sealed: bool = False
    note: str = ""

    @property
    def end(self) -> int:
        """Return the offset behind its text."""
        return self.start + (len(self.part.source) if self.part else 0)

    @property
    def text(self) -> str:
        """Return what is shown of its text; empty if a reader would see nothing."""
        return self.part.shown if self.part and visible(self.part.source) else ""

    @property
    def fence_at_end(self) -> Open | None:
        """Return the code block or table that the next page goes on with."""
        return self.part.fence if self.part else self.fence


class Pages:
    """The pages of a reply.

    ``cut`` is the offset of a card that was posted below the text: what comes after it begins a new page.
    ``overflow`` is the offset from which on there is no page, since there are enough; ``seen`` is how far the text was
    taken over.
    """

    def __init__(self, reply_to: int | None = None, redact: Callable[[str], str] = str) -> None:
        self._redact = redact
        self.all = [Page(0, message=OutgoingMessage(reply_to=reply_to))]
        self.cut: int | None = None
        self.overflow: int | None = None
        self.seen = 0

    @property
    def last(self) -> Page:
        """Return the page that grows."""
        return self.all[-1]

    @property
    def start(self) -> int:
        """Return the offset from which on text is needed for `grow()`."""
        return self.last.start if self.overflow is None else self.seen

    @property
    def blank(self) -> bool:
        """Return whether no page shows text."""
        return not any(page.text for page in self.all)

    def carrier(self) -> Page:
        """Return the page that shows the status: the last that shows anything."""
        return next((page for page in reversed(self.all) if page.text or page.note or page.message.posted), self.last)

    def grow(self, text: str) -> None:
        """Take over the text from `start` on."""
        # Sealed pages are not looked at: only the last one's text is asked for and cut, however long the reply is.
        self.seen = self.start + len(text)
        if self.overflow is not None:
            return
        # 1. What comes after a card stands below it, once there is something to see.
        if self.cut is not None:
            page, cut, above = self.last, self.cut, self.cut - self.last.start
            behind = text[above:]
            if not visible(behind):
                # White space alone is no reason for a message below the card.
                text = text[:above] if page.message.posted else text
            elif page.message.posted:  # else nothing of it stands above the card
                page.part = take(text[:above], 0, PAGE, page.fence, self._redact) if above else None
                if len(self.all) >= MAX_PAGES:
                    self.overflow, text = cut, text[:above]
                else:
                    self.all.append(Page(cut, page.fence_at_end))
                    text = behind
            self.cut = None if visible(behind) else cut
        # 2. What the last page has no room for begins the next one.
        start = 0
        while True:
            page = self.last
            page.part = take(text, start, PAGE, page.fence, self._redact) if start < len(text) else None
            start += page.end - page.start
            if start >= len(text):
                return
            if len(self.all) >= MAX_PAGES:
                self.overflow = page.end
                return
            self.all.append(Page(page.end, page.fence_at_end))

    def go_on_below(self) -> bool:
        """Begin a new page although the last one is not full; False if there are enough already."""
        if self.overflow is not None or len(self.all) >= MAX_PAGES:
            return False
        # The new message is below the card already.
        self.cut = None
        self.all.append(Page(self.last.end, self.last.fence_at_end))
        return True

    def unshown(self, text: str) -> tuple[str, Open | None]:
        """Return what no message shows of the whole ``text``, and what is open at its start."""
        # Of a message that shows less than it should, from there on; of one that is not posted, all.
        pieces = [(max(page.start, page.message.displayed_mark), page.end) for page in self.all]
        pieces = [*((start, end) for start, end in pieces if start < end), (self.last.end, len(text))]
        return "".join(text[start:end] for start, end in pieces), open_after(text[: pieces[0][0]])
