"""Which process a thread may join, whose session makes room there, and which process is left in peace (pure).

Takes the processes that have a place, or will have one; carrying it out is the registry's business.
"""

from __future__ import annotations

from collections.abc import Iterable

from pool.agent import PooledAgent
from pool.launcher import Sharing
from pool.slot import Slot


def to_join(agents: Iterable[PooledAgent], sharing: Sharing | None) -> PooledAgent | None:
    """Return the process to join: one that serves before one that starts, the fuller before the emptier."""
    if sharing is None:
        return None
    fitting = [agent for agent in agents if agent.takes(sharing)]
    return max(fitting, key=lambda agent: (agent.serving, len(agent.slots)), default=None)


def idle_session(agents: Iterable[PooledAgent], sharing: Sharing | None) -> Slot | None:
    """Return the longest unused session in a full process that the thread might be in: its room can be had."""
    if sharing is None:
        return None
    fitting = [agent for agent in agents if agent.fits(sharing)]
    idle = [slot for agent in fitting for slot in agent.slots if slot.live and not slot.claimed]
    return min(idle, key=lambda slot: slot.last_used, default=None)


def calmest(agents: Iterable[PooledAgent]) -> PooledAgent | None:
    """Return the process with the fewest claims, which is the nearest to being idle.

    Whoever keeps new claims from it sees it idle in the end: the fewest never get more, and fewer with each turn's end,
    whichever process they are in.
    """
    staying = [agent for agent in agents if agent.stopping_since is None]
    return min(staying, key=lambda agent: sum(len(slot.claims) for slot in agent.slots), default=None)
