"""Which messages of a thread show which part of a reply that an earlier run left behind: read before anything is sent.

The store knows the messages that were recorded; the thread may hold one more, created just before the process ended.
Only what is certainly the reply's is taken: the exact text of one of its messages, or a live text with its status line.
The mutable state is the replies that wait to be taken up and the messages that are known to be some reply's.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio
import structlog

from bot.reply.live_status import without_block
from bot.reply.long_answer import WHOLE
from bot.reply.outbox import Outbox, OutgoingMessage
from bot.reply.pages import Page
from bot.reply.port import Body, OwnMessage, PortError, ThreadGone, ThreadPort, Unavailable
from bot.reply.reply_messages import ABOVE, HELD, LATE, ReplyMessages
from bot.reply.sanitise import clean
from bot.reply.split import PAGE, reopened

log = structlog.get_logger(__name__)

READ_LIMIT = 200
"""Messages of a thread that are read to find out what is visible after a restart."""

READ_AGAIN, READ_PATIENCE = 5.0, 3600.0
"""Seconds until they are read again when Discord can't be reached, and after which the thread goes on without."""

_OVER = "-# The full reply is above."
_NO_WORD = re.compile(r"[\W_]+")
_CLOSING = re.compile(r"\n[ \t]*(?:`{3,}|~{3,})\Z")


@dataclass(frozen=True, slots=True)
class Found:
    """What was read of a thread.

    Attributes:
        texts: Weft's messages, by id in ascending order, as Discord gives them back.
        unknown: those that nobody recorded and that can be the reply's, in order.
        custom_ids: those of the buttons of Weft's messages.
        replies: which messages they reply to.
        as_shown: what the way to Discord makes of a text, where it takes something out.
    """

    texts: Mapping[int, str] = field(default_factory=dict)
    unknown: tuple[int, ...] = ()
    as_shown: Callable[[str], str] = str
    custom_ids: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    replies: Mapping[int, int | None] = field(default_factory=dict)

    def unrecorded(self, after: int, before: int, known: frozenset[int]) -> Found:
        """Return it with all messages unknown between ``after`` and ``before`` (0: now) that are not ``known``."""
        unknown = (key for key in self.texts if key > after and (not before or key < before) and key not in known)
        return replace(self, unknown=tuple(sorted(unknown)))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a message shall show, as Discord will give it back.

    ``bare`` is that without lines and footer, and ``ahead`` goes on with the text of the next messages; both are empty
    for a message that has no other text. ``file``: it has one.
    """

    text: str
    bare: str = ""
    ahead: str = ""
    file: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """For each wanted message the one that shows it or becomes it; None: it is to be sent. ``surplus``: not needed."""

    ids: tuple[int | None, ...]
    surplus: tuple[int, ...] = ()


def places(wanted: Sequence[Wanted], shown: Sequence[int], found: Found) -> Places:
    """Return which message becomes which: unrecorded ones by their text, all others in order."""
    ids: list[int | None] = [None] * len(wanted)
    left = list(shown)
    # 1. What nobody recorded is taken only by its text: it may be another reply's, or a notice.
    for key in found.unknown:
        text = found.texts[key]
        free = (number for number, want in enumerate(wanted) if ids[number] is None and want.text == text)
        number = next(free, None)
        if number is not None:
            ids[number] = key
            continue
        above = without_block(text)
        if above is None:
            # Without its status line a text is only known where all of it is there.
            begun = any(text == want.bare for want in wanted if want.bare)
        else:
            begun = not above or any(_length(above, want.ahead) or _says(above, want.ahead) for want in wanted)
        left += [key] if begun else []
    # 2. The recorded ones are certainly the reply's, whatever they show by now; they stand in its order.
    for number, want in enumerate(wanted):
        if ids[number] is None and left:
            there = found.texts.get(left[0])
            # An edit can't add a file: a message with one is taken only if it is that message already.
            if not want.file or there is None or there == want.text:
                ids[number] = left.pop(0)
    return Places(tuple(ids), tuple(left))


def _length(part: str, whole: str) -> int:
    """Return how much of ``whole`` a message shows; 0 if ``whole`` does not begin with it."""
    # A code block that is closed in the one may go on in the other.
    for candidate in (part, _CLOSING.sub("", part)):
        if candidate and whole.startswith(candidate):
            return len(candidate)
    return 0


def _says(part: str, whole: str) -> bool:
    """Return whether ``whole`` begins with the words of ``part``: its signs depend on what comes after them."""
    words = _NO_WORD.sub("", part)
    return bool(words) and _NO_WORD.sub("", whole).startswith(words)


def covered(page: Page, text: str) -> int:
    """Return the offset up to which ``text``, read from the page's message, shows the page; its start if unknown."""
    part, whole = page.part, page.text.strip()
    if part is None or not whole:
        return page.start
    above = without_block(text)
    shown = text if above is None else above
    if shown.startswith(whole):
        return page.end
    if part.text != page.text:
        return page.start  # where something was converted, a length there says nothing about one in the source
    length = _length(shown, whole)
    behind = len(page.text) - len(page.text.lstrip()) + length - part.opened
    return page.start + max(0, min(behind, len(part.source))) if length else page.start


def told_in_file(found: Found, shown: Sequence[int], tail: str) -> bool:
    """Return whether what a thread missed was sent to it as a file: then all of the reply is visible."""
    mine = [found.texts[key] for key in (*shown, *found.unknown) if key in found.texts]
    return bool(tail) and any(text.startswith((HELD, LATE, WHOLE)) and text.endswith(tail.strip()) for text in mine)


def pages_beside_file(found: Found, shown: Sequence[int]) -> list[int]:
    """Return the messages that still show a long answer although its file is there."""
    texts = {key: found.texts[key] for key in (*shown, *found.unknown) if key in found.texts}
    if not any(text.startswith(WHOLE) for text in texts.values()):
        return []
    return [key for key in shown if key in texts and not texts[key].startswith(WHOLE)]


def take_places(messages: ReplyMessages, outbox: Outbox, shown: Sequence[int], found: Found) -> tuple[int, ...]:
    """Let the composed ``messages`` edit the messages that are there, instead of sending its own; return these."""
    pages = [page for page in messages.pages.all if page.message.posted]
    # All is compared as Discord gives it back: without secrets, and without white space at both ends.
    bodies = [message.desired for message in messages.outgoing if message.desired is not None]
    wanted = [Wanted(found.as_shown(body.text).strip(), file=body.file is not None) for body in bodies]
    for number, page in enumerate(pages):
        # More than it has room for: so much it may have shown once.
        ahead = messages.snapshot(page.start).text[: 2 * PAGE]
        ahead = reopened(page.fence, ahead) + clean(ahead)
        bare, ahead = (found.as_shown(text).strip() for text in (page.text, ahead))
        wanted[number] = replace(wanted[number], bare=bare, ahead=ahead)
    taken = places(wanted, shown, found)
    for number, message_id in enumerate(taken.ids):
        if message_id is None:
            continue
        message, text = messages.outgoing[number], found.texts.get(message_id, "")
        # What shows the end already is not edited again: edits of old messages are few.
        outbox.adopt(message, message_id, as_wanted=text == wanted[number].text)
        if number < len(pages) and message.displayed is None and wanted[number].bare == pages[number].text.strip():
            # Should the thread turn out to be archived, only the rest goes into a new message.
            message.displayed_mark = covered(pages[number], text)
    for message_id in taken.surplus:
        messages.surplus.append(OutgoingMessage(desired=Body(_OVER), final=True, expendable=True))
        outbox.adopt(messages.surplus[-1], message_id)
    return (*(key for key in taken.ids if key is not None), *taken.surplus)


def finalize_interrupted(
    message: OutgoingMessage, finalized: list[OutgoingMessage], outbox: Outbox, shown: Sequence[int], found: Found
) -> tuple[int, ...]:
    """Take status and buttons off a reply that was broken off, and post ``message`` unless it is there.

    What is to be sent for those messages is added to ``finalized``; returns the messages that are the reply's.
    """
    assert message.desired is not None
    said = found.as_shown(message.desired.text).strip()
    for message_id in (*shown, *found.unknown):
        text = found.texts.get(message_id, "")
        above = without_block(text)
        # The last recorded one may have had its Stop button without a status line, between two edits.
        if above is not None or (text and message_id in shown[-1:]):
            bare = text if above is None else above or ABOVE
            finalized.append(OutgoingMessage(desired=Body(bare), final=True, expendable=True))
            outbox.adopt(finalized[-1], message_id)
        elif text == said and message_id in found.unknown:
            outbox.adopt(message, message_id, as_wanted=True)
    if message.message_id is None:
        outbox.post(message)
    return tuple(one.message_id for one in (message, *finalized) if one.message_id is not None)


def post_unless_there(message: OutgoingMessage, outbox: Outbox, found: Found) -> tuple[int, ...]:
    """Post ``message`` unless an earlier run did: a message with its text that replies to the same one."""
    assert message.desired is not None
    said = found.as_shown(message.desired.text).strip()
    for key in found.unknown:
        if found.texts[key] == said and found.replies.get(key) == message.reply_to:
            outbox.adopt(message, key, as_wanted=True)
            return (key,)
    outbox.post(message)
    return ()


Apply = Callable[[Found], Iterable[int]]
"""Takes over what was found of a reply, and returns the messages that are the reply's."""


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """A reply whose messages follow ``after``; ``shown`` are those that were recorded.

    ``apply`` gets what can be its messages, in its turn; nothing, if they can't be read.
    """

    after: int
    shown: tuple[int, ...]
    apply: Apply


class Recovery:
    """The replies that an earlier run left behind in one thread.

    Args:
        as_shown: what the port makes of a text before Discord gets it.

    Attributes:
        pending: those that are still to be applied.
        reading: `read_up()` is under way.
    """

    def __init__(
        self, port: ThreadPort, outbox: Outbox, as_shown: Callable[[str], str], wake: Callable[[], None]
    ) -> None:
        self._port = port
        self._outbox = outbox
        self._as_shown = as_shown
        self._wake = wake
        self.pending: deque[LeftBehind] = deque()
        self._claimed: set[int] = set()
        self.reading = False

    async def read_up(self) -> None:
        """Read what is there for one reply after the other, and apply it."""
        while self.pending:
            recall = self.pending[0]
            own = await self._read(min([recall.after, *recall.shown]) - 1)
            # It waits until here: while there is one, nothing is sent.
            self.pending.popleft()
            # Messages that are some reply's already can be no other's, however alike their texts are.
            # What they are compared with is stripped by the same rule, which need not be Discord's.
            texts = {one.message_id: one.text.strip() for one in own}
            buttons = {one.message_id: one.custom_ids for one in own}
            self._claimed.update(recall.shown)
            known = frozenset(self._claimed).union(*(other.shown for other in self.pending))
            replies = {one.message_id: one.reply_to for one in own}
            found = Found(texts, as_shown=self._as_shown, custom_ids=buttons, replies=replies)
            after = max([recall.after, *recall.shown])
            self._claimed.update(recall.apply(found.unrecorded(after, self._outbox.oldest, known)))
        self.reading = False
        self._wake()

    async def _read(self, after: int) -> Sequence[OwnMessage]:
        """Read until Discord answers; without an answer, nothing is known to be visible."""
        patience = anyio.current_time() + READ_PATIENCE
        while anyio.current_time() < patience:
            try:
                return await self._port.own_messages(after, READ_LIMIT)
            except ThreadGone as error:
                self._outbox.end(str(error))
                return ()
            except Unavailable as error:
                # While it can't be reached, nothing could be sent either: there is no hurry.
                log.warning("messages.not_read", error=repr(error), after=after)
                await anyio.sleep(READ_AGAIN)
            except PortError as error:
                log.warning("messages.not_read", error=repr(error), after=after)
                return ()
            except Exception:
                log.exception("messages.not_read", after=after)
                return ()
        return ()
