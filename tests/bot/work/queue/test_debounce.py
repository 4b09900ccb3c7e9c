"""How long a message waits for the next one of its author, and when threads are asked again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.model import Lane, QueueMode
from bot.work.queue.debounce import Wakeups
from bot.work.queue.entry import Joined, Warm
from bot.work.queue.rules import Rules
from tests.bot.work.queue.bench import BOB, PLAIN, Bench, cancels, ends, written


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


# When threads are asked again


def test_the_earliest_time_counts_and_later_word_of_a_thread_replaces_earlier() -> None:
    wakeups = Wakeups()
    wakeups.put(1, 5.0)
    wakeups.put(2, 3.0)
    wakeups.put(2, 7.0)
    assert wakeups.first() == 5.0
    wakeups.put(1, None)
    assert (wakeups.first(), wakeups.due(6.9)) == (7.0, [])
    assert (wakeups.due(7.0), wakeups.first()) == ([2], None)


@given(st.lists(st.tuples(st.integers(0, 4), st.one_of(st.none(), st.floats(0, 9))), max_size=40), st.floats(0, 9))
def test_threads_are_asked_exactly_when_they_last_wanted(words: list[tuple[int, float | None]], now: float) -> None:
    wakeups, wanted = Wakeups(), dict[int, float]()
    for thread_id, at in words:
        wakeups.put(thread_id, at)
        wanted.pop(thread_id, None)
        if at is not None:
            wanted[thread_id] = at
    assert wakeups.first() == min(wanted.values(), default=None)
    assert sorted(wakeups.due(now)) == sorted(thread for thread, at in wanted.items() if at <= now)
    assert wakeups.first() == min((at for at in wanted.values() if at > now), default=None)
