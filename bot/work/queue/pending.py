"""The messages of a thread that have no outcome yet, and the order in which the waiting ones start (pure).

The mutable state is what was put in front, the other waiting entries by the snowflake of their first message, the map
from message to entry (running ones too), and the ends of messages that were withdrawn while the store was still being
asked.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter

from bot.work.queue.entry import End, Entry, EntryState


@dataclass(slots=True, eq=False)
class PendingMessages:
    """Who is next.

    Attributes:
        front: entries that were put before all others.
        rest: the others that wait, by the snowflake of their first message.
        where: the entry of each message, waiting or running.
        undecided: messages that were withdrawn before the store had them, with the end that they then get: each may be
            a copy of one that has its outcome already, and only the store knows (O1).
    """

    front: list[Entry] = field(default_factory=list)
    rest: list[Entry] = field(default_factory=list)
    where: dict[int, Entry] = field(default_factory=dict)
    undecided: dict[int, End] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Entry]:
        return chain(self.front, self.rest)

    def __len__(self) -> int:
        return len(self.front) + len(self.rest)

    def add(self, entry: Entry) -> None:
        """Give an entry its place by snowflake."""
        bisect.insort(self.rest, entry, key=attrgetter("place"))
        self.where.update({message.message_id: entry for message in entry.messages})

    def put_first(self, entry: Entry, behind: int = 0) -> None:
        """Put an entry before all others, but for so many of those in front."""
        self.take_out(entry)
        self.front.insert(behind, entry)

    def take_out(self, entry: Entry) -> None:
        """Let an entry wait no longer; its messages stay known."""
        for part in (self.front, self.rest):
            if entry in part:
                part.remove(entry)

    def join(self, entry: Entry, other: Entry) -> None:
        """Make one entry of two; the first one's place and state stay."""
        self.take_out(other)
        other.state = EntryState.ENDED
        # Sorted: the agent reads what was said in the order in which it was posted, not in which it was handed over.
        entry.messages = sorted((*entry.messages, *other.messages), key=attrgetter("message_id"))
        entry.unstored |= other.unstored
        self.where.update({message.message_id: entry for message in other.messages})
        # Moved, not shared: a message is in one entry, or it would have two outcomes.
        other.messages = []

    def leave(self, entry: Entry, message_id: int) -> None:
        """Take a message out of its entry; an empty entry is none."""
        entry.messages = [message for message in entry.messages if message.message_id != message_id]
        entry.unstored.discard(message_id)
        self.where.pop(message_id, None)
        if not entry.messages:
            self.take_out(entry)
            entry.state = EntryState.ENDED

    def holds(self, message_id: int) -> bool:
        """Whether the message has no outcome yet."""
        return message_id in self.where or message_id in self.undecided
