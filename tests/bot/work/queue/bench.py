"""One thread's queue, or a scheduler with agents, and a record of what each decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bot.model import Actor, Inbound, Lane, Outcome, QueueMode
from bot.work.queue.entry import Cancel, Decision, End, Entry, Why
from bot.work.queue.rules import Rules
from bot.work.queue.scheduler import Lanes, Scheduler
from bot.work.queue.thread_queue import ThreadQueue
from tests.bot.work.samples import ALICE, BOB, inbound

__all__ = ["ALICE", "BOB", "PLAIN", "Bench", "SchedulerBench", "cancels", "decide", "ends", "removed", "written"]

PLAIN = Rules(debounce=0.0)


def written(
    number: int,
    author: Actor = ALICE,
    *,
    text: str = "",
    mode: QueueMode | None = None,
    lane: Lane = Lane.MAIN,
    files: int = 0,
    thread_id: int = 100,
) -> Inbound:
    """Return message ``number``, which says its number unless told otherwise."""
    message = inbound(number, thread_id=thread_id, text=text or str(number), author=author)
    return replace(message, mode=mode, lane=lane, files=files)


def ends(decisions: list[Decision]) -> list[tuple[int, Outcome]]:
    return [(decision.message.message_id, decision.why.outcome) for decision in decisions if isinstance(decision, End)]


def cancels(decisions: list[Decision]) -> list[tuple[int, Outcome]]:
    return [(decision.entry.place, decision.why.outcome) for decision in decisions if isinstance(decision, Cancel)]


def removed(by: str) -> Why:
    return Why(Outcome.REMOVED, by=by)


def decide(
    scheduler: Scheduler[Any], thread_id: int, act: Callable[[ThreadQueue], object], now: float = 0.0
) -> list[Decision]:
    """Let a thread's queue decide, have that carried out, and return it."""
    with scheduler.deciding(thread_id, now) as (queue, decisions):
        decided = act(queue)
        if isinstance(decided, list):
            decisions.extend(decided)
    return decisions


class Bench:
    """One thread, without a store: what is said is accepted."""

    def __init__(self, rules: Rules = PLAIN) -> None:
        self.queue = ThreadQueue(rules)
        self.now = 0.0

    def say(
        self, *numbers: int, author: Actor = ALICE, mode: QueueMode | None = None, files: int = 0
    ) -> list[Decision]:
        decisions: list[Decision] = []
        for number in numbers:
            decisions += self.queue.arrive(written(number, author, mode=mode, files=files), self.now)
            decisions += self.queue.accepted(number)
        return decisions

    def heads(self) -> list[int]:
        return [entry.place for entry in self.queue.heads(self.now)]

    def start(self) -> Entry:
        """Start the first that may start; its agent is not ready yet."""
        entry = self.queue.heads(self.now)[0]
        self.queue.started(entry)
        return entry

    def run(self) -> Entry:
        """Start the first that may start, and prompt its agent."""
        entry = self.start()
        entry.prompted = True
        return entry

    def busy(self, number: int = 1) -> Entry:
        """Let a message arrive and run."""
        self.say(number)
        return self.run()

    def waiting(self) -> list[int]:
        return [entry.place for entry in self.queue.line]


@dataclass(eq=False)
class Claim:
    agents: Agents

    def release(self) -> None:
        self.agents.claims = [claim for claim in self.agents.claims if claim is not self]
        self.agents.on_change()


@dataclass
class Agents:
    capacity: int
    claims: list[Claim] = field(default_factory=list)
    asked: list[tuple[int, bool]] = field(default_factory=list)
    keeps: set[int] = field(default_factory=set)
    on_change: Callable[[], None] = lambda: None

    def reserve(self, thread_id: int, behind: bool) -> Claim | None:
        self.asked.append((thread_id, behind))
        if behind and thread_id in self.keeps:
            return None
        if len(self.claims) >= self.capacity:
            return None
        self.claims.append(Claim(self))
        return self.claims[-1]


class SchedulerBench:
    """A scheduler with agents and a record of what it did; what is said is accepted."""

    def __init__(
        self,
        lanes: Mapping[Lane, int] | None = None,
        *,
        agents: int = 12,
        rules: Rules = PLAIN,
        carry_out: Callable[[Decision], None] | None = None,
    ) -> None:
        self.agents = Agents(agents)
        self.rules = rules
        self.started: list[int] = []
        self.waited: list[int] = []
        self.decided: list[Decision] = []
        self.running: dict[int, tuple[Entry, Claim]] = {}
        self.now = 0.0
        self.on_start: Callable[[Entry], object] = lambda entry: None
        self._carry_out = carry_out or self.decided.append
        self.scheduler: Scheduler[Claim] = Scheduler(Lanes(lanes or {Lane.MAIN: 8, Lane.BACKGROUND: 2}), self)
        self.agents.on_change = lambda: self.scheduler.admit(self.now)

    def rules_of(self, _thread_id: int) -> Rules:
        return self.rules

    def reserve(self, thread_id: int, behind: bool) -> Claim | None:
        return self.agents.reserve(thread_id, behind)

    def carry_out(self, decision: Decision) -> None:
        self._carry_out(decision)

    def looked(self, held_up: list[Entry]) -> None:
        self.waited += [entry.place for entry in held_up]

    def start(self, entry: Entry, claim: Claim) -> None:
        self.started.append(entry.place)
        self.running[entry.place] = (entry, claim)
        self.on_start(entry)

    def say(
        self,
        number: int,
        thread_id: int = 100,
        *,
        author: Actor = ALICE,
        mode: QueueMode | None = None,
        lane: Lane = Lane.MAIN,
    ) -> Inbound:
        inbound = written(number, author, mode=mode, lane=lane, thread_id=thread_id)
        self.arrive(inbound)
        self.accepted(inbound)
        return inbound

    def arrive(self, inbound: Inbound) -> list[Decision]:
        return self.decide(inbound.thread_id, lambda queue: queue.arrive(inbound, self.now))

    def accepted(self, inbound: Inbound) -> list[Decision]:
        return self.decide(inbound.thread_id, lambda queue: queue.accepted(inbound.message_id))

    def decide(self, thread_id: int, act: Callable[[ThreadQueue], object]) -> list[Decision]:
        return decide(self.scheduler, thread_id, act, self.now)

    def finish(self, number: int) -> Entry:
        entry, claim = self.running.pop(number)
        claim.release()
        self.scheduler.ended(entry, self.now)
        return entry
