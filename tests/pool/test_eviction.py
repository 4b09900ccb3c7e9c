"""Which agent or session is ended: the victim of a newcomer, what idled, what hangs."""

from __future__ import annotations

import pytest

from pool.eviction import AGAIN, choose_victim, hung_slots, idle_slots, may_displace
from pool.model import AgentState, PoolLimits, SlotState
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
    assert idle_slots([one], LIMITS, now=149.9) == []
    assert idle_slots([one], LIMITS, now=150) == [one]


@pytest.mark.asyncio
async def test_a_claimed_slot_never_idles_out_however_long_its_turn() -> None:
    """P3: a long quiet turn is not idle."""
    assert idle_slots([slot(claimed=True, busy_since=0.0)], LIMITS, now=999) == []


@pytest.mark.asyncio
async def test_a_start_never_idles_out() -> None:
    """P3"""
    assert idle_slots([slot(SlotState.STARTING)], LIMITS, now=5000) == []


@pytest.mark.asyncio
async def test_a_slot_hangs_when_one_turn_holds_it_too_long() -> None:
    """P6"""
    one = slot(claimed=True, busy_since=10.0)
    assert hung_slots([one], LIMITS, now=1009) == []
    assert hung_slots([one], LIMITS, now=1010) == [one]


@pytest.mark.asyncio
async def test_one_agent_at_a_time_gives_way_to_a_start_that_somebody_waits_for() -> None:
    """P4, P14"""
    newcomer, leaving = agent(AgentState.STARTING, claimed=True), agent(AgentState.STOPPING)
    assert may_displace(newcomer, 0.0)
    assert not may_displace(agent(AgentState.STARTING), 0.0)
    assert not may_displace(agent(AgentState.STOPPING, claimed=True), 0.0)
    newcomer.displaced, leaving.stopping_since = leaving, 100.0
    assert not may_displace(newcomer, 100.0 + 2 * AGAIN)  # it still takes its room
    leaving.state = AgentState.GONE
    assert not may_displace(newcomer, 100.0 + AGAIN / 2)
    assert may_displace(newcomer, 100.0 + AGAIN)
