"""What a thread's queue decides, for others to carry out (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bot.work.queue.entry import Entry, Message, Why


@dataclass(frozen=True, slots=True)
class End:
    """The message never runs, and this is its one outcome."""

    message: Message
    why: Why


@dataclass(frozen=True, slots=True)
class Cancel:
    """The running turn is to be cancelled; its place is free when it has really ended."""

    entry: Entry
    why: Why


@dataclass(frozen=True, slots=True)
class Inject:
    """The entry is to be put into the running turn; whether that worked is told by `ThreadQueue.steered`."""

    into: Entry
    entry: Entry


@dataclass(frozen=True, slots=True)
class Joined:
    """The message is part of a turn that has started, and whose agent was not prompted yet."""

    message: Message


@dataclass(frozen=True, slots=True)
class Queued:
    """The message waits; ``place`` 1 is the next to start."""

    message: Message
    place: int


@dataclass(frozen=True, slots=True)
class Edited:
    """A waiting message has a new text."""

    message: Message


@dataclass(frozen=True, slots=True)
class Warm:
    """An agent will be needed soon: one may be started now, if that costs nobody else anything."""

    thread_id: int


Decision = End | Cancel | Inject | Joined | Queued | Edited | Warm


def cancel(turns: Iterable[Entry], why: Why) -> list[Decision]:
    """Decide that turns are to be cancelled, but for those that are over or cancelled anyway."""
    decisions: list[Decision] = []
    for turn in turns:
        if turn.cancellable:
            turn.cancelled = why
            decisions.append(Cancel(turn, why))
    return decisions
