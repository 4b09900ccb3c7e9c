"""Faults that queues of this kind had, one test each: B in a session queue, PB in a parallel agent loop.

Rows whose subject is elsewhere (agents' contexts, history, sent messages) are in the table of decision record 8.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from bot.outcome import Outcome
from bot.work.model import Lane, QueueMode
from bot.work.policy import decisions, entry, lanes, line, rate, rules, scheduler, thread
from bot.work.policy.decisions import Decision, Inject
from bot.work.policy.rules import Drop, Rules
from bot.work.policy.thread import ThreadQueue
from tests.bot.work.policy.bench import BOB, Bench, SchedulerBench, cancels, ends, written

Decide = Callable[[ThreadQueue], list[Decision]]
ONE = {Lane.MAIN: 1, Lane.BACKGROUND: 1}


def test_a_stopped_turn_keeps_its_place_until_it_has_ended() -> None:
    """B1: the place was free at once, and two turns ran in one session."""
    bench = Bench()
    running = bench.busy()
    bench.say(2)
    bench.queue.stop("bob")
    assert bench.heads() == []
    bench.queue.ended(running)
    assert bench.heads() == [2]


def test_an_interrupted_turn_keeps_its_place_until_it_has_ended() -> None:
    """B2: the same by interrupt."""
    bench = Bench()
    running = bench.busy()
    bench.say(2, mode=QueueMode.INTERRUPT)
    assert bench.heads() == []
    bench.queue.ended(running)
    assert bench.heads() == [2]


@pytest.mark.parametrize("limit", [1, 2])
def test_a_turn_of_a_session_that_was_reset_keeps_the_thread_until_it_has_ended(limit: int) -> None:
    """B3: the same by reset, also where another place is free."""
    bench = Bench(Rules(debounce=0.0, max_concurrent=limit))
    running = bench.busy()
    bench.say(2)
    bench.queue.reset()
    assert bench.heads() == []
    bench.queue.ended(running)
    assert bench.heads() == [2]


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
    bench.scheduler.do(100, ask, 0)
    assert bench.started == [1]
    bench.finish(1)
    assert bench.started == [1, 2]


def test_quick_messages_become_one_turn() -> None:
    """B5: the debounce delayed each of them, and merged none."""
    bench = SchedulerBench(rules=Rules())
    for number, bench.now in ((1, 0.0), (2, 0.1), (3, 0.2)):
        bench.say(number)
    bench.scheduler.tick(1.1)
    [(started, _)] = bench.running.values()
    assert [message.id for message in started.messages] == [1, 2, 3]
    bench.finish(1)
    assert bench.scheduler._queues == {}


def test_a_steady_typist_is_answered_after_three_seconds() -> None:
    """B6: each message began the wait anew, until the cap dropped them."""
    bench = Bench(Rules())
    for number in range(1, 8):
        assert bench.heads() == []
        bench.now = number * 0.5
        assert ends(bench.say(number)) == []
    assert bench.run().prompt_text() == "1\n2\n3\n4\n5\n6"


def test_a_stop_and_a_new_message_with_a_full_lane_block_nobody() -> None:
    """B7: waiting for the lane under the queue's lock stood still for ever."""
    bench = SchedulerBench(ONE, rules=Rules(debounce=0.0, max_concurrent=2))
    bench.say(1)
    bench.scheduler.do(100, lambda queue: queue.stop("bob"), 0)
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
    assert ends(bench.scheduler.do(2, lambda queue: queue.stop_all("bob", 9), 0)) == [(2, Outcome.STOPPED)]
    assert list(bench.running) == [1]


def test_the_end_of_one_asker_changes_nothing_for_the_next() -> None:
    """B9: a turn ran under the context of whoever had asked first, and was cancelled with it."""
    bench = Bench()
    first = bench.busy(1)
    bench.say(2, author=BOB)
    bench.queue.stop("alice")
    bench.queue.ended(first)
    following = bench.run()
    assert (following.authors, following.cancelled) == ((BOB,), None)


def test_one_failure_does_not_empty_the_queue() -> None:
    """B10: a dead context failed everything that waited, in one go."""
    bench = SchedulerBench()
    for number in (1, 2, 3):
        bench.say(number)
    bench.finish(1)
    assert ([item.place for item in bench.scheduler.waiting()], ends(bench.decided)) == ([3], [])


def test_a_message_that_comes_twice_is_one() -> None:
    """B11: the copy took the first one's entry, and the limit was broken."""
    bench = Bench(Rules(debounce=0.0, max_concurrent=2))
    bench.busy(1)
    assert bench.say(1) == []
    bench.say(2, 2, 3)
    assert bench.heads() == [2]
    assert bench.queue.running[0].place == 1


@pytest.mark.parametrize("drop", Drop)
def test_a_cap_of_zero_takes_a_message_while_the_thread_is_free(drop: Drop) -> None:
    """B12: it was refused although nothing ran."""
    bench = Bench(Rules(debounce=0.0, cap=0, drop=drop))
    assert bench.say(1) == []
    bench.run()
    assert ends(bench.say(2)) == [(2, Outcome.DROPPED)]


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
    bench.scheduler.do(2, lambda queue: queue.delete(2), 0)
    bench.finish(1)
    assert bench.started == [1, 3]


def test_idle_threads_leave_nothing_behind() -> None:
    """B15: the map of sessions grew for ever."""
    bench = SchedulerBench()
    for number in range(1, 1001):
        bench.say(number, number)
        bench.finish(number)
    assert (bench.scheduler._queues, len(bench.scheduler._remembered)) == ({}, 0)


def test_nothing_is_asked_of_others_while_a_queue_decides() -> None:
    """B16: a slow estimate of the context was awaited under the lock. Here it is a number that was told before."""
    bench = Bench(Rules(debounce=0.0, max_concurrent=2))
    bench.busy()
    bench.say(2)
    bench.queue.context_share(0.7)
    assert bench.heads() == []
    for module in (decisions, entry, lanes, line, rate, rules, scheduler, thread):
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


def test_the_end_of_one_turn_does_not_end_another_that_took_its_place() -> None:
    """PB1: a placeholder was known by its name, and a worker cleared away that of another."""
    bench = Bench()
    first = bench.busy(1)
    bench.queue.ended(first)
    second = bench.busy(2)
    bench.say(3)
    assert bench.queue.ended(first) == []
    assert (bench.queue.running, bench.heads()) == ([second], [])


def test_an_end_is_told_of_an_entry_and_not_of_a_thread() -> None:
    """PB2: clearing by key removed whatever was there by then."""
    bench = Bench(Rules(debounce=0.0, max_concurrent=2))
    first, second = bench.busy(1), bench.busy(2)
    bench.queue.ended(first)
    bench.queue.ended(first)
    assert bench.queue.running == [second]


def test_a_steering_message_never_meets_a_full_queue_in_silence() -> None:
    """PB3: the eleventh was dropped with a line in the log only."""
    bench = Bench(Rules(debounce=0.0, cap=0))
    bench.queue.steerable(can=True)
    running = bench.busy()
    handed = [decision for decision in bench.say(*range(2, 30), mode=QueueMode.STEER) if isinstance(decision, Inject)]
    assert len(handed) == 28
    bench.queue.ended(running)
    assert (bench.waiting(), bench.heads()) == (list(range(2, 30)), [2])


def test_a_steering_message_keeps_its_id_and_author() -> None:
    """PB4: only the text was kept, so its answer hung on another message."""
    bench = Bench()
    running = bench.busy()
    bench.say(2, author=BOB, mode=QueueMode.STEER)
    bench.queue.ended(running)
    following = bench.run()
    assert [(message.id, message.inbound.author) for message in following.messages] == [(2, BOB)]


def test_a_message_after_the_answer_does_not_replace_the_answer() -> None:
    """PB5: what was said late took over the turn, and the first answer was never shown."""
    bench = Bench()
    bench.queue.steerable(can=True)
    running = bench.busy()
    bench.queue.finishing(running)
    assert bench.say(2, mode=QueueMode.STEER) == []
    assert ([message.id for message in running.owed], running.cancelled) == ([1], None)


def test_what_is_asked_of_one_thread_does_not_reach_another() -> None:
    """PB8: with turns in parallel, the first of a map was steered or interrupted."""
    bench = SchedulerBench()
    bench.say(1, 1)
    bench.say(2, 2)
    bench.say(3, 2, mode=QueueMode.INTERRUPT)
    assert cancels(bench.decided) == [(2, Outcome.SUPERSEDED)]
    assert cancels(bench.scheduler.do(1, lambda queue: queue.stop("bob"), 0)) == [(1, Outcome.STOPPED)]


def test_nothing_follows_a_forced_stop_before_its_turn_has_ended() -> None:
    """PB9: the history was rolled back, and the next begun, while the turn still wrote."""
    bench = SchedulerBench()
    bench.say(1)
    bench.scheduler.do(100, lambda queue: queue.stop("bob"), 0)
    bench.scheduler.do(100, lambda queue: queue.reset("bob"), 0)
    bench.say(2)
    assert bench.started == [1]
    bench.finish(1)
    assert bench.started == [1, 2]


def test_a_stop_between_the_arrival_and_the_start_takes_the_message_out() -> None:
    """PC7: also while the store is still being asked."""
    bench = Bench()
    bench.queue.arrive(written(1), 0)
    assert bench.queue.stop("bob") == []
    assert ends(bench.queue.accepted(1)) == [(1, Outcome.STOPPED)]
    assert bench.heads() == []


def test_two_messages_at_once_are_one_turn_and_one_that_waits() -> None:
    """PC2."""
    bench = SchedulerBench()
    first, second = written(1), written(2, BOB)
    for message in (second, first):
        bench.scheduler.arrive(message, 0)
    for message in (second, first):
        bench.scheduler.accepted(message, 0)
    assert (bench.started, [item.place for item in bench.scheduler.waiting()]) == ([1], [2])


def test_a_busy_thread_can_be_told_from_an_idle_one() -> None:
    """G20, E5."""
    bench = SchedulerBench()
    assert bench.scheduler.queue(100).idle
    bench.say(1)
    bench.say(2)
    queue = bench.scheduler.queue(100)
    assert (queue.idle, len(queue.running), len(queue.line)) == (False, 1, 1)


def test_a_stop_names_what_it_stopped() -> None:
    """PC14."""
    bench = Bench()
    bench.busy()
    [cancel] = bench.queue.stop("bob")
    assert isinstance(cancel, decisions.Cancel)
    assert (cancel.entry.prompt_text(), cancel.why.by) == ("1", "bob")
