"""Admission over all threads: order, lanes, reservations, and that nobody waits while holding anything."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from bot.model import Lane, Outcome, QueueMode
from bot.work.queue import entry, pending, rate, rules, scheduler, thread_queue
from bot.work.queue.entry import Decision, End, Entry
from bot.work.queue.rules import Rules
from bot.work.queue.scheduler import LaneCounts
from bot.work.queue.thread_queue import ThreadQueue
from tests.bot.work.queue.bench import BOB, Bench, SchedulerBench, cancels, ends, removed, written

ONE = {Lane.MAIN: 1, Lane.BACKGROUND: 1}
NO_DEBOUNCE_TWO = Rules(debounce=0.0, max_concurrent=2)


Decide = Callable[[ThreadQueue], list[Decision]]


def test_messages_of_one_thread_run_one_at_a_time() -> None:
    """Q1, G1."""
    bench = SchedulerBench()
    bench.say(1)
    bench.say(2)
    assert bench.started == [1]
    bench.finish(1)
    assert bench.started == [1, 2]


def test_threads_do_not_wait_for_each_other() -> None:
    """Q6, E1."""
    bench = SchedulerBench()
    bench.say(1, 7)
    bench.say(2, 8)
    assert bench.started == [1, 2]


def test_the_oldest_over_all_threads_starts_when_a_lane_has_room_again() -> None:
    """Q6."""
    bench = SchedulerBench(ONE)
    bench.say(1, 1)
    bench.say(3, 3)
    bench.say(2, 2)
    bench.finish(1)
    assert bench.started == [1, 2]


def test_a_full_lane_delays_no_other_lane() -> None:
    """Q6, G12."""
    bench = SchedulerBench(ONE)
    bench.say(1, 1, lane=Lane.BACKGROUND)
    bench.say(2, 2, lane=Lane.BACKGROUND)
    bench.say(3, 3)
    assert bench.started == [1, 3]


def test_nothing_is_reserved_for_an_entry_that_finds_its_lane_full() -> None:
    """Q6, G13: nobody waits while holding one of the three."""
    bench = SchedulerBench(ONE)
    bench.say(1, 1)
    bench.say(2, 2)
    assert len(bench.agents.claims) == 1


def test_an_entry_without_an_agent_takes_no_place_in_its_lane() -> None:
    """Q6, G13."""
    bench = SchedulerBench(agents=1)
    bench.say(1, 1)
    bench.say(2, 2)
    assert bench.scheduler.counts()[Lane.MAIN] == LaneCounts(limit=8, running=1, lent=0, waiting=1)
    bench.finish(1)
    assert bench.started == [1, 2]


def test_an_author_is_told_once_that_no_agent_is_free() -> None:
    """P4; who waits for a turn of the thread is not."""
    bench = SchedulerBench(agents=1)
    bench.say(1, 1)
    bench.say(2, 2)
    bench.say(3, 1)
    bench.scheduler.admit(0)
    assert bench.waited == [2]


def test_a_message_costs_the_same_however_many_threads_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """O4, Q6: one busy team does not slow the others down: no queue is asked but those that changed."""
    asked: list[int] = []
    heads = ThreadQueue.heads

    def counting(queue: ThreadQueue, now: float) -> list[Entry]:
        asked.append(len(queue.line))
        return heads(queue, now)

    monkeypatch.setattr(ThreadQueue, "heads", counting)
    bench = SchedulerBench(agents=3)
    for number in range(1, 201):
        bench.say(number, number)
    assert len(bench.started) == 3
    asked.clear()
    bench.say(1000, 1000)
    bench.finish(1)
    assert len(asked) < 10
    assert bench.started == [1, 2, 3, 4]


def test_a_turn_that_waits_for_a_person_lends_its_place() -> None:
    """Q6: and has it again at once, even if that is one too many."""
    bench = SchedulerBench(ONE)
    bench.say(1, 1)
    bench.say(2, 2)
    entry, _ = bench.running[1]
    bench.scheduler.lend(entry, 0)
    assert bench.started == [1, 2]
    bench.scheduler.lanes.take_back(entry)
    assert bench.scheduler.counts()[Lane.MAIN] == LaneCounts(limit=1, running=2, lent=0)
    bench.say(3, 3)
    bench.finish(2)
    assert bench.started == [1, 2]
    bench.finish(1)
    assert bench.started == [1, 2, 3]


def test_a_turn_that_ends_while_its_place_is_lent_gives_none_back() -> None:
    """Q6, D6."""
    bench = SchedulerBench(ONE)
    bench.say(1, 1)
    entry, _ = bench.running[1]
    bench.scheduler.lend(entry, 0)
    bench.finish(1)
    bench.scheduler.lanes.take_back(entry)
    assert bench.scheduler.counts()[Lane.MAIN] == LaneCounts(limit=1, running=0, lent=0)


def test_a_second_end_of_a_turn_frees_nothing() -> None:
    """Q8, Q10."""
    bench = SchedulerBench(ONE)
    bench.say(1)
    entry = bench.finish(1)
    bench.say(2)
    bench.say(3, 3)
    assert bench.scheduler.ended(entry, 0) == []
    assert bench.started == [1, 2]


def test_nothing_starts_while_held_or_closed() -> None:
    """Q1, R1, G18: and nobody has to be woken for it."""
    bench = SchedulerBench(rules=Rules())
    bench.scheduler.held = True
    bench.say(1)
    assert bench.scheduler.next_wakeup() is None
    bench.scheduler.tick(1.0)
    assert bench.started == []
    bench.scheduler.held = False
    bench.scheduler.admit(1.0)
    assert bench.started == [1]
    bench.scheduler.closed = True
    bench.say(2, 2)
    bench.scheduler.tick(9.0)
    assert bench.started == [1]


def test_a_start_that_changes_the_rules_of_the_next_is_heeded() -> None:
    """Q6, Q9: the walk under way does not go by what it saw before."""
    bench = SchedulerBench(rules=NO_DEBOUNCE_TWO)
    bench.on_start = lambda entry: bench.decide(100, lambda queue: setattr(queue.memory, "share", 0.7))
    bench.scheduler.held = True
    bench.say(1)
    bench.say(2)
    bench.scheduler.held = False
    bench.scheduler.admit(0)
    assert bench.started == [1]


def test_what_a_message_decides_is_carried_out_before_the_next_starts() -> None:
    """O1, Q2."""
    seen: list[object] = []
    bench = SchedulerBench(carry_out=lambda decision: seen.append((type(decision).__name__, list(bench.started))))
    bench.scheduler.held = True
    bench.say(1)
    interrupt = written(2, mode=QueueMode.INTERRUPT)
    bench.arrive(interrupt)
    bench.scheduler.held = False
    bench.accepted(interrupt)
    assert (seen, bench.started) == ([("Warm", []), ("End", [])], [2])


def test_a_failure_in_carrying_out_touches_no_neighbour() -> None:
    """Q10: the other outcomes are told, and the next starts."""
    told: list[int] = []

    def fail_once(decision: Decision) -> None:
        if isinstance(decision, End):
            told.append(decision.message.message_id)
            if len(told) == 1:
                raise RuntimeError("a fault of ours")

    bench = SchedulerBench(rules=Rules(debounce=0.0), carry_out=fail_once)
    bench.scheduler.held = True
    for number in (1, 2):
        bench.say(number)
    interrupt = written(3, mode=QueueMode.INTERRUPT)
    bench.arrive(interrupt)
    bench.scheduler.held = False
    with pytest.raises(RuntimeError, match="a fault of ours"):
        bench.accepted(interrupt)
    assert (told, bench.started) == ([1, 2], [3])


def test_the_walk_goes_on_where_a_followup_took_others_along() -> None:
    """Q2, Q6, Q9: the place that they would have had goes to the next."""
    bench = SchedulerBench(rules=NO_DEBOUNCE_TWO)
    bench.scheduler.held = True
    bench.say(1, mode=QueueMode.FOLLOWUP)
    bench.say(2, mode=QueueMode.FOLLOWUP)
    bench.say(3)
    bench.scheduler.held = False
    bench.scheduler.admit(0)
    assert bench.started == [1, 3]


def test_what_was_put_in_front_keeps_its_thread_order_among_all_threads() -> None:
    """Q5, Q6: with one place free, it goes before the older one of its thread."""
    bench = SchedulerBench(ONE, rules=NO_DEBOUNCE_TWO)
    bench.say(1, 1)
    bench.say(2, 2)
    bench.say(3, 2)
    bench.decide(2, lambda queue: queue.promote(3, "alice"))
    bench.finish(1)
    assert bench.started == [1, 3]


def test_a_message_is_found_wherever_it_waits_or_runs() -> None:
    """Q5."""
    bench = SchedulerBench()
    bench.say(1, 7)
    bench.say(2, 7)
    found = [bench.scheduler.find(number) for number in (1, 2)]
    assert [item.thread_id for item in found if item is not None] == [7, 7]
    assert bench.scheduler.find(3) is None


def test_what_the_store_does_not_have_yet_is_known() -> None:
    """R2."""
    bench = SchedulerBench()
    bench.arrive(written(1))
    bench.arrive(written(2, BOB))
    bench.decide(100, lambda queue: queue.delete(1))
    assert set(bench.scheduler.accepting()) == {1, 2}


def test_a_message_that_the_store_refuses_lets_the_next_start() -> None:
    """O1, O2."""
    bench = SchedulerBench()
    first = written(1)
    bench.arrive(first)
    bench.say(2)
    bench.decide(100, lambda queue: queue.refused(1))
    assert bench.started == [2]


def test_what_an_earlier_run_accepted_runs_in_order() -> None:
    """R2, Q1."""
    bench = SchedulerBench()
    bench.scheduler.held = True
    for number in (2, 1):
        bench.decide(100, lambda queue, number=number: queue.restore(written(number)))  # type: ignore[misc]
    bench.scheduler.held = False
    bench.scheduler.admit(0)
    bench.finish(1)
    assert bench.started == [1, 2]


def test_the_time_to_look_again_is_that_of_the_first_row_that_may_start() -> None:
    """Q4."""
    bench = SchedulerBench(rules=Rules())
    for number in (1, 2):
        bench.say(number, number)
    assert (bench.started, bench.scheduler.next_wakeup()) == ([1, 2], None)
    for running, _ in bench.running.values():
        running.prompted = True
    for number, bench.now in ((3, 0.0), (4, 0.5)):
        bench.say(number, number - 2)
    bench.finish(1)
    bench.finish(2)
    assert bench.scheduler.next_wakeup() == pytest.approx(0.8)
    bench.scheduler.tick(0.8)
    assert bench.started == [1, 2, 3]
    assert bench.scheduler.next_wakeup() == pytest.approx(1.3)


def test_who_is_newer_than_one_that_waits_for_an_agent_stands_back_for_it() -> None:
    """P4, Q6: and is looked at again when that one waits no more, without any agent reporting a change."""
    bench = SchedulerBench(agents=1)
    bench.say(1, 1)
    bench.say(2, 2)
    bench.agents.capacity, bench.agents.keeps = 2, {3}
    bench.say(3, 3)
    assert bench.agents.asked == [(1, False), (2, False), (3, True)]
    bench.decide(2, lambda queue: queue.end_waiting(removed("ann")))
    assert bench.started == [1, 3]


def test_nobody_stands_back_for_one_that_waits_for_a_turn_of_its_own_thread() -> None:
    """O4, Q9"""
    bench = SchedulerBench(agents=1, rules=NO_DEBOUNCE_TWO)
    bench.say(1, 1)
    bench.say(2, 1)
    bench.say(3, 3)
    assert bench.agents.asked == [(1, False), (1, False), (3, False)]


def test_nobody_stands_back_for_one_whose_lane_is_full() -> None:
    """Q6: a full lane delays no other lane."""
    bench = SchedulerBench(ONE, agents=0)
    bench.say(1, 1)
    bench.agents.capacity = 9
    bench.say(2, 2)
    bench.say(3, 3, lane=Lane.BACKGROUND)
    assert bench.agents.asked[1:] == [(2, True), (3, False)]


def test_who_stood_back_goes_on_when_the_lane_of_the_older_one_fills() -> None:
    """Q6: that one could not use an agent now."""
    bench = SchedulerBench(ONE, agents=0)
    bench.say(1, 1)
    bench.agents.capacity, bench.agents.keeps = 9, {2}
    bench.say(2, 2, lane=Lane.BACKGROUND)
    assert bench.started == []
    bench.say(3, 3)
    assert bench.started == [3, 2]


def test_a_prompt_starts_as_soon_as_the_settings_allow_it() -> None:
    """Q9, R1: not only when the turn before it has ended."""
    bench = SchedulerBench()
    bench.say(1)
    bench.say(2)
    assert bench.started == [1]
    bench.rules = NO_DEBOUNCE_TWO
    bench.scheduler.rules_changed(bench.now)
    assert bench.started == [1, 2]


@pytest.mark.parametrize(
    "ask",
    [
        lambda queue: queue.stop("bob"),
        lambda queue: queue.stop_all("bob", 2),
        lambda queue: queue.reset("bob"),
        lambda queue: queue.promote(2, "bob"),
    ],
    ids=["stop", "stop all", "reset", "promote"],
)
def test_the_next_starts_by_itself_when_a_cancelled_turn_has_ended(ask: Decide) -> None:
    """B4: it waited for the next message to arrive."""
    bench = SchedulerBench()
    bench.say(1)
    bench.say(2)
    bench.decide(100, ask)
    assert bench.started == [1]
    bench.finish(1)
    assert bench.started == [1, 2]


def test_quick_messages_become_one_turn() -> None:
    """B5: the debounce delayed each of them, and merged none."""
    bench = SchedulerBench(rules=Rules())
    bench.say(1)
    [(first, _)] = bench.running.values()
    first.prompted = True
    for number, bench.now in ((2, 0.0), (3, 0.1), (4, 0.2)):
        bench.say(number)
    bench.finish(1)
    bench.scheduler.tick(1.1)
    [(started, _)] = bench.running.values()
    assert [message.message_id for message in started.messages] == [2, 3, 4]
    bench.finish(2)
    assert bench.scheduler._queues == {}


def test_a_stop_and_a_new_message_with_a_full_lane_block_nobody() -> None:
    """B7: waiting for the lane under the queue's lock stood still for ever."""
    bench = SchedulerBench(ONE, rules=Rules(debounce=0.0, max_concurrent=2))
    bench.say(1)
    bench.decide(100, lambda queue: queue.stop("bob"))
    bench.say(2)
    assert bench.started == [1]
    bench.finish(1)
    bench.finish(2)
    assert (bench.started, bench.scheduler._queues) == ([1, 2], {})


def test_a_stop_answers_while_another_thread_fills_the_lane() -> None:
    """B8: it waited for the lane."""
    bench = SchedulerBench(ONE)
    bench.say(1, 1)
    bench.say(2, 2)
    assert ends(bench.decide(2, lambda queue: queue.stop_all("bob", 9))) == [(2, Outcome.STOPPED)]
    assert list(bench.running) == [1]


def test_one_failure_does_not_empty_the_queue() -> None:
    """B10: a dead context failed everything that waited, in one go."""
    bench = SchedulerBench()
    for number in (1, 2, 3):
        bench.say(number)
    bench.finish(1)
    assert ([item.place for item in bench.scheduler.waiting()], ends(bench.decided)) == ([3], [])


def test_a_turn_that_fails_gives_its_place_back() -> None:
    """B13: an exception lost it. Whoever runs a turn says `ended` in any case; then thread and lane are free."""
    bench = SchedulerBench(ONE)
    bench.say(1)
    bench.finish(1)
    bench.say(2)
    assert bench.started == [1, 2]


def test_a_message_that_is_taken_out_while_it_waits_for_a_lane_leaves_the_place_to_others() -> None:
    """B14: a free place was lost when the asker had gone."""
    bench = SchedulerBench(ONE)
    bench.say(1, 1)
    bench.say(2, 2)
    bench.say(3, 3)
    bench.decide(2, lambda queue: queue.delete(2))
    bench.finish(1)
    assert bench.started == [1, 3]


def test_nothing_is_asked_of_others_while_a_queue_decides() -> None:
    """B16: a slow estimate of the context was awaited under the lock. Here it is a number that was told before."""
    bench = Bench(Rules(debounce=0.0, max_concurrent=2))
    bench.busy()
    bench.say(2)
    bench.queue.memory.share = 0.7
    assert bench.heads() == []
    for module in (entry, pending, rate, rules, scheduler, thread_queue):
        assert not [name for name, found in inspect.getmembers(module) if inspect.iscoroutinefunction(found)]


def test_the_lane_is_that_of_the_message() -> None:
    """B17: it was that of the session's first message."""
    bench = SchedulerBench(ONE)
    bench.say(1, 1)
    bench.say(2, 2)
    bench.say(3, 1, lane=Lane.BACKGROUND)
    bench.finish(1)
    assert {lane: count.running for lane, count in bench.scheduler.counts().items()} == {
        Lane.MAIN: 1,
        Lane.BACKGROUND: 1,
    }
    assert bench.started == [1, 2, 3]


def test_what_is_asked_of_one_thread_does_not_reach_another() -> None:
    """PB8: with turns in parallel, the first of a map was steered or interrupted."""
    bench = SchedulerBench()
    bench.say(1, 1)
    bench.say(2, 2)
    bench.say(3, 2, mode=QueueMode.INTERRUPT)
    assert cancels(bench.decided) == [(2, Outcome.SUPERSEDED)]
    assert cancels(bench.decide(1, lambda queue: queue.stop("bob"))) == [(1, Outcome.STOPPED)]


def test_nothing_follows_a_forced_stop_before_its_turn_has_ended() -> None:
    """PB9: the history was rolled back, and the next begun, while the turn still wrote."""
    bench = SchedulerBench()
    bench.say(1)
    bench.decide(100, lambda queue: queue.stop("bob"))
    bench.decide(100, lambda queue: queue.reset("bob"))
    bench.say(2)
    assert bench.started == [1]
    bench.finish(1)
    assert bench.started == [1, 2]


def test_two_messages_at_once_are_one_turn_and_one_that_waits() -> None:
    """PC2."""
    bench = SchedulerBench()
    first, second = written(1), written(2, BOB)
    for message in (second, first):
        bench.arrive(message)
    for message in (second, first):
        bench.accepted(message)
    assert (bench.started, [item.place for item in bench.scheduler.waiting()]) == ([1], [2])
