"""Which message is dropped when the queue of a thread is full (Q3)."""

from __future__ import annotations

import pytest

from bot.model import Outcome
from bot.work.queue.drop_rule import Drop
from bot.work.queue.entry import End
from bot.work.queue.rules import Rules
from tests.bot.work.queue.bench import BOB, Bench, ends, written


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


@pytest.mark.parametrize("drop", Drop)
def test_a_cap_of_zero_takes_a_message_while_the_thread_is_free(drop: Drop) -> None:
    """B12: it was refused although nothing ran."""
    bench = Bench(Rules(debounce=0.0, cap=0, drop=drop))
    assert ends(bench.say(1)) == []
    bench.run()
    assert ends(bench.say(2)) == [(2, Outcome.DROPPED)]
