"""Lanes: tokens, lent and taken back."""

from __future__ import annotations

import pytest

from bot.model import Lane, QueueMode
from bot.work.queue.entry import Entry
from bot.work.queue.scheduler import LaneCounts, Lanes
from tests.bot.work.queue.bench import written


def entry(number: int, lane: Lane = Lane.MAIN) -> Entry:
    return Entry(number, 100, QueueMode.QUEUE, lane, [written(number)])


def test_a_lane_has_as_many_tokens_as_it_was_given() -> None:
    """Q6, G12."""
    lanes = Lanes({Lane.MAIN: 2, Lane.BACKGROUND: 1})
    lanes.take(entry(1))
    assert lanes.free(Lane.MAIN)
    lanes.take(entry(2))
    assert (lanes.free(Lane.MAIN), lanes.free(Lane.BACKGROUND)) == (False, True)


def test_a_token_is_given_back_once() -> None:
    """Q10."""
    lanes = Lanes({Lane.MAIN: 1, Lane.BACKGROUND: 1})
    first = entry(1)
    lanes.take(first)
    lanes.release(first)
    lanes.release(first)
    assert lanes.counts(Lane.MAIN) == LaneCounts(limit=1, running=0, lent=0)


def test_only_what_was_lent_is_taken_back() -> None:
    """Q6."""
    lanes = Lanes({Lane.MAIN: 1, Lane.BACKGROUND: 1})
    first, stranger = entry(1), entry(2)
    lanes.take(first)
    lanes.lend(first)
    lanes.lend(first)
    assert lanes.counts(Lane.MAIN) == LaneCounts(limit=1, running=0, lent=1)
    for one in (first, first, stranger):
        lanes.take_back(one)
    assert lanes.counts(Lane.MAIN) == LaneCounts(limit=1, running=1, lent=0)


@pytest.mark.parametrize("limits", [{Lane.MAIN: 1}, {Lane.MAIN: 1, Lane.BACKGROUND: 0}], ids=["missing", "empty"])
def test_a_lane_in_which_nothing_could_ever_run_is_refused(limits: dict[Lane, int]) -> None:
    """Q6, G12."""
    with pytest.raises(ValueError, match="main, background"):
        Lanes(limits)
