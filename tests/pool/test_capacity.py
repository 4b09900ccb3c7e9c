"""The places of a pool, and who gets one next."""

from __future__ import annotations

import pytest

from pool.capacity import Capacity


def test_a_place_is_taken_and_given_back_once() -> None:
    """P4"""
    capacity = Capacity[str](2)
    capacity.take("a")
    assert (capacity.free, list(capacity.holders)) == (1, ["a"])
    capacity.give_back("a")
    capacity.give_back("a")
    assert capacity.free == 2


def test_a_successor_has_the_place_in_the_step_in_which_it_is_given_back() -> None:
    """P4: nobody can come in between."""
    capacity = Capacity[str](1)
    capacity.take("old")
    capacity.succeed("new", "old")
    assert ("new" in capacity.holders, capacity.includes("new"), capacity.free) == (False, True, 0)
    capacity.give_back("old")
    assert (list(capacity.holders), capacity.successors, capacity.free) == (["new"], {}, 0)


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
    assert capacity.successors == {"old": "new"}
    capacity.give_back("middle")
    capacity.give_back("old")
    assert list(capacity.holders) == ["new"]


def test_a_successor_that_was_dropped_expects_nothing() -> None:
    """P5: the place of a leaked process is not returned."""
    capacity = Capacity[str](1)
    capacity.take("leaked")
    capacity.succeed("new", "leaked")
    del capacity.successors["leaked"]
    assert (capacity.includes("new"), capacity.free) == (False, 0)


def test_a_pool_without_places_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Capacity[str](0)
