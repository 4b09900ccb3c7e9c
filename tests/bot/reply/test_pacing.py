"""When the next edit may start."""

from __future__ import annotations

import random

from bot.reply.pacing import Pacer, Pacing


def test_the_first_edit_may_start_at_once() -> None:
    assert Pacer(Pacing()).ready_at(final=False) == 0.0


def test_an_edit_waits_for_the_interval_and_a_final_one_does_not() -> None:
    """D3"""
    pacer = Pacer(Pacing())
    pacer.started(100.0)
    assert pacer.ready_at(final=False) == 101.25
    assert pacer.ready_at(final=True) <= 100.0


def test_ordinary_edits_leave_one_token_whatever_the_interval() -> None:
    """D3: four in five seconds."""
    pacer = Pacer(Pacing(interval=0.1))
    for at in (100.0, 100.1, 100.2, 100.3):
        pacer.started(at)
    assert pacer.ready_at(final=False) == 105.0
    assert pacer.ready_at(final=True) <= 100.3


def test_a_final_edit_waits_only_when_the_bucket_is_empty() -> None:
    """D3"""
    pacer = Pacer(Pacing())
    for at in (100.0, 100.1, 100.2, 100.3, 100.4):
        pacer.started(at)
    assert pacer.ready_at(final=True) == 105.0


def test_refusals_stretch_the_interval_and_successes_shrink_it_back() -> None:
    """D3"""
    pacer = Pacer(Pacing())
    pacer.refused()
    assert pacer.interval == 1.25 * 1.5
    for _ in range(50):
        pacer.refused()
    assert pacer.interval == 1.25 * 8
    for _ in range(50):
        pacer.succeeded()
    assert pacer.interval == 1.25


def test_the_wait_after_a_refusal_doubles_up_to_a_bound() -> None:
    assert [Pacer(Pacing()).backoff(failures) for failures in (1, 2, 3, 100)] == [1.0, 2.0, 4.0, 60.0]


def test_whatever_is_asked_for_no_five_seconds_see_more_than_five_edits() -> None:
    """D3: over random phases, with final edits in between."""
    for seed in range(200):
        dice, pacer, now, starts = random.Random(seed), Pacer(Pacing()), 0.0, list[float]()
        for _ in range(60):
            now += dice.expovariate(2.0)
            at = max(now, pacer.ready_at(final=dice.random() < 0.2))
            pacer.started(at)
            starts.append(at)
            now = at
        assert all(sixth - first >= 5.0 - 1e-9 for first, sixth in zip(starts, starts[5:], strict=False))
