"""What holds for queues and scheduler, whatever people, agents, the store and the time do.

Nothing here waits: `SchedulerModel` plays everybody, one step at a time, and keeps its own books. The sequences are
made by a seeded generator, which is quick, and by hypothesis, which finds short counterexamples.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bot.work.queue.scheduler_model import SchedulerModel
from tests.repeat import long_run

SEQUENCES, PARTS = 450, 3
LONG_RUN, LONG_PARTS = long_run(20_000, 2_000), 10
STEPS = (
    *("arrive",) * 12,
    *("accept",) * 20,
    *("finish",) * 9,
    *("steer", "followup", "time") * 4,
    *("steered",) * 4,
    *("interrupt", "promote", "edit", "can_steer") * 2,
    *("refuse", "fail", "finishing", "prompted", "stop", "stop_one", "stop_all", "reset", "clear", "delete", "remove"),
    *("copy", "lend", "take_back", "share", "restart", "gone"),
)


def play(steps: Iterable[tuple[str, int]]) -> None:
    model = SchedulerModel()
    for kind, choice in steps:
        getattr(model, kind)(choice)
        model.check()
    model.settle()


def walk(seeds: Iterable[int]) -> None:
    for seed in seeds:
        random = Random(seed)
        count = min(random.randint(50, 200), random.randint(50, 200))
        try:
            play(zip(random.choices(STEPS, k=count), random.choices(range(60), k=count), strict=True))
        except BaseException as exc:
            exc.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_queues_and_scheduler_keep_their_promises(part: int) -> None:
    """O1, Q1 to Q10: sequences of 50 to 200 steps."""
    walk(range(part, SEQUENCES, PARTS))


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(LONG_PARTS))
def test_whatever_happens_in_a_long_run_queues_and_scheduler_keep_their_promises(part: int) -> None:
    """O1, Q1 to Q10"""
    walk(range(SEQUENCES + part, SEQUENCES + LONG_RUN, LONG_PARTS))


SEQUENCE = st.lists(st.tuples(st.sampled_from(sorted(set(STEPS))), st.integers(0, 59)), max_size=200)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(SEQUENCE)
def test_no_short_sequence_breaks_a_promise(steps: list[tuple[str, int]]) -> None:
    """O1, Q1 to Q10."""
    play(steps)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@settings(max_examples=long_run(10_000, 500), derandomize=True, deadline=None)
@given(SEQUENCE)
def test_no_sequence_at_all_breaks_a_promise(steps: list[tuple[str, int]]) -> None:
    """O1, Q1 to Q10: the same at length."""
    play(steps)
