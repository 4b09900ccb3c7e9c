"""All-or-nothing admission over all threads: starts an entry when thread, lane and agent are free at once (pure).

No function here awaits, so each is one critical section on the loop, and nobody ever waits while holding one of the
three (Q6). What a thread's messages become is decided in `thread_queue`. `ReadyQueue` knows which entries are next in
their threads, so that a look costs what has changed, however many threads wait; `Lanes` has the tokens of the lanes.
The mutable state is the map of queues, what is remembered of threads without one, the tokens, the entries that are
next and those that got no agent, and the threads to be asked again.
"""

from __future__ import annotations

import bisect
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, NamedTuple, Protocol, TypeVar

from bot.model import Lane
from bot.work.queue.debounce import Wakeups
from bot.work.queue.entry import Decision, Entry
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
        # The token of a lent one is free already, so only one that is held may be counted off.
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
        # Above the limit if it must be: a person has answered, and their turn waits for nobody else's.
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
        """Say which entries of a thread are next now, in order; those that were refused before are tried again."""
        for head in self._of_thread.pop(thread_id, ()):
            self._leave(head)
        # Nobody ranks behind a younger one of the same thread: the thread's own order stays, whatever was put in front.
        ranks = reversed(list(accumulate((entry.place for entry in reversed(entries)), min)))
        pairs = enumerate(zip(ranks, entries, strict=True))
        heads = [_Head(rank, thread_id, number, entry) for number, (rank, entry) in pairs]
        # A thread without heads has no key here, or the map would grow with every thread there ever was.
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
            self._leave(head)
            bisect.insort(self._in_lane[head.entry.lane], head)
        self._behind.clear()

    def ease(self, lanes: Collection[Lane]) -> bool:
        """Take those in again that stood back for one that no longer wants an agent; False if there are none.

        Args:
            lanes: those that have room: in another one an agent would be of no use.
        """
        gone = [elder for elder in self._behind if elder not in self._wanting or elder.entry.lane not in lanes]
        # Only those that are still refused: a head whose thread has changed meanwhile is in its lane already, or gone.
        freed = set[_Head]().union(*map(self._behind.pop, gone)) & self._refused
        for head in freed:
            self._leave(head)
            bisect.insort(self._in_lane[head.entry.lane], head)
        return bool(freed)

    def _head(self, entry: Entry) -> _Head | None:
        return next((head for head in self._of_thread.get(entry.thread_id, ()) if head.entry is entry), None)

    def _leave(self, head: _Head) -> None:
        # By bisection: these lists hold the heads of all threads, and a linear search would make each look cost that.
        lane = head.entry.lane
        if head not in self._refused:
            del self._in_lane[lane][bisect.bisect_left(self._in_lane[lane], head)]
            return
        self._refused.remove(head)
        if head in self._wanting:
            self._wanting.remove(head)
            del self._wanting_in[lane][bisect.bisect_left(self._wanting_in[lane], head)]


REMEMBERED = 1_000
"""Threads with an empty queue of which something is remembered; the longest idle is forgotten first."""

R = TypeVar("R")


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

    def carry_out(self, decision: Decision) -> None:
        """Do what a queue decided; must not raise."""

    def looked(self, held_up: list[Entry]) -> None:
        """Take note of a look at the queues: what `next_wakeup` returns may be another time now.

        Args:
            held_up: what now waits for an agent or for room in its lane; each entry is named once (P4).
        """


class Scheduler(Generic[R]):
    """Admits entries in order of arrival, over all threads.

    Attributes:
        held: nothing starts for the moment; call `admit` when that is over. ``closed``: nothing will start again.
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

    @contextmanager
    def deciding(self, thread_id: int, now: float) -> Iterator[tuple[ThreadQueue, list[Decision]]]:
        """Hand a thread's queue out for one step: the block adds what the queue decides to the list.

        At the end of the block that is carried out, and what may start then starts. The block must not await: nobody
        may see the queue between a decision and its being carried out.
        """
        rules = self._host.rules_of(thread_id)
        self._stale.add(thread_id)
        queue = self._queues.get(thread_id)
        if queue is None:
            queue = self._queues[thread_id] = ThreadQueue(rules, self._remembered.pop(thread_id, None))
        queue.rules = rules
        decisions: list[Decision] = []
        try:
            yield queue, decisions
        finally:
            # An idle queue is not kept, however many threads there were; what has to outlive it is a few numbers. Only
            # if it is still this one: a block within this block may have dropped it, and another have made a new one.
            if queue.idle and self._queues.get(thread_id) is queue:
                del self._queues[thread_id]
                if queue.memory != Remembered():
                    self._remembered[thread_id] = queue.memory
                while len(self._remembered) > REMEMBERED:
                    self._remembered.popitem(last=False)
        # Each is carried out, whatever another one does: a failure touches no neighbour (Q10).
        with ExitStack() as stack:
            # Called last, as a stack goes backwards: what ends makes room for what starts.
            stack.callback(self.tick, now)
            for decision in reversed(decisions):
                stack.callback(self._host.carry_out, decision)

    def ended(self, entry: Entry, now: float, *, again: bool = False) -> list[Decision]:
        """Say that a turn has really ended; a second call does nothing.

        Args:
            again: it could not begin: it waits again, ahead of everything that was behind it.
        """
        # Before the look at the end of the block: the next of its lane may start in the same step.
        self.lanes.release(entry)
        with self.deciding(entry.thread_id, now) as (queue, decisions):
            decisions.extend(queue.ended(entry, again=again))
        return decisions

    def lend(self, entry: Entry, now: float) -> None:
        """Let others have the place in the lane of a turn that waits for a person."""
        self.lanes.lend(entry)
        self.tick(now)

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
        """Look again because time has passed; `next_wakeup` says when to."""
        # What a start changes in the middle of a look is found by that look, which goes on until nothing is stale.
        if self.closed or self.held or self._looking:
            return
        self._looking = True
        held_up: list[Entry] = []
        try:
            held_up += self._look(now)
        finally:
            self._looking = False
            # Even after a fault, or the clock would sleep past a wake-up that was noted before it.
            self._host.looked(held_up)

    def next_wakeup(self) -> float | None:
        """Return when to call `tick`, in the caller's seconds; None: nothing waits for the time to pass."""
        return None if self.held or self.closed else self._wakeups.first()

    def _look(self, now: float) -> list[Entry]:
        """Try the heads by order of arrival, until none may start; return those that are newly held up."""
        seen: dict[Entry, None] = {}
        started = False
        while True:
            # 1. Ask the queues that have changed, or whose time has come, which entries are next; no others: a message
            # must cost the same however many threads wait.
            self._stale.update(self._wakeups.due(now))
            while self._stale:
                thread_id = self._stale.pop()
                queue = self._queues.get(thread_id)
                # A queue may be gone by now; its heads and its wake-up go with it, or they would be asked for ever.
                entries = queue.heads(now) if queue is not None else []
                self._heads.put(thread_id, entries)
                self._wakeups.put(thread_id, queue.next_wakeup() if queue is not None else None)
                seen.update(dict.fromkeys(entries))
            # 2. Try the first whose lane has room.
            lanes = [lane for lane in Lane if self.lanes.free(lane)]
            entry = self._heads.first(lanes)
            if entry is not None:
                elder, queue = self._heads.elder(entry, lanes), self._queues[entry.thread_id]
                claim = self._host.reserve(entry.thread_id, elder is not None)
                if claim is None:
                    # Not forgotten: it is tried again when its thread changes, an agent is free, or its elder no longer
                    # wants one.
                    self._heads.refuse(entry, elder, wants=not queue.running)
                    continue
                self._stale.add(entry.thread_id)
                queue.started(entry)
                self.lanes.take(entry)
                # The queue and the lane know of the turn before it begins: one that ends at once must find its place
                # taken.
                self._host.start(entry, claim)
                started = True
            # 3. What was refused before a start of another may get an agent after it.
            elif started and self._changed:
                started = self._changed = False
                self._heads.retry()
            # 4. The same for those that stood back for one that has gone.
            elif not self._heads.ease(lanes):
                break
        self._changed = False
        held_up = [entry for entry in seen if entry in self._heads and not entry.told_to_wait]
        for entry in held_up:
            entry.told_to_wait = True
        return held_up

    def forget(self, thread_id: int) -> None:
        """Drop what is remembered of a thread that is gone; a queue that still has something to end goes by itself."""
        self._remembered.pop(thread_id, None)

    # Views

    def queue(self, thread_id: int) -> ThreadQueue:
        """Return the thread's queue to look at; an empty one, not kept, if it has none."""
        return self._queues.get(thread_id) or ThreadQueue(
            self._host.rules_of(thread_id), self._remembered.get(thread_id)
        )

    def find(self, message_id: int) -> Entry | None:
        """Return the entry of a message that waits or runs, in whichever thread."""
        found = (queue.line.where.get(message_id) for queue in self._queues.values())
        return next((entry for entry in found if entry is not None), None)

    def waiting(self) -> Iterator[Entry]:
        """Return all entries that wait, thread by thread."""
        # Copies, since callers end entries while they go through them.
        return (entry for queue in list(self._queues.values()) for entry in list(queue.line))

    def undecided(self) -> Iterator[Entry]:
        """Return all entries that may still become a turn: those that wait, and those that a turn may not take in."""
        return (entry for queue in list(self._queues.values()) for entry in [*queue.line, *queue.steering])

    def accepting(self) -> Iterator[int]:
        """Return the ids of the messages that the store does not have yet."""
        for queue in self._queues.values():
            yield from queue.line.undecided
            for entry in queue.line:
                yield from entry.unstored

    def counts(self) -> dict[Lane, LaneCounts]:
        """Return how full each lane is, and how many entries wait for it."""
        waiting = Counter(entry.lane for entry in self.waiting())
        return {lane: self.lanes.counts(lane, waiting[lane]) for lane in Lane}
