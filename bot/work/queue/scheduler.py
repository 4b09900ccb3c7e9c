"""All-or-nothing admission over all threads: starts an entry when thread, lane and agent are free at once (pure).

No function here awaits, so each is one critical section on the loop, and nobody ever waits while holding one of the
three (Q6). What a thread's messages become is decided in `thread`. The mutable state is the map of queues, what is
remembered of threads without one, the lanes' tokens, the heads of all threads, and the threads to be asked for theirs.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Generic, Protocol, TypeVar

from bot.model import Inbound, Lane
from bot.work.queue.decisions import Decision
from bot.work.queue.entry import Entry, MessageState
from bot.work.queue.heads import ReadyQueue, Wakeups
from bot.work.queue.lanes import LaneCounts, Lanes
from bot.work.queue.rules import Remembered, Rules
from bot.work.queue.thread_queue import ThreadQueue

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
            decisions = act(queue)
        finally:
            self._forget_if_idle(thread_id, queue)
        # Each is carried out, whatever another one does: a failure touches no neighbour (Q10).
        with ExitStack() as stack:
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
            self._wakeups.put(thread_id, queue.next_wakeup() if queue is not None else None)
            heads += entries
        return heads

    def _try_start(self, entry: Entry, elder: Entry | None) -> bool:
        queue = self._queues[entry.thread_id]
        reservation = self._host.reserve(entry.thread_id, elder is not None)
        if reservation is None:
            self._heads.refuse(entry, elder, wants=not queue.running)
            return False
        self._stale.add(entry.thread_id)
        queue.started(entry)
        self.lanes.take(entry)
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
