"""Places that are gone: what ran there ends after they were forgotten, and must leave nothing behind (D10)."""

from __future__ import annotations

from bot.recent import Recent

MOST_GONE = 1_000


class GonePlaces:
    """Threads, channels and servers of which nothing more is kept."""

    def __init__(self) -> None:
        self._gone: Recent[int] = Recent(MOST_GONE)

    def __contains__(self, place_id: int) -> bool:
        return place_id in self._gone

    def add(self, place_id: int) -> None:
        """Keep nothing more of a place."""
        self._gone.first(place_id)

    def heard_from(self, guild_id: int | None) -> None:
        """Take note that somebody speaks or presses in a server: one that left and is back has its threads again."""
        # All at once: which of the others were its threads, nobody knows, and what was deleted is never spoken of.
        if guild_id is not None and guild_id in self._gone:
            self._gone = Recent(MOST_GONE)
