"""The map of slots and the places in the pool: everything that decides, and nothing that waits.

No function here awaits, so on one loop each is a critical section and no lock is needed. The mutable state is the map
from thread to current slot, the slots that are not closed yet, the capacity, the breaker, the resets under way and the
closing flag. Processes are started and ended by their owners.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import anyio
import structlog

from acp.errors import AgentSpawnError, SpawnFailure
from pool import policy
from pool.capacity import Capacity
from pool.model import PoolCounts, PoolLimits, Reason, SlotState
from pool.slot import Claim, ExtraReservation, PooledAgent, Reservation, Slot

log = structlog.get_logger(__name__)

Clock = Callable[[], float]


class Registry:
    """All slots of a pool. ``on_change`` is called when a claim that was refused may be granted now."""

    def __init__(self, limits: PoolLimits, on_change: Callable[[], None], clock: Clock) -> None:
        self.limits = limits
        self.clock = clock
        self.capacity = Capacity[PooledAgent](limits.max_agents)
        self.breaker = policy.Breaker(limits.crash_starts, limits.crash_window)
        self.slots: dict[int, Slot] = {}
        self.resets: dict[int, anyio.Event] = {}
        self.changes = anyio.Event()
        self.closing = False
        self._open: dict[Slot, None] = {}
        self._on_change = on_change
        self._generations = itertools.count(1)

    def changed(self) -> None:
        """Wake who waits for a change. The last step of a change: the callback may claim what became free."""
        self.changes.set()
        self.changes = anyio.Event()
        try:
            self._on_change()
        except Exception:  # a fault of the listener must not end the owner that reports to it
            log.exception("pool.listener_failed")

    # Claims

    def book(self, claim: Reservation) -> bool:
        """Give the claim its thread's slot, or a new one with a place; False if there is no place.

        While the thread's starts are held back the claim gets the refusal, and no place.
        """
        if self.closing:
            return False
        slot = self._current(claim.thread_id)
        if slot is None and self._refuse(claim):
            return True
        slot = slot or self.create(claim.thread_id)
        if slot is None:
            return False
        claim.slot = slot
        slot.claims.add(claim)
        return True

    def book_extra(self, claim: ExtraReservation) -> bool:
        """Give the claim its thread's slot for a turn beside the one that has the session; False if that can't be.

        It takes no place and stops nobody. While no turn has the session, there is nothing to run beside.
        """
        slot = self.slots.get(claim.thread_id)
        if slot is None or not slot.usable or not slot.taken or not slot.agent.can_fork():
            return False
        claim.slot = slot
        slot.claims.add(claim)
        return True

    def release(self, claim: Claim) -> None:
        """Take a claim back; a slot that it made and nobody began goes too."""
        slot, claim.slot = claim.slot, None
        if slot is None:
            return
        slot.claims.discard(claim)
        if not slot.claimed and not slot.agent.begun:
            self.stop(slot, Reason.UNUSED)
        self.changed()

    def _refuse(self, claim: Reservation) -> bool:
        seconds = self.breaker.wait_for(claim.thread_id, self.clock())
        claim.refusal = None
        if seconds > 0:
            failed = f"the agent failed to start {self.limits.crash_starts} times in a row"
            text = f"{failed}; next try in {math.ceil(seconds)} s"
            claim.refusal = AgentSpawnError(text, failure=SpawnFailure.OTHER)
        return claim.refusal is not None

    def _current(self, thread_id: int) -> Slot | None:
        slot = self.slots.get(thread_id)
        if slot is None or slot.state not in (SlotState.STARTING, SlotState.READY):
            return None
        if slot.state is SlotState.READY and not slot.agent.usable():
            self.stop(slot, Reason.DIED)
            return None
        return slot

    def create(self, thread_id: int) -> Slot | None:
        """Make the thread a new slot that has a place, or is the heir of one; None if there is no place."""
        after = tuple(slot.agent for slot in self._open if slot.thread_id == thread_id)
        slot = Slot(thread_id, next(self._generations), after, self.clock())
        if not self._secure(slot):
            return None
        # The predecessor may still be in the map: its owner will find that the entry is not its own any more.
        self.slots[thread_id] = slot
        self._open[slot] = None
        return slot

    def _secure(self, slot: Slot) -> bool:
        own = next((agent for agent in self._heirless() if agent in slot.after), None)
        ending = own or next(self._heirless(), None)
        if own is None and self.capacity.free > 0:
            self.capacity.take(slot.agent)
        elif ending is not None:
            self.capacity.succeed(slot.agent, ending)
        else:
            victim = policy.choose_victim(other for other in self.slots.values() if self._has_place(other, slot))
            if victim is None:
                return False
            self.capacity.succeed(slot.agent, victim.agent)
            self.stop(victim, Reason.CAPACITY)
        return True

    def _has_place(self, other: Slot, slot: Slot) -> bool:
        """Whether ``other`` has a place to pass on: one whose promised place leaked has none."""
        return other is not slot and (self.capacity.holds(other.agent) or self.capacity.expects(other.agent))

    def _heirless(self) -> Iterator[PooledAgent]:
        """Yield who ends anyway and whose place is promised to nobody; what leaked is promised to nobody at all."""
        for agent in self.capacity.holders:
            if agent.stopping_since is not None and not agent.leaked and self.capacity.heir_of(agent) is None:
                yield agent

    # Starting and stopping

    def cleared(self, slot: Slot) -> bool:
        """Whether the slot's process may start: it has a place, and its predecessors are gone or given up."""
        agent = slot.agent
        if not self.capacity.holds(agent) and not self.capacity.expects(agent):
            self._secure(slot)
        return self.capacity.holds(agent) and all(other.gone or other.leaked for other in slot.after)

    def stop(self, slot: Slot, reason: Reason, error: AgentSpawnError | None = None) -> bool:
        """Tell a slot to stop, whoever uses it; False if it was told before. The caller reports the change."""
        if slot.state not in (SlotState.STARTING, SlotState.READY):
            return False
        slot.stop(self.clock(), error)
        log.info("slot.evicted", thread_id=slot.thread_id, generation=slot.generation, reason=reason.value)
        if not slot.agent.begun:
            self._remove(slot)
        return True

    def retire(self, slot: Slot) -> None:
        """Called by the owner when it is done: the entry goes, and the place, if the process is really gone."""
        # Not told to stop by anybody, and not ended by itself: the pool's own tasks are being cancelled.
        self.stop(slot, Reason.SHUTDOWN)
        agent = slot.agent
        agent.left = True
        if agent.remains():
            self._leak(slot)
            self._unlist(slot)
        else:
            self._remove(slot)
        self.changed()

    def _remove(self, slot: Slot) -> None:
        slot.closed()
        self._open.pop(slot, None)
        self.capacity.give_back(slot.agent)
        self._unlist(slot)

    def _unlist(self, slot: Slot) -> None:
        if self.slots.get(slot.thread_id) is slot:
            del self.slots[slot.thread_id]

    # What outlives its stop ladder

    def _leak(self, slot: Slot) -> None:
        if slot.agent.leaked:
            return
        slot.agent.leaked = True
        self.capacity.disinherit(slot.agent)
        connection = slot.agent.connection
        pid = connection.pid if connection is not None else None
        report = connection.stop_report if connection is not None else None
        left = report.leaked_pids() if report is not None else ()
        log.error("agent.leaked", thread_id=slot.thread_id, generation=slot.generation, pid=pid, left=left)

    def mark_leaks(self) -> None:
        """Give up on those that take longer to end than the stop ladder may."""
        now = self.clock()
        for slot in self._open:
            since = slot.agent.stopping_since
            if since is not None and now - since >= self.limits.stop_bound:
                self._leak(slot)

    def reclaim(self) -> None:
        """Take back the places of leaked processes that are gone by now."""
        for slot in list(self._open):
            if slot.agent.leaked and slot.agent.left and not slot.agent.remains():
                self._remove(slot)

    def next_leak(self) -> float | None:
        """Return in how many seconds `mark_leaks` may find something; None if nothing ends."""
        ending = [slot.agent for slot in self._open if not slot.agent.leaked]
        deadlines = [
            agent.stopping_since + self.limits.stop_bound for agent in ending if agent.stopping_since is not None
        ]
        return max(0.0, min(deadlines) - self.clock()) if deadlines else None

    # Views

    def counts(self) -> PoolCounts:
        """Return how full the pool is; a newcomer that waits for another's end counts as that other."""
        states = [slot.state for slot in self._open if self.capacity.holds(slot.agent)]
        return PoolCounts(
            live=states.count(SlotState.READY),
            starting=states.count(SlotState.STARTING),
            closing=states.count(SlotState.CLOSING),
            limit=self.capacity.limit,
            busy=sum(slot.claimed for slot in self._open),
        )

    def begin_closing(self) -> None:
        """Refuse new claims from now on and tell every slot to stop."""
        self.closing = True
        for slot in list(self._open):
            self.stop(slot, Reason.SHUTDOWN)
        self.changed()

    def at_rest(self) -> bool:
        """Whether no owner and no reset is under way."""
        return not self.resets and all(slot.agent.left for slot in self._open)
