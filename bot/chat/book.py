"""What is known about threads: the channel and server they stand in, and who opened them (pure).

Discord's client forgets archived threads, and everything when it is replaced; the book does not. It is bounded: the
threads used longest ago are forgotten first. The mutable state is the one dict.
"""

from __future__ import annotations

from bot.chat.inbound import Place


class ThreadBook:
    """Places of threads by id. A thread's server, channel and owner never change."""

    def __init__(self, limit: int = 5000) -> None:
        self._limit = limit
        self._places: dict[int, Place] = {}

    def remember(self, place: Place) -> None:
        """Note a thread as just used."""
        self._places.pop(place.channel_id, None)
        self._places[place.channel_id] = place
        if len(self._places) > self._limit:
            del self._places[next(iter(self._places))]

    def find(self, thread_id: int) -> Place | None:
        """Return where a thread stands, if that is known."""
        return self._places.get(thread_id)

    def forget(self, thread_id: int) -> None:
        """Drop a thread that is gone."""
        self._places.pop(thread_id, None)

    def in_channel(self, channel_id: int) -> tuple[int, ...]:
        """Return the known threads of a channel."""
        return tuple(key for key, place in self._places.items() if place.parent_id == channel_id)

    def in_guild(self, guild_id: int) -> tuple[int, ...]:
        """Return the known threads of a server."""
        return tuple(key for key, place in self._places.items() if place.guild_id == guild_id)
