"""The pool's rules: who is suspended for a newcomer, what has idled or hung too long, when starts are held back (pure).

Takes values and the time, returns decisions; the registry and the maintenance pass carry them out.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from acp.errors import AgentSpawnError, SpawnFailure
from pool.model import PoolLimits, SlotState


class Victim(Protocol):
    """What the rules look at in a process that may have to make room, and in a slot."""

    @property
    def state(self) -> SlotState:
        """Where it is."""

    @property
    def claimed(self) -> bool:
        """Whether an admitted turn or a reservation protects it."""

    @property
    def last_used(self) -> float:
        """When its last turn ended."""


class Candidate(Victim, Protocol):
    """What the rules look at in a slot beyond that."""

    @property
    def busy_since(self) -> float | None:
        """When the running turn got it."""


V = TypeVar("V", bound=Victim)
C = TypeVar("C", bound=Candidate)


@dataclass(frozen=True, slots=True)
class Plan(Generic[C]):
    """What the maintenance pass is to stop: ``idle`` only if its lock is free, ``hung`` although it is not."""

    idle: tuple[C, ...]
    hung: tuple[C, ...]


def choose_victim(agents: Iterable[V]) -> V | None:
    """Return the longest unused process that nobody has a claim on, or None."""
    unclaimed = [one for one in agents if one.state in (SlotState.STARTING, SlotState.READY) and not one.claimed]
    return min(unclaimed, key=lambda one: one.last_used, default=None)


def plan(slots: Iterable[C], limits: PoolLimits, now: float) -> Plan[C]:
    """Return which slots have idled or hung for too long."""
    ready = [slot for slot in slots if slot.state is SlotState.READY]
    return Plan(
        idle=tuple(slot for slot in ready if not slot.claimed and now - slot.last_used >= limits.idle_ttl),
        hung=tuple(slot for slot in ready if _hung(slot, limits, now)),
    )


def _hung(slot: Candidate, limits: PoolLimits, now: float) -> bool:
    return slot.busy_since is not None and now - slot.busy_since >= limits.hung_after


class Breaker:
    """Holds back a thread whose agent failed to start several times in a row; each thread has a breaker of its own.

    The mutable state is the times of the last failed starts, by thread.
    """

    def __init__(self, starts: int, window: float) -> None:
        self._starts = starts
        self._window = window
        self._failures: dict[int, deque[float]] = {}

    def failed(self, thread_id: int, now: float) -> None:
        """Count a failed start that another try may heal."""
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
        """Return what a thread is told that may not start yet; None if it may."""
        seconds = self.wait_for(thread_id, now)
        if seconds <= 0:
            return None
        text = f"the agent failed to start {self._starts} times in a row; next try in {math.ceil(seconds)} s"
        return AgentSpawnError(text, failure=SpawnFailure.OTHER)

    def prune(self, now: float) -> None:
        """Forget the threads whose last failure is older than the window."""
        old = [thread_id for thread_id, failures in self._failures.items() if now - failures[-1] > self._window]
        for thread_id in old:
            del self._failures[thread_id]
