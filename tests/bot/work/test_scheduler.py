"""Admission: order, the lane, reservations, and that nobody waits while holding anything."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from bot.work.queue import Prompt, PromptState
from bot.work.scheduler import Scheduler
from tests.bot.work.samples import prompt


@dataclass
class Claim:
    agents: Agents
    thread_id: int
    released: bool = False

    def release(self) -> None:
        if not self.released:
            self.released = True
            self.agents.claimed.remove(self.thread_id)


@dataclass
class Agents:
    """A pool as the scheduler sees one: so many claims at once, at most one for each thread."""

    capacity: int
    claimed: set[int] = field(default_factory=set)

    def try_reserve(self, thread_id: int) -> Claim | None:
        if len(self.claimed) >= self.capacity:
            return None
        assert thread_id not in self.claimed
        self.claimed.add(thread_id)
        return Claim(self, thread_id)


@dataclass
class Bench:
    """A scheduler with a record of what it did."""

    lane: int = 8
    capacity: int = 12
    started: list[int] = field(default_factory=list)
    waited: list[int] = field(default_factory=list)
    running: dict[int, tuple[Prompt, Claim]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.agents = Agents(self.capacity)
        self.scheduler: Scheduler[Claim] = Scheduler(
            lane=self.lane,
            reserve=self.agents.try_reserve,
            start=self._start,
            wait=lambda item: self.waited.append(item.id),
        )

    def _start(self, item: Prompt, claim: Claim) -> None:
        self.started.append(item.id)
        self.running[item.id] = (item, claim)

    def arrive(self, message_id: int, *, thread_id: int) -> Prompt:
        item = prompt(message_id, thread_id=thread_id)
        self.scheduler.add(item)
        self.scheduler.accepted(item)
        return item

    def finish(self, message_id: int) -> None:
        item, claim = self.running.pop(message_id)
        claim.release()
        self.scheduler.end(item)


def test_prompts_of_one_thread_run_one_at_a_time_in_order_of_arrival() -> None:
    """Q1."""
    bench = Bench()
    for message_id in (3, 1, 2):
        item = prompt(message_id, thread_id=7)
        bench.scheduler.add(item)
        item.state = PromptState.WAITING
    bench.scheduler.admit()
    assert bench.started == [1]
    bench.finish(1)
    bench.finish(2)
    bench.finish(3)
    assert bench.started == [1, 2, 3]


def test_a_prompt_starts_only_after_the_store_has_it() -> None:
    """O2."""
    bench = Bench()
    item = prompt(1)
    bench.scheduler.add(item)
    bench.scheduler.admit()
    assert bench.started == []
    bench.scheduler.accepted(item)
    assert bench.started == [1]


def test_a_prompt_that_the_store_has_not_yet_holds_the_place_before_later_ones() -> None:
    """O2, Q1: the writes may end in another order than the messages arrived."""
    bench = Bench()
    first, second = prompt(1), prompt(2)
    bench.scheduler.add(first)
    bench.scheduler.add(second)
    bench.scheduler.accepted(second)
    assert bench.started == []
    bench.scheduler.accepted(first)
    assert bench.started == [1]


def test_a_duplicate_that_the_store_refuses_frees_its_place() -> None:
    """O1, O2: the second copy of a message leaves no trace."""
    bench = Bench()
    duplicate, following = prompt(1), prompt(2)
    bench.scheduler.add(duplicate)
    bench.scheduler.add(following)
    bench.scheduler.accepted(following)
    bench.scheduler.end(duplicate)
    assert bench.started == [2]


def test_a_full_lane_starts_the_oldest_prompt_over_all_threads_when_a_place_is_free() -> None:
    """Q6."""
    bench = Bench(lane=1)
    bench.arrive(1, thread_id=1)
    bench.arrive(3, thread_id=3)
    bench.arrive(2, thread_id=2)
    bench.finish(1)
    assert bench.started == [1, 2]


def test_nothing_is_reserved_for_a_prompt_that_finds_the_lane_full() -> None:
    """Q6: nobody waits while holding one of the three."""
    bench = Bench(lane=1, capacity=5)
    bench.arrive(1, thread_id=1)
    bench.arrive(2, thread_id=2)
    assert bench.agents.claimed == {1}


def test_a_prompt_without_an_agent_takes_no_place_in_the_lane() -> None:
    """Q6: capacity 1, lane 2; the second thread waits and the lane stays free for a third that gets an agent."""
    bench = Bench(lane=2, capacity=1)
    bench.arrive(1, thread_id=1)
    bench.arrive(2, thread_id=2)
    assert (bench.scheduler.running, bench.started) == (1, [1])
    bench.finish(1)
    assert bench.started == [1, 2]


def test_an_author_is_told_once_that_no_agent_is_free() -> None:
    """P4."""
    bench = Bench(capacity=1)
    bench.arrive(1, thread_id=1)
    bench.arrive(2, thread_id=2)
    bench.scheduler.admit()
    bench.scheduler.admit()
    assert bench.waited == [2]


def test_a_prompt_behind_a_running_one_is_not_told_that_no_agent_is_free() -> None:
    """P4, Q1."""
    bench = Bench(capacity=1)
    bench.arrive(1, thread_id=1)
    bench.arrive(2, thread_id=1)
    assert bench.waited == []


def test_ending_a_waiting_prompt_leaves_the_running_one_alone() -> None:
    """Q1, Q7."""
    bench = Bench()
    bench.arrive(1, thread_id=1)
    waiting = bench.arrive(2, thread_id=1)
    bench.scheduler.end(waiting)
    assert bench.scheduler.running == 1
    bench.finish(1)
    assert bench.started == [1]


def test_ending_a_prompt_twice_frees_one_place_only() -> None:
    """Q10."""
    bench = Bench(lane=1)
    item = bench.arrive(1, thread_id=1)
    bench.finish(1)
    bench.scheduler.end(item)
    assert bench.scheduler.running == 0


def test_idle_queues_are_forgotten() -> None:
    """Q10."""
    bench = Bench()
    for message_id in range(1, 6):
        bench.arrive(message_id, thread_id=message_id)
        bench.finish(message_id)
    assert bench.scheduler._queues == {}


def test_a_closed_scheduler_starts_nothing() -> None:
    """R1."""
    bench = Bench()
    bench.scheduler.closed = True
    bench.arrive(1, thread_id=1)
    assert bench.started == []


def test_every_waiting_prompt_starts_as_soon_as_its_three_conditions_hold() -> None:
    """Q1, Q6, Q10: random arrivals and ends over lanes and capacities."""
    for seed in range(500):
        chance = random.Random(seed)
        bench = Bench(lane=chance.randint(1, 4), capacity=chance.randint(1, 4))
        arrived: dict[int, list[int]] = {}
        for step in range(80):
            if bench.running and chance.random() < 0.5:
                bench.finish(chance.choice(list(bench.running)))
            else:
                thread_id = chance.randint(1, 5)
                bench.arrive(step, thread_id=thread_id)
                arrived.setdefault(thread_id, []).append(step)
            busy = {item.inbound.thread_id for item, _ in bench.running.values()}
            assert len(busy) == len(bench.running) <= min(bench.lane, bench.capacity)
            startable = {item.inbound.thread_id for item in bench.scheduler.waiting()} - busy
            assert not startable or len(bench.running) == min(bench.lane, bench.capacity)
        while bench.running:
            bench.finish(min(bench.running))
        for messages in arrived.values():
            assert [message for message in bench.started if message in messages] == messages
