"""What a prompt refers to and does not say itself: linked messages (F8), and what was said before it (F9).

Discord is asked when the turn starts, not at acceptance: no look-up holds up the queue, none is lost by a restart, and
people may read then what they may read. One that fails costs the turn a few seconds and a line in the thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import anyio
import structlog

from bot.links import MessageLink, links_in
from bot.model import Inbound, Quote
from bot.reply.port import Body, MessageGone, PortError
from bot.work.ports import Earlier, Lookups
from bot.work.queue.entry import Background, Entry, Wordings
from pool.storage.durable import SessionStore

log = structlog.get_logger(__name__)

MOST_LINKS = 3
"""Links of one prompt that are looked up: each costs up to four requests."""

ROUNDS = 3
"""How often Discord is asked for a prompt that changes meanwhile; somebody may go on writing for ever."""

UNREADABLE = Quote("A link to a message that the author of this can't read", "")
DELETED = Quote("A link to a message that was deleted", "")
NOT_LOOKED_UP = Quote("A link to a message that could not be looked up", "")
TOO_MANY = Quote(f"Links to more than {MOST_LINKS} messages, of which the others were not looked up", "")
NOT_READ = Quote("What was said here before could not be read", "")

_IN_THE_THREAD = {
    UNREADABLE: "left out a link to a message that you can't read",
    DELETED: "a linked message was deleted",
    NOT_LOOKED_UP: "could not look up a linked message, so I went on without it",
    TOO_MANY: f"looked up {MOST_LINKS} links only",
    NOT_READ: "could not read what was said here before, so I went on without it",
}
"""What people read about each of these."""


@dataclass(eq=False)
class Backgrounds:
    """Looks up what prompts refer to.

    Attributes:
        most: how many earlier messages a prompt brings along; 0: none.
        limit: seconds that Discord has for all that one prompt refers to.
    """

    lookups: Lookups
    store: SessionStore
    most: int
    limit: float

    def settled(self, entry: Entry) -> bool:
        """Return whether an entry has its background as its messages are now."""
        return entry.background.of == _wordings(entry)

    async def look_up(self, entry: Entry) -> None:
        """Give an entry its background, unless it has it."""
        if not self.settled(entry):
            entry.background = await self._ask(entry.messages, _wordings(entry))

    def tell(self, entry: Entry) -> list[Body]:
        """Return what an entry's thread is to read about its background; once, however often the entry is begun."""
        background = entry.background
        told = list(_told(background))
        if not told or background.told:
            return []
        background.told = True
        line = " · ".join(told)
        return [Body(f"-# {line[0].upper()}{line[1:]}.")]

    async def _ask(self, messages: Sequence[Inbound], wordings: Wordings) -> Background:
        """Ask for everything side by side; what is not answered in time counts as unknown."""
        links = [(one, link) for one in messages for link in links_in(one.text, one.guild_id)]
        talks = [one for one in messages if one.conversation is not None] if self.most else []
        # Filled beforehand: where the time is up in the middle, what was answered by then stays.
        linked = [NOT_LOOKED_UP] * min(len(links), MOST_LINKS)
        earlier = [Earlier((NOT_READ,))] if talks else []

        async def find(index: int, one: Inbound, link: MessageLink) -> None:
            linked[index] = await self._linked(one, link)

        async def read(one: Inbound) -> None:
            earlier[0] = await self._earlier(one)

        if links or talks:
            with anyio.move_on_after(self.limit):
                async with anyio.create_task_group() as tasks:
                    for index, (one, link) in enumerate(islice(links, MOST_LINKS)):
                        tasks.start_soon(find, index, one, link)
                    if talks:
                        tasks.start_soon(read, max(talks, key=lambda one: one.message_id))
        # With the wordings of before the wait: of a message that was edited meanwhile, it is then not settled.
        background = Background(wordings, read=sum(one.read for one in earlier))
        for (one, _), quote in zip(links, linked, strict=False):
            background.linked.setdefault(one.message_id, []).append(quote)
        if len(links) > MOST_LINKS:
            background.linked.setdefault(links[MOST_LINKS][0].message_id, []).append(TOO_MANY)
        background.earlier += [quote for one in earlier for quote in one.quotes]
        return background

    async def _linked(self, inbound: Inbound, link: MessageLink) -> Quote:
        try:
            return await self.lookups.linked(link, inbound.author) or UNREADABLE
        except MessageGone:
            return DELETED
        except PortError as exc:
            log.warning("link.not_looked_up", message=inbound.message_id, error=str(exc))
        except Exception:
            log.exception("link.not_looked_up", message=inbound.message_id)
        return NOT_LOOKED_UP

    async def _earlier(self, inbound: Inbound) -> Earlier:
        """Return what was said since the last turn there, which the store knows: a restart tells nothing twice.

        In a thread any turn counts, a later message's, too: it has brought what is older than itself. In a channel each
        turn has a thread and an agent of its own, so only turns of older messages do, and this message's own.
        """
        talk = inbound.conversation
        assert talk is not None
        until = None if talk.place_id == inbound.thread_id else talk.before
        since = await self.store.last_started(talk.place_id, until)
        if since >= talk.before:
            return Earlier()
        try:
            return await self.lookups.earlier(inbound, since, self.most)
        except PortError as exc:
            log.warning("conversation.not_read", message=inbound.message_id, error=str(exc))
        except Exception:
            log.exception("conversation.not_read", message=inbound.message_id)
        return Earlier((NOT_READ,))


def _wordings(entry: Entry) -> Wordings:
    return tuple((one.message_id, one.text) for one in entry.messages)


def _told(background: Background) -> Iterator[str]:
    if background.read:
        yield f"read {background.read} earlier message{'s' if background.read > 1 else ''}"
    quotes = [*(quote for quotes in background.linked.values() for quote in quotes), *background.earlier]
    yield from dict.fromkeys(_IN_THE_THREAD[quote] for quote in quotes if quote in _IN_THE_THREAD)
