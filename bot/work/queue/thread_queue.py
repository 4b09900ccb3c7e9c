"""One thread's queue: which messages become which turn, in which order, and what ends those that never run (pure).

It decides and others do: each call returns decisions, in order. It is told what really happened: that the store has
a message, that a turn started or ended. The place of a cancelled turn is free when its end was told, not before. Over
all threads, `scheduler` decides. The mutable state is the line of messages, the running entries, those that were
handed to a running turn, and the entry that the next message of its author may join.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, takewhile
from operator import attrgetter

from bot.model import Inbound, Outcome, QueueMode
from bot.work.queue.entry import (
    Cancel,
    Decision,
    Edited,
    End,
    Entry,
    EntryState,
    Joined,
    Message,
    MessageState,
    Queued,
    Warm,
    Why,
    cancel,
)
from bot.work.queue.pending import PendingMessages
from bot.work.queue.rules import Drop, Remembered, Rules
from bot.work.queue.steering import NEWER, Steering

_STALE = Why(Outcome.STALE, reason="it was sent before everything here was stopped")
_DELETED = Why(Outcome.REMOVED, reason="the message was deleted")
_EXPELLED = Why(Outcome.REMOVED, reason="its author may no longer use Weft")
_PENDING = (EntryState.COLLECTING, EntryState.WAITING)


class ThreadQueue:
    """The messages of one thread.

    Attributes:
        rules: how messages become turns; may be replaced at any time.
        memory: what outlives the queue.
        line: the messages without an outcome, to look at.
        running: entries whose turn has started and not ended, the oldest first.
    """

    def __init__(self, rules: Rules, memory: Remembered | None = None) -> None:
        self.rules = rules
        self.memory = memory or Remembered()
        self.line = PendingMessages()
        self.running: list[Entry] = []
        self._steering = Steering(self.line)
        self._row: Entry | None = None

    # What comes in

    def arrive(self, inbound: Inbound, now: float) -> list[Decision]:
        """Give a message its place; it has no effect on others before the store has it. A copy is ignored."""
        if self.line.holds(inbound.message_id):
            return []
        self.tick(now)
        message = Message(inbound)
        # A stop-all goes by the time of posting: what was posted before it and arrives later must not run (Q7).
        if message.id < self.memory.cutoff:
            return self.line.finish(message, _STALE)
        idle = not self.running and not len(self.line)
        row = self._row if self._row is not None and self._belongs(self._row, message, now) else None
        if row is not None and row.state is EntryState.COLLECTING and not self._steers(message):
            row.messages.append(message)
            self.line.index(row)
            self._hold(row, inbound, now)
            return []
        # By its snowflake, not by its arrival: a catch-up hands over in any order (Q1).
        entry = self._row = self._enter(message, now)
        if row is not None:
            entry.joins = row.joins if row.state is EntryState.COLLECTING else row
        self._hold(entry, inbound, now)
        if not idle:
            return []
        entry.state = EntryState.WAITING  # it starts at once; more of its author may join it until it is prompted
        return [Warm(entry.thread_id)]

    def _hold(self, entry: Entry, inbound: Inbound, now: float) -> None:
        """Let an entry wait for more of its author, for so long in all since the row began."""
        latest = (entry.joins or entry).since + self.rules.debounce_max
        entry.hold(now, now if inbound.files else min(now + self.rules.debounce, latest))

    def restore(
        self, inbound: Inbound, state: MessageState = MessageState.ACCEPTED, asked_after: int = 0
    ) -> list[Decision]:
        """Give a message its place that an earlier run accepted: without debounce, and without an effect on others.

        Args:
            state: ACCEPTING where something is still to be done before it may start; `accepted` ends that.
            asked_after: a cutoff that was in force when somebody asked for it anew: only a later one skips it.
        """
        if self.line.holds(inbound.message_id):
            return []
        message = Message(inbound, state)
        if max(message.id, asked_after) < self.memory.cutoff:
            return self.line.finish(message, _STALE)
        # Its mode had its effect in the run that accepted it: it must not interrupt what others have started since.
        self._enter(message, 0.0).taken = True
        return []

    def accepted(self, message_id: int) -> list[Decision]:
        """Say that the store has the message: now its mode and the cap have their effect."""
        message = self.line.decide(message_id)
        if message is not None and message.withdrawn is not None:
            message.state = MessageState.ACCEPTED
            return [End(message, message.withdrawn)]
        entry = self.line.find(message_id)
        if entry is None or entry.state not in _PENDING:
            return []
        # Only now: a message that the store refuses must have had no effect on others (O2).
        entry.message(message_id).state = MessageState.ACCEPTED
        return self._settle(entry)

    def refused(self, message_id: int) -> list[Decision]:
        """Forget a message that the store did not take, or for which the caller has an outcome of its own."""
        self.line.decide(message_id)
        entry = self.line.find(message_id)
        if entry is None or entry.message(message_id).state is MessageState.ACCEPTED:
            return []
        self.line.leave(entry, entry.message(message_id))
        return self._settle(entry)

    def _belongs(self, row: Entry, message: Message, now: float) -> bool:
        """Whether a message goes on with what its author has just begun (Q4)."""
        inbound, last = message.inbound, row.messages[-1].inbound if row.messages else None
        if last is None or not row.open or now >= row.held_until:
            return False
        mode = inbound.mode or self.rules.mode
        alike = (last.author.id, row.mode, row.lane) == (inbound.author.id, mode, inbound.lane)
        return alike and last.message_id < inbound.message_id

    def _steers(self, message: Message) -> bool:
        """Whether it is put into the running turn, message by message."""
        return bool(self.running) and (message.inbound.mode or self.rules.mode) is QueueMode.STEER

    def _enter(self, message: Message, now: float) -> Entry:
        inbound = message.inbound
        mode = inbound.mode or self.rules.mode
        entry = Entry(inbound.message_id, inbound.thread_id, mode, inbound.lane, [message], since=now)
        self.line.add(entry)
        return entry

    # What an accepted entry does to the others

    def _settle(self, entry: Entry) -> list[Decision]:
        """Let the mode and the cap have their effect, once, as soon as the store has all of the entry."""
        if entry.taken or entry.state not in _PENDING or not entry.accepted:
            return []
        if entry.joins is not None and entry.joins.open:
            return self._join(entry, entry.joins)
        # Once: an entry that grows later must not interrupt or shed a second time.
        entry.taken = True
        if entry.mode is QueueMode.INTERRUPT:
            return self._interrupt(entry)
        if entry.mode is QueueMode.STEER and self.running:
            return self._steer(entry)
        decisions = self._shed(entry)
        place = self.place(entry)
        return [*decisions, Queued(entry.messages[0], place)] if place else decisions

    def _join(self, entry: Entry, turn: Entry) -> list[Decision]:
        """Make an entry part of its author's turn that was not prompted yet (Q4)."""
        messages, turn.held_until = entry.messages, entry.held_until
        if self._row is entry:
            self._row = turn
        self.line.join(turn, entry)
        return [Joined(message) for message in messages] if turn.state is EntryState.RUNNING else []

    def _shed(self, entry: Entry) -> list[Decision]:
        counted = [other for other in islice(self.line, self.free, None) if other.taken]
        if len(counted) <= self.rules.cap or entry not in counted:
            return []
        in_line = (other for other in counted if other in self.line.rest)
        victim = entry if self.rules.drop is Drop.NEW else min(in_line, key=attrgetter("place"))
        return self._end(
            victim, Why(Outcome.DROPPED, reason=f"the queue of this thread is full ({self.rules.cap} waiting)")
        )

    def _interrupt(self, entry: Entry) -> list[Decision]:
        why = Why(Outcome.SUPERSEDED, by=entry.authors[-1].name, reason=NEWER)
        decisions = cancel(self.running, why)
        entry.after = list(self.running)
        for other in [*self.line, *self._steering]:
            if other.place < entry.place:
                decisions += self._end(other, why)
        return decisions

    def _steer(self, entry: Entry) -> list[Decision]:
        target = next((turn for turn in self.running if turn.cancellable), None)
        if target is None or not self.memory.can_steer:
            return self._steering.cut_in(entry, target)
        return self._steering.hand_over(entry, target)

    def steered(self, entry: Entry, *, ok: bool) -> list[Decision]:
        """Say whether the running turn took the entry; if not, that turn is cancelled and the entry runs next."""
        if not ok:
            return self._steering.not_taken(entry, self.running)
        self._steering.taken(entry)
        return []

    # What runs

    def started(self, entry: Entry) -> None:
        """Say that the turn of one of `heads` has started; a followup takes those in a row behind it along."""
        assert entry.ready
        for other in self.line.companions(entry):
            self.line.join(entry, other)
        self.line.take_out(entry)
        entry.state, entry.generation = EntryState.RUNNING, self.memory.generation
        self.running.append(entry)

    def finishing(self, entry: Entry) -> None:
        """Say that the agent has answered: what comes now is next, and stopping is too late (T3, T6)."""
        entry.finishing = True

    def ended(self, entry: Entry) -> list[Decision]:
        """Say that a turn has really ended: its place is free. Call `steered` before, where the answer is known."""
        if entry not in self.running:
            return []
        # What was on its way into this turn goes back into the line below; nothing may start between these lines.
        self.running.remove(entry)
        entry.state = EntryState.ENDED
        self.line.forget(entry)
        return self._not_steered(entry)

    def put_back(self, entry: Entry) -> list[Decision]:
        """Say that the turn of an entry could not begin: it waits again, as it is, at the place of its snowflake."""
        if entry not in self.running:
            return []
        self.running.remove(entry)
        # It had started once, so the turns that it waited for have ended.
        entry.state, entry.after = EntryState.WAITING, []
        self.line.add(entry)
        return self._not_steered(entry)

    def _not_steered(self, target: Entry) -> list[Decision]:
        steering = self._steering.into(target)
        return [decision for entry in steering for decision in self.steered(entry, ok=False)]

    # What people ask for

    def stop(self, by: str, message_id: int | None = None, before: int | None = None) -> list[Decision]:
        """Stop the oldest running turn, else the next that waits; or the one of the message. Empty: too late.

        Args:
            before: only what is older than this snowflake.
        """
        why = Why(Outcome.STOPPED, by=by)
        turns, waiting = self.running, list(self.line)
        if before is not None:
            turns, waiting = (
                [one for one in turns if one.place < before],
                [one for one in waiting if one.place < before],
            )
        if message_id is not None:
            entry = self.line.find(message_id)
            turns, waiting = [turn for turn in turns if turn is entry], [other for other in waiting if other is entry]
        if not turns:
            return self._end(waiting[0], why) if waiting else []
        fresh = next((turn for turn in turns if turn.cancellable), None)
        if fresh is not None:
            return cancel([fresh], why)
        # Told again, so that whoever asks can be answered; the first reason stays.
        under_way = [(turn, turn.cancelled) for turn in turns if not turn.finishing]
        return [Cancel(turn, first) for turn, first in under_way[:1] if first is not None]

    def stop_all(self, by: str, before: int) -> list[Decision]:
        """End everything that is older than snowflake ``before``, also what arrives later (Q7)."""
        self.cut(before)
        why = Why(Outcome.STOPPED, by=by)
        decisions = cancel([turn for turn in self.running if turn.place < before], why)
        for entry in [*self.line, *self._steering]:
            decisions += self._end(entry, why, [message for message in entry.messages if message.id < before])
        return decisions

    def cut(self, before: int) -> list[Decision]:
        """Skip what arrives from now on and is older than snowflake ``before`` (Q7)."""
        self.memory.cutoff = max(self.memory.cutoff, before)
        return []

    def gone(self, reason: str) -> list[Decision]:
        """End everything, since the thread can't be written to any more (D10)."""
        why = Why(Outcome.STOPPED, reason=reason)
        return cancel(self.running, why) + self.end_waiting(why)

    def clear(self, by: str) -> list[Decision]:
        """Take everything out that waits; what runs goes on."""
        return self.end_waiting(Why(Outcome.REMOVED, by=by))

    def end_waiting(self, why: Why) -> list[Decision]:
        """End everything that waits, for a reason of the caller's; what runs goes on."""
        return [decision for entry in [*self.line, *self._steering] for decision in self._end(entry, why)]

    def remove(self, message_id: int, by: str) -> list[Decision]:
        """Take the waiting prompt out to which the message belongs (Q5)."""
        entry = self.line.find(message_id)
        return [] if entry is None else self._end(entry, Why(Outcome.REMOVED, by=by))

    def delete(self, message_id: int) -> list[Decision]:
        """Take one message out that was deleted in Discord, unless the agent was told it already (Q5)."""
        entry = self.line.find(message_id)
        if entry is None:
            return []
        if entry.state is not EntryState.RUNNING:
            return self._end(entry, _DELETED, [entry.message(message_id)])
        message = entry.unsaid(message_id)
        if message is None:
            return []
        if len(entry.messages) == 1:
            return cancel([entry], _DELETED)
        # Its turn does without it; the end that it shares with the others is on its way already.
        message.text, message.inbound = "", replace(message.inbound, quotes=(), left_out=())
        return [Edited(message)]

    def expel(self, message_id: int) -> list[Decision]:
        """Take one message out whose author is let in no more, if it waits (D2)."""
        entry = self.line.find(message_id)
        return [] if entry is None else self._end(entry, _EXPELLED, [entry.message(message_id)])

    def edit(self, message_id: int, text: str) -> list[Decision]:
        """Take the new text of a message, unless the agent was told it already (Q5)."""
        entry = self.line.find(message_id)
        message = entry.unsaid(message_id) if entry is not None else None
        if message is None:
            return []
        message.text = text
        return [Edited(message)]

    def promote(self, message_id: int, by: str) -> list[Decision]:
        """Run a waiting prompt now: the running turn is cancelled for it, the others keep their places (Q5)."""
        entry = self.line.find(message_id)
        if entry is None or entry.state not in _PENDING:
            return []
        self.line.put_first(entry)
        entry.state, entry.taken = EntryState.WAITING, True
        turns = [turn for turn in self.running if turn.cancellable]
        excess = max(0, len(turns) + 1 - self.rules.limit(self.memory.share))
        return cancel(turns[:excess], Why(Outcome.SUPERSEDED, by=by, reason="another message was to run at once"))

    def reset(self, by: str = "") -> list[Decision]:
        """Begin a new generation: what runs is cancelled, and what waits goes on once that has ended (Q8)."""
        self.memory.generation += 1
        self.memory.share, self.memory.can_steer = None, False
        return cancel(self.running, Why(Outcome.STOPPED, by=by))

    # How things end

    def _end(self, entry: Entry, why: Why, messages: list[Message] | None = None) -> list[Decision]:
        """End messages of an entry that does not run, all of them if none are named."""
        messages = list(entry.messages) if messages is None else messages
        if entry.state is EntryState.STEERING:
            for message in messages:
                message.withdrawn = message.withdrawn or why
        if entry.state not in _PENDING:
            return []
        decisions: list[Decision] = []
        for message in messages:
            self.line.leave(entry, message)
            decisions += self.line.finish(message, why)
        return decisions + self._settle(entry)

    # Time and limits

    def context_share(self, value: float | None) -> list[Decision]:
        """Take note of how much of the context window is used, 0 to 1 (Q9)."""
        self.memory.share = value
        return []

    def steerable(self, *, can: bool) -> list[Decision]:
        """Take note of whether the session's agent takes messages into a running turn (Q2)."""
        self.memory.can_steer = can
        return []

    def tick(self, now: float) -> list[Decision]:
        """Notice what the time has changed: who stops collecting."""
        self.line.collect(now)
        return []

    def next_wakeup(self) -> float | None:
        """Return when an entry stops collecting that could then start, in the caller's seconds."""
        return self.line.next_collected(self.free)

    def heads(self, now: float) -> list[Entry]:
        """Return the entries that may start now by the thread's own rules, in order.

        One that may not start yet holds the place for those behind it (Q1).
        """
        free = self.free if len(self.line) else 0
        if not free:
            return []
        self.tick(now)
        return list(islice(takewhile(lambda entry: entry.ready, self.line), free))

    @property
    def free(self) -> int:
        """How many more turns may start; none beside a turn of a session that was reset (Q8)."""
        free = self.rules.limit(self.memory.share) - len(self.running)
        if free <= 0 or any(turn.generation != self.memory.generation for turn in self.running):
            return 0
        return free

    def place(self, entry: Entry) -> int:
        """Return the place of a waiting entry, 1 for the next; 0: nothing in the thread is before it, or it is gone."""
        waiting = list(self.line)
        return max(0, waiting.index(entry) - self.free + 1) if entry in waiting else 0

    @property
    def idle(self) -> bool:
        """Whether nothing runs, waits, or is still to be decided."""
        return not self.running and self.line.empty
