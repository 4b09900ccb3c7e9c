"""The values of the storage: its limits, its faults, operations and their answers (pure)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

T = TypeVar("T")

DAY = 24 * 3600


@dataclass(frozen=True, slots=True)
class StorageLimits:
    """Counts, and times in seconds.

    Attributes:
        inbox: operations that may wait to be written before a prompt is refused.
        batch: operations of one transaction.
        busy: how long another process's lock is waited for; busy_again: the same while the file is out of order.
        retry: the longest time until a file that is out of order is tried again.
        retry_pause: the shortest; calls in between don't try.
        backlog: changes that are kept for a file that is out of order.
        finished_age, finished_kept: finished prompts that are older, or more, are forgotten.
        threads_age, threads_kept: the same for threads that were not used for so long; servers stay.
        places_age, places_kept: the same for places in which nothing was said for so long.
        decisions_age, decisions_kept: the same for decisions; spending_age, spending_kept: for what turns took.
        transcripts_age, transcripts_kept: the same for transcripts; transcripts_bytes: of all that are kept together.
        sessions_kept: sessions of which is known whose they were; the oldest beyond that are forgotten.
        prune_first, prune_every, prune_pause: when forgetting is looked at first, again, and again if there is more.
        prune_step: rows of a table forgotten in one transaction.
        close: how long leaving may take.
        connect: how long a server is given to take a connection; statement: to answer anything that it is asked.
        migration: the same for changing its tables, and for copying all that is in them.
        pause_first, pause_most: between two tries of a server that is away; the first comes at once, then they double.
        ping: how long nothing is asked of a server before it is looked at whether it is still there.
    """

    inbox: int = 1_000
    batch: int = 256
    busy: float = 2.0
    busy_again: float = 0.1
    retry: float = 10.0
    retry_pause: float = 1.0
    backlog: int = 10_000
    finished_age: int = 30 * DAY
    finished_kept: int = 100_000
    threads_age: int = 365 * DAY
    threads_kept: int = 20_000
    places_age: int = 180 * DAY
    places_kept: int = 5_000
    decisions_age: int = 180 * DAY
    decisions_kept: int = 50_000
    spending_age: int = 400 * DAY
    spending_kept: int = 100_000
    transcripts_age: int = 30 * DAY
    transcripts_kept: int = 20_000
    transcripts_bytes: int = 64 * 2**20
    sessions_kept: int = 50_000
    prune_first: float = 60.0
    prune_every: float = 3600.0
    prune_pause: float = 1.0
    prune_step: int = 500
    close: float = 5.0
    connect: float = 5.0
    statement: float = 10.0
    migration: float = 600.0
    pause_first: float = 0.1
    pause_most: float = 5.0
    ping: float = 30.0

    def pauses(self) -> Iterator[float]:
        """Yield the seconds to wait after each try of a server that is away, for ever."""
        # A connection that was cut while nobody used it is noticed by the first who does: no reason to wait.
        yield 0.0
        yield from itertools.takewhile(
            lambda pause: pause < self.pause_most, (self.pause_first * 2**n for n in itertools.count())
        )
        yield from itertools.repeat(self.pause_most)


class StorageFault(Exception):
    """What is kept can't be read or written; the message says why, in a few words for people."""


class FileDamaged(StorageFault):
    """What the file holds is no database, or one that contradicts itself."""


class StateRefused(StorageFault):
    """What is kept can't be used, and trying again can't help: a person has to do something."""


class StateTooNew(StateRefused):
    """A newer version has written it; it is left alone."""


class StateTooOld(StateRefused):
    """An older version has written it, and it is only read here."""


class LeaseLost(Exception):
    """Somebody else works on this state now: nothing of ours may be written any more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of an operation: its value, or an error of the operation itself, not of the storage."""

    value: Any = None
    error: Exception | None = None


class Operation(Generic[T]):
    """A change or a question, and the type of its answer; ``writes`` tells which."""

    __slots__ = ()
    writes: ClassVar[bool] = True


class Question(Operation[T]):
    """What changes nothing."""

    __slots__ = ()
    writes: ClassVar[bool] = False
