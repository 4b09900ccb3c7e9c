"""What has happened in the pool since it was made, in numbers that only grow, for whoever wants to count (pure)."""

from __future__ import annotations

from collections import Counter

from acp.errors import SpawnFailure
from pool.model import Reason
from pool.ports import How


class Tally:
    """The numbers; they are the mutable state.

    Attributes:
        opened: sessions that got ready, by how they came about.
        lost: those of them that began afresh since the agent did not know the one before.
        failed: starts that failed, by why.
        stopped: sessions that ended, with their agent or without it, by why.
        died: agents that ended by themselves.
        leaked: agents that outlived their stop ladder.
    """

    def __init__(self) -> None:
        self.opened: Counter[How] = Counter()
        self.lost = 0
        self.failed: Counter[SpawnFailure] = Counter()
        self.stopped: Counter[Reason] = Counter()
        self.died = 0
        self.leaked = 0

    def ready(self, how: How, *, lost: bool) -> None:
        """Count a session that got ready."""
        self.opened[how] += 1
        self.lost += lost
