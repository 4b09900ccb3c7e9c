"""A scheduler with agents and a record of what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bot.work.model import Actor, Inbound, Lane, QueueMode
from bot.work.policy.decisions import Decision
from bot.work.policy.entry import Entry
from bot.work.policy.lanes import Lanes
from bot.work.policy.rules import Rules
from bot.work.policy.scheduler import Scheduler
from tests.bot.work.policy.bench import ALICE, PLAIN, written


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


class Floor:
    """Everything around a scheduler; what is said is accepted."""

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
        self.scheduler: Scheduler[Claim] = Scheduler(
            Lanes(lanes or {Lane.MAIN: 8, Lane.BACKGROUND: 2}),
            rules=lambda thread_id: self.rules,
            reserve=self.agents.reserve,
            start=self._start,
            wait=lambda entry: self.waited.append(entry.place),
            carry_out=carry_out or self.decided.append,
        )
        self.agents.on_change = lambda: self.scheduler.admit(self.now)

    def _start(self, entry: Entry, claim: Claim) -> None:
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
        self.scheduler.arrive(inbound, self.now)
        self.scheduler.accepted(inbound, self.now)
        return inbound

    def finish(self, number: int) -> Entry:
        entry, claim = self.running.pop(number)
        claim.release()
        self.scheduler.ended(entry, self.now)
        return entry
