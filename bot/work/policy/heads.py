"""The entries that are next in their threads, lane by lane and in order of arrival over all threads (pure).

So that a look costs what has changed, however many threads wait. Which entries are next is each thread's to say, when
it changes; which of them start is the scheduler's. The mutable state is the heads of each thread, those of each lane
in order, those that got no agent, and the times at which threads want to be asked again.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

from bot.work.model import Lane
from bot.work.policy.entry import Entry


class _Head(NamedTuple):
    """An entry and its rank among all; the first three decide, and are never the same twice."""

    rank: int
    thread_id: int
    number: int
    entry: Entry


class Heads:
    """What may start as far as the threads are concerned."""

    def __init__(self) -> None:
        self._of_thread: dict[int, list[_Head]] = {}
        self._in_lane: dict[Lane, list[_Head]] = {lane: [] for lane in Lane}
        self._refused: set[_Head] = set()

    def __contains__(self, entry: Entry) -> bool:
        return any(head.entry is entry for head in self._of_thread.get(entry.thread_id, ()))

    def put(self, thread_id: int, entries: list[Entry]) -> None:
        """Say which entries of a thread are next now, in order; those that were refused before are worth a try."""
        for head in self._of_thread.pop(thread_id, ()):
            self._leave(head)
        heads = _ranked(thread_id, entries)
        if heads:
            self._of_thread[thread_id] = heads
        for head in heads:
            bisect.insort(self._in_lane[head.entry.lane], head)

    def first(self, lanes: Iterable[Lane]) -> Entry | None:
        """Return the first entry in these lanes that was not refused."""
        candidates = [heads[0] for lane in lanes if (heads := self._in_lane[lane])]
        return min(candidates).entry if candidates else None

    def refuse(self, entry: Entry) -> None:
        """Leave an entry out that got no agent, until its thread changes or `retry`."""
        for head in self._of_thread.get(entry.thread_id, ()):
            if head.entry is entry:
                self._leave(head)
                self._refused.add(head)

    def retry(self) -> None:
        """Take those in again that were refused."""
        for head in self._refused:
            bisect.insort(self._in_lane[head.entry.lane], head)
        self._refused.clear()

    def _leave(self, head: _Head) -> None:
        if head in self._refused:
            self._refused.remove(head)
            return
        lane = self._in_lane[head.entry.lane]
        del lane[bisect.bisect_left(lane, head)]


class Wakeups:
    """When threads want to be asked again since time has passed; seconds of the caller's clock."""

    def __init__(self) -> None:
        self._at: dict[int, float] = {}
        self._queue: list[tuple[float, int]] = []

    def put(self, thread_id: int, at: float | None) -> None:
        """Say when a thread wants to be asked again; None: not since time has passed."""
        if at == self._at.get(thread_id):
            return
        if at is None:
            del self._at[thread_id]
        else:
            self._at[thread_id] = at
            heapq.heappush(self._queue, (at, thread_id))

    def first(self) -> float | None:
        """Return the next of these times."""
        while self._queue and self._at.get(self._queue[0][1]) != self._queue[0][0]:
            heapq.heappop(self._queue)  # the thread wants another time by now
        return self._queue[0][0] if self._queue else None

    def due(self, now: float) -> list[int]:
        """Return the threads whose time has come, and forget those times."""
        threads: list[int] = []
        while (at := self.first()) is not None and at <= now:
            threads.append(heapq.heappop(self._queue)[1])
            del self._at[threads[-1]]
        return threads


def _ranked(thread_id: int, entries: list[Entry]) -> list[_Head]:
    """Give each its rank among all threads': the thread's own order stays, whatever was put in front."""
    ranks = reversed(list(accumulate((entry.place for entry in reversed(entries)), min)))
    return [
        _Head(rank, thread_id, number, entry) for number, (rank, entry) in enumerate(zip(ranks, entries, strict=True))
    ]
