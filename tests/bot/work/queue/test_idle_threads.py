"""What the scheduler keeps of a thread when its queue is empty."""

from __future__ import annotations

from bot.model import Outcome
from bot.work.queue.scheduler import REMEMBERED
from tests.bot.work.queue.bench import SchedulerBench, ends


def test_a_stop_of_all_is_remembered_when_the_queue_is_forgotten() -> None:
    """Q7, Q10."""
    bench = SchedulerBench()
    bench.decide(100, lambda queue: queue.stop_all("bob", 5))
    assert bench.scheduler._queues == {}
    bench.say(4)
    assert ends(bench.decided) == [(4, Outcome.STALE)]


def test_what_is_remembered_of_idle_threads_is_bounded() -> None:
    """Q10: the longest idle is forgotten first."""
    bench = SchedulerBench()
    for thread_id in range(REMEMBERED + 1):
        bench.decide(thread_id, lambda queue: queue.stop_all("bob", 5))
    assert len(bench.scheduler._remembered) == REMEMBERED
    assert (bench.scheduler.queue(0).memory.cutoff, bench.scheduler.queue(1).memory.cutoff) == (0, 5)


def test_looking_at_a_thread_keeps_nothing() -> None:
    """Q10."""
    bench = SchedulerBench()
    assert bench.scheduler.queue(5).idle
    assert bench.scheduler._queues == {}


def test_idle_threads_leave_nothing_behind() -> None:
    """B15: the map of sessions grew for ever."""
    bench = SchedulerBench()
    for number in range(1, 1001):
        bench.say(number, number)
        bench.finish(number)
    assert (bench.scheduler._queues, len(bench.scheduler._remembered)) == ({}, 0)


def test_a_busy_thread_can_be_told_from_an_idle_one() -> None:
    """G20, E5."""
    bench = SchedulerBench()
    assert bench.scheduler.queue(100).idle
    bench.say(1)
    bench.say(2)
    queue = bench.scheduler.queue(100)
    assert (queue.idle, len(queue.running), len(queue.line)) == (False, 1, 1)
