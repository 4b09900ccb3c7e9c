"""The pool's rules: victims, what idled or hung, places, and starts that are held back."""

from __future__ import annotations

import pytest

from pool.model import AgentState, PoolLimits, SlotState
from pool.policy import Breaker, Capacity, choose_victim, hung, idle
from pool.slot import PooledAgent, Reservation, Slot

LIMITS = PoolLimits(idle_ttl=100.0, hung_after=1000.0)


def slot(
    state: SlotState = SlotState.READY, *, claimed: bool = False, used: float = 0.0, busy_since: float | None = None
) -> Slot:
    made = Slot(1, 1, PooledAgent(), (), used)
    made.state = state
    if claimed:
        made.claims.add(Reservation(1, lambda _: None))
    if busy_since is not None:
        made.turns[made.lock] = busy_since
    return made


def agent(state: AgentState = AgentState.SERVING, *, claimed: bool = False, used: float = 0.0) -> PooledAgent:
    made = slot(claimed=claimed, used=used)
    made.agent.slots[made] = None
    made.agent.state = state
    return made.agent


@pytest.mark.asyncio
async def test_the_victim_is_the_longest_unused() -> None:
    """P4"""
    old, new = agent(used=1), agent(used=2)
    assert choose_victim([new, old]) is old


@pytest.mark.parametrize(
    ("state", "claimed"),
    [
        pytest.param(AgentState.SERVING, True, id="busy"),
        pytest.param(AgentState.STOPPING, False, id="closing"),
        pytest.param(AgentState.GONE, False, id="closed"),
    ],
)
@pytest.mark.asyncio
async def test_who_is_claimed_or_ends_anyway_is_no_victim(state: AgentState, claimed: bool) -> None:
    """P4"""
    assert choose_victim([agent(state, claimed=claimed)]) is None


@pytest.mark.asyncio
async def test_a_start_that_nobody_claims_is_a_victim_after_the_idle_ones() -> None:
    """Q6: a pre-spawn is a victim until its turn is admitted."""
    unused, start = agent(used=1), agent(AgentState.STARTING, used=2)
    assert choose_victim([start, unused]) is unused
    assert choose_victim([start]) is start


@pytest.mark.asyncio
async def test_a_slot_idles_out_at_its_limit_and_not_before() -> None:
    """P3"""
    one = slot(used=50)
    assert idle([one], LIMITS, now=149.9) == []
    assert idle([one], LIMITS, now=150) == [one]


@pytest.mark.asyncio
async def test_a_claimed_slot_never_idles_out_however_long_its_turn() -> None:
    """P3: a long quiet turn is not idle."""
    assert idle([slot(claimed=True, busy_since=0.0)], LIMITS, now=999) == []


@pytest.mark.asyncio
async def test_a_start_never_idles_out() -> None:
    """P3"""
    assert idle([slot(SlotState.STARTING)], LIMITS, now=5000) == []


@pytest.mark.asyncio
async def test_a_slot_hangs_when_one_turn_holds_it_too_long() -> None:
    """P6"""
    one = slot(claimed=True, busy_since=10.0)
    assert hung([one], LIMITS, now=1009) == []
    assert hung([one], LIMITS, now=1010) == [one]


def test_a_place_is_taken_and_given_back_once() -> None:
    """P4"""
    capacity = Capacity[str](2)
    capacity.take("a")
    assert (capacity.free, capacity.holds("a"), capacity.holders) == (1, True, ("a",))
    capacity.give_back("a")
    capacity.give_back("a")
    assert capacity.free == 2


def test_a_successor_has_the_place_in_the_step_in_which_it_is_given_back() -> None:
    """P4: nobody can come in between."""
    capacity = Capacity[str](1)
    capacity.take("old")
    capacity.succeed("new", "old")
    assert (capacity.holds("new"), capacity.expects("new"), capacity.free) == (False, True, 0)
    capacity.give_back("old")
    assert (capacity.holds("new"), capacity.expects("new"), capacity.free) == (True, False, 0)


def test_a_successor_that_gives_up_leaves_the_place_to_everyone() -> None:
    """P4"""
    capacity = Capacity[str](1)
    capacity.take("old")
    capacity.succeed("new", "old")
    capacity.give_back("new")
    assert capacity.free == 0
    capacity.give_back("old")
    assert capacity.free == 1


def test_the_successor_of_a_successor_waits_for_the_same_holder() -> None:
    """P4: a newcomer that never started has no place to hand on, only its expectation."""
    capacity = Capacity[str](1)
    capacity.take("old")
    capacity.succeed("middle", "old")
    capacity.succeed("new", "middle")
    assert (capacity.successor_of("old"), capacity.expects("middle")) == ("new", False)
    capacity.give_back("middle")
    capacity.give_back("old")
    assert capacity.holders == ("new",)


def test_a_successor_that_was_dropped_expects_nothing() -> None:
    """P5: the place of a leaked process is not returned."""
    capacity = Capacity[str](1)
    capacity.take("leaked")
    capacity.succeed("new", "leaked")
    capacity.drop_successor("leaked")
    assert (capacity.expects("new"), capacity.free) == (False, 0)


def test_a_pool_without_places_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Capacity[str](0)


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
