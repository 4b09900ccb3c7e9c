"""A bot played without a loop: people, a store, agents and a clock around a scheduler, each moved one step at a time.

It keeps its own books of what arrived, what is written down, what runs and how everything ended, and checks the
scheduler against them at every start, at every end, and after every step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from bot.model import Actor, Inbound, Lane, Outcome, QueueMode
from bot.work.queue.drop_rule import Drop
from bot.work.queue.entry import Cancel, Decision, Edited, End, Entry, EntryState, Inject, Joined, Queued, Why
from bot.work.queue.rules import Rules
from bot.work.queue.scheduler import Lanes, Scheduler
from bot.work.queue.thread_queue import ThreadQueue
from tests.bot.work.queue.bench import decide, removed

PEOPLE = tuple(Actor(number, name) for number, name in ((1, "ann"), (2, "bo"), (3, "cy")))
THREADS = (101, 102, 103)
RULES = {
    101: Rules(),
    102: Rules(mode=QueueMode.FOLLOWUP, cap=3, max_concurrent=2, debounce=0.0),
    103: Rules(cap=2, drop=Drop.NEW, debounce=0.4, debounce_max=1.0, max_concurrent=3),
}
LIMITS = {Lane.MAIN: 3, Lane.BACKGROUND: 1}
AGENTS = 3

T = TypeVar("T")


class Claim:
    """An agent that a turn has."""

    def __init__(self, model: SchedulerModel) -> None:
        self.model: SchedulerModel | None = model
        model.agents += 1

    def release(self) -> None:
        if self.model is not None:
            model, self.model = self.model, None
            model.agents -= 1
            model.scheduler.admit(model.now)


class SchedulerModel:
    """The books. Every public method is a step; ``choice`` says who and what."""

    def __init__(self) -> None:
        self.now = 0.0
        self.last_id = 1000
        self.agents = 0
        self.inbounds: dict[int, Inbound] = {}
        self.texts: dict[int, str] = {}
        self.accepting: list[Inbound] = []
        self.store: set[int] = set()
        self.waiting: dict[int, set[int]] = {thread: set() for thread in THREADS}
        self.turns: dict[Entry, Claim] = {}
        self.lent: set[Entry] = set()
        self.cancelled: dict[Entry, Why] = {}
        self.injects: list[Inject] = []
        self.outcomes: dict[int, Outcome] = {}
        self.ran: set[int] = set()
        self.in_front: set[int] = set()
        self.generations = Counter[int]()
        self.shares: dict[int, float | None] = dict.fromkeys(THREADS)
        self.touched = 0
        self.scheduler = self.begin()

    def begin(self) -> Scheduler[Claim]:
        return Scheduler(Lanes(LIMITS), self)

    # What the scheduler does

    def rules_of(self, thread: int) -> Rules:
        return RULES[thread]

    def reserve(self, _thread: int, _behind: bool) -> Claim | None:
        return Claim(self) if self.agents < AGENTS else None

    def looked(self, held_up: list[Entry]) -> None:
        """The model asks for the next wake-up itself."""
        for entry in held_up:
            assert entry.state is EntryState.WAITING
            assert self.agents == AGENTS or self.used(entry.lane) >= LIMITS[entry.lane]

    def limit(self, thread: int) -> int:
        share = self.shares[thread]
        return 1 if share is not None and share >= 0.6 else RULES[thread].max_concurrent

    def running(self, thread: int) -> int:
        return sum(entry.thread_id == thread for entry in self.turns)

    def used(self, lane: Lane) -> int:
        return sum(entry.lane is lane for entry in self.turns if entry not in self.lent)

    def start(self, entry: Entry, claim: Claim) -> None:
        thread = entry.thread_id
        assert self.running(thread) < self.limit(thread), "never more turns of a thread than its limit"
        assert self.used(entry.lane) < LIMITS[entry.lane], "never more turns in a lane than it has tokens"
        assert all(other.generation == entry.generation for other in self.turns if other.thread_id == thread)
        assert not [turn for turn in entry.after if turn in self.turns], "never beside the turn cancelled for it"
        assert entry.messages
        for message in entry.messages:
            assert message.message_id in self.store, "nothing runs that the store does not have"
            assert message.message_id not in self.ran, "nothing runs twice"
            assert message.message_id not in self.outcomes, "nothing runs that has its outcome"
            assert message.text == self.texts[message.message_id], "the last edit counts"
            self.ran.add(message.message_id)
            self.waiting[thread].remove(message.message_id)
        self.check_order(entry)
        self.turns[entry] = claim

    def check_order(self, entry: Entry) -> None:
        if entry.place in self.in_front:
            return
        line = self.scheduler.queue(entry.thread_id).line
        serial = RULES[entry.thread_id].max_concurrent == 1
        for message_id in self.waiting[entry.thread_id]:
            alike = serial or self.inbounds[message_id].lane is entry.lane
            if alike and message_id < entry.place:
                assert message_id in line.undecided, "in order of arrival"

    def carry_out(self, decision: Decision) -> None:
        match decision:
            case End(message, why):
                assert message.message_id not in self.ran, "what ran has the outcome of its turn"
                assert message.thread_id == self.touched, "a neighbour is not touched"
                self.waiting[self.touched].discard(message.message_id)
                self.end(message.message_id, why.outcome)
            case Cancel(entry, why):
                assert entry in self.turns, "only what runs is cancelled"
                assert entry.thread_id == self.touched, "a neighbour is not touched"
                assert self.cancelled.setdefault(entry, why) == why, "the first reason stays"
            case Inject(into, entry):
                assert into in self.turns
                assert into not in self.cancelled
                self.injects.append(decision)
                self.waiting[self.touched].difference_update(message.message_id for message in entry.messages)
            case Joined(message):
                [turn] = [turn for turn in self.turns if message in turn.messages]
                assert turn not in self.cancelled
                assert not turn.prompted, "what the agent was told stays as it was"
                assert message.message_id in self.store, "nothing runs that the store does not have"
                assert message.text == self.texts[message.message_id], "the last edit counts"
                self.ran.add(message.message_id)
                self.waiting[self.touched].remove(message.message_id)
            case Queued(message, place):
                assert place >= 1
                assert message.message_id in self.waiting[self.touched]
            case Edited(message):
                told = [turn.prompted for turn in self.turns if message in turn.messages]
                assert told == [False] or message.message_id in self.waiting[self.touched], (
                    "what the agent was told stays"
                )

    def end(self, message_id: int, outcome: Outcome) -> None:
        assert message_id in self.store, "a copy has no outcome"
        assert message_id not in self.outcomes, "exactly one outcome"
        self.outcomes[message_id] = outcome

    def check(self) -> None:
        """Whatever may start has started (Q6)."""
        if self.agents == AGENTS:
            return
        for thread, queue in self.scheduler._queues.items():
            entry = next(iter(queue.line), None)
            if entry is not None and self.used(entry.lane) < LIMITS[entry.lane]:
                assert not self.startable(thread, entry), "nothing waits without need"

    def startable(self, thread: int, entry: Entry) -> bool:
        turns = [turn for turn in self.turns if turn.thread_id == thread]
        unwritten = [inbound.message_id for inbound in self.accepting]
        return (
            len(turns) < self.limit(thread)
            and entry.held_until * (entry.state is EntryState.COLLECTING) <= self.now
            and not any(message.message_id in unwritten for message in entry.messages)
            and all(turn.generation == self.generations[thread] for turn in turns)
            and not any(turn in turns for turn in entry.after)
        )

    # What arrives

    def arrive(self, choice: int, mode: QueueMode | None = None) -> None:
        self.last_id += 2
        late = self.last_id - 11 if choice % 7 == 0 else 0
        message_id = late if late and late not in self.inbounds else self.last_id
        thread = THREADS[choice % 3]
        lane = Lane.BACKGROUND if choice % 5 == 0 else Lane.MAIN
        author, files = PEOPLE[choice // 3 % 3], int(choice % 11 == 0)
        inbound = Inbound(message_id, thread, thread, 1, author, f"m{message_id}", False, "t", mode, lane, files)
        self.inbounds[message_id] = inbound
        self.hand_over(inbound)

    def hand_over(self, inbound: Inbound) -> None:
        self.touched = inbound.thread_id
        self.waiting[self.touched].add(inbound.message_id)
        self.accepting.append(inbound)
        self.texts[inbound.message_id] = inbound.text
        self.act(inbound.thread_id, lambda queue: queue.arrive(inbound, self.now))

    def interrupt(self, choice: int) -> None:
        self.arrive(choice, QueueMode.INTERRUPT)

    def followup(self, choice: int) -> None:
        self.arrive(choice, QueueMode.FOLLOWUP)

    def steer(self, choice: int) -> None:
        self.arrive(choice, QueueMode.STEER)
        self.in_front.add(next(reversed(self.inbounds)))

    def copy(self, choice: int) -> None:
        """Discord sends an event a second time."""
        inbound = self.pick(list(self.inbounds.values()), choice)
        if inbound is None:
            return
        if self.scheduler.queue(inbound.thread_id).line.holds(inbound.message_id):
            self.touched = inbound.thread_id
            assert self.act(inbound.thread_id, lambda queue: queue.arrive(inbound, self.now)) == []
        else:
            assert inbound.message_id in self.outcomes
            self.hand_over(inbound)

    def accept(self, choice: int) -> None:
        """The store answers, mostly in order."""
        if not self.accepting:
            return
        inbound = self.accepting.pop(choice % len(self.accepting) if choice % 4 == 0 else 0)
        self.touched = inbound.thread_id
        if inbound.message_id in self.store:
            self.waiting[self.touched].discard(inbound.message_id)
            self.act(inbound.thread_id, lambda queue: queue.refused(inbound.message_id))
        else:
            self.store.add(inbound.message_id)
            self.act(inbound.thread_id, lambda queue: queue.accepted(inbound.message_id))

    def refuse(self, choice: int) -> None:
        if not self.accepting:
            return
        inbound = self.accepting.pop(choice % len(self.accepting))
        self.touched = inbound.thread_id
        self.waiting[self.touched].discard(inbound.message_id)
        if inbound.message_id not in self.store:
            del self.inbounds[inbound.message_id]
        self.act(inbound.thread_id, lambda queue: queue.refused(inbound.message_id))

    # What agents do

    def finish(self, choice: int, outcome: Outcome = Outcome.ANSWERED) -> None:
        entry = self.pick(list(self.turns), choice)
        if entry is None:
            return
        self.touched = entry.thread_id
        if choice % 3:
            entry.finishing = True
        why = self.cancelled.pop(entry, None)
        for message in entry.owed:
            self.end(message.message_id, why.outcome if why else outcome)
        self.returned(entry)
        claim = self.turns.pop(entry)
        self.lent.discard(entry)
        self.scheduler.ended(entry, self.now)
        assert self.scheduler.ended(entry, self.now) == []
        claim.release()

    def returned(self, turn: Entry) -> None:
        """What was on its way into a turn that ends goes back into the line."""
        for inject in [inject for inject in self.injects if inject.into is turn]:
            self.injects.remove(inject)
            self.waiting[turn.thread_id].update(message.message_id for message in inject.entry.messages)

    def fail(self, choice: int) -> None:
        self.finish(choice, Outcome.FAILED)

    def prompted(self, choice: int) -> None:
        entry = self.pick(list(self.turns), choice)
        if entry is not None:
            entry.prompted = True

    def finishing(self, choice: int) -> None:
        entry = self.pick(list(self.turns), choice)
        if entry is not None:
            entry.finishing = True

    def steered(self, choice: int) -> None:
        inject = self.pick(self.injects, choice)
        if inject is None:
            return
        self.touched, ok = inject.into.thread_id, choice % 2 == 0
        self.injects.remove(inject)
        ids = [message.message_id for message in inject.entry.messages]
        (self.ran if ok else self.waiting[self.touched]).update(ids)
        self.act(self.touched, lambda queue: queue.steered(inject.entry, ok=ok))

    def lend(self, choice: int) -> None:
        entry = self.pick(list(self.turns), choice)
        if entry is not None:
            self.lent.add(entry)
            self.scheduler.lend(entry, self.now)

    def take_back(self, choice: int) -> None:
        entry = self.pick(list(self.turns), choice)
        if entry is not None:
            self.lent.discard(entry)
            self.scheduler.lanes.take_back(entry)

    def share(self, choice: int) -> None:
        thread = THREADS[choice % 3]
        value = self.shares[thread] = (None, 0.59, 0.6)[choice // 3 % 3]
        self.act(thread, lambda queue: setattr(queue.memory, "share", value))

    def can_steer(self, choice: int) -> None:
        self.act(THREADS[choice % 3], lambda queue: setattr(queue.memory, "can_steer", choice % 4 != 0))

    # What people ask for

    def act(self, thread: int, act: Callable[[ThreadQueue], object]) -> list[Decision]:
        self.touched = thread
        return decide(self.scheduler, thread, act, self.now)

    def stop(self, choice: int) -> None:
        self.act(THREADS[choice % 3], lambda queue: queue.stop("ann"))

    def stop_all(self, choice: int) -> None:
        thread, before = THREADS[choice % 3], self.last_id - choice % 4
        self.act(thread, lambda queue: queue.stop_all("ann", before))
        left = [message_id for message_id in self.waiting[thread] if message_id < before]
        line = self.scheduler.queue(thread).line
        assert all(message_id in line.undecided for message_id in left), "nothing older than the cutoff waits"

    def reset(self, choice: int) -> None:
        thread = THREADS[choice % 3]
        self.generations[thread] += 1
        self.shares[thread] = None
        self.act(thread, lambda queue: queue.reset("ann"))

    def clear(self, choice: int) -> None:
        self.act(THREADS[choice % 3], lambda queue: queue.end_waiting(removed("ann")))

    def gone(self, choice: int) -> None:
        self.act(THREADS[choice % 3], lambda queue: queue.gone("the thread was deleted"))

    def on_message(self, choice: int) -> tuple[int, int]:
        inbound = self.pick(list(self.inbounds.values())[-8:], choice)
        return (inbound.thread_id, inbound.message_id) if inbound is not None else (THREADS[0], 0)

    def stop_one(self, choice: int) -> None:
        thread, message_id = self.on_message(choice)
        self.act(thread, lambda queue: queue.stop("ann", message_id))

    def edit(self, choice: int) -> None:
        thread, message_id = self.on_message(choice)
        if self.act(thread, lambda queue: queue.edit(message_id, text=f"e{choice}")):
            self.texts[message_id] = f"e{choice}"

    def delete(self, choice: int) -> None:
        thread, message_id = self.on_message(choice)
        self.act(thread, lambda queue: queue.delete(message_id))

    def remove(self, choice: int) -> None:
        thread, message_id = self.on_message(choice)
        self.act(thread, lambda queue: queue.end_waiting(removed("ann"), message_id))

    def promote(self, choice: int) -> None:
        thread, message_id = self.on_message(choice)
        entry = self.scheduler.queue(thread).line.where.get(message_id)
        if entry is not None and entry not in self.turns:
            self.in_front.add(entry.place)
        self.act(thread, lambda queue: queue.promote(message_id, "ann"))

    # What surrounds it does

    def time(self, choice: int) -> None:
        wakeup = self.scheduler.next_wakeup()
        self.now = wakeup if wakeup is not None and choice % 2 else self.now + choice * 0.05
        self.scheduler.tick(self.now)
        after = self.scheduler.next_wakeup()
        assert after is None or after > self.now, "a wake-up has its effect"

    def restart(self, choice: int) -> None:
        """The bot is killed and starts again: what ran is interrupted, what was written down comes back."""
        if choice % 4:
            return
        self.scheduler.closed = True
        for inject in self.injects:
            for message in inject.entry.messages:
                self.end(message.message_id, Outcome.INTERRUPTED)
        for entry, claim in self.turns.items():
            for message in entry.owed:
                self.end(message.message_id, Outcome.INTERRUPTED)
            claim.release()
        unwritten = list(self.accepting)
        for books in (self.accepting, self.injects, self.turns, self.lent, self.cancelled, self.generations):
            books.clear()
        self.shares = dict.fromkeys(THREADS)
        self.waiting = {thread: set() for thread in THREADS}
        self.scheduler = self.begin()
        for message_id in self.store - set(self.outcomes):
            inbound = self.inbounds[message_id]
            self.touched = inbound.thread_id
            self.waiting[self.touched].add(message_id)
            self.texts[message_id] = inbound.text
            self.act(inbound.thread_id, partial(ThreadQueue.restore, inbound=inbound))
        for inbound in unwritten:
            if inbound.message_id not in self.store:
                self.hand_over(inbound)

    def pick(self, items: list[T], choice: int) -> T | None:
        return items[choice % len(items)] if items else None

    def settle(self) -> None:
        """Everybody who waits gets an end once the others go on, without anybody asking."""
        for _ in range(400):
            self.now += 1.0
            self.scheduler.tick(self.now)
            self.accept(1)
            self.steered(1)
            self.finish(0)
            self.check()
            if not self.accepting and not self.scheduler._queues:
                break
        assert not self.accepting
        assert self.outcomes.keys() == self.store, "each message that was accepted has its outcome"
        assert self.scheduler._queues == {}, "idle queues are forgotten"
        assert (self.agents, self.turns, self.injects) == (0, {}, [])
        assert [(count.running, count.lent) for count in self.scheduler.counts().values()] == [(0, 0)] * 2
