"""Memory with a bound."""

from __future__ import annotations

from bot.recent import RecentMap


def test_the_key_used_longest_ago_is_forgotten_first() -> None:
    """O2: the memory is bounded."""
    places: RecentMap[int, str] = RecentMap(2)
    for key in (100, 101, 100, 102):
        places.put(key, f"place {key}")
    assert places.get(101) is None
    assert places.get(100) == "place 100"
    assert places.get(102) == "place 102"


def test_what_was_taken_out_is_not_found() -> None:
    places: RecentMap[int, str] = RecentMap(2)
    places.put(100, "place")
    places.pop(100, None)
    places.pop(100, None)
    assert places.get(100) is None
