"""A thread's queue: order, concurrency, what counts as idle."""

from __future__ import annotations

import pytest

from bot.model import QueueMode
from bot.work.queue.entry import EntryState, Queued, Warm
from bot.work.queue.rules import Rules
from tests.bot.work.queue.bench import ALICE, Bench, written

# Order


def test_messages_run_one_at_a_time_in_the_order_of_their_snowflakes() -> None:
    """Q1, G1."""
    bench, ran = Bench(), []
    bench.say(3, 1, 2)
    while bench.heads():
        assert len(bench.heads()) == 1
        entry = bench.run()
        assert bench.heads() == []
        ran.append(entry.place)
        bench.queue.ended(entry)
    assert ran == [1, 2, 3]


def test_nothing_starts_before_the_store_has_it() -> None:
    """O2."""
    bench = Bench()
    bench.queue.arrive(written(1), 0)
    assert bench.heads() == []
    bench.queue.accepted(1)
    assert bench.heads() == [1]


def test_a_message_that_is_still_being_written_down_keeps_its_place() -> None:
    """O2, Q1."""
    bench = Bench()
    bench.queue.arrive(written(1), 0)
    bench.say(2)
    assert bench.heads() == []
    bench.queue.accepted(1)
    assert bench.heads() == [1]


def test_a_message_that_the_store_refuses_holds_nobody_up() -> None:
    """O1, O2."""
    bench = Bench()
    bench.queue.arrive(written(1), 0)
    bench.say(2)
    assert bench.queue.refused(1) == []
    assert (bench.heads(), bench.queue.line.holds(1)) == ([2], False)


def test_a_message_without_effect_before_the_store_has_it() -> None:
    """O2: a copy of an old interrupt, sent again by Discord, cancels nothing."""
    bench = Bench()
    bench.busy(5)
    assert bench.queue.arrive(written(3, mode=QueueMode.INTERRUPT), 0) == []
    assert bench.queue.refused(3) == []
    assert bench.queue.running[0].cancelled is None


def test_a_queued_message_is_told_its_place() -> None:
    """Q5."""
    bench = Bench()
    bench.busy()
    queued = [decision for decision in bench.say(2, 3) if isinstance(decision, Queued)]
    assert [(decision.message.message_id, decision.place) for decision in queued] == [(2, 1), (3, 2)]


def test_a_message_that_starts_at_once_is_not_told_to_wait() -> None:
    """Q5."""
    assert Bench().say(1) == [Warm(100)]


def test_a_queue_is_idle_when_nothing_is_without_an_outcome() -> None:
    """Q10."""
    bench = Bench()
    seen = [bench.queue.idle]
    entry = bench.busy()
    seen.append(bench.queue.idle)
    bench.queue.ended(entry)
    assert [*seen, bench.queue.idle] == [True, False, True]


# Restored


def test_a_restored_message_may_have_to_wait_for_its_thread() -> None:
    """R2: its interrupt had its effect when it was accepted."""
    bench = Bench()
    bench.queue.restore(written(1))
    bench.queue.restore(written(2, mode=QueueMode.INTERRUPT), stored=False)
    assert bench.queue.accepted(2) == []
    assert bench.waiting() == [1, 2]


# Concurrency


def test_the_late_end_of_an_old_generation_frees_and_starts_nothing() -> None:
    """Q8, G17."""
    bench = Bench()
    old = bench.busy()
    bench.queue.reset()
    bench.queue.ended(old)
    bench.busy(2)
    bench.say(3)
    assert bench.queue.ended(old) == []
    assert ([entry.place for entry in bench.queue.running], bench.heads()) == ([2], [])


def test_as_many_turns_run_at_once_as_the_rules_allow() -> None:
    """Q9, G10."""
    bench = Bench(Rules(debounce=0.0, max_concurrent=3))
    bench.say(1, 2, 3, 4)
    assert bench.heads() == [1, 2, 3]
    first = bench.run()
    bench.run()
    bench.run()
    assert bench.heads() == []
    bench.queue.ended(first)
    assert bench.heads() == [4]


@pytest.mark.parametrize(("share", "places"), [(None, [2, 3]), (0.59, [2, 3]), (0.6, []), (0.9, [])])
def test_a_full_context_allows_one_new_turn_at_a_time(share: float | None, places: list[int]) -> None:
    """Q9, G11: an agent that does not say how full it is is not held back; what runs is left alone."""
    bench = Bench(Rules(debounce=0.0, max_concurrent=3))
    running = bench.busy()
    bench.say(2, 3)
    bench.queue.memory.share = share
    assert bench.heads() == places
    assert running.state is EntryState.RUNNING
    bench.queue.ended(running)
    assert bench.heads()[:1] == [2]


def test_a_cancelled_turn_of_its_own_author_is_named_in_the_reason() -> None:
    """O1."""
    bench = Bench()
    running = bench.busy()
    bench.say(2, author=ALICE, mode=QueueMode.INTERRUPT)
    assert running.cancelled is not None
    assert (running.cancelled.by, running.cancelled.reason) == ("alice", "a newer message took its place")


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


def test_a_message_that_comes_twice_is_one() -> None:
    """B11: the copy took the first one's entry, and the limit was broken."""
    bench = Bench(Rules(debounce=0.0, max_concurrent=2))
    bench.busy(1)
    assert bench.say(1) == []
    bench.say(2, 2, 3)
    assert bench.heads() == [2]
    assert bench.queue.running[0].place == 1


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
