"""What takes longer to end than the stop ladder may: given up on, so that nobody waits for it any longer (P5).

Its place is not given back before it is gone; that is the registry's business. No state is kept here but in the
processes and slots themselves.
"""

from __future__ import annotations

from collections.abc import Collection

import structlog

from pool.agent import PooledAgent
from pool.capacity import Capacity
from pool.slot import Slot
from pool.tally import Tally

log = structlog.get_logger(__name__)


class Leaks:
    """Looks at the processes that are not gone yet.

    Args:
        agents: these processes, at any time.
        bound: seconds that an end may take.
    """

    def __init__(
        self, agents: Collection[PooledAgent], capacity: Capacity[PooledAgent], tally: Tally, bound: float
    ) -> None:
        self._agents = agents
        self._capacity = capacity
        self._tally = tally
        self._bound = bound

    def mark(self, now: float) -> None:
        """Give up on those that take too long."""
        for agent in self._agents:
            if self._overdue(agent.stopping_since, now):
                self.give_up(agent)
            for slot in agent.slots:
                if not slot.leaked and self._overdue(slot.stopping_since, now):
                    _give_up_session(slot)

    def next(self, now: float) -> float | None:
        """Return in how many seconds `mark` may find something; None if nothing ends."""
        agents = [agent.stopping_since for agent in self._agents if not agent.leaked]
        slots = [slot.stopping_since for agent in self._agents for slot in agent.slots if not slot.leaked]
        ending = [since for since in (*agents, *slots) if since is not None]
        return max(0.0, min(ending) + self._bound - now) if ending else None

    def give_up(self, agent: PooledAgent) -> None:
        """Wait no longer for a process; a second call does nothing."""
        if agent.leaked:
            return
        agent.leaked = True
        self._tally.leaked += 1
        self._capacity.disinherit(agent)
        connection = agent.connection
        pid = connection.pid if connection is not None else None
        report = connection.stop_report if connection is not None else None
        left = report.leaked_pids() if report is not None else ()
        log.error("agent.leaked", threads=[slot.thread_id for slot in agent.slots], pid=pid, left=left)
        for slot in agent.slots:
            slot.leaked = True

    def _overdue(self, since: float | None, now: float) -> bool:
        return since is not None and now - since >= self._bound


def _give_up_session(slot: Slot) -> None:
    """Wait no longer for a session in a process that goes on; nobody joins that process any more."""
    slot.leaked = slot.agent.barred = True
    log.warning("session.leaked", thread_id=slot.thread_id, generation=slot.generation)
