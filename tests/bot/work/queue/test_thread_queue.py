"""A thread's queue: order, cap, debounce, concurrency."""

from __future__ import annotations

import pytest

from bot.model import Lane, Outcome, QueueMode
from bot.work.queue.entry import End, EntryState, Joined, Queued, Warm
from bot.work.queue.rules import Drop, Rules
from tests.bot.work.queue.bench import ALICE, BOB, PLAIN, Bench, cancels, ends, written

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


# Cap


def test_the_oldest_that_waits_is_dropped_when_the_queue_is_full() -> None:
    """Q3, G4, G5."""
    bench = Bench(Rules(debounce=0.0))
    bench.busy()
    assert ends(bench.say(*range(2, 12))) == []
    assert ends(bench.say(12)) == [(2, Outcome.DROPPED)]
    assert bench.waiting() == list(range(3, 13))


def test_the_new_one_is_dropped_where_the_rules_say_so() -> None:
    """Q3, G6."""
    bench = Bench(Rules(debounce=0.0, cap=2, drop=Drop.NEW))
    bench.busy()
    bench.say(2, 3)
    [end] = bench.say(4)
    assert isinstance(end, End)
    told = (end.message.message_id, end.why.outcome, end.why.reason)
    assert told == (4, Outcome.DROPPED, "the queue of this thread is full (2 waiting)")
    assert bench.waiting() == [2, 3]


def test_every_message_of_a_dropped_prompt_is_told() -> None:
    """Q3, O1."""
    bench = Bench(Rules(cap=1))
    bench.now = 5.0
    bench.say(1)
    bench.now = 6.0
    bench.run()
    bench.say(2, 3)
    assert ends(bench.say(4, author=BOB)) == [(2, Outcome.DROPPED), (3, Outcome.DROPPED)]


def test_a_restored_message_is_not_dropped_by_the_cap() -> None:
    """Q3, R2: it was accepted before."""
    bench = Bench(Rules(cap=0, debounce=0.0))
    for number in (3, 1, 2):
        assert bench.queue.restore(written(number)) == []
    assert bench.waiting() == [1, 2, 3]


def test_what_was_put_in_front_is_not_dropped() -> None:
    """Q3, Q5."""
    bench = Bench(Rules(debounce=0.0, cap=2))
    bench.busy()
    bench.say(2, 3)
    bench.queue.promote(2, "alice")
    assert ends(bench.say(4)) == [(3, Outcome.DROPPED)]


# Debounce


def test_the_first_message_of_an_idle_thread_is_not_held() -> None:
    """Q4: nor is it by what its author writes next."""
    bench = Bench(Rules())
    assert bench.say(1) == [Warm(100)]
    assert (bench.heads(), bench.queue.next_wakeup()) == ([1], None)
    bench.say(2)
    assert bench.run().prompt_text() == "1\n2"


def test_what_follows_joins_a_turn_whose_agent_was_not_prompted_yet() -> None:
    """Q4: each as soon as the store has it, within the debounce of the one before."""
    bench = Bench(Rules())
    bench.say(1)
    entry = bench.start()
    for bench.now, number in ((0.7, 2), (1.4, 3)):
        assert [type(decision) for decision in bench.say(number)] == [Joined]
    bench.now = 2.3
    bench.say(4)
    assert (entry.prompt_text(), bench.waiting()) == ("1\n2\n3", [4])


def test_what_follows_a_prompted_turn_waits_for_more_and_is_one_prompt() -> None:
    """Q2, Q4: also if it came before the prompt, and the store had it afterwards."""
    bench = Bench(Rules())
    bench.say(1)
    entry = bench.start()
    for number in (2, 3):
        bench.queue.arrive(written(number), 0.1)
    entry.prompted = True
    for number in (2, 3):
        bench.queue.accepted(number)
    assert (entry.prompt_text(), bench.waiting()) == ("1", [2])
    bench.queue.ended(entry)
    assert bench.heads() == []
    bench.now = 1.0
    assert bench.run().prompt_text() == "2\n3"


def test_what_follows_joins_a_message_that_waits_for_an_agent() -> None:
    """Q4, P4."""
    bench = Bench(Rules())
    bench.say(1)
    bench.queue.arrive(written(2), 0.1)
    bench.queue.arrive(written(3), 0.2)
    assert bench.heads() == [1]
    assert [bench.queue.accepted(number) for number in (2, 3)] == [[], []]
    assert bench.run().prompt_text() == "1\n2\n3"


@pytest.mark.parametrize("mode", [QueueMode.QUEUE, QueueMode.INTERRUPT, QueueMode.STEER])
def test_what_joins_a_turn_has_no_effect_of_its_own(mode: QueueMode) -> None:
    """Q2, Q4: it interrupts nothing, and needs no agent that can be steered."""
    bench = Bench(Rules(mode=mode))
    bench.say(1)
    entry = bench.start()
    assert cancels(bench.say(2)) == []
    assert entry.prompt_text() == "1\n2"


def test_nothing_joins_a_turn_that_is_being_cancelled() -> None:
    """Q4, T6."""
    bench = Bench(Rules())
    bench.say(1)
    bench.start()
    bench.queue.stop("bob")
    bench.say(2)
    assert bench.waiting() == [2]


def test_what_one_author_sends_in_a_row_becomes_one_prompt() -> None:
    """Q4, G8: behind a running turn; the place is that of its first message, and all ids are kept."""
    bench = Bench(Rules())
    turn = bench.busy(1)
    for bench.now, number in ((0.0, 2), (0.3, 3), (0.6, 4)):
        bench.say(number)
    bench.queue.ended(turn)
    assert bench.heads() == []
    assert bench.queue.next_wakeup() == pytest.approx(1.4)
    bench.now = 1.5
    entry = bench.run()
    assert (entry.place, [message.message_id for message in entry.messages]) == (2, [2, 3, 4])
    assert entry.prompt_text() == "2\n3\n4"


def test_different_authors_are_never_merged() -> None:
    """Q4, G9."""
    bench = Bench(Rules())
    bench.say(1)
    bench.say(2, author=BOB)
    assert bench.waiting() == [1, 2]


def test_the_message_of_another_ends_the_row() -> None:
    """Q4: the third is not moved before the second."""
    bench = Bench(Rules())
    bench.say(1)
    bench.say(2, author=BOB)
    bench.say(3)
    assert bench.waiting() == [1, 2, 3]


def test_a_message_after_the_debounce_is_a_prompt_of_its_own() -> None:
    """Q4."""
    bench = Bench(Rules())
    bench.say(1)
    bench.now = 0.9
    bench.say(2)
    assert bench.waiting() == [1, 2]


def test_a_message_with_files_ends_the_debounce() -> None:
    """Q4, G9: it joins the row, and the row is not held any longer."""
    bench = Bench(Rules())
    turn = bench.busy(1)
    bench.say(2)
    bench.say(3, files=1)
    bench.queue.ended(turn)
    assert bench.heads() == [2]
    bench.say(4)
    assert bench.waiting() == [2, 4]


def test_modes_and_lanes_are_not_mixed_in_one_prompt() -> None:
    """Q2, Q4, Q6."""
    bench = Bench(Rules())
    bench.say(1)
    bench.say(2, mode=QueueMode.FOLLOWUP)
    bench.queue.arrive(written(3, mode=QueueMode.FOLLOWUP, lane=Lane.BACKGROUND), 0)
    assert bench.waiting() == [1, 2, 3]


def test_an_agent_is_asked_for_before_the_store_has_the_message() -> None:
    """Q4: once, and only for what will start next."""
    bench = Bench(Rules())
    assert bench.queue.arrive(written(1), 0) == [Warm(100)]
    assert bench.queue.arrive(written(2), 0) == bench.queue.arrive(written(3, BOB), 0) == []


def test_without_debounce_nothing_is_held() -> None:
    """Q4."""
    bench = Bench(PLAIN)
    turn = bench.busy(1)
    bench.say(2, 3)
    bench.queue.ended(turn)
    assert (bench.heads(), bench.waiting(), bench.queue.next_wakeup()) == ([2], [2, 3], None)


def test_a_busy_thread_needs_no_waking() -> None:
    """Q4: the end of the turn looks again anyway."""
    bench = Bench(Rules())
    bench.now = 1.0
    bench.say(1)
    bench.now = 2.0
    bench.run()
    bench.say(2)
    assert bench.queue.next_wakeup() is None


def test_a_restored_message_is_not_held() -> None:
    """R2, Q4."""
    bench = Bench(Rules())
    bench.queue.restore(written(1))
    assert bench.heads() == [1]


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


def test_a_steady_typist_is_answered_after_three_seconds() -> None:
    """B6: each message began the wait anew, until the cap dropped them."""
    bench = Bench(Rules())
    turn = bench.busy(2)
    for number in range(3, 10):
        bench.now = (number - 2) * 0.5
        assert ends(bench.say(number)) == []
        if turn in bench.queue.running:
            bench.queue.ended(turn)
        assert bench.heads() == ([] if number < 9 else [3])
    assert bench.run().prompt_text() == "3\n4\n5\n6\n7\n8"


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
    assert ends(bench.say(1)) == []
    bench.run()
    assert ends(bench.say(2)) == [(2, Outcome.DROPPED)]


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
