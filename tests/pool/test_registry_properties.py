"""What holds for a registry, whatever the threads, the agents and the time do to it.

The sequences are made by a seeded generator, and by hypothesis for short counterexamples; `registry_model` plays them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from random import Random

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pool.model import PoolLimits, Reason
from pool.registry import Registry
from pool.slot import Reservation
from tests.pool.registry_model import MIXES, STEPS, play
from tests.repeat import long_run

SEQUENCES, LEAKING, PARTS = 400, 150, 2
LONG_RUN, LONG_PARTS = long_run(16_000, 1_600), 8
FIXTURE = [HealthCheck.function_scoped_fixture]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write no log: it would take most of the time."""
    silent = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for module in ("registry", "slot"):
        monkeypatch.setattr(f"pool.{module}.log", silent)


def walk(seeds: Iterable[int], *, leaks: bool) -> None:
    for seed in seeds:
        random = Random(seed)
        count = random.randint(50, 200)
        try:
            steps = zip(random.choices(STEPS, k=count), random.choices(range(60), k=count), strict=True)
            play(steps, leaks=leaks, mix=seed // LONG_PARTS)
        except BaseException as exc:
            exc.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.asyncio
async def test_whatever_happens_the_registry_keeps_its_promises(part: int) -> None:
    """P1, P4, P5, P10, Q9: sequences of 50 to 200 steps."""
    walk(range(part, SEQUENCES, PARTS), leaks=False)


@pytest.mark.asyncio
async def test_processes_that_outlive_their_stop_break_no_promise() -> None:
    """P1, P4, P5, P10: a process that leaked keeps its place until it is gone."""
    walk(range(LEAKING), leaks=True)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("leaks", [False, True])
@pytest.mark.parametrize("part", range(LONG_PARTS))
@pytest.mark.asyncio
async def test_whatever_happens_in_a_long_run_the_registry_keeps_its_promises(part: int, leaks: bool) -> None:
    """P1, P4, P5, P10, Q9"""
    walk(range(SEQUENCES + part, SEQUENCES + LONG_RUN // 2, LONG_PARTS), leaks=leaks)


@pytest.mark.asyncio
async def test_a_slot_whose_promised_place_leaked_is_nobodys_victim() -> None:
    """P4, P10: it has no place that it could pass on."""
    now = [0.0]
    limits = PoolLimits(max_agents=1, stop_bound=6)
    registry = Registry(limits, lambda: None, lambda _: None, lambda: now[0], lambda _: None)
    first, second, other = (Reservation(thread, registry.release) for thread in (1, 1, 2))
    assert registry.book(first)
    assert first.slot is not None
    registry.begin(first.slot)
    registry.stop(first.slot, Reason.ASKED)
    assert registry.book(second)
    assert second.slot is not None
    registry.begin(second.slot)
    now[0] = 6.0
    registry.give_up_overdue()
    second.release()
    assert not registry.book(other)


SCRIPT = st.lists(st.tuples(st.sampled_from(sorted(set(STEPS))), st.integers(0, 59)), max_size=50)


@settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=FIXTURE)
@given(SCRIPT, st.booleans(), st.integers(0, len(MIXES) - 1))
@pytest.mark.asyncio
async def test_no_short_sequence_breaks_the_registry(steps: list[tuple[str, int]], leaks: bool, mix: int) -> None:
    """P1, P4, P5, P10, Q9: the same for sequences that shrink well."""
    play(steps, leaks=leaks, mix=mix)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@settings(max_examples=long_run(10_000, 500), derandomize=True, deadline=None, suppress_health_check=FIXTURE)
@given(SCRIPT, st.booleans(), st.integers(0, len(MIXES) - 1))
@pytest.mark.asyncio
async def test_no_sequence_breaks_the_registry_in_a_long_run(
    steps: list[tuple[str, int]], leaks: bool, mix: int
) -> None:
    """P1, P4, P5, P10."""
    play(steps, leaks=leaks, mix=mix)
