"""One thread's queue: which messages become which turn, in which order, and what ends those that never run (pure).

It decides and others do: each call returns decisions, in order. It is notified of what really happened: that the store
has a message, that a turn started or ended. The place of a cancelled turn is free when its end was reported, not
before. Over all threads, `scheduler` decides. The mutable state is the line of messages, the running entries, those
that are on their way into a running turn, and the entry that the next message of its author may join.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, takewhile
from operator import attrgetter
from typing import Any

from bot.model import Inbound, Outcome, QueueMode
from bot.work.queue import debounce
from bot.work.queue.drop_rule import choose_dropped
from bot.work.queue.entry import (
    PENDING,
    Cancel,
    Decision,
    Edited,
    End,
    Entry,
    EntryState,
    Inject,
    Joined,
    Queued,
    Warm,
    Why,
    cancel,
)
from bot.work.queue.pending import PendingMessages
from bot.work.queue.rules import Remembered, Rules

NEWER = "a newer message took its place"
_STALE = Why(Outcome.STALE, reason="it was sent before everything here was stopped")
_DELETED = Why(Outcome.REMOVED, reason="the message was deleted")
_EXPELLED = Why(Outcome.REMOVED, reason="its author may no longer use Weft")


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
        self._steering: dict[Entry, Entry] = {}
        self._row: Entry | None = None

    @property
    def steering(self) -> tuple[Entry, ...]:
        """Entries that were handed to a running turn, of which is not known yet whether it takes them."""
        return tuple(self._steering)

    # What comes in

    def arrive(self, inbound: Inbound, now: float) -> list[Decision]:
        """Give a message its place; it has no effect on others before the store has it. A copy is ignored."""
        if self.line.holds(inbound.message_id):
            return []
        self.tick(now)
        # 1. A stop-all goes by the time of posting: what was posted before it and arrives later must not run (Q7).
        if inbound.message_id < self.memory.cutoff:
            self.line.undecided[inbound.message_id] = End(inbound, _STALE)
            return []
        idle, mode = not self.running and not len(self.line), inbound.mode or self.rules.mode
        # 2. Does it go on with what its author has just begun (Q4)?
        row = self._row if self._row is not None and self._row.messages else None
        if row is not None and not debounce.may_join(row, inbound, mode, now):
            row = None
        # Steering goes message by message: joined to a row, it would wait for that row's debounce.
        steers = bool(self.running) and mode is QueueMode.STEER
        if row is not None and row.state is EntryState.COLLECTING and not steers:
            entry = row
            entry.messages.append(inbound)
        else:
            # 3. Its place goes by its snowflake, not by its arrival: a catch-up hands over in any order (Q1).
            entry = self._row = Entry(inbound.message_id, inbound.thread_id, mode, inbound.lane, [inbound], since=now)
            self.line.add(entry)
            if row is not None:
                entry.joins = row.joins if row.state is EntryState.COLLECTING else row
        entry.unstored.add(inbound.message_id)
        self.line.where[inbound.message_id] = entry
        # 4. It waits for more of its author.
        entry.held_until = debounce.held_until(inbound, (entry.joins or entry).since, now, self.rules)
        entry.state = EntryState.COLLECTING if entry.held_until > now else EntryState.WAITING
        if not idle:
            return []
        entry.state = EntryState.WAITING  # it starts at once; more of its author may join it until it is prompted
        return [Warm(entry.thread_id)]

    def restore(self, inbound: Inbound, asked_after: int = 0, *, stored: bool = True) -> list[Decision]:
        """Give a message its place that an earlier run accepted: without debounce, and without an effect on others.

        Args:
            asked_after: a cutoff that was in force when somebody asked for it anew: only a later one skips it.
            stored: False where something is still to be done before it may start; `accepted` ends that.
        """
        if self.line.holds(inbound.message_id):
            return []
        if max(inbound.message_id, asked_after) < self.memory.cutoff:
            end = End(inbound, _STALE)
            if stored:
                return [end]
            self.line.undecided[inbound.message_id] = end
            return []
        entry = Entry(
            inbound.message_id, inbound.thread_id, inbound.mode or self.rules.mode, inbound.lane, [inbound], since=0.0
        )
        entry.unstored = set() if stored else {inbound.message_id}
        # Its mode had its effect in the run that accepted it: it must not interrupt what others have started since.
        entry.taken = True
        self.line.add(entry)
        return []

    def accepted(self, message_id: int) -> list[Decision]:
        """Say that the store has the message: now its mode and the cap have their effect."""
        end = self.line.undecided.pop(message_id, None)
        if end is not None:
            return [end]
        entry = self.line.where.get(message_id)
        if entry is None or entry.state not in PENDING:
            return []
        # Only now: a message that the store refuses must have had no effect on others (O2).
        entry.unstored.discard(message_id)
        return self._settle(entry)

    def refused(self, message_id: int) -> list[Decision]:
        """Forget a message that the store did not take, or for which the caller has another outcome."""
        self.line.undecided.pop(message_id, None)
        entry = self.line.where.get(message_id)
        # One that the store has no longer belongs to the caller: this is about a copy of it.
        if entry is None or message_id not in entry.unstored:
            return []
        self.line.leave(entry, message_id)
        return self._settle(entry)

    def _settle(self, entry: Entry) -> list[Decision]:
        """Let the mode and the cap have their effect, once, as soon as the store has all of the entry."""
        if entry.taken or entry.state not in PENDING or entry.unstored:
            return []
        # 1. It is part of its author's turn that was not prompted yet (Q4).
        turn = entry.joins
        if turn is not None and turn.open:
            messages, turn.held_until = entry.messages, entry.held_until
            if self._row is entry:
                self._row = turn
            self.line.join(turn, entry)
            return [Joined(message) for message in messages] if turn.state is EntryState.RUNNING else []
        # Once: an entry that grows later must not interrupt or shed a second time.
        entry.taken = True
        # 2. It interrupts what runs and takes the place of what waits.
        if entry.mode is QueueMode.INTERRUPT:
            why = Why(Outcome.SUPERSEDED, by=entry.authors[-1].name, reason=NEWER)
            decisions = cancel(self.running, why)
            entry.after = list(self.running)
            for other in [*self.line, *self._steering]:
                # By snowflake: one that was written after it, and was stored before it, is not what it replaces.
                if other.place < entry.place:
                    decisions += self._end(other, why)
            return decisions
        # 3. It is put into the running turn, or, where that can't be, cuts it short.
        if entry.mode is QueueMode.STEER and self.running:
            turn = next((turn for turn in self.running if turn.cancellable), None)
            if turn is None or not self.memory.can_steer:
                return self._cut_in(entry, turn)
            # Out of the line first: what is on its way into a turn must not also be started as a turn.
            self.line.take_out(entry)
            entry.state = EntryState.STEERING
            self._steering[entry] = turn
            return [Inject(turn, entry)]
        # 4. It waits; if that is one too many, the cap says who goes.
        decisions = []
        behind = islice(self.line, self.free, None)
        victim = choose_dropped(entry, behind, self.line.front, self.rules.cap, self.rules.drop)
        if victim is not None:
            reason = f"the queue of this thread is full ({self.rules.cap} waiting)"
            decisions = self._end(victim, Why(Outcome.DROPPED, reason=reason))
        place = self.place(entry)
        return [*decisions, Queued(entry.messages[0], place)] if place else decisions

    def steered(self, entry: Entry, *, ok: bool) -> list[Decision]:
        """Say whether the running turn took the entry; if not, that turn is cancelled and the entry runs next."""
        turn = self._steering.pop(entry, None)
        if turn is None:
            return []
        if ok:
            # The messages are part of the turn: its outcome is theirs.
            entry.state = EntryState.ENDED
            turn.injected += entry.messages
            self.line.where.update({message.message_id: turn for message in entry.messages})
            return []
        decisions: list[Decision] = []
        for message in list(entry.messages):
            if message.message_id in entry.withdrawn:
                self.line.leave(entry, message.message_id)
                decisions.append(End(message, entry.withdrawn[message.message_id]))
        if not entry.messages:
            return decisions
        # Another turn that runs by now is not the one that this was said to.
        return decisions + self._cut_in(entry, turn if turn in self.running and turn.cancellable else None)

    def _cut_in(self, entry: Entry, turn: Entry | None) -> list[Decision]:
        """Put an entry that steers in front, and cancel the turn that it was said to."""
        decisions: list[Decision] = []
        front = self.line.front
        # What was said before, and still waits for the end of a turn that it cut short, is asked together with this.
        earlier = next((other for other in front if other.steered and other.lane is entry.lane), None)
        if turn is not None:
            entry.steered, entry.after = True, [turn]
            decisions = cancel([turn], Why(Outcome.SUPERSEDED, by=entry.authors[-1].name, reason=NEWER))
        if earlier is not None:
            earlier.after += entry.after
            self.line.join(earlier, entry)
            return decisions
        # Out first, in case it is in front itself: those that are counted are the others. They steered before it, and
        # what somebody said first is asked first.
        self.line.take_out(entry)
        before = takewhile(lambda other: other.mode is QueueMode.STEER and other.place < entry.place, front)
        self.line.put_first(entry, behind=len(list(before)))
        entry.state = EntryState.WAITING
        return decisions

    # What runs

    def started(self, entry: Entry) -> None:
        """Say that the turn of one of `heads` has started; a followup takes those in a row behind it along (Q2)."""
        assert entry.ready
        if entry.mode is QueueMode.FOLLOWUP and entry in self.line.rest:
            behind = self.line.rest[self.line.rest.index(entry) + 1 :]
            # Up to the first that is not alike: nobody gets ahead of a message that was posted before theirs.
            for other in takewhile(lambda one: one.mode is entry.mode and one.lane is entry.lane and one.ready, behind):
                self.line.join(entry, other)
        self.line.take_out(entry)
        entry.state, entry.generation = EntryState.RUNNING, self.memory.generation
        self.running.append(entry)

    def ended(self, entry: Entry, *, again: bool = False) -> list[Decision]:
        """Free the place of a turn that has really ended. Call `steered` before, where the answer is known.

        Args:
            again: it could not begin: the entry waits again, as it is, at the place of its snowflake.
        """
        if entry not in self.running:
            return []
        # What was on its way into this turn goes back into the line below; nothing may start between these lines.
        self.running.remove(entry)
        if again:
            # It had started once, so the turns that it waited for have ended.
            entry.state, entry.after = EntryState.WAITING, []
            self.line.add(entry)
        else:
            entry.state = EntryState.ENDED
            for message in entry.owed:
                self.line.where.pop(message.message_id, None)
        not_taken = [other for other, turn in self._steering.items() if turn is entry]
        return [decision for other in not_taken for decision in self.steered(other, ok=False)]

    # What people ask for

    def stop(self, by: str, message_id: int | None = None, before: int | None = None) -> list[Decision]:
        """Stop the oldest running turn, else the next that waits; or the one of the message. Empty: too late.

        Args:
            before: only what is older than this snowflake.
        """
        why, only = Why(Outcome.STOPPED, by=by), self.line.where.get(message_id or 0)
        turns, waiting = (
            [one for one in part if (before is None or one.place < before) and (message_id is None or one is only)]
            for part in (self.running, self.line)
        )
        # 1. Nothing runs that may be stopped: the next that waits goes.
        if not turns:
            return self._end(waiting[0], why) if waiting else []
        # 2. The oldest that nobody has stopped: pressed twice, a stop reaches the next of two turns.
        fresh = next((turn for turn in turns if turn.cancellable), None)
        if fresh is not None:
            return cancel([fresh], why)
        # 3. Named again, so that whoever asks can be answered; the first reason stays.
        under_way = [
            Cancel(turn, turn.cancelled) for turn in turns if turn.cancelled is not None and not turn.finishing
        ]
        return [*under_way[:1]]

    def stop_all(self, by: str, before: int) -> list[Decision]:
        """End everything that is older than snowflake ``before``, also what arrives later (Q7)."""
        self.memory.cutoff = max(self.memory.cutoff, before)
        why = Why(Outcome.STOPPED, by=by)
        decisions = cancel([turn for turn in self.running if turn.place < before], why)
        for entry in [*self.line, *self._steering]:
            decisions += self._end(entry, why, [one for one in entry.messages if one.message_id < before])
        return decisions

    def gone(self, reason: str) -> list[Decision]:
        """End everything, since the thread can no longer be written to (D10)."""
        why = Why(Outcome.STOPPED, reason=reason)
        return cancel(self.running, why) + self.end_waiting(why)

    def end_waiting(self, why: Why, message_id: int | None = None) -> list[Decision]:
        """Take out what waits, or only the prompt to which the message belongs (Q5); what runs goes on."""
        entries = [*self.line, *self._steering]
        if message_id is not None:
            entries = [entry for entry in entries if entry is self.line.where.get(message_id)]
        return [decision for entry in entries for decision in self._end(entry, why)]

    def delete(self, message_id: int) -> list[Decision]:
        """Take one message out that was deleted in Discord, unless the agent has it already (Q5)."""
        entry = self.line.where.get(message_id)
        if entry is None:
            return []
        if entry.state is not EntryState.RUNNING:
            return self._end(entry, _DELETED, [one for one in entry.messages if one.message_id == message_id])
        if entry.open and [one.message_id for one in entry.messages] == [message_id]:
            return cancel([entry], _DELETED)
        # Its turn does without it; the end that it shares with the others is on its way already.
        return self.edit(message_id, text="", quotes=(), left_out=(), attachments=())

    def expel(self, message_id: int) -> list[Decision]:
        """Take one message out whose author may no longer use Weft, if it waits (D2)."""
        return self.turn_away(message_id, _EXPELLED)

    def turn_away(self, message_id: int, why: Why) -> list[Decision]:
        """Take one message out, if it waits."""
        entry = self.line.where.get(message_id)
        messages = [one for one in entry.messages if one.message_id == message_id] if entry is not None else []
        return [] if entry is None else self._end(entry, why, messages)

    def edit(self, message_id: int, **changes: Any) -> list[Decision]:
        """Change the text, or another field, of a message, unless the agent has it already (Q5)."""
        entry = self.line.where.get(message_id)
        if entry is None or not entry.open:
            return []
        for index, message in enumerate(entry.messages):
            if message.message_id == message_id:
                entry.messages[index] = replace(message, **changes)
                return [Edited(entry.messages[index])]
        return []

    def promote(self, message_id: int, by: str) -> list[Decision]:
        """Run a waiting prompt now: the running turn is cancelled for it, the others keep their places (Q5)."""
        entry = self.line.where.get(message_id)
        if entry is None or entry.state not in PENDING:
            return []
        self.line.put_first(entry)
        # Taken: who promotes it has decided on it, so its mode must not interrupt anything later.
        entry.state, entry.taken = EntryState.WAITING, True
        turns = [turn for turn in self.running if turn.cancellable]
        # Only as many as it needs: where turns may run side by side, there may be room for it already.
        excess = max(0, len(turns) + 1 - self.rules.limit(self.memory.share))
        return cancel(turns[:excess], Why(Outcome.SUPERSEDED, by=by, reason="another message was to run at once"))

    def reset(self, by: str = "") -> list[Decision]:
        """Begin a new generation: what runs is cancelled, and what waits goes on once that has ended (Q8)."""
        self.memory.generation += 1
        # What the old session could do and had used says nothing about the new one.
        self.memory.share, self.memory.can_steer = None, False
        return cancel(self.running, Why(Outcome.STOPPED, by=by))

    def _end(self, entry: Entry, why: Why, messages: list[Inbound] | None = None) -> list[Decision]:
        """End messages of an entry that does not run, all of them if none are named."""
        messages = list(entry.messages) if messages is None else messages
        if entry.state is EntryState.STEERING:
            # The agent may have read it by now: it ends only if the turn says that it did not take it.
            for message in messages:
                entry.withdrawn.setdefault(message.message_id, why)
        if entry.state not in PENDING:
            return []
        decisions: list[Decision] = []
        for message in messages:
            if message.message_id in entry.unstored:
                self.line.undecided[message.message_id] = End(message, why)
            else:
                decisions.append(End(message, why))
            self.line.leave(entry, message.message_id)
        # What held the rest back may have been the message that has gone.
        return decisions + self._settle(entry)

    # Time and limits

    def tick(self, now: float) -> None:
        """Notice what the time has changed: who stops collecting."""
        for entry in self.line:
            if entry.state is EntryState.COLLECTING and entry.held_until <= now:
                entry.state = EntryState.WAITING

    def next_wakeup(self) -> float | None:
        """Return when an entry stops collecting that could then start, in the caller's seconds."""
        held = [one.held_until for one in islice(self.line, self.free) if one.state is EntryState.COLLECTING]
        return min(held, default=None)

    def heads(self, now: float) -> list[Entry]:
        """Return the entries that may start now by the thread's own rules, in order.

        One that may not start yet holds the place for those behind it (Q1).
        """
        free = self.free if len(self.line) else 0
        if not free:
            return []
        self.tick(now)
        return list(islice(takewhile(attrgetter("ready"), self.line), free))

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
        return not self.running and not self.line.where and not self.line.undecided
