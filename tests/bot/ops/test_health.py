"""When the bot counts as not getting on."""

from __future__ import annotations

import pytest

from bot.ops.health import Vitals, problems


@pytest.mark.parametrize(
    ("vitals", "found"),
    [
        (Vitals(None, 0.0, 30.0, 0.0), []),
        (Vitals(None, 120.0, 30.0, 10.0), []),
        (Vitals(None, 121.0, 30.0, 0.0), ["the pool's last maintenance pass was 121 s ago"]),
        (Vitals("the connection's task has ended", 0.0, 30.0, 0.0), ["the connection's task has ended"]),
        (Vitals(None, 0.0, 30.0, 11.0), ["the event loop was last measured 11 s ago"]),
        (Vitals("a", 121.0, 30.0, 11.0), 3),
    ],
)
def test_what_no_longer_gets_on_is_named(vitals: Vitals, found: list[str] | int) -> None:
    """R3, R7: all of it, and being disconnected from Discord is none of it."""
    told = problems(vitals)
    assert (len(told) if isinstance(found, int) else list(told)) == found
