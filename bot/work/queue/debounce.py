"""How long a message waits for the next one of the same author, so that both become one prompt (Q4; pure).

`ThreadQueue.arrive` asks here for each message that comes. The mutable state is when which thread has waited enough.
"""

from __future__ import annotations

import heapq

from bot.model import Inbound, QueueMode
from bot.work.prompt import runs_command
from bot.work.queue.entry import Entry
from bot.work.queue.rules import Rules


def may_join(row: Entry, inbound: Inbound, mode: QueueMode, now: float) -> bool:
    """Return whether a message goes on with ``row``, which its author has just begun."""
    last = row.messages[-1]
    # A command of the agent's is the first text of its prompt, and takes all that follows as its input (K3).
    if runs_command(inbound) or runs_command(last):
        return False
    alike = (last.author.id, row.mode, row.lane) == (inbound.author.id, mode, inbound.lane)
    # Not one that is older than the row's last: the prompt would read in another order than it was written.
    return row.open and now < row.held_until and alike and last.message_id < inbound.message_id


def held_until(inbound: Inbound, since: float, now: float, rules: Rules) -> float:
    """Return until when more of the author may join a message; ``since`` is when the first of the row came.

    All times are seconds of the same clock.
    """
    # With files, all has been said, and nothing joins a command: to hold it back would only delay the answer.
    if inbound.files or runs_command(inbound):
        return now
    # Each message extends the wait, but only so far: a steady typist would never be answered otherwise.
    return min(now + rules.debounce, since + rules.debounce_max)


class Wakeups:
    """When threads want to be asked again because a debounce is over; seconds of the caller's clock."""

    def __init__(self) -> None:
        self._at: dict[int, float] = {}
        self._queue: list[tuple[float, int]] = []

    def put(self, thread_id: int, at: float | None) -> None:
        """Say when a thread wants to be asked again; None: no debounce runs there."""
        # An unchanged time is not pushed again: the heap would grow with each look.
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
