"""Tests that take long begin first, so that no worker is still at one when the others have nothing left."""

from __future__ import annotations

import pytest


def begin_with_long(items: list[pytest.Item], workers: int) -> None:
    """Put what is marked ``long`` at the beginning of what each worker gets, the longest first; the rest stays."""
    long = sorted((item for item in items if _seconds(item)), key=_seconds, reverse=True)
    rest = [item for item in items if not _seconds(item)]
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        # Neighbouring parts, as xdist's "worksteal" hands them out; what is stolen later comes from their ends.
        size = (len(items) - len(ordered)) // (workers - worker)
        mine = long[worker::workers][:size]
        taken = size - len(mine)
        ordered += mine + rest[:taken]
        del rest[:taken]
    # More long ones than a part holds: only if there is hardly anything else.
    items[:] = ordered + [item for item in items if item not in set(ordered)]


def _seconds(item: pytest.Item) -> float:
    marker = item.get_closest_marker("long")
    return float(marker.args[0]) if marker else 0.0
