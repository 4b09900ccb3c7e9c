"""How far each place has been read, and what of that outlives a restart.

A place is a thread or a channel in which a prompt was accepted. What is written never passes a message that was
submitted and is not written itself, nor the border of a gap whose catch-up is still due: after a crash, reading on from
what was written finds everything that was lost.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field

import anyio

from bot.chat.inbound import Place
from bot.chat.job_queue import contain
from bot.recent import RecentMap
from bot.work.dispatcher import Dispatcher
from pool.storage.durable import SessionStore
from pool.store import SeenPlace

NEVER = -1
MOST_PLACES = 5000
WRITE_LIMIT = 60.0  # seconds
LAST_WRITE_LIMIT = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Due:
    """A place to be caught up: what came after the message ``after``."""

    place: Place
    after: int


@dataclass(slots=True)
class _Mark:
    """One place.

    Attributes:
        seen: the newest message dealt with.
        border: while its catch-up is due: everything up to here was dealt with.
        handed: prompts submitted that may not be written yet.
        unreachable: Discord said that Weft can't read there; asked again once something came from there.
        written: how far the store knows.
    """

    place: Place
    seen: int
    border: int | None = None
    handed: set[int] = field(default_factory=set)
    unreachable: bool = False
    written: int = NEVER


class Watermarks:
    """The marks of all known places, and the number of the last hold.

    Attributes:
        heard: the newest message of any place before the gap that is being caught up; 0: none is known.
    """

    def __init__(self, limit: int = MOST_PLACES) -> None:
        self._limit = limit
        self._marks: RecentMap[int, _Mark] = RecentMap(limit)
        self._hold = 0
        self.heard = 0

    def load(self, places: Iterable[SeenPlace]) -> None:
        """Take over what was written by an earlier run, the place with the newest message first."""
        # Put in the other way round: the newest has to be the last to be forgotten.
        for one in list(places)[: self._limit][::-1]:
            place = Place(one.guild_id, one.place_id, one.parent_id, one.owner_id)
            self._marks.put(one.place_id, _Mark(place, one.seen, written=one.seen))

    def place(self, place_id: int) -> Place | None:
        """Return the place if it is known."""
        mark = self._marks.get(place_id)
        return mark.place if mark else None

    def places(self) -> list[Place]:
        """Return the known places, the one used last at the end."""
        return [mark.place for mark in self._marks.values()]

    def note(self, place: Place, message_id: int, *, handed: bool = False) -> None:
        """Say that a message of the place was dealt with; ``handed`` if it was submitted, to be written."""
        mark = self._marks.get(place.channel_id) or _Mark(place, message_id)
        self._marks.put(place.channel_id, mark)
        # Catch-ups and live messages come in any order: a mark never goes back.
        mark.seen = max(mark.seen, message_id)
        mark.unreachable = False
        if handed:
            mark.handed.add(message_id)

    def pass_by(self, place_id: int, message_id: int) -> None:
        """Say that a message was dealt with that is no prompt; that alone makes no place known."""
        mark = self._marks.get(place_id)
        if mark is not None:
            self.note(mark.place, message_id)

    def discover(self, place: Place, after: int) -> None:
        """Say that a place exists of which nothing is known since ``after``; does nothing if the place is known."""
        if place.channel_id not in self._marks:
            self._marks.put(place.channel_id, _Mark(place, after, border=after))

    def forget(self, place_id: int) -> None:
        """Drop a place that is gone."""
        self._marks.pop(place_id, None)

    def hold(self) -> int:
        """Make a catch-up due everywhere, from here on or from an older border; return the number of this hold."""
        self._hold += 1
        # While an earlier gap is still being looked up, that one counts: what came in it is not known yet.
        if all(mark.border is None or mark.unreachable for mark in self._marks.values()):
            self.heard = max((mark.seen for mark in self._marks.values()), default=0)
        for mark in self._marks.values():
            # An older border stays: what lies behind it has not been looked up yet.
            if mark.border is None:
                mark.border = mark.seen
        return self._hold

    def due(self) -> list[Due]:
        """Return the places to be caught up, the one with the newest message first."""
        due = [Due(m.place, m.border) for m in self._marks.values() if m.border is not None and not m.unreachable]
        return sorted(due, key=lambda one: one.after, reverse=True)

    def done(self, place_id: int, hold: int) -> None:
        """Say that a place was caught up; ignored if there was another gap since ``hold``."""
        mark = self._marks.get(place_id)
        if mark is not None and hold == self._hold:
            mark.border = None

    def unreachable(self, place_id: int) -> None:
        """Say that Weft can't read a place; it stays due, but is not asked for again until something comes from it."""
        mark = self._marks.get(place_id)
        if mark is not None:
            mark.unreachable = True

    def marks(self, pending: frozenset[int]) -> list[SeenPlace]:
        """Return what may be written now and is not written yet; ``pending``: prompts that are not written."""
        found: list[SeenPlace] = []
        for mark in self._marks.values():
            mark.handed &= pending
            seen = mark.seen if mark.border is None else mark.border
            # A prompt that is not written may still be lost in a crash, so it must be found again by reading on.
            if mark.handed:
                seen = min(seen, min(mark.handed) - 1)
            place = mark.place
            # The only place marked below its own id is a thread to be opened from a message that is not written itself.
            if seen > mark.written and seen >= place.channel_id:
                found.append(SeenPlace(place.channel_id, place.guild_id, place.parent_id, place.owner_id, seen))
        return found

    def written(self, places: Iterable[SeenPlace]) -> None:
        """Say that what `marks` returned was written."""
        for one in places:
            mark = self._marks.get(one.place_id)
            if mark is not None:
                mark.written = max(mark.written, one.seen)


async def write_marks(marks: Watermarks, store: SessionStore, dispatcher: Dispatcher) -> None:
    """Write what changed since the last time, but for messages that are not written themselves."""
    places = marks.marks(dispatcher.pending())
    if places:
        await store.see(places)
        marks.written(places)  # not before: a write that fails is tried again


async def keep_writing(marks: Watermarks, store: SessionStore, dispatcher: Dispatcher, interval: float) -> None:
    """Write what changed, every ``interval`` seconds, until cancelled."""
    write = functools.partial(write_marks, marks, store, dispatcher)
    while True:
        await anyio.sleep(interval)
        await contain("seen", write, WRITE_LIMIT)
