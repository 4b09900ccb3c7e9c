"""The map of slots and the places in the pool: everything that decides, and nothing that waits.

No function here awaits, so on one loop each is a critical section and no lock is needed. A place belongs to a process;
``sharing`` says which threads may share one. Nobody else changes the state of a slot or an agent: the tasks in
`pool.agent_task` start and end processes, and report here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator

import anyio
import structlog

from acp.connection import AgentConnection, OpenedSession
from acp.engine import Engine
from acp.errors import AgentSpawnError, SpawnFailure
from pool.capacity import Capacity
from pool.copies import Copies
from pool.crash_breaker import CrashBreaker
from pool.eviction import choose_victim, hung_slots, idle_session, idle_slots, least_busy, may_displace
from pool.launcher import Sharing
from pool.model import AgentState, PoolCounts, PoolLimits, PoolStats, Reason, SlotState
from pool.slot import Claim, ExtraReservation, PooledAgent, Reservation, Slot

log = structlog.get_logger(__name__)


class Registry:
    """All slots of a pool.

    Args:
        on_change: called when a claim that was refused may be granted now.
        on_cut_off: called with a thread whose agent is ended as unused, although it was just at work outside a turn.
        sharing: says with whom a thread may share a process; None: with nobody.

    Attributes:
        slots: the current slot of each thread. Its predecessors may live on for a while, in their agents only.
        resets: of the threads whose sessions are being forgotten; set once that is written.
        copies: of sessions, for threads that have not opened theirs yet.
        changes: set, and replaced, at each change.
        seekers: who gets a slot as soon as there is one, before anybody who has none yet; until `release`.
        last_pass: the clock at the last maintenance pass that went well.
    """

    def __init__(
        self,
        limits: PoolLimits,
        on_change: Callable[[], None],
        on_cut_off: Callable[[int], None],
        clock: Callable[[], float],
        sharing: Callable[[int], Sharing | None],
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.capacity = Capacity[PooledAgent](limits.max_agents)
        self.breaker = CrashBreaker(limits.crash_starts, limits.crash_window)
        self.slots: dict[int, Slot] = {}
        self.resets: dict[int, anyio.Event] = {}
        self.copies = Copies()
        self.changes = anyio.Event()
        self.closing = False
        self.last_pass = clock()
        self.stats = PoolStats()
        self._agents: dict[PooledAgent, None] = {}  # those that are not gone yet, in the order in which they were made
        self.seekers: dict[Reservation, None] = {}
        self._sharing = sharing
        self._on_change = on_change
        self._on_cut_off = on_cut_off
        self._generations = itertools.count(1)

    def changed(self) -> None:
        """Wake who waits for a change. The last step of a change: the callback may claim what became free."""
        # Those who were admitted and lost their place come first, or a newcomer would take it and they might starve.
        for agent in tuple(self._agents):
            if agent.state in (AgentState.STARTING, AgentState.SERVING) and not self.capacity.includes(agent):
                self._secure(agent)
        for claim in tuple(self.seekers):
            if self.book(claim):
                del self.seekers[claim]
        # Replaced in the same step: a task that waits from here on waits for the next change.
        self.changes.set()
        self.changes = anyio.Event()
        try:
            self._on_change()
        except Exception:  # a fault of the listener must not end the task that reports to it
            log.exception("pool.listener_failed")

    # --- claims --------------------------------------------------------------------------------------------------

    def move_on(self, claim: Reservation) -> None:
        """Take a claim off a slot that is no longer usable; it seeks its thread's next one."""
        slot, claim.slot = claim.slot, None
        if slot is not None:
            slot.claims.discard(claim)
        self.seekers[claim] = None
        self.changed()

    def book(self, claim: Reservation, *, behind: bool = False) -> bool:
        """Give the claim its thread's slot, or a new one with a place; False if there is no place.

        While the thread's starts are held back the claim gets the refusal, and no place. For ``behind`` see
        `ConnectionPool.try_reserve`.
        """
        if self.closing:
            return False
        # 1. The thread's own slot, if a turn may wait for it.
        slot = self.slots.get(claim.thread_id)
        if slot is not None and slot.state is SlotState.READY and not slot.agent.usable():
            # The task that watches the process does not know yet; a prompt must not be spent on it meanwhile. The error
            # is for those in it whose sessions are still to be opened.
            connection = slot.agent.connection
            ended = connection.exit() if connection is not None else None
            how = f" ({ended.describe()})" if ended is not None else ""
            text = f"the agent ended{how} before the session was open"
            error = AgentSpawnError(text, failure=SpawnFailure.EXITED, exit=ended)
            self.stop_agent(slot.agent, Reason.DIED, error)
        slot = slot if slot is not None and slot.live else None
        spared = least_busy(self._placed()) if behind else None
        if slot is not None and slot.agent is spared:
            return False
        # 2. A new one.
        if slot is None:
            # Before a place is looked for: a thread that is held back must not suspend anybody.
            claim.refusal = self.breaker.refusal(claim.thread_id, self.clock())
            if claim.refusal is not None:
                return True
            slot = self.create(claim.thread_id, spared)
        if slot is None:
            return False
        claim.slot = slot
        slot.claims.add(claim)
        return True

    def book_extra(self, claim: ExtraReservation, *, behind: bool = False) -> bool:
        """Give the claim its thread's slot for a turn beside the one that has the session; False if that can't be.

        It takes no place and stops nobody.
        """
        slot = self.slots.get(claim.thread_id)
        if slot is None or not slot.can_fork:
            return False
        # Without a turn in the session itself the thread gets that one: what is said in a copy is not remembered.
        if not any(isinstance(other, Reservation) for other in slot.claims):
            return False
        if behind and slot.agent is least_busy(self._placed()):
            return False
        claim.slot = slot
        slot.claims.add(claim)
        return True

    def release(self, claim: Claim) -> None:
        """Take a claim back; a slot that it made and nobody began goes too."""
        if isinstance(claim, Reservation):
            self.seekers.pop(claim, None)
        slot, claim.slot = claim.slot, None
        if slot is None:
            return
        slot.claims.discard(claim)
        if not slot.claims and not slot.begun:
            self.stop(slot, Reason.UNUSED)
        self.changed()

    # --- errands: requests without a session ---------------------------------------------------------------------

    def book_any(self, claim: Claim, fits: Callable[[int], bool]) -> AgentConnection | None:
        """Claim a process that serves a thread that ``fits``; return its connection, or None if there is none."""
        ready = (slot for slot in self.slots.values() if slot.usable and fits(slot.thread_id))
        slot = next(ready, None) if not self.closing else None
        if slot is None:
            return None
        claim.slot = slot
        slot.claims.add(claim)
        return slot.agent.connection

    def hire(self) -> PooledAgent:
        """Make an entry for a process without a thread; it looks for a place like any other, and is `retire`d.

        Raises:
            AgentSpawnError: the pool is closing.
        """
        if self.closing:
            raise AgentSpawnError("the pool is closing", failure=SpawnFailure.OTHER)
        agent = PooledAgent(errand=True)
        agent.enter(AgentState.STARTING)
        self._agents[agent] = None
        return agent

    def hired(self, agent: PooledAgent, connection: AgentConnection) -> None:
        """Called when the process of an errand has started."""
        agent.connection = connection
        if agent.state is AgentState.STARTING:
            agent.enter(AgentState.SERVING)

    def dismiss(self, agent: PooledAgent) -> None:
        """Called when an errand is done, or must not go on: its process ends, and its place may be promised."""
        if agent.live:
            agent.stopping_since = self.clock()
            agent.enter(AgentState.STOPPING)
            self.changed()

    # --- places --------------------------------------------------------------------------------------------------

    def create(self, thread_id: int, spared: PooledAgent | None = None, *, free_only: bool = False) -> Slot | None:
        """Make the thread a new slot, in a process that has room or in a new one with a place; None if there is none.

        A new process may also be the successor of one that ends; not if ``free_only``, which stops nobody. Nobody
        joins the process that is ``spared``.
        """
        sharing = self._sharing(thread_id)
        open_to_all = [agent for agent in self._placed() if agent is not spared]
        agent, leaving = None, None
        if sharing is not None:
            fitting = [one for one in open_to_all if len(one.slots) < sharing.sessions and one.fits(sharing)]
            # The one that has the thread's copy of a session. Else one that serves before one that starts, which may
            # hang; the fuller before the emptier, which may become idle, and make room for a thread of another kind.
            copied = self.copies.connection_for(thread_id)
            agent = max(
                fitting,
                key=lambda one: (
                    copied is not None and one.connection is copied,
                    one.state is AgentState.SERVING,
                    len(one.slots),
                ),
                default=None,
            )
        # Asked for each thread that waits, whenever anything changes: nothing is created before there is room.
        if agent is None and self.capacity.free <= 0:
            endings = self._without_successor()
            if free_only or (next(endings, None) is None and choose_victim(self._placed()) is None):
                leaving = None if free_only else idle_session(open_to_all, sharing)
                if leaving is None:
                    return None
                agent = leaving.agent
        after = tuple(slot for other in self._agents for slot in other.slots if slot.thread_id == thread_id)
        if agent is None:
            agent = PooledAgent(sharing, after)
            self._secure(agent)
            self._agents[agent] = None
        # One that has not got its room yet leaves with it the wait for who had it before.
        before = after if leaving is None else (*after, leaving, *leaving.after)
        slot = Slot(thread_id, next(self._generations), agent, before, self.clock(), self.limits.hung_after)
        agent.slots[slot] = None
        # The predecessor may still be in the map: its clean-up will find another one in its place, and leave that.
        self.slots[thread_id] = slot
        if leaving is not None:
            self.stop(leaving, Reason.CAPACITY)
        return slot

    def _secure(self, agent: PooledAgent) -> None:
        """Give the process a place, or make it the successor of one; without either it goes on without."""
        # 1. The place of its own predecessor: it has to wait for that one anyway.
        previous = {slot.agent for slot in agent.after}
        own = next((other for other in self._without_successor() if other in previous), None)
        if own is not None:
            self.capacity.succeed(agent, own)
        # 2. A free one.
        elif self.capacity.free > 0:
            self.capacity.take(agent)
        # 3. The place of whatever ends anyway.
        elif (ending := next(self._without_successor(), None)) is not None:
            self.capacity.succeed(agent, ending)
        # 4. The place of one that nobody uses. Promised before it is told to stop: it may be gone in that same step.
        elif (victim := choose_victim(one for one in self._placed() if one is not agent)) is not None:
            self.capacity.succeed(agent, victim)
            self.stop_agent(victim, Reason.CAPACITY)

    def _placed(self) -> Iterator[PooledAgent]:
        # One whose promised place leaked has none, and looks for another at the next change.
        return (agent for agent in self._agents if self.capacity.includes(agent))

    def _without_successor(self) -> Iterator[PooledAgent]:
        """Yield who ends and whose place is promised to nobody; one that leaked may keep it for ever."""
        for agent in self.capacity.holders:
            if agent.state is AgentState.STOPPING and agent not in self.capacity.successors:
                yield agent

    def on_engine(self, engine: Engine, nodes: Collection[str] = ()) -> list[PooledAgent]:
        """Return the agents that an engine runs, on some of its machines or on all."""
        there = [one for one in self._agents if one.engine is engine and one.connection is not None]
        return [one for one in there if not nodes or one.node in nodes]

    def unused_on(self, engine: Engine, nodes: Collection[str] = ()) -> PooledAgent | None:
        """Return the longest unused agent of an engine; None: all of them are used."""
        return choose_victim(self.on_engine(engine, nodes))

    def give_way(self, engine: Engine, nodes: Collection[str] = ()) -> PooledAgent | None:
        """Have the longest unused agent of an engine that is full end; None: all of them are used."""
        victim = self.unused_on(engine, nodes)
        if victim is not None:
            self.stop_agent(victim, Reason.CAPACITY)
            self.changed()
        return victim

    def make_room(self, agent: PooledAgent, engine: Engine) -> None:
        """Have an agent give way to one that waits for room on their engine; the same start may ask again and again."""
        # Decided in one step: several starts may wait, and each ends one agent at a time.
        if may_displace(agent, self.clock()):
            agent.displaced = self.give_way(engine)

    # --- starting ------------------------------------------------------------------------------------------------

    def begin(self, slot: Slot) -> PooledAgent | None:
        """Have the slot's session opened; return its agent if a task has to be started for that one first."""
        if slot.begun or slot.settled.is_set():
            return None
        slot.begun = True
        if slot.agent.state is not AgentState.CLAIMED:
            slot.agent.call()
            return None
        slot.agent.enter(AgentState.STARTING)
        return slot.agent

    def cleared(self, agent: PooledAgent) -> bool:
        """Whether the process may start: it has a place, and what came before it is gone or given up."""
        if not self.capacity.includes(agent):
            self._secure(agent)
        return agent in self.capacity.holders and all(slot.departed for slot in agent.after)

    def ready(self, slot: Slot, opened: OpenedSession) -> None:
        """Called when the slot's session is open."""
        slot.session, slot.news, slot.used = opened.session, (opened.how, opened.lost), self.clock()
        slot.after = ()  # or each slot of the thread would keep all those before it in memory
        slot.enter(SlotState.READY)
        slot.settled.set()
        if slot.agent.state is AgentState.STARTING:
            slot.agent.enter(AgentState.SERVING)
        self.stats.opened[opened.how] += 1
        self.stats.lost += opened.lost
        self.changed()

    def fail(self, slot: Slot, error: AgentSpawnError, *, spoiled: bool = False) -> None:
        """Tell those who wait for a slot that it will never be ready, and why; for ``spoiled`` see `stop`."""
        if slot.state is not SlotState.STARTING:
            return
        if error.transient:
            self.breaker.failed(slot.thread_id, self.clock())
        self.stats.failed[error.failure] += 1
        log.warning("agent.start_failed", thread_id=slot.thread_id, failure=error.failure.name, reason=str(error))
        self.stop(slot, Reason.FAILED, error, spoiled=spoiled)
        self.changed()

    def open_elsewhere(self, slot: Slot, session_id: str) -> bool:
        """Whether another slot still has a session open; it may be ending, and then this becomes False.

        Raises:
            AgentSpawnError: it is not: the session is another thread's.
        """
        others = (other for agent in self._agents for other in agent.slots if other is not slot and not other.departed)
        # Also one that was told to stop while its agent still opens it: nobody knows whether that is done.
        having = [
            other for other in others if session_id == (other.session.id if other.session is not None else other.wanted)
        ]
        if any(other.live for other in having):
            raise AgentSpawnError("its session is open in another thread", failure=SpawnFailure.OTHER)
        return bool(having)

    # --- stopping ------------------------------------------------------------------------------------------------

    def stop(
        self,
        slot: Slot,
        reason: Reason,
        error: AgentSpawnError | None = None,
        *,
        spoiled: bool = False,
        displaced: bool = False,
    ) -> bool:
        """Tell a slot to stop, whoever uses it; its process ends with the last one. The caller reports the change.

        False if it was told before.

        Args:
            spoiled: what went wrong may not be the session's fault: no other thread joins its process.
            displaced: those who wait for the slot go on in the next one, although it never got ready.
        """
        if not slot.live:
            return False
        agent, now = slot.agent, self.clock()
        # 1. The slot takes no more turns, and those who wait for it or for its lock wake up: the running turn has the
        #    lock and may never end, so the others go on to the next slot now.
        cut_off = reason in (Reason.IDLE, Reason.CAPACITY) and slot.at_work(now)
        slot.displaced = displaced or reason is Reason.HUNG
        agent.takes_sessions = agent.takes_sessions and not spoiled
        slot.error = error if slot.state is SlotState.STARTING else None
        slot.stopping_since = now
        slot.enter(SlotState.CLOSING)
        slot.stop_requested.set()
        slot.settled.set()
        for scope in slot.waiting:
            scope.cancel()
        log.info("slot.evicted", thread_id=slot.thread_id, generation=slot.generation, reason=reason.value)
        self.stats.stopped[reason] += 1
        if cut_off:
            try:
                self._on_cut_off(slot.thread_id)
            except Exception:  # a fault of the listener must not keep the slot from being stopped
                log.exception("pool.listener_failed")
        # 2. Others are left in the process: it goes on.
        if any(other.live for other in agent.slots):
            if not slot.attended:  # the process knows nothing of it, so there is nothing to end
                self._close(slot)
            return True
        # 3. It was the last: the process ends. A start may hang anywhere; a connection that serves is left in order, so
        #    that its pipes are read to the end.
        before, agent.stopping_since = agent.state, now
        if before is not AgentState.SERVING:
            agent.scope.cancel()
        agent.enter(AgentState.STOPPING)
        agent.call()
        if before is AgentState.CLAIMED:  # no task runs for it that would report its end
            self._remove(agent)
        return True

    def stop_agent(self, agent: PooledAgent, reason: Reason, error: AgentSpawnError | None = None) -> list[Slot]:
        """Tell a process to stop, with all slots in it; return those that were not told before."""
        told = [slot for slot in tuple(agent.slots) if self.stop(slot, reason, error)]
        self.stats.died += reason is Reason.DIED and bool(told)
        return told

    def vacate(self, slot: Slot, *, spoiled: bool = False) -> None:
        """Called when a slot's session was ended, or never opened, in a process that goes on without it."""
        if slot.agent.live:  # or it goes with the others, when their process is gone
            slot.agent.takes_sessions = slot.agent.takes_sessions and not spoiled
            self._close(slot)
            self.changed()

    def retire(self, agent: PooledAgent) -> None:
        """Called by the agent's task when it is done: the entries go, and the place, if the process is really gone."""
        # Neither stopped by anybody nor ended by itself: the pool's own tasks are being cancelled.
        self.stop_agent(agent, Reason.SHUTDOWN)
        if agent.remains():
            self._give_up(agent)
            agent.enter(AgentState.REMAINS)
            # It keeps its slots and its place, but its threads go on without it.
            self.slots = {thread: slot for thread, slot in self.slots.items() if slot.agent is not agent}
        else:
            self._remove(agent)
        self.changed()

    def _remove(self, agent: PooledAgent) -> None:
        agent.enter(AgentState.GONE)
        agent.after, agent.displaced = (), None
        for slot in tuple(agent.slots):
            self._close(slot)
        self._agents.pop(agent, None)
        self.capacity.give_back(agent)

    def _close(self, slot: Slot) -> None:
        slot.after = ()
        slot.enter(SlotState.CLOSED)
        slot.agent.slots.pop(slot, None)
        # By identity: the thread may have a successor in the map already, which a late clean-up must not remove.
        if self.slots.get(slot.thread_id) is slot:
            del self.slots[slot.thread_id]

    def all_slots(self) -> list[Slot]:
        """Return every slot that is not gone yet, also those that have a successor."""
        return [slot for agent in self._agents for slot in agent.slots]

    # --- what takes longer to end than the shutdown escalation may (P5) -----------------------------------------

    def give_up_overdue(self) -> None:
        """Wait no longer for what takes too long to end; its place is not given back before it is gone."""
        now, bound = self.clock(), self.limits.stop_bound
        for agent in self._agents:
            if agent.stopping_since is not None and now - agent.stopping_since >= bound:
                self._give_up(agent)
            for slot in agent.slots:
                if not slot.leaked and slot.stopping_since is not None and now - slot.stopping_since >= bound:
                    # Its process goes on, and may be what keeps the session from ending.
                    slot.leaked, agent.takes_sessions = True, False
                    log.warning("session.leaked", thread_id=slot.thread_id, generation=slot.generation)

    def next_overdue(self) -> float | None:
        """Return in how many seconds `give_up_overdue` may find something; None if nothing ends."""
        agents = [agent.stopping_since for agent in self._agents if not agent.leaked]
        slots = [slot.stopping_since for agent in self._agents for slot in agent.slots if not slot.leaked]
        ending = [since for since in (*agents, *slots) if since is not None]
        return max(0.0, min(ending) + self.limits.stop_bound - self.clock()) if ending else None

    def _give_up(self, agent: PooledAgent) -> None:
        if agent.leaked:
            return
        agent.enter(AgentState.OVERDUE)
        self.stats.leaked += 1
        # Nobody is to wait for a place that may never come free: its successor looks for another one.
        self.capacity.successors.pop(agent, None)
        connection = agent.connection
        pid = connection.pid if connection is not None else None
        report = connection.stop_report if connection is not None else None
        left = report.leaked_pids() if report is not None else ()
        log.error("agent.leaked", threads=[slot.thread_id for slot in agent.slots], pid=pid, left=left)
        for slot in agent.slots:
            slot.leaked = True

    # --- all of them ---------------------------------------------------------------------------------------------

    def maintain(self) -> None:
        """Make one maintenance pass: suspend what idled, stop what hung, take back the places of what leaked."""
        now, slots = self.clock(), list(self.slots.values())
        idle, hung = idle_slots(slots, self.limits, now), hung_slots(slots, self.limits, now)
        for slot in hung:
            # It obeys no cancel: only the end of its process ends its turn, and the neighbours' turns with it.
            self.stop_agent(slot.agent, Reason.HUNG)
        for slot in idle:
            # A lock that is not free means busy, and busy is not idle; nobody waits for it here.
            if not slot.lock.locked():
                self.stop(slot, Reason.IDLE)
        self.give_up_overdue()
        for agent in tuple(self._agents):
            # Polled: no event says when a process ends whose task was done with it before.
            if agent.state is AgentState.REMAINS and not agent.remains():
                self._remove(agent)
        self.breaker.prune(now)
        self.last_pass = now
        self.changed()

    def counts(self) -> PoolCounts:
        """Return how full the pool is; a newcomer that waits for another's end counts as that other."""
        holders = self.capacity.holders
        return PoolCounts(
            live=sum(agent.state is AgentState.SERVING for agent in holders),
            starting=sum(agent.state in (AgentState.CLAIMED, AgentState.STARTING) for agent in holders),
            closing=sum(not agent.live for agent in holders),
            limit=self.capacity.limit,
            busy=sum(agent.claimed for agent in self._agents),
        )

    def begin_closing(self) -> None:
        """Refuse new claims from now on and tell every process to stop."""
        self.closing = True  # first: what becomes free must not be claimed again
        for agent in tuple(self._agents):
            self.stop_agent(agent, Reason.SHUTDOWN)
            if agent.errand and agent.live:
                self.dismiss(agent)
                agent.scope.cancel()
        self.changed()

    def at_rest(self) -> bool:
        """Whether no agent's task is under way; a reset that is still being written is the store's to finish."""
        return all(agent.state is AgentState.REMAINS for agent in self._agents)
