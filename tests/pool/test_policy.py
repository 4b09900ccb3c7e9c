from __future__ import annotations

from dataclasses import dataclass

import pytest

from pool.model import PoolLimits, SlotState
from pool.policy import Breaker, choose_victim, plan

LIMITS = PoolLimits(idle_ttl=100.0, hung_after=1000.0)


@dataclass(frozen=True)
class Fake:
    name: str
    state: SlotState = SlotState.READY
    claimed: bool = False
    last_used: float = 0.0
    busy_since: float | None = None


def test_the_victim_is_the_longest_unused() -> None:
    """P4"""
    old, new = Fake("old", last_used=1), Fake("new", last_used=2)
    assert choose_victim([new, old]) is old


@pytest.mark.parametrize(
    "protected",
    [Fake("busy", claimed=True), Fake("closing", state=SlotState.CLOSING), Fake("closed", state=SlotState.CLOSED)],
    ids=lambda slot: slot.name,
)
def test_who_is_claimed_or_ends_anyway_is_no_victim(protected: Fake) -> None:
    """P4"""
    assert choose_victim([protected]) is None


def test_a_start_that_nobody_claims_is_a_victim_after_the_idle_ones() -> None:
    """Q6: a pre-spawn is a victim until its turn is admitted."""
    idle = Fake("idle", last_used=1)
    start = Fake("start", state=SlotState.STARTING, last_used=2)
    assert choose_victim([start, idle]) is idle
    assert choose_victim([start]) is start


def test_a_slot_idles_out_at_its_limit_and_not_before() -> None:
    """P3"""
    slot = Fake("slot", last_used=50)
    assert plan([slot], LIMITS, now=149.9).idle == ()
    assert plan([slot], LIMITS, now=150).idle == (slot,)


def test_a_claimed_slot_never_idles_out_however_long_its_turn() -> None:
    """P3: a long quiet turn is not idle."""
    slot = Fake("slot", claimed=True, busy_since=0.0)
    assert plan([slot], LIMITS, now=999).idle == ()


def test_a_start_never_idles_out() -> None:
    """P3"""
    assert plan([Fake("slot", state=SlotState.STARTING)], LIMITS, now=5000).idle == ()


def test_a_slot_hangs_when_one_turn_holds_it_too_long() -> None:
    """P6"""
    slot = Fake("slot", claimed=True, busy_since=10.0)
    assert plan([slot], LIMITS, now=1009).hung == ()
    assert plan([slot], LIMITS, now=1010).hung == (slot,)


def test_the_breaker_opens_at_the_third_failure_in_the_window() -> None:
    """P7"""
    breaker = Breaker(starts=3, window=60)
    breaker.failed(1, now=0)
    breaker.failed(1, now=10)
    assert breaker.wait_for(1, now=10) == 0
    breaker.failed(1, now=20)
    assert breaker.wait_for(1, now=30) == 50
    assert breaker.wait_for(1, now=80) == 0


def test_failures_far_apart_do_not_open_the_breaker() -> None:
    """P7"""
    breaker = Breaker(starts=3, window=60)
    for now in (0, 50, 100):
        breaker.failed(1, now=now)
    assert breaker.wait_for(1, now=100) == 0


def test_one_threads_failures_hold_no_other_thread_back() -> None:
    """O4, P7"""
    breaker = Breaker(starts=1, window=60)
    breaker.failed(1, now=0)
    assert breaker.wait_for(2, now=0) == 0


def test_a_reset_breaker_lets_starts_through() -> None:
    """P7"""
    breaker = Breaker(starts=1, window=60)
    breaker.failed(1, now=0)
    breaker.reset(1)
    assert breaker.wait_for(1, now=0) == 0


def test_pruning_forgets_old_failures_only() -> None:
    """P7: the breaker doesn't grow with the number of threads that ever failed."""
    breaker = Breaker(starts=1, window=60)
    breaker.failed(1, now=0)
    breaker.failed(2, now=50)
    breaker.prune(now=70)
    assert list(breaker._failures) == [2]
