"""Which message is dropped when one more comes than may wait in a thread (Q3; pure)."""

from __future__ import annotations

from collections.abc import Container, Iterable
from enum import StrEnum
from operator import attrgetter

from bot.work.queue.entry import Entry


class Drop(StrEnum):
    """Who goes when one more message comes than may wait (Q3)."""

    OLD = "old"
    """The oldest that waits."""
    NEW = "new"
    """The one that came last."""


def choose_dropped(came: Entry, behind: Iterable[Entry], front: Container[Entry], cap: int, drop: Drop) -> Entry | None:
    """Return the prompt that has to go since ``came`` was accepted; None: there is room for all.

    Args:
        behind: what waits behind what could start at once, in order.
        front: those of them that were put before all others.
        cap: how many may wait there.
    """
    # Only what was accepted counts: a message that the store may still refuse must push nobody out.
    counted = [entry for entry in behind if entry.taken]
    if len(counted) <= cap or came not in counted:
        return None
    if drop is Drop.NEW:
        return came
    # Never one in front: somebody has asked for that, or a turn was cancelled for it.
    return min((entry for entry in counted if entry not in front), key=attrgetter("place"))
