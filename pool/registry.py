"""The map of slots and the places in the pool: everything that decides, and nothing that waits.

No function here awaits, so on one loop each is a critical section and no lock is needed. A place is a process's; which
threads may share one is said by ``sharing``. The mutable state is the map from thread to current slot, the processes
that are not gone yet with their slots, the claims that wait for a place, the capacity, the breaker, the resets under
way and the closing flag. Processes are started and ended by their owners.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import anyio
import structlog

from acp.errors import AgentSpawnError
from pool import policy, room
from pool.agent import PooledAgent
from pool.capacity import Capacity
from pool.launcher import Sharing
from pool.leaks import Leaks
from pool.model import PoolCounts, PoolLimits, Reason, SlotState
from pool.slot import Claim, ExtraReservation, Reservation, Slot
from pool.tally import Tally

log = structlog.get_logger(__name__)

Clock = Callable[[], float]


class Registry:
    """All slots of a pool.

    Args:
        on_change: called when a claim that was refused may be granted now.
        sharing: says with whom a thread may share a process; None: it has one of its own.
    """

    def __init__(
        self,
        limits: PoolLimits,
        on_change: Callable[[], None],
        clock: Clock,
        sharing: Callable[[int], Sharing | None] = lambda _: None,
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.capacity = Capacity[PooledAgent](limits.max_agents)
        self.breaker = policy.Breaker(limits.crash_starts, limits.crash_window)
        self.slots: dict[int, Slot] = {}
        self.resets: dict[int, anyio.Event] = {}
        self.changes = anyio.Event()
        self.closing = False
        self.tally = Tally()
        self._agents: dict[PooledAgent, None] = {}
        self.leaks = Leaks(self._agents, self.capacity, self.tally, limits.stop_bound)
        self._seekers: dict[Reservation, None] = {}
        self._sharing = sharing
        self._on_change = on_change
        self._generations = itertools.count(1)

    def changed(self) -> None:
        """Wake who waits for a change. The last step of a change: the callback may claim what became free."""
        self._serve_admitted()
        self.changes.set()
        self.changes = anyio.Event()
        try:
            self._on_change()
        except Exception:  # a fault of the listener must not end the owner that reports to it
            log.exception("pool.listener_failed")

    def _serve_admitted(self) -> None:
        """Give what became free to those who were admitted and lost their place, before anybody new can take it."""
        for agent in tuple(self._agents):
            if agent.begun and agent.stopping_since is None and not self._has_place(agent):
                self._secure(agent)
        for claim in tuple(self._seekers):
            if self.book(claim):
                del self._seekers[claim]

    # Claims

    def seek(self, claim: Reservation) -> None:
        """Give the claim a slot as soon as there is one, before anybody who has none yet; until `release`."""
        self._seekers[claim] = None

    def move_on(self, claim: Reservation) -> None:
        """Take a claim off a slot that can't be used any more, and have it `seek` its thread's next one."""
        slot, claim.slot = claim.slot, None
        if slot is not None:
            slot.claims.discard(claim)
        self.seek(claim)
        self.changed()

    def book(self, claim: Reservation, *, behind: bool = False) -> bool:
        """Give the claim its thread's slot, or a new one with a place; False if there is no place.

        While the thread's starts are held back the claim gets the refusal, and no place. For ``behind`` see
        `ConnectionPool.try_reserve`.
        """
        if self.closing:
            return False
        slot = self._current(claim.thread_id)
        spared = room.calmest(self._placed()) if behind else None
        if slot is not None and slot.agent is spared:
            return False
        if slot is None and self._refuse(claim):
            return True
        slot = slot or self.create(claim.thread_id, spared)
        if slot is None:
            return False
        claim.slot = slot
        slot.claims.add(claim)
        return True

    def book_extra(self, claim: ExtraReservation, *, behind: bool = False) -> bool:
        """Give the claim its thread's slot for a turn beside the one that has the session; False if that can't be.

        It takes no place and stops nobody. While no turn has the session, there is nothing to run beside.
        """
        slot = self.slots.get(claim.thread_id)
        if slot is None or not slot.usable or not slot.taken or not slot.agent.can_fork():
            return False
        if behind and slot.agent is room.calmest(self._placed()):
            return False
        claim.slot = slot
        slot.claims.add(claim)
        return True

    def release(self, claim: Claim) -> None:
        """Take a claim back; a slot that it made and nobody began goes too."""
        if isinstance(claim, Reservation):
            self._seekers.pop(claim, None)
        slot, claim.slot = claim.slot, None
        if slot is None:
            return
        slot.claims.discard(claim)
        if not slot.claimed and not slot.begun:
            self.stop(slot, Reason.UNUSED)
        self.changed()

    def _refuse(self, claim: Reservation) -> bool:
        claim.refusal = self.breaker.refusal(claim.thread_id, self.clock())
        return claim.refusal is not None

    def _current(self, thread_id: int) -> Slot | None:
        slot = self.slots.get(thread_id)
        if slot is None or not slot.live:
            return None
        if slot.state is SlotState.READY and not slot.agent.usable():
            self.stop_agent(slot.agent, Reason.DIED, slot.agent.death())
            return None
        return slot

    def create(self, thread_id: int, spared: PooledAgent | None = None, *, free_only: bool = False) -> Slot | None:
        """Make the thread a new slot, in a process that has room or in a new one with a place; None if there is none.

        A new process may also be the heir of one that ends; not if ``free_only``, which stops nobody. Nobody joins the
        process that is ``spared``.
        """
        sharing = self._sharing(thread_id)
        open_to_all = [agent for agent in self._placed() if agent is not spared]
        agent = room.to_join(open_to_all, sharing)
        # Asked for each thread that waits, whenever anything changes: nothing is made before it is sure.
        leaving: Slot | None = None
        if agent is None and self.capacity.free <= 0 and (free_only or not self._can_make_room()):
            leaving = None if free_only else room.idle_session(open_to_all, sharing)
            if leaving is None:
                return None
        after = tuple(slot for other in self._agents for slot in other.slots if slot.thread_id == thread_id)
        if leaving is not None:
            agent = leaving.agent
        if agent is None:
            agent = PooledAgent(sharing, after)
            self._secure(agent)
            self._agents[agent] = None
        # One that has not got its room yet leaves with it the wait for who had it before.
        before = after if leaving is None else (*after, leaving, *leaving.after)
        slot = Slot(thread_id, next(self._generations), agent, before, self.clock())
        agent.slots[slot] = None
        # The predecessor may still be in the map: its clean-up will find that the entry is not its own any more.
        self.slots[thread_id] = slot
        if leaving is not None:
            self.stop(leaving, Reason.CAPACITY)
        return slot

    def _placed(self) -> Iterator[PooledAgent]:
        return (agent for agent in self._agents if self._has_place(agent))

    def _can_make_room(self) -> bool:
        """Whether a place comes free that is promised to nobody, or a process may be stopped for one."""
        return next(self._heirless(), None) is not None or self._victim() is not None

    def _victim(self, but: PooledAgent | None = None) -> PooledAgent | None:
        return policy.choose_victim(one for one in self._placed() if one is not but)

    def _secure(self, agent: PooledAgent) -> None:
        """Give the process a place, or make it the heir of one; without either it goes on without."""
        previous = {slot.agent for slot in agent.after}
        own = next((other for other in self._heirless() if other in previous), None)
        ending = own or next(self._heirless(), None)
        if own is None and self.capacity.free > 0:
            self.capacity.take(agent)
        elif ending is not None:
            self.capacity.succeed(agent, ending)
        elif (victim := self._victim(but=agent)) is not None:
            self.capacity.succeed(agent, victim)
            self.stop_agent(victim, Reason.CAPACITY)

    def _has_place(self, agent: PooledAgent) -> bool:
        """Whether it has a place, or will have one: one whose promised place leaked has none."""
        return self.capacity.holds(agent) or self.capacity.expects(agent)

    def _heirless(self) -> Iterator[PooledAgent]:
        """Yield who ends anyway and whose place is promised to nobody; what leaked is promised to nobody at all."""
        for agent in self.capacity.holders:
            if agent.stopping_since is not None and not agent.leaked and self.capacity.heir_of(agent) is None:
                yield agent

    # Starting and stopping

    def cleared(self, agent: PooledAgent) -> bool:
        """Whether the process may start: it has a place, and what came before it is gone or given up."""
        if not self._has_place(agent):
            self._secure(agent)
        return self.capacity.holds(agent) and all(slot.departed for slot in agent.after)

    def stop(self, slot: Slot, reason: Reason, error: AgentSpawnError | None = None) -> bool:
        """Tell a slot to stop, whoever uses it; its process ends with the last one. The caller reports the change.

        False if the slot was told before.
        """
        if not slot.live:
            return False
        agent, now = slot.agent, self.clock()
        slot.stop(now, error)
        log.info("slot.evicted", thread_id=slot.thread_id, generation=slot.generation, reason=reason.value)
        self.tally.stopped[reason] += 1
        if not any(other.live for other in agent.slots):
            agent.stop(now)
            if not agent.begun:
                self._remove(agent)
        elif not slot.attended:
            self._close(slot)  # the process knows nothing of it
        return True

    def stop_agent(self, agent: PooledAgent, reason: Reason, error: AgentSpawnError | None = None) -> list[Slot]:
        """Tell a process to stop, with all slots in it; return those that were not told before."""
        told = [slot for slot in tuple(agent.slots) if self.stop(slot, reason, error)]
        for slot in told:
            slot.displaced = reason is Reason.HUNG
        self.tally.died += reason is Reason.DIED and bool(told)
        return told

    def vacate(self, slot: Slot) -> None:
        """Called when a slot's session was ended, or never opened, in a process that goes on without it."""
        if slot.agent.stopping_since is None:
            self._close(slot)
            self.changed()

    def retire(self, agent: PooledAgent) -> None:
        """Called by the owner when it is done: the entries go, and the place, if the process is really gone."""
        # Not told to stop by anybody, and not ended by itself: the pool's own tasks are being cancelled.
        self.stop_agent(agent, Reason.SHUTDOWN)
        agent.left = True
        if agent.remains():
            self.leaks.give_up(agent)
            for slot in agent.slots:
                self._unlist(slot)
        else:
            self._remove(agent)
        self.changed()

    def _remove(self, agent: PooledAgent) -> None:
        agent.gone, agent.after = True, ()
        for slot in tuple(agent.slots):
            self._close(slot)
        self._agents.pop(agent, None)
        self.capacity.give_back(agent)

    def _close(self, slot: Slot) -> None:
        slot.closed()
        slot.agent.slots.pop(slot, None)
        self._unlist(slot)

    def _unlist(self, slot: Slot) -> None:
        if self.slots.get(slot.thread_id) is slot:
            del self.slots[slot.thread_id]

    def reclaim(self) -> None:
        """Take back the places of leaked processes that are gone by now."""
        for agent in tuple(self._agents):
            if agent.leaked and agent.left and not agent.remains():
                self._remove(agent)

    # Views

    def counts(self) -> PoolCounts:
        """Return how full the pool is; a newcomer that waits for another's end counts as that other."""
        states = [agent.state for agent in self._agents if self.capacity.holds(agent)]
        return PoolCounts(
            live=states.count(SlotState.READY),
            starting=states.count(SlotState.STARTING),
            closing=states.count(SlotState.CLOSING),
            limit=self.capacity.limit,
            busy=sum(agent.claimed for agent in self._agents),
        )

    def begin_closing(self) -> None:
        """Refuse new claims from now on and tell every process to stop."""
        self.closing = True
        for agent in tuple(self._agents):
            self.stop_agent(agent, Reason.SHUTDOWN)
        self.changed()

    def at_rest(self) -> bool:
        """Whether no owner is under way; a reset that is still being written is the store's to finish."""
        return all(agent.left for agent in self._agents)
