"""How many messages a person may send."""

from __future__ import annotations

import pytest

from bot.work.queue.rate import RateLimit


def test_a_person_may_send_so_many_in_a_row() -> None:
    limit = RateLimit(3, 60.0)
    assert [limit.take(1, 0.0) for _ in range(4)] == [True, True, True, False]


def test_a_message_is_allowed_again_after_its_share_of_the_window() -> None:
    limit = RateLimit(3, 60.0)
    for _ in range(3):
        limit.take(1, 0.0)
    assert limit.wait(1, 0.0) == pytest.approx(20.0)
    assert not limit.take(1, 19.0)
    assert limit.take(1, 20.5)


def test_people_do_not_count_for_each_other() -> None:
    limit = RateLimit(1, 60.0)
    assert (limit.take(1, 0.0), limit.take(2, 0.0), limit.take(1, 0.0)) == (True, True, False)


def test_a_bucket_is_never_more_than_full() -> None:
    limit = RateLimit(2, 10.0)
    limit.take(1, 0.0)
    assert [limit.take(1, 9_999.0) for _ in range(3)] == [True, True, False]


def test_without_a_number_there_is_no_limit_and_no_memory() -> None:
    limit = RateLimit(0, 60.0)
    assert all(limit.take(1, 0.0) for _ in range(100))
    assert (len(limit), limit.wait(1, 0.0)) == (0, 0.0)


def test_a_message_that_is_found_late_fills_nothing_twice() -> None:
    """R2: a catch-up reads several places, each in its own order."""
    limit = RateLimit(2, 10.0)
    assert [limit.take(1, at) for at in (100.0, 100.0, 50.0, 101.0)] == [True, True, False, False]
    assert limit.wait(1, 50.0) == pytest.approx(4.0)
    assert limit.take(1, 105.1)


def test_what_others_post_later_does_not_fill_a_bucket_for_what_is_found_late() -> None:
    """R2"""
    limit = RateLimit(1, 10.0)
    assert [limit.take(*one) for one in ((1, 0.0), (2, 5_000.0), (1, 1.0))] == [True, True, False]


def test_the_memory_is_bounded() -> None:
    limit = RateLimit(2, 1_000.0, people=3)
    for person in range(10):
        limit.take(person, float(person))
    assert len(limit) == 3


@pytest.mark.parametrize(("per_user", "window"), [(-1, 1.0), (1, 0.0)])
def test_a_limit_that_makes_no_sense_is_refused(per_user: int, window: float) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        RateLimit(per_user, window)
