"""Which agent or session is ended: for a newcomer, for being idle, for hanging (pure).

These take the state and the time, and return a choice; `pool.registry` carries it out.
"""

from __future__ import annotations

from collections.abc import Iterable

from pool.launcher import Sharing
from pool.model import PoolLimits, SlotState
from pool.slot import PooledAgent, Slot


def choose_victim(agents: Iterable[PooledAgent]) -> PooledAgent | None:
    """Return the longest unused process that nobody has a claim on, or None."""
    # A process that only starts counts, too: what was warmed ahead gives way until a turn is admitted to it.
    unclaimed = [agent for agent in agents if agent.live and not agent.claimed]
    return min(unclaimed, key=lambda agent: max((slot.last_used for slot in agent.slots), default=0.0), default=None)


AGAIN = 15.0
"""Seconds after which a second agent gives way to one start: a cluster takes some to use the room that one left."""


def may_displace(agent: PooledAgent, now: float) -> bool:
    """Whether one whose start waits for room on its engine may end another one, or another one more."""
    # What is started ahead, for nobody yet, stops nobody.
    if not agent.live or not agent.claimed:
        return False
    leaving = agent.displaced
    if leaving is None or leaving.stopping_since is None:
        return True
    return not leaving.ending and now - leaving.stopping_since >= AGAIN


def idle_session(agents: Iterable[PooledAgent], sharing: Sharing | None) -> Slot | None:
    """Return the longest unused session in a full process that the thread might be in: it can make room."""
    if sharing is None:
        return None
    fitting = [agent for agent in agents if agent.fits(sharing)]
    idle = [slot for agent in fitting for slot in agent.slots if slot.live and not slot.claims]
    return min(idle, key=lambda slot: slot.last_used, default=None)


def least_busy(agents: Iterable[PooledAgent]) -> PooledAgent | None:
    """Return the process with the fewest claims, which is the nearest to being idle."""
    # A caller that keeps new claims from it sees it idle in the end: the fewest never get more, and fewer with each
    # turn's end, whichever process they are in.
    staying = [agent for agent in agents if agent.live]
    return min(staying, key=lambda agent: sum(len(slot.claims) for slot in agent.slots), default=None)


def idle_slots(slots: Iterable[Slot], limits: PoolLimits, now: float) -> list[Slot]:
    """Return the slots that nobody has used for too long; a claim protects a slot, however long its turn takes."""
    ready = [slot for slot in slots if slot.state is SlotState.READY]
    return [slot for slot in ready if not slot.claims and now - slot.last_used >= limits.idle_ttl]


def hung_slots(slots: Iterable[Slot], limits: PoolLimits, now: float) -> list[Slot]:
    """Return the slots that a turn holds for longer than any turn may take."""
    ready = [slot for slot in slots if slot.state is SlotState.READY]
    return [slot for slot in ready if any(now - began >= limits.hung_after for began in slot.turns.values())]
