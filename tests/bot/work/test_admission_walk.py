"""Random sequences over the real scheduler and the real pool: several agents, shared processes, turns side by side.

Whenever nothing moves any more, nobody waits who could start, and who waits longest does not wait for ever. Turns end
only when a step says so, and the scheduler hears of agents only from the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from acp.errors import AgentSpawnError, ForkFailed, SpawnFailure
from bot.model import Lane, QueueMode
from bot.work.queue.entry import Decision, Entry
from bot.work.queue.rules import Rules
from bot.work.queue.scheduler import Lanes, Scheduler
from bot.work.running_turn import Claim
from bot.work.runs import Runs
from pool.launcher import Sharing
from pool.model import PoolLimits
from pool.slot import ExtraReservation
from tests.bot.work.queue.bench import ALICE, BOB, decide, removed, written
from tests.pool.fakes import make_pool, settle
from tests.repeat import long_run

WALKS, LONG_RUN, STEPS, PARTS = 24, long_run(4000, 200), 80, 2
PATIENCE = 25
"""Turns that may end while the same prompt waits longest: twice as many as it takes at most."""
ONE, TWO = Sharing("one", 3), Sharing("two", 2)
KINDS = (ONE, ONE, ONE, ONE, TWO, TWO, TWO, None, None)
CRASH = AgentSpawnError("crash", failure=SpawnFailure.EXITED)


class Editors:
    """Says nothing."""

    def of(self, thread_id: int) -> Any:
        del thread_id
        return SimpleNamespace(say=lambda *_, **__: None)


class Walk:
    """One sequence. The public methods are the steps."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        bound = 6.0 if seed % 3 == 0 else 1e9
        limits = PoolLimits(max_agents=2 + seed % 2, idle_ttl=5, stop_bound=bound, hung_after=1e9, crash_window=3)
        self.at = make_pool(limits, on_change=lambda: self.scheduler.admit(self.now))
        self.at.launcher.shared = {thread: kind for thread, kind in enumerate(KINDS) if kind is not None}
        self.at.agents.shared = {ONE.key, TWO.key}
        self.rules = Rules(debounce=0.0, cap=20, max_concurrent=1 + seed % 5 // 3)
        self.turns: dict[Entry, tuple[anyio.Event, Claim]] = {}
        self.number = 0
        self.now = 0.0
        self.longest: Entry | None = None
        self.waited = 0
        nothing: list[Any] = [None] * 8
        self.runs = Runs(None, None, self.at.pool, None, None, Editors(), *nothing)  # type: ignore[arg-type]
        self.scheduler: Scheduler[Claim] = Scheduler(Lanes({Lane.MAIN: 4 + seed % 4, Lane.BACKGROUND: 1}), self)

    async def run(self) -> None:
        steps: list[Callable[[], object]] = [
            self.say, self.say, self.say, self.say, self.end, self.end, self.end, self.clear, self.reset, self.evict,
            self.die, self.maintain, self.hold, self.crash, self.fork_fails, self.warm, self.hang_end, self.stop,
        ]  # fmt: skip
        async with self.at.pool, anyio.create_task_group() as self.tasks:
            for _ in range(STEPS):
                self.random.choice(steps)()
                if self.random.random() < 0.7:
                    await settle()
                    self.check()
            await self.finish()

    async def under_load(self) -> None:
        """Somebody always waits, and nothing else happens than that turns end."""
        async with self.at.pool, anyio.create_task_group() as self.tasks:
            for _ in range(5 * STEPS):
                while sum(1 for _ in self.scheduler.waiting()) < 2 * len(KINDS):
                    self.say()
                self.end()
                await settle()
                self.check()
            await self.finish()

    async def finish(self) -> None:
        """Everybody gets a turn once the others go on."""
        self.scheduler.held = False
        self.scheduler.admit(self.now)
        self.at.agents.start_errors.clear()
        for gate in self.at.agents.stop_gates.values():
            gate.set()
        self.at.agents.stop_gates.clear()
        for _ in range(300):
            await settle()
            self.check()
            self.end()
            self.maintain()
            if not self.turns and not list(self.scheduler.waiting()):
                return
        raise AssertionError("somebody waits for ever")

    def check(self) -> None:
        """Nobody waits who could start."""
        if self.scheduler.held:
            return
        heads = [entry for queue in self.scheduler._queues.values() for entry in queue.heads(self.now)]
        free = [entry for entry in heads if self.scheduler.lanes.free(entry.lane)]
        for entry in free:
            elder = any(one.place < entry.place and not self.runs.in_thread(one.thread_id) for one in free)
            claim = self.runs.reserve(entry.thread_id, elder)
            assert claim is None, f"{entry.place} could start"

    def rules_of(self, _thread_id: int) -> Rules:
        return self.rules

    def reserve(self, thread_id: int, behind: bool) -> Claim | None:
        return self.runs.reserve(thread_id, behind)

    def looked(self, held_up: list[Entry]) -> None:
        for entry in held_up:
            self.runs.held_up(entry)

    # Turns

    def start(self, entry: Entry, claim: Claim) -> None:
        self.turns[entry] = (anyio.Event(), claim)
        extra = isinstance(claim, ExtraReservation)
        self.runs.running[entry] = cast("Any", SimpleNamespace(thread_id=entry.thread_id, extra=extra))
        self.tasks.start_soon(self.turn, entry, claim, self.turns[entry][0])

    async def turn(self, entry: Entry, claim: Claim, over: anyio.Event) -> None:
        forked = True
        try:
            if isinstance(claim, ExtraReservation):
                async with self.at.pool.extra_session(claim):
                    await over.wait()
            else:
                async with self.at.pool.session(entry.thread_id, claim):
                    await over.wait()
        except ForkFailed:
            forked = False
        except AgentSpawnError:
            pass
        finally:
            del self.turns[entry], self.runs.running[entry]
            if forked:
                self.scheduler.ended(entry, self.now)
            else:
                self.runs.serialise(entry.thread_id)
                self.scheduler.ended(entry, self.now, again=True)
            claim.release()
            self.count_an_end()

    def count_an_end(self) -> None:
        lanes = self.scheduler.lanes
        heads = [entry for queue in self.scheduler._queues.values() for entry in queue.heads(self.now)]
        wanting = [one for one in heads if lanes.free(one.lane) and not self.runs.in_thread(one.thread_id)]
        longest = min(wanting, key=lambda one: one.place, default=None)
        same = longest is not None and longest is self.longest and not self.scheduler.held
        self.waited = self.waited + 1 if same else 0
        self.longest = longest
        assert longest is None or self.waited < PATIENCE, f"{longest.place} waits for ever"

    def carry_out(self, decision: Decision) -> None:
        entry = getattr(decision, "entry", None)
        if entry in self.turns:
            self.turns[entry][0].set()

    # TaskTracker

    def thread(self) -> int:
        return self.random.randrange(len(KINDS))

    def say(self) -> None:
        self.number += 1
        lane = Lane.BACKGROUND if self.random.random() < 0.1 else Lane.MAIN
        author = self.random.choice((ALICE, BOB))
        mode = QueueMode.INTERRUPT if self.random.random() < 0.1 else QueueMode.QUEUE
        said = written(self.number, author, mode=mode, lane=lane, thread_id=self.thread())
        decide(self.scheduler, said.thread_id, lambda queue: queue.arrive(said, self.now), self.now)
        decide(self.scheduler, said.thread_id, lambda queue: queue.accepted(said.message_id), self.now)

    def end(self) -> None:
        if self.turns:
            self.random.choice(list(self.turns.values()))[0].set()

    def clear(self) -> None:
        decide(self.scheduler, self.thread(), lambda queue: queue.end_waiting(removed("ann")), self.now)

    def stop(self) -> None:
        decide(self.scheduler, self.thread(), lambda queue: queue.stop("ann"), self.now)

    def reset(self) -> None:
        thread = self.thread()
        decide(self.scheduler, thread, lambda queue: queue.reset("ann"), self.now)
        self.runs.serial.pop(thread, None)
        self.at.pool.reset(thread)

    def evict(self) -> None:
        self.at.pool.evict(self.thread())

    def warm(self) -> None:
        self.at.pool.warm(self.thread())

    def die(self) -> None:
        alive = [connection for connection in self.at.agents.connections if connection.alive()]
        if alive:
            self.random.choice(alive).die(1)

    def maintain(self) -> None:
        self.now += 1
        self.at.clock.now += self.random.randrange(4)
        self.at.pool.maintain()

    def hold(self) -> None:
        self.scheduler.held = not self.scheduler.held
        self.scheduler.admit(self.now)

    def crash(self) -> None:
        key = self.random.choice(("one", "two", "7", "8"))
        if self.at.agents.start_errors.pop(key, None) is None:
            self.at.agents.start_errors[key] = CRASH

    def fork_fails(self) -> None:
        key = self.random.choice(("one", "two", "7", "8"))
        if self.at.agents.fork_errors.pop(key, None) is None:
            self.at.agents.fork_errors[key] = ForkFailed("no")

    def hang_end(self) -> None:
        """The end of a process takes long, and at last longer than it may."""
        key = self.random.choice(("one", "two", "7", "8"))
        gate = self.at.agents.stop_gates.pop(key, None)
        if gate is None:
            self.at.agents.stop_gates[key] = anyio.Event()
        else:
            gate.set()


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (2, 3))])
@pytest.mark.asyncio
async def test_who_waits_longest_gets_an_agent_however_busy_the_others_are(seed: int) -> None:
    """P4, Q6"""
    with anyio.fail_after(30):
        await Walk(seed).under_load()


async def walk(seeds: Iterable[int]) -> None:
    for seed in seeds:
        try:
            with anyio.fail_after(30):
                await Walk(seed).run()
        except BaseException as exc:
            exc.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.asyncio
async def test_whatever_happens_nobody_waits_without_need_and_nobody_for_ever(part: int) -> None:
    """P4, P5, Q6, Q9, Q10"""
    await walk(range(part, WALKS, PARTS))


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.asyncio
async def test_whatever_happens_in_a_long_run_nobody_waits_for_ever(part: int) -> None:
    """P4, Q6"""
    await walk(range(part, LONG_RUN, PARTS))
