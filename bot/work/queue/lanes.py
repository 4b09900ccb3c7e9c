"""How many turns run at once over all threads, lane by lane (pure).

The mutable state is two sets: the entries that hold a token, and those that lent theirs back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bot.model import Lane
from bot.work.queue.entry import Entry


@dataclass(frozen=True, slots=True)
class LaneCounts:
    """How full a lane is; ``running`` may be above ``limit`` by turns that took a lent token back."""

    limit: int
    running: int
    lent: int
    waiting: int = 0


class Lanes:
    """The tokens of each lane.

    Raises:
        ValueError: a lane is missing or has no token.
    """

    def __init__(self, limits: Mapping[Lane, int]) -> None:
        if any(limits.get(lane, 0) < 1 for lane in Lane):
            raise ValueError("every lane needs at least one token: " + ", ".join(Lane))
        self.limits = dict(limits)
        self._used = dict.fromkeys(Lane, 0)
        self._held: set[Entry] = set()
        self._lent: set[Entry] = set()

    def free(self, lane: Lane) -> bool:
        """Whether the lane has a token left."""
        return self._used[lane] < self.limits[lane]

    def take(self, entry: Entry) -> None:
        """Give an entry its token; ask `free` before."""
        self._held.add(entry)
        self._used[entry.lane] += 1

    def release(self, entry: Entry) -> None:
        """Take the token of an entry back for good, held or lent; a second call does nothing."""
        self.lend(entry)
        self._lent.discard(entry)

    def lend(self, entry: Entry) -> None:
        """Let others have the token of a turn that waits for a person (Q6)."""
        if entry in self._held:
            self._held.remove(entry)
            self._lent.add(entry)
            self._used[entry.lane] -= 1

    def take_back(self, entry: Entry) -> None:
        """Give a turn that lent its token one again at once, even if the lane is then above its limit."""
        if entry in self._lent:
            self._lent.remove(entry)
            self.take(entry)

    def counts(self, lane: Lane, waiting: int = 0) -> LaneCounts:
        """Return how full the lane is."""
        lent = sum(entry.lane is lane for entry in self._lent)
        return LaneCounts(self.limits[lane], self._used[lane], lent, waiting)
