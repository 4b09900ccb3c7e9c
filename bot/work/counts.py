"""How much work there is at a moment (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bot.model import Lane
from bot.work.queue.entry import Entry
from bot.work.queue.lanes import LaneCounts


@dataclass(frozen=True, slots=True)
class WorkCounts:
    """The work of all threads.

    Attributes:
        waiting: prompts that wait, in all threads.
        queues: threads in which some do.
        longest: how many wait in the thread in which most do.
        cards: permission requests that wait for a person.
        pending: messages whose outcome or reply is being seen to.
    """

    lanes: Mapping[Lane, LaneCounts]
    waiting: int
    queues: int
    longest: int
    cards: int
    pending: int


def work_counts(lanes: Mapping[Lane, LaneCounts], waiting: Iterable[Entry], cards: int, pending: int) -> WorkCounts:
    """Return the counts; ``waiting`` are the entries of all threads that wait."""
    by_thread = Counter(entry.thread_id for entry in waiting)
    return WorkCounts(lanes, by_thread.total(), len(by_thread), max(by_thread.values(), default=0), cards, pending)
