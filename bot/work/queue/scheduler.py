"""All-or-nothing admission over all threads: starts an entry when thread, lane and agent are free at once (pure).

No function here awaits, so each is one critical section on the loop, and nobody ever waits while holding one of the
three (Q6). What a thread's messages become is decided in `thread_queue`. `ReadyQueue` knows which entries are next in
their threads, so that a look costs what has changed, however many threads wait; `Lanes` has the tokens of the lanes.
The mutable state is the map of queues, what is remembered of threads without one, the tokens, the entries that are
next and those that got no agent, and the threads to be asked again.
"""

from __future__ import annotations

import bisect
import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, NamedTuple, Protocol, TypeVar

from bot.model import Inbound, Lane
from bot.work.queue.entry import Decision, Entry, MessageState
from bot.work.queue.rules import Remembered, Rules
from bot.work.queue.thread_queue import ThreadQueue


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


REMEMBERED = 1_000
"""Threads with an empty queue of which something is remembered; the longest idle is forgotten first."""


class Releasable(Protocol):
    """A claim on an agent that can be given back."""

    def release(self) -> None:
        """Give the claim back; a second call does nothing."""


R = TypeVar("R", bound=Releasable)


class Host(Protocol[R]):
    """Who owns the agents and does what the queues decide. No call may wait: each look at the queues is one step."""

    def rules_of(self, thread_id: int) -> Rules:
        """Return the rules of a thread."""

    def reserve(self, thread_id: int, behind: bool) -> R | None:
        """Claim an agent for a thread, or return None.

        Args:
            behind: an older entry waits for an agent; what that one might get soon must not be kept busy (P4).
        """

    def start(self, entry: Entry, claim: R) -> None:
        """Begin an admitted entry; the turn itself runs in a task."""

    def held_up(self, entry: Entry) -> None:
        """Take note, once, of an entry that waits for an agent or for room in its lane (P4)."""

    def carry_out(self, decision: Decision) -> None:
        """Do what a queue decided; must not raise."""

    def looked(self) -> None:
        """Take note of a look at the queues: what `next_wakeup` returns may be another time now."""


class Scheduler(Generic[R]):
    """Admits entries in order of arrival, over all threads.

    Attributes:
        held: nothing starts for the moment; call `admit` when that is over. ``closed``: nothing starts any more.
    """

    def __init__(self, lanes: Lanes, host: Host[R]) -> None:
        self.lanes = lanes
        self.closed = False
        self.held = False
        self._host = host
        self._looking = False
        self._changed = False
        self._queues: dict[int, ThreadQueue] = {}
        self._remembered: OrderedDict[int, Remembered] = OrderedDict()
        self._stale: set[int] = set()
        self._heads = ReadyQueue()
        self._wakeups = Wakeups()

    # One thread

    def do(self, thread_id: int, act: Callable[[ThreadQueue], list[Decision]], now: float) -> list[Decision]:
        """Let a thread's queue decide, carry that out, start what may start; return the decisions."""
        queue = self._open(thread_id)
        try:
            # No await from here on: nobody may see the queue between a decision and its being carried out.
            decisions = act(queue)
        finally:
            self._forget_if_idle(thread_id, queue)
        # Each is carried out, whatever another one does: a failure touches no neighbour (Q10).
        with ExitStack() as stack:
            # Called last, in the reverse order: what ends makes room for what starts.
            stack.callback(self.tick, now)
            for decision in reversed(decisions):
                stack.callback(self._host.carry_out, decision)
        return decisions

    def arrive(self, inbound: Inbound, now: float) -> list[Decision]:
        """Give a message its place; it may start once `accepted` was called."""
        return self.do(inbound.thread_id, lambda queue: queue.arrive(inbound, now), now)

    def restore(
        self, inbound: Inbound, now: float, state: MessageState = MessageState.ACCEPTED, asked_after: int = 0
    ) -> list[Decision]:
        """Give a message its place that an earlier run accepted."""
        return self.do(inbound.thread_id, lambda queue: queue.restore(inbound, state, asked_after), now)

    def accepted(self, inbound: Inbound, now: float) -> list[Decision]:
        """Say that the store has the message."""
        return self.do(inbound.thread_id, lambda queue: queue.accepted(inbound.message_id), now)

    def refused(self, inbound: Inbound, now: float) -> list[Decision]:
        """Say that the store does not have the message, or that it has its outcome already."""
        return self.do(inbound.thread_id, lambda queue: queue.refused(inbound.message_id), now)

    def ended(self, entry: Entry, now: float) -> list[Decision]:
        """Say that a turn has really ended; a second call does nothing."""
        self.lanes.release(entry)
        return self.do(entry.thread_id, lambda queue: queue.ended(entry), now)

    def put_back(self, entry: Entry, now: float) -> list[Decision]:
        """Say that the turn of an entry could not begin: it waits again, and nothing behind it gets there first."""
        self.lanes.release(entry)
        return self.do(entry.thread_id, lambda queue: queue.put_back(entry), now)

    def lend(self, entry: Entry, now: float) -> None:
        """Let others have the place in the lane of a turn that waits for a person."""
        self.lanes.lend(entry)
        self.tick(now)

    def take_back(self, entry: Entry) -> None:
        """Give such a turn its place again; never waits."""
        self.lanes.take_back(entry)

    # All threads

    def admit(self, now: float) -> None:
        """Start every entry whose three conditions hold; to be called whenever an agent may be free."""
        if self._looking:
            self._changed = True  # a reservation that marks a victim reports a change itself
            return
        self._heads.retry()
        self.tick(now)

    def rules_changed(self, now: float) -> None:
        """Ask every thread again, by the rules that it has now."""
        for thread_id, queue in self._queues.items():
            queue.rules = self._host.rules_of(thread_id)
        self._stale.update(self._queues)
        self.tick(now)

    def tick(self, now: float) -> None:
        """Look again since time has passed; `next_wakeup` says when that is worth while."""
        if self.closed or self.held or self._looking:
            return
        self._looking = True
        try:
            self._look(now)
        finally:
            self._looking = False
            self._host.looked()

    def next_wakeup(self) -> float | None:
        """Return when to call `tick`, in the caller's seconds; None: nothing waits for the time to pass."""
        return None if self.held or self.closed else self._wakeups.first()

    def _look(self, now: float) -> None:
        """Try the heads by order of arrival; what was refused before a start of another may get an agent after it."""
        seen: dict[Entry, None] = {}
        started = False
        while True:
            seen.update(dict.fromkeys(self._ask_changed(now)))
            lanes = [lane for lane in Lane if self.lanes.free(lane)]
            entry = self._heads.first(lanes)
            if entry is not None:
                started |= self._try_start(entry, self._heads.elder(entry, lanes))
            elif started and self._changed:
                started = self._changed = False
                self._heads.retry()
            elif not self._heads.ease(lanes):
                break
        self._changed = False
        for entry in seen:
            if entry in self._heads and not entry.told_to_wait:
                entry.told_to_wait = True
                self._host.held_up(entry)

    def _ask_changed(self, now: float) -> list[Entry]:
        """Ask the queues that have changed, or whose time has come, which entries are next."""
        self._stale.update(self._wakeups.due(now))
        heads: list[Entry] = []
        while self._stale:
            thread_id = self._stale.pop()
            queue = self._queues.get(thread_id)
            entries = queue.heads(now) if queue is not None else []
            self._heads.put(thread_id, entries)
            # A queue may be gone by now; its heads and its wake-up go with it, or they would be asked for ever.
            self._wakeups.put(thread_id, queue.next_wakeup() if queue is not None else None)
            heads += entries
        return heads

    def _try_start(self, entry: Entry, elder: Entry | None) -> bool:
        queue = self._queues[entry.thread_id]
        reservation = self._host.reserve(entry.thread_id, elder is not None)
        # Not forgotten: it is tried again when its thread changes, an agent is free, or its elder wants none any more.
        if reservation is None:
            self._heads.refuse(entry, elder, wants=not queue.running)
            return False
        self._stale.add(entry.thread_id)
        queue.started(entry)
        self.lanes.take(entry)
        # The queue and the lane know of the turn before it begins: one that ends at once must find its place taken.
        self._host.start(entry, reservation)
        return True

    # Queues come and go

    def _open(self, thread_id: int) -> ThreadQueue:
        rules = self._host.rules_of(thread_id)
        self._stale.add(thread_id)
        queue = self._queues.get(thread_id)
        if queue is None:
            queue = self._queues[thread_id] = ThreadQueue(rules, self._remembered.pop(thread_id, None))
        queue.rules = rules
        return queue

    def _forget_if_idle(self, thread_id: int, queue: ThreadQueue) -> None:
        if self._queues.get(thread_id) is not queue or not queue.idle:
            return
        del self._queues[thread_id]
        # An idle queue is not kept, however many threads there were; what has to outlive it is a few numbers.
        if queue.memory != Remembered():
            self._remembered[thread_id] = queue.memory
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)

    def forget(self, thread_id: int) -> None:
        """Drop what is remembered of a thread that is gone; a queue that still has something to end goes by itself."""
        self._remembered.pop(thread_id, None)

    # Views

    def queue(self, thread_id: int) -> ThreadQueue:
        """Return the thread's queue to look at; an empty one, not kept, if it has none."""
        return self._queues.get(thread_id) or ThreadQueue(
            self._host.rules_of(thread_id), self._remembered.get(thread_id)
        )

    def find(self, message_id: int) -> tuple[int, Entry] | None:
        """Return the thread and the entry of a message that waits or runs."""
        for thread_id, queue in self._queues.items():
            entry = queue.line.find(message_id)
            if entry is not None:
                return thread_id, entry
        return None

    def waiting(self) -> Iterator[Entry]:
        """Return all entries that wait, thread by thread."""
        return (entry for queue in list(self._queues.values()) for entry in list(queue.line))

    def accepting(self) -> Iterator[int]:
        """Return the ids of the messages that the store does not have yet."""
        return (message_id for queue in list(self._queues.values()) for message_id in list(queue.line.accepting()))

    def counts(self) -> dict[Lane, LaneCounts]:
        """Return how full each lane is, and how many entries wait for it."""
        waiting = Counter(entry.lane for entry in self.waiting())
        return {lane: self.lanes.counts(lane, waiting[lane]) for lane in Lane}
