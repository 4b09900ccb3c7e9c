"""A registry whose agents and turns are played: each takes one step when it is told to.

The registry decides everything in a pool, and nothing in it waits. So nothing waits here either, which is quick enough
for very many sequences. A loop has to be there all the same, as a slot has events.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import cast

from acp.connection import AgentConnection, OpenedSession
from acp.errors import AgentSpawnError, SpawnFailure
from pool.launcher import Sharing
from pool.model import AgentState, PoolLimits, Reason, SlotState
from pool.registry import Registry
from pool.slot import Claim, ExtraReservation, PooledAgent, Reservation, Slot
from tests.pool.fakes import FakeOpened

LIMIT = 3
SHARED = Sharing("shared", 3)
PAIRS = Sharing("pairs", 2)
MIXES: tuple[tuple[Sharing | None, ...], ...] = (
    (None,) * 5,
    (SHARED,) * 5,
    (PAIRS,) * 5,
    (SHARED, SHARED, SHARED, None, None),
    (SHARED, SHARED, PAIRS, PAIRS, None),
)
"""With whom each thread may share a process."""
HUNG_AFTER = 20
CRASH = AgentSpawnError("crash", failure=SpawnFailure.EXITED)


class Process:
    """What the registry sees of an agent process, and of what outlives its shutdown escalation."""

    pid = 1
    stop_report = None

    def __init__(self, *, can_fork: bool) -> None:
        self.running = True
        self.can_fork = can_fork

    def alive(self) -> bool:
        return self.running

    def usable(self) -> bool:
        return self.running

    def exit(self) -> None:
        return None


class Turn:
    """A turn that waits for its slot or has it; an extra one has a copy of the slot's session."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.has_it = False


def open_to_turns(slot: Slot) -> bool:
    """Whether a turn may have the slot, or wait for it; also for what its start comes to in a process that died."""
    return slot.state is SlotState.STARTING or healthy(slot)


def healthy(slot: Slot) -> bool:
    """Whether the slot is going to serve turns unless somebody stops it."""
    return slot.live and (slot.agent.connection is None or slot.agent.usable())


class Model:
    """A registry, with tasks of agents and turns that take one step when they are told to. The steps are methods."""

    def __init__(self, *, leaks: bool, mix: tuple[Sharing | None, ...]) -> None:
        bound = 6.0 if leaks else inf
        limits = PoolLimits(max_agents=LIMIT, idle_ttl=5, stop_bound=bound, hung_after=HUNG_AFTER, crash_window=3)
        self.leaks = leaks
        self.now = 1000.0
        self.mix = mix
        self.registry = Registry(limits, self.admit, lambda _: None, lambda: self.now, lambda thread: mix[thread])
        self.tasks: list[PooledAgent] = []
        self.processes: dict[PooledAgent, Process] = {}
        self.sessions: list[Slot] = []
        self.opened: set[Slot] = set()
        self.turns: list[Turn] = []
        self.extras: list[Turn] = []
        self.waiting: list[int] = []
        self.reserved: list[Reservation] = []
        self.admitting = False

    def check(self) -> None:
        registry, held = self.registry, self.registry.capacity.holders
        assert len(held) <= LIMIT, "never above the limit"
        assert len(self.processes) <= LIMIT
        assert all(agent in held for agent in self.processes), "each process has a place"
        own = [slot for agent in self.processes if agent.sharing is None for slot in agent.slots]
        present = [slot.thread_id for slot in {*own, *self.opened} if not slot.leaked]
        assert len(present) == len(set(present)), "never two agents, or two sessions, for one thread"
        for agent in registry._agents:
            room = agent.sharing.sessions if agent.sharing else 1
            sessions = [slot for slot in self.opened if slot.agent is agent and not slot.leaked]
            assert max(len(sessions), sum(slot.live for slot in agent.slots)) <= room, "no process is overfull"
            assert all(self.mix[slot.thread_id] == agent.sharing for slot in agent.slots), "only equals share"
            assert any(slot.live for slot in agent.slots) == (agent.stopping_since is None), "it ends with its last"
        assert all(slot.state is not SlotState.CLOSED for slot in registry.slots.values())
        live = [slot for slot in registry.slots.values() if slot.live]
        assert all(slot.begun or slot.claims for slot in live), "nobody's slot is no slot"
        for turn in self.extras:
            assert turn.claim.slot is not None
            assert turn.claim in turn.claim.slot.claims, "an extra turn protects its slot to its end"

    def in_use(self) -> list[Slot]:
        """Return the slots that somebody has a turn or a reservation for, whatever they say themselves."""
        claims = [*self.reserved, *(turn.claim for turn in [*self.turns, *self.extras])]
        return [claim.slot for claim in claims if claim.slot is not None]

    def finish(self) -> None:
        """Everybody who waits is answered once the others go on, and closing leaves nothing behind."""
        while self.reserved:
            self.release(0)
        self.admit()
        for _ in range(200):
            if not self.waiting and not self.turns and not self.extras:
                break
            self.go_on()
        assert not self.waiting
        assert not self.turns
        assert not self.extras
        assert not any(slot.turns or slot.claims for slot in self.registry.slots.values())
        self.registry.begin_closing()
        for _ in range(10):
            self.go_on()
        assert self.registry.at_rest()
        assert not self.tasks
        assert not self.registry.slots
        assert not self.registry._agents
        assert not self.opened
        assert (self.registry.capacity.free, self.registry.capacity.successors) == (LIMIT, {})

    def go_on(self) -> None:
        for number in reversed(range(len(self.tasks))):
            self.agent_task(number)
        for number in reversed(range(len(self.sessions))):
            self.session_task(number)
        for number in reversed(range(len(self.turns))):
            self.turn(number)
        for number in reversed(range(len(self.extras))):
            self.extra(number)
        for agent, process in self.processes.items():
            process.running = process.running and not agent.leaked
        self.maintain(1)
        self.check()

    # What a thread does

    def prompt(self, choice: int) -> None:
        self.waiting.append(choice % 5)
        self.admit()

    def admit(self) -> None:
        if self.admitting:
            return
        self.admitting = True
        for thread in list(self.waiting):
            claim = self.book(thread)
            if claim is not None:
                self.waiting.remove(thread)
                self.take(claim)
        self.admitting = False

    def book(self, thread: int) -> Reservation | None:
        claim = Reservation(thread, self.registry.release)
        protected = [slot for slot in self.in_use() if healthy(slot)]
        known, joinable = set(self.registry._agents), self.joinable(thread)
        ending = sum(agent.stopping_since is not None for agent in known)
        if not self.registry.book(claim):
            assert not joinable, "who may join a process needs no place"
            return None
        if claim.slot is not None and claim.slot.agent in known:
            assert claim.slot.agent.stopping_since is None, "nobody joins what ends"
        if joinable and sum(agent.stopping_since is not None for agent in known) > ending:
            assert not all(agent.usable() for agent in self.processes), "who may join a process stops none"
        assert all(map(healthy, protected)), "nobody's slot is taken for another"
        assert claim.slot is None or open_to_turns(claim.slot), "what is claimed can be used"
        return claim

    def joinable(self, thread: int) -> bool:
        """Whether a process may take the thread, by what the rules say and not by what the registry does."""
        key = self.mix[thread]
        return key is not None and any(
            agent.sharing == key
            and len(agent.slots) < key.sessions
            and (agent.stopping_since, agent.takes_sessions) == (None, True)
            and (agent not in self.processes or self.processes[agent].running)
            and self.registry.capacity.includes(agent)
            for agent in self.registry._agents
        )

    def take(self, claim: Reservation) -> None:
        if claim.slot is None:
            assert claim.refusal is not None, "a claim is granted, refused, or has to wait"
            return
        self.turns.append(Turn(claim))
        self.begin(claim.slot)

    def begin(self, slot: Slot) -> None:
        agent = self.registry.begin(slot)
        if agent is not None:
            self.tasks.append(agent)

    def turn(self, choice: int) -> None:
        """Let one turn go on: get its slot, give it back, or hear that there will be none."""
        if not self.turns:
            return
        turn = self.turns[choice % len(self.turns)]
        slot = turn.claim.slot
        assert slot is not None
        assert turn.claim in slot.claims
        if turn.has_it or not open_to_turns(slot):
            self.leave(turn, slot)
        elif healthy(slot) and slot.state is SlotState.READY and slot.lock not in slot.turns:
            turn.has_it = True
            slot.turns[slot.lock] = self.now

    def leave(self, turn: Turn, slot: Slot) -> None:
        self.turns.remove(turn)
        if turn.has_it:
            slot.end_turn(slot.lock, self.now)
        turn.claim.release()
        turn.claim.release()

    def beside(self, choice: int) -> None:
        """A turn that is to run beside the one that has the thread's session."""
        registry, claim = self.registry, ExtraReservation(choice % 5, self.registry.release)
        slot = registry.slots.get(claim.thread_id)
        states = self.states()
        places = list(registry.capacity.holders)
        possible = slot is not None and slot.state is SlotState.READY and slot.agent.usable() and slot.can_fork
        possible = possible and any(turn.claim.slot is slot for turn in [*self.turns, *map(Turn, self.reserved)])
        assert registry.book_extra(claim) == possible, "granted whenever there is a turn to run beside, and only then"
        assert self.states() == states, "nobody is stopped for it"
        assert list(registry.capacity.holders) == places, "it takes no place"
        if possible:
            assert claim.slot is slot
            self.extras.append(Turn(claim))

    def states(self) -> list[tuple[Slot, SlotState]]:
        return [(slot, slot.state) for agent in self.registry._agents for slot in agent.slots]

    def extra(self, choice: int) -> None:
        """Let one extra turn go on: begin, end, or hear that its agent is gone."""
        if not self.extras:
            return
        turn = self.extras[choice % len(self.extras)]
        slot = turn.claim.slot
        assert slot is not None
        if not turn.has_it and slot.usable:
            turn.has_it = True
            slot.turns[turn.claim] = self.now
            return
        self.extras.remove(turn)
        if turn.has_it:
            slot.end_turn(turn.claim, self.now)
        turn.claim.release()
        turn.claim.release()

    def give_up(self, choice: int) -> None:
        if self.turns:
            turn = self.turns[choice % len(self.turns)]
            assert turn.claim.slot is not None
            self.leave(turn, turn.claim.slot)

    def reserve(self, choice: int) -> None:
        claim = self.book(choice % 5)
        if claim is not None and claim.slot is not None:
            self.reserved.append(claim)

    def release(self, choice: int) -> None:
        if self.reserved:
            self.reserved.pop(choice % len(self.reserved)).release()

    def use(self, choice: int) -> None:
        """Make a turn of a reservation, whose slot may have been stopped since."""
        if self.reserved:
            self.take(self.reserved.pop(choice % len(self.reserved)))

    # What the tasks of agents and sessions do

    def agent_task(self, choice: int) -> None:
        """Let one agent's task go on: wait for its place, start, have sessions opened, notice the end, end."""
        if not self.tasks:
            return
        agent = self.tasks[choice % len(self.tasks)]
        process = self.processes.get(agent)
        if agent.stopping_since is not None:
            self.end(agent, survives=self.leaks and choice % 20 == 7)
        elif process is None:
            self.start(agent)
        elif not process.running:
            self.registry.stop_agent(agent, Reason.DIED)
        else:
            newcomers = agent.newcomers()
            for slot in newcomers:
                slot.attended = True
            self.sessions += newcomers

    def start(self, agent: PooledAgent) -> None:
        self.registry.give_up_overdue()
        if self.registry.cleared(agent):
            number = next(iter(agent.slots)).generation
            process = self.processes[agent] = Process(can_fork=number % 4 != 0)
            agent.connection = cast("AgentConnection", process)

    def session_task(self, choice: int) -> None:
        """Let the task of one session go on: open it when its predecessors are gone, end it when no turn has it."""
        if not self.sessions:
            return
        slot = self.sessions[choice % len(self.sessions)]
        self.registry.give_up_overdue()
        if slot.state is SlotState.STARTING and all(other.departed for other in slot.after):
            self.opened.add(slot)
            self.registry.ready(slot, cast("OpenedSession", FakeOpened(None, "new")))
        elif slot.state is SlotState.CLOSING and not slot.turns and slot.agent.stopping_since is None:
            self.sessions.remove(slot)
            self.opened.discard(slot)
            self.registry.vacate(slot)

    def fail(self, choice: int) -> None:
        """A session can't be opened; sometimes since the agent did not answer."""
        starting = [slot for slot in self.sessions if slot.state is SlotState.STARTING]
        if starting:
            slot = starting[choice % len(starting)]
            self.registry.fail(slot, CRASH, spoiled=choice % 3 == 0)

    def fail_start(self, choice: int) -> None:
        """A process does not get through its start."""
        starting = [agent for agent in self.processes if agent.state is AgentState.STARTING]
        if starting:
            for slot in tuple(starting[choice % len(starting)].slots):
                self.registry.fail(slot, CRASH)

    def end(self, agent: PooledAgent, *, survives: bool) -> None:
        process = self.processes.get(agent)
        if process is not None and not (process.running and survives):
            process.running = False
            del self.processes[agent]
        self.tasks.remove(agent)
        gone = set(agent.slots)
        self.sessions = [slot for slot in self.sessions if slot not in gone]
        self.opened -= set() if agent in self.processes else gone
        self.registry.retire(agent)

    # What happens to it

    def die(self, choice: int) -> None:
        alive = [process for process in self.processes.values() if process.running]
        if alive:
            alive[choice % len(alive)].running = False

    def stop(self, choice: int) -> None:
        slot = self.registry.slots.get(choice % 5)
        if slot is not None:
            neighbours = [other for other in slot.agent.slots if other is not slot and healthy(other)]
            self.registry.stop(slot, Reason.ASKED)
            assert all(map(healthy, neighbours)), "who stops a session leaves those beside it alone"
            self.registry.changed()

    def maintain(self, choice: int) -> None:
        self.now += choice % 4
        hung = {
            slot.agent for slot in self.in_use() if self.now - min(slot.turns.values(), default=self.now) >= HUNG_AFTER
        }
        protected = [slot for slot in self.in_use() if healthy(slot) and slot.agent not in hung]
        self.registry.maintain()
        assert all(map(healthy, protected)), "a busy slot is neither idle nor hung, whichever turn keeps it busy"
        self.processes = {
            agent: process for agent, process in self.processes.items() if agent.state is not AgentState.GONE
        }
        self.opened = {slot for slot in self.opened if slot.state is not SlotState.CLOSED}

    def warm(self, choice: int) -> None:
        thread, registry = choice % 5, self.registry
        if thread not in registry.slots:
            states, free = self.states(), registry.capacity.free > 0 or self.joinable(thread)
            slot = registry.create(thread, free_only=True)
            assert (slot is not None) == free, "what is free is given, and nothing else"
            assert self.states()[: len(states)] == states or slot is not None
            if slot is not None:
                self.begin(slot)


STEPS = (
    *("agent_task",) * 8,
    *("turn", "session_task") * 5,
    *("prompt",) * 3,
    *("maintain", "reserve", "release", "use", "beside", "extra") * 2,
    *("give_up", "fail", "fail_start", "die", "stop", "warm"),
)


def play(steps: Iterable[tuple[str, int]], *, leaks: bool, mix: int) -> None:
    model = Model(leaks=leaks, mix=MIXES[mix % len(MIXES)])
    for kind, choice in steps:
        getattr(model, kind)(choice)
        model.check()
    model.finish()
