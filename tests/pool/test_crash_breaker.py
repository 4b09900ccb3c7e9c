"""Starts that are held back after failed ones."""

from __future__ import annotations

from pool.crash_breaker import CrashBreaker


def test_the_breaker_opens_at_the_third_failure_in_the_window() -> None:
    """P7"""
    breaker = CrashBreaker(starts=3, window=60)
    breaker.failed(1, now=0)
    breaker.failed(1, now=10)
    assert breaker.wait_for(1, now=10) == 0
    breaker.failed(1, now=20)
    assert breaker.wait_for(1, now=30) == 50
    assert breaker.wait_for(1, now=80) == 0


def test_failures_far_apart_do_not_open_the_breaker() -> None:
    """P7"""
    breaker = CrashBreaker(starts=3, window=60)
    for now in (0, 50, 100):
        breaker.failed(1, now=now)
    assert breaker.wait_for(1, now=100) == 0


def test_one_threads_failures_hold_no_other_thread_back() -> None:
    """O4, P7"""
    breaker = CrashBreaker(starts=1, window=60)
    breaker.failed(1, now=0)
    assert breaker.wait_for(2, now=0) == 0


def test_a_reset_breaker_lets_starts_through() -> None:
    """P7"""
    breaker = CrashBreaker(starts=1, window=60)
    breaker.failed(1, now=0)
    breaker.reset(1)
    assert breaker.wait_for(1, now=0) == 0


def test_pruning_forgets_old_failures_only() -> None:
    """P7: the breaker doesn't grow with the number of threads that ever failed."""
    breaker = CrashBreaker(starts=1, window=60)
    breaker.failed(1, now=0)
    breaker.failed(2, now=50)
    breaker.prune(now=70)
    assert list(breaker._failures) == [2]
