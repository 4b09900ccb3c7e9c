"""The pool's rules: who holds a place, who idled or hung too long, when starts are held back (pure).

They take values and the time, and return decisions; `pool.registry` carries them out.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from acp.errors import AgentSpawnError, SpawnFailure
from pool.model import PoolLimits, SlotState
from pool.slot import PooledAgent, Slot

T = TypeVar("T")


def choose_victim(agents: Iterable[PooledAgent]) -> PooledAgent | None:
    """Return the longest unused process that nobody has a claim on, or None."""
    # A process that only starts counts, too: what was warmed ahead gives way until a turn is admitted to it.
    unclaimed = [agent for agent in agents if agent.live and not agent.claimed]
    return min(unclaimed, key=lambda agent: agent.last_used, default=None)


def idle(slots: Iterable[Slot], limits: PoolLimits, now: float) -> list[Slot]:
    """Return the slots that nobody has used for too long; a claim protects a slot, however long its turn takes."""
    ready = [slot for slot in slots if slot.state is SlotState.READY]
    return [slot for slot in ready if not slot.claims and now - slot.last_used >= limits.idle_ttl]


def hung(slots: Iterable[Slot], limits: PoolLimits, now: float) -> list[Slot]:
    """Return the slots that a turn holds for longer than any turn may take."""
    ready = [slot for slot in slots if slot.state is SlotState.READY]
    return [slot for slot in ready if any(now - began >= limits.hung_after for began in slot.turns.values())]


class Capacity(Generic[T]):
    """A fixed number of places, given to objects by identity.

    A place stands for a process that lives, starts or ends. A newcomer either takes a free place or becomes the
    successor of one that ends.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a pool needs a place for at least one agent, not {limit}")
        self.limit = limit
        # Both maps are all there is: a counter beside them could be wrong.
        self._holders: dict[T, None] = {}
        self._successors: dict[T, T] = {}

    @property
    def free(self) -> int:
        """How many places nobody holds."""
        return self.limit - len(self._holders)

    @property
    def holders(self) -> tuple[T, ...]:
        """Who holds a place."""
        return tuple(self._holders)

    def holds(self, item: T) -> bool:
        """Whether ``item`` has a place."""
        return item in self._holders

    def expects(self, item: T) -> bool:
        """Whether ``item`` gets a place as soon as another gives it back."""
        return item in self._successors.values()

    def successor_of(self, item: T) -> T | None:
        """Return who gets the place of ``item``."""
        return self._successors.get(item)

    def take(self, item: T) -> None:
        """Give ``item`` a free place."""
        assert self.free > 0
        self._holders[item] = None

    def succeed(self, item: T, previous: T) -> None:
        """Let ``item`` have the place that ``previous`` has, once it is given back, or the one it expects."""
        # A newcomer that never started has no place to hand on, only what it expects.
        if previous in self._holders:
            assert previous not in self._successors
            self._successors[previous] = item
        else:
            self._successors[self._predecessor(previous)] = item

    def drop_successor(self, item: T) -> None:
        """Let nobody wait for the place of ``item`` any more."""
        self._successors.pop(item, None)

    def give_back(self, item: T) -> None:
        """Take back the place that ``item`` holds or expects."""
        if item in self._holders:
            del self._holders[item]
            # In the same step, or somebody who looks at what is free would come in between.
            successor = self._successors.pop(item, None)
            if successor is not None:
                self._holders[successor] = None
        elif self.expects(item):
            del self._successors[self._predecessor(item)]

    def _predecessor(self, item: T) -> T:
        return next(holder for holder, successor in self._successors.items() if successor is item)


class Breaker:
    """Holds back a thread whose agent failed to start several times in a row; each thread has its own breaker."""

    def __init__(self, starts: int, window: float) -> None:
        self._starts = starts
        self._window = window
        self._failures: dict[int, deque[float]] = {}

    def failed(self, thread_id: int, now: float) -> None:
        """Count a failed start after which another try may succeed."""
        # No more than count: the first and the last of them tell within what time they came.
        self._failures.setdefault(thread_id, deque(maxlen=self._starts)).append(now)

    def reset(self, thread_id: int) -> None:
        """Forget a thread's failures: it started, or somebody asked for a new try."""
        self._failures.pop(thread_id, None)

    def wait_for(self, thread_id: int, now: float) -> float:
        """Return in how many seconds the thread may start again; 0 if it may now."""
        failures = self._failures.get(thread_id)
        if failures is None or len(failures) < self._starts or failures[-1] - failures[0] > self._window:
            return 0.0
        return max(0.0, failures[-1] + self._window - now)

    def refusal(self, thread_id: int, now: float) -> AgentSpawnError | None:
        """Return the error for a thread that may not start yet; None if it may."""
        seconds = self.wait_for(thread_id, now)
        if seconds <= 0:
            return None
        text = f"the agent failed to start {self._starts} times in a row; next try in {math.ceil(seconds)} s"
        return AgentSpawnError(text, failure=SpawnFailure.OTHER)

    def prune(self, now: float) -> None:
        """Forget the threads whose last failure is older than the window: the map must not grow for ever."""
        for thread_id, failures in tuple(self._failures.items()):
            if now - failures[-1] > self._window:
                del self._failures[thread_id]
