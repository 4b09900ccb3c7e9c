"""Messages that are put into a running turn, and what becomes of those that it did not take (pure).

Which turn a message is meant for is decided in `thread_queue`. The mutable state is which entries are on their way into
which turn; the line and the entries are the thread's.
"""

from __future__ import annotations

from collections.abc import Iterator

from bot.model import Outcome
from bot.work.queue.entry import Decision, End, Entry, EntryState, Inject, Why, cancel
from bot.work.queue.pending import PendingMessages

NEWER = "a newer message took its place"


class Steering:
    """What is on its way into the running turns of a thread."""

    def __init__(self, line: PendingMessages) -> None:
        self._line = line
        self._under_way: dict[Entry, Entry] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._under_way))

    def into(self, turn: Entry) -> list[Entry]:
        """Return what is on its way into a turn."""
        return [entry for entry, target in self._under_way.items() if target is turn]

    def hand_over(self, entry: Entry, turn: Entry) -> list[Decision]:
        """Put an entry into a turn; whether that worked is told to `taken` or `not_taken`."""
        # Out of the line first: what is on its way into a turn must not be started as a turn of its own as well.
        self._line.take_out(entry)
        entry.state = EntryState.STEERING
        self._under_way[entry] = turn
        return [Inject(turn, entry)]

    def taken(self, entry: Entry) -> None:
        """Make the messages of an entry part of the turn: its outcome is theirs."""
        turn = self._under_way.pop(entry, None)
        if turn is None:
            return
        entry.state = EntryState.ENDED
        turn.injected += entry.messages
        self._line.index(turn)

    def not_taken(self, entry: Entry, running: list[Entry]) -> list[Decision]:
        """End what was withdrawn meanwhile; the rest cuts in, and the turn that it was said to is cancelled."""
        turn = self._under_way.pop(entry, None)
        if turn is None:
            return []
        decisions: list[Decision] = []
        for message in list(entry.messages):
            if message.withdrawn is not None:
                self._line.leave(entry, message)
                decisions.append(End(message, message.withdrawn))
        if not entry.messages:
            return decisions
        # Another turn that runs by now is not the one that this was said to.
        meant = turn if turn in running and turn.cancellable else None
        return decisions + self.cut_in(entry, meant)

    def cut_in(self, entry: Entry, turn: Entry | None) -> list[Decision]:
        """Put an entry in front, and cancel the turn that it was said to."""
        decisions: list[Decision] = []
        # What was said before, and still waits for the end of a turn that it cut short, is asked together with this.
        earlier = next((other for other in self._line.front if other.steered and other.lane is entry.lane), None)
        if turn is not None:
            entry.steered, entry.after = True, [turn]
            decisions = cancel([turn], Why(Outcome.SUPERSEDED, by=entry.authors[-1].name, reason=NEWER))
        if earlier is None:
            self._line.cut_in(entry)
            entry.state = EntryState.WAITING
        else:
            earlier.after += entry.after
            self._line.join(earlier, entry)
        return decisions
