"""The entries that are next in their threads, lane by lane and in order of arrival over all threads (pure).

So that a look costs what has changed, however many threads wait. Which entries are next is each thread's to say, when
it changes; which of them start is the scheduler's. The mutable state is the heads of each thread, those of each lane
in order, those that got no agent and whom they let go first, and the times at which threads want to be asked again.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Collection, Iterable
from itertools import accumulate
from typing import NamedTuple

from bot.model import Lane
from bot.work.queue.entry import Entry


class _Head(NamedTuple):
    """An entry and its rank among all; the first three decide, and are never the same twice."""

    rank: int
    thread_id: int
    number: int
    entry: Entry


class ReadyQueue:
    """What may start as far as the threads are concerned."""

    def __init__(self) -> None:
        self._of_thread: dict[int, list[_Head]] = {}
        self._in_lane: dict[Lane, list[_Head]] = {lane: [] for lane in Lane}
        self._refused: set[_Head] = set()
        self._wanting: set[_Head] = set()
        self._wanting_in: dict[Lane, list[_Head]] = {lane: [] for lane in Lane}
        self._behind: dict[_Head, set[_Head]] = {}

    def __contains__(self, entry: Entry) -> bool:
        return self._head(entry) is not None

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

    def elder(self, entry: Entry, lanes: Iterable[Lane]) -> Entry | None:
        """Return the oldest entry in these lanes that wants an agent and got none, if it is older than this one."""
        wanting = [heads[0] for lane in lanes if (heads := self._wanting_in[lane])]
        head, elder = self._head(entry), min(wanting, default=None)
        return elder.entry if elder is not None and head is not None and elder < head else None

    def refuse(self, entry: Entry, elder: Entry | None = None, *, wants: bool = True) -> None:
        """Leave an entry out that got no agent, until its thread changes or `retry`.

        Args:
            elder: the entry for which it had to stand back; see `ease`.
            wants: it is an agent that it waits for, and not another turn of its thread.
        """
        head = self._head(entry)
        if head is None:
            return
        self._leave(head)
        self._refused.add(head)
        if wants:
            self._wanting.add(head)
            bisect.insort(self._wanting_in[entry.lane], head)
        before = self._head(elder) if elder is not None else None
        if before is not None:
            self._behind.setdefault(before, set()).add(head)

    def retry(self) -> None:
        """Take those in again that were refused."""
        for head in tuple(self._refused):
            self._take_in(head)
        self._behind.clear()

    def ease(self, lanes: Collection[Lane]) -> bool:
        """Take those in again that stood back for one that wants no agent any more; False if there are none.

        Args:
            lanes: those that have room: in another one an agent would be of no use.
        """
        gone = [elder for elder in self._behind if elder not in self._wanting or elder.entry.lane not in lanes]
        freed = set[_Head]().union(*map(self._behind.pop, gone)) & self._refused
        for head in freed:
            self._take_in(head)
        return bool(freed)

    def _head(self, entry: Entry) -> _Head | None:
        return next((head for head in self._of_thread.get(entry.thread_id, ()) if head.entry is entry), None)

    def _take_in(self, head: _Head) -> None:
        self._leave(head)
        bisect.insort(self._in_lane[head.entry.lane], head)

    def _leave(self, head: _Head) -> None:
        lane = head.entry.lane
        if head not in self._refused:
            _drop(self._in_lane[lane], head)
            return
        self._refused.remove(head)
        if head in self._wanting:
            self._wanting.remove(head)
            _drop(self._wanting_in[lane], head)


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


def _drop(heads: list[_Head], head: _Head) -> None:
    del heads[bisect.bisect_left(heads, head)]


def _ranked(thread_id: int, entries: list[Entry]) -> list[_Head]:
    """Give each its rank among all threads': the thread's own order stays, whatever was put in front."""
    ranks = reversed(list(accumulate((entry.place for entry in reversed(entries)), min)))
    return [
        _Head(rank, thread_id, number, entry) for number, (rank, entry) in enumerate(zip(ranks, entries, strict=True))
    ]
