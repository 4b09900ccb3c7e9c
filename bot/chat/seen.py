"""Keeps written how far each place was read, every few seconds and at the end.

What may be written is decided in `watermarks`; where it goes is the store's business.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Protocol

import anyio

from bot.chat.errands import contain
from bot.chat.watermarks import Watermarks
from bot.work.ports import Desk
from pool.store import SeenPlace

WRITE_LIMIT = 60.0  # seconds
LAST_WRITE_LIMIT = 5.0  # seconds


class Seen(Protocol):
    """Where it is kept; `pool.store.SessionStore` is one."""

    async def see(self, places: Iterable[SeenPlace]) -> None:
        """Remember places; ``seen`` only grows."""

    async def places(self) -> list[SeenPlace]:
        """Return the places, the one with the newest message first."""


class Unseen:
    """Remembers nothing."""

    async def see(self, places: Iterable[SeenPlace]) -> None:
        """Forget them."""

    async def places(self) -> list[SeenPlace]:
        """Return none."""
        return []


class SeenKeeper:
    """Writes the marks; holds no state of its own."""

    def __init__(self, marks: Watermarks, seen: Seen, interval: float) -> None:
        self._marks, self._seen, self._interval = marks, seen, interval

    async def recall(self) -> None:
        """Fill the marks with what an earlier run wrote."""
        self._marks.load(await self._seen.places())

    async def run(self, desk: Desk) -> None:
        """Write what changed, every ``interval`` seconds, until cancelled."""
        while True:
            await anyio.sleep(self._interval)
            await contain("seen", functools.partial(self.write, desk), WRITE_LIMIT)

    async def finish(self, desk: Desk) -> None:
        """Write what changed since the last time; bounded, and not cut off by a cancellation."""
        with anyio.CancelScope(shield=True):
            await contain("seen", functools.partial(self.write, desk), LAST_WRITE_LIMIT)

    async def write(self, desk: Desk) -> None:
        """Write what changed."""
        places = self._marks.marks(desk.pending())
        if places:
            await self._seen.see(places)
            self._marks.written(places)
