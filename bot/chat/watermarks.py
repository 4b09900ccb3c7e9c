"""How far each place has been read: the newest message dealt with, and how much of that may be written down (pure).

A place is a thread or a channel in which a prompt was accepted. What is written never passes a message that was handed
over and is not written itself, nor the border of a gap whose catch-up is still due: after a crash, reading on from what
was written finds all that was lost. The mutable state is the map of marks and the number of the last hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bot.chat.inbound import Place
from pool.store import SeenPlace

NEVER = -1


@dataclass(frozen=True, slots=True)
class Due:
    """A place to be caught up: what came after the message ``after``."""

    place: Place
    after: int


@dataclass(slots=True)
class _Mark:
    """One place.

    Attributes:
        border: while its catch-up is due: everything up to here was dealt with.
        handed: prompts handed over that may not be written yet.
        unreachable: Discord said that Weft can't read there; asked again once something came from there.
    """

    place: Place
    seen: int
    border: int | None = None
    handed: set[int] = field(default_factory=set)
    unreachable: bool = False
    written: int = NEVER

    def safe(self, pending: frozenset[int]) -> int:
        """Return how far may be written."""
        self.handed &= pending
        reached = self.seen if self.border is None else self.border
        return min(reached, min(self.handed) - 1) if self.handed else reached


class Watermarks:
    """The marks of all known places; those used longest ago are forgotten first."""

    def __init__(self, limit: int = 5000) -> None:
        self._limit = limit
        self._marks: dict[int, _Mark] = {}
        self._hold = 0

    def load(self, places: Iterable[SeenPlace]) -> None:
        """Take over what was written by an earlier run, the place with the newest message first."""
        for one in list(places)[: self._limit][::-1]:
            place = Place(one.guild_id, one.place_id, one.parent_id, one.owner_id)
            self._marks[one.place_id] = _Mark(place, one.seen, written=one.seen)

    def place(self, place_id: int) -> Place | None:
        """Return the place if it is known."""
        mark = self._marks.get(place_id)
        return mark.place if mark else None

    def places(self) -> list[Place]:
        """Return the known places, the one used last at the end."""
        return [mark.place for mark in self._marks.values()]

    def note(self, place: Place, message_id: int, *, handed: bool = False) -> None:
        """Say that a message of the place was dealt with; ``handed`` if it was handed over, to be written."""
        mark = self._use(place, message_id)
        mark.seen = max(mark.seen, message_id)
        mark.unreachable = False
        if handed:
            mark.handed.add(message_id)

    def discover(self, place: Place, after: int) -> None:
        """Say that a place exists of which nothing is known since ``after``; no news if the place is known."""
        if place.channel_id not in self._marks:
            self._use(place, after).border = after

    def _use(self, place: Place, seen: int) -> _Mark:
        mark = self._marks.pop(place.channel_id, None) or _Mark(place, seen)
        self._marks[place.channel_id] = mark
        if len(self._marks) > self._limit:
            del self._marks[next(iter(self._marks))]
        return mark

    def forget(self, place_id: int) -> None:
        """Drop a place that is gone."""
        self._marks.pop(place_id, None)

    def in_guild(self, guild_id: int) -> list[Place]:
        """Return the known places of a server."""
        return [mark.place for mark in self._marks.values() if mark.place.guild_id == guild_id]

    def guilds(self) -> set[int]:
        """Return the servers in which places are known."""
        return {mark.place.guild_id for mark in self._marks.values() if mark.place.guild_id is not None}

    def hold(self) -> int:
        """Make a catch-up due everywhere, from here on or from an older border; return the number of this hold."""
        self._hold += 1
        for mark in self._marks.values():
            if mark.border is None:
                mark.border = mark.seen
        return self._hold

    def due(self) -> list[Due]:
        """Return the places to be caught up, the one with the newest message first."""
        due = [Due(m.place, m.border) for m in self._marks.values() if m.border is not None and not m.unreachable]
        return sorted(due, key=lambda one: one.after, reverse=True)

    def done(self, place_id: int, hold: int) -> None:
        """Say that a place was caught up; that counts for nothing if there was another gap since ``hold``."""
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
        found = ((mark, mark.safe(pending)) for mark in self._marks.values())
        # Below its own id stands only a thread to be opened from a message that is not written itself.
        return [
            SeenPlace(m.place.channel_id, m.place.guild_id, m.place.parent_id, m.place.owner_id, seen)
            for m, seen in found
            if seen > m.written and seen >= m.place.channel_id
        ]

    def written(self, places: Iterable[SeenPlace]) -> None:
        """Say that what `marks` returned was written."""
        for one in places:
            mark = self._marks.get(one.place_id)
            if mark is not None:
                mark.written = max(mark.written, one.seen)
