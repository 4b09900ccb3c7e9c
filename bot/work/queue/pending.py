"""The messages of a thread that have no outcome yet, and the order in which the waiting ones start (pure).

The mutable state is what was put in front, the other waiting entries by the snowflake of their first message, the map
from message to entry (running ones too), and the messages that were withdrawn while the store was still being asked.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from itertools import chain, islice, takewhile
from operator import attrgetter

from bot.model import QueueMode
from bot.work.queue.entry import Decision, End, Entry, EntryState, Message, MessageState, Why

_PLACE = attrgetter("place")


class PendingMessages:
    """Who is next."""

    def __init__(self) -> None:
        self.front: list[Entry] = []
        self.rest: list[Entry] = []
        self._where: dict[int, Entry] = {}
        self._undecided: dict[int, Message] = {}

    def __iter__(self) -> Iterator[Entry]:
        return chain(self.front, self.rest)

    def __len__(self) -> int:
        return len(self.front) + len(self.rest)

    # Order

    def add(self, entry: Entry) -> None:
        """Give an entry its place by snowflake."""
        bisect.insort(self.rest, entry, key=_PLACE)
        self.index(entry)

    def put_first(self, entry: Entry) -> None:
        """Put an entry before all others."""
        self.take_out(entry)
        self.front.insert(0, entry)

    def cut_in(self, entry: Entry) -> None:
        """Put an entry that steers in front, behind those that steered before it."""
        self.take_out(entry)
        earlier = takewhile(lambda other: other.mode is QueueMode.STEER and other.place < entry.place, self.front)
        self.front.insert(len(list(earlier)), entry)

    def collect(self, now: float) -> None:
        """Notice which entries stop collecting."""
        for entry in self:
            entry.collect(now)

    def next_collected(self, count: int) -> float | None:
        """Return when the first of the next ``count`` entries stops collecting."""
        held = [entry.held_until for entry in islice(self, count) if entry.state is EntryState.COLLECTING]
        return min(held, default=None)

    def take_out(self, entry: Entry) -> None:
        """Let an entry wait no longer; its messages stay known."""
        for part in (self.front, self.rest):
            if entry in part:
                part.remove(entry)

    def companions(self, entry: Entry) -> list[Entry]:
        """Return the entries that become one turn with a followup: those right behind it, in a row (Q2)."""
        if entry.mode is not QueueMode.FOLLOWUP or entry not in self.rest:
            return []
        behind = self.rest[self.rest.index(entry) + 1 :]
        return list(takewhile(lambda one: one.mode is entry.mode and one.lane is entry.lane and one.ready, behind))

    # Messages

    def index(self, entry: Entry) -> None:
        """Note where the messages of an entry are."""
        self._where.update({message.id: entry for message in entry.owed})

    def forget(self, entry: Entry) -> None:
        """Forget the messages of a turn that ended."""
        for message in entry.owed:
            self._where.pop(message.id, None)

    def join(self, entry: Entry, other: Entry) -> None:
        """Make one entry of two; the first one's place and state stay."""
        self.take_out(other)
        other.state = EntryState.ENDED
        entry.take_in(other.messages)
        other.messages = []
        self.index(entry)

    def leave(self, entry: Entry, message: Message) -> None:
        """Take a message out of its entry; an empty entry is none."""
        entry.messages.remove(message)
        self._where.pop(message.id, None)
        if not entry.messages:
            self.take_out(entry)
            entry.state = EntryState.ENDED

    def finish(self, message: Message, why: Why) -> list[Decision]:
        """Give a message its outcome; while the store is asked, that has to wait: it may be a copy."""
        message.withdrawn = why
        if message.state is MessageState.ACCEPTED:
            return [End(message, why)]
        # It may be a copy of a message that has its outcome already: only the store knows (O1).
        self._undecided[message.id] = message
        return []

    def decide(self, message_id: int) -> Message | None:
        """Return the withdrawn message that waits for the store, and forget it."""
        return self._undecided.pop(message_id, None)

    # Views

    def find(self, message_id: int) -> Entry | None:
        """Return the entry that the message is in, waiting or running."""
        return self._where.get(message_id)

    def holds(self, message_id: int) -> bool:
        """Whether the message has no outcome yet."""
        return message_id in self._where or message_id in self._undecided

    def withdrawn(self, message_id: int) -> Why | None:
        """Return the end that a message will get once the store has it."""
        message = self._undecided.get(message_id)
        return message.withdrawn if message is not None else None

    def accepting(self) -> Iterator[int]:
        """Return the ids of the messages that the store does not have yet."""
        yield from self._undecided
        for entry in self:
            yield from (message.id for message in entry.messages if message.state is MessageState.ACCEPTING)

    @property
    def empty(self) -> bool:
        """Whether no message is without an outcome."""
        return not self._where and not self._undecided
