"""Random sequences of everything that can happen to a pool, and what must hold after each step.

This drives a whole pool in a loop, with fake agents. Many more sequences go through the registry alone, which decides
everything: see `test_registry_properties`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from random import Random

import anyio
import anyio.lowlevel
import pytest

from acp.errors import AgentSpawnError, ForkFailed, SpawnFailure
from pool.launcher import Sharing
from pool.model import PoolLimits
from pool.slot import ExtraReservation, Reservation
from tests.pool.fakes import make_pool
from tests.repeat import long_run

SEQUENCES, LONG_RUN, STEPS, PARTS = 150, long_run(10_000, 600), 50, 2
PATIENCE = 20_000
"""Steps of the loop within which the last one is answered; a walk needs under 100. A busy machine changes no count."""
THREADS = range(1, 6)
LIMIT = 3
SHARED = Sharing("shared", 2)
MIXES: tuple[tuple[Sharing | None, ...], ...] = ((None,) * 5, (SHARED,) * 5, (SHARED, SHARED, SHARED, None, None))
"""With whom each thread may share a process."""
CRASH = AgentSpawnError("crash", failure=SpawnFailure.EXITED)


class Walk:
    """One sequence: turns that come with and without reservations, and everything that can get in their way."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.mix = dict(zip(THREADS, MIXES[seed // PARTS % len(MIXES)], strict=True))
        limits = PoolLimits(max_agents=LIMIT, idle_ttl=5, stop_bound=1e9, hung_after=1e9, crash_window=3)
        self.at = make_pool(limits, on_change=self.admit)
        self.at.launcher.shared = {thread: sharing for thread, sharing in self.mix.items() if sharing}
        self.at.agents.shared = {SHARED.key}
        self.at.agents.start_steps = lambda: self.random.randrange(4)
        self.at.agents.stop_steps = lambda: self.random.randrange(6)
        self.waiting: list[int] = []
        self.reserved: list[Reservation] = []
        self.turns: list[anyio.CancelScope] = []
        self.unanswered = 0
        self.admitting = False

    async def run(self) -> None:
        steps: list[Callable[[], None]] = [
            self.prompt, self.prompt, self.prompt, self.turn, self.turn, self.reserve, self.release, self.cancel,
            self.evict, self.reset, self.die, self.warm, self.maintain, self.crash, self.beside, self.beside,
        ]  # fmt: skip
        async with self.at.pool as pool, anyio.create_task_group() as self.tasks:
            for _ in range(STEPS):
                self.random.choice(steps)()
                self.check()
                for _ in range(self.random.randrange(4)):
                    await anyio.lowlevel.checkpoint()
                    self.check()
            await self.finish()
            assert pool.counts().busy == 0
            assert all(len(agent.forked) == len(agent.closed) for agent in self.at.agents.connections)
        assert self.at.agents.running == []
        assert all(agent.most <= self.most(agent.key) for agent in self.at.agents.connections)
        assert pool._registry.capacity.free == LIMIT
        assert not pool._registry.slots

    async def finish(self) -> None:
        """Every turn that waits is answered once nothing is held back any more."""
        while self.reserved:
            self.release()
        self.admit()
        for _ in range(PATIENCE):
            if not self.unanswered and not self.waiting:
                return
            await anyio.lowlevel.checkpoint()
            self.check()
        pytest.fail(f"{self.unanswered} unanswered, {self.waiting} waiting after {PATIENCE:,} steps of the loop")

    def check(self) -> None:
        counts = self.at.pool.counts()
        assert counts.live + counts.starting + counts.closing <= LIMIT
        assert len(self.at.agents.running) <= LIMIT
        assert self.at.agents.doubles == 0

    def most(self, key: str) -> int:
        """How many sessions a process may hold at once."""
        return SHARED.sessions if key == SHARED.key else 1

    def thread(self) -> int:
        return self.random.choice(THREADS)

    # A scheduler in small: who can't be admitted waits until the pool reports a change.

    def prompt(self) -> None:
        self.waiting.append(self.thread())
        self.admit()

    def admit(self) -> None:
        if self.admitting:
            return
        self.admitting = True
        for thread in list(self.waiting):
            reservation = self.at.pool.try_reserve(thread)
            if reservation:
                self.waiting.remove(thread)
                self.start(thread, reservation)
        self.admitting = False

    def turn(self) -> None:
        self.start(self.thread(), None)

    def start(self, thread: int, reservation: Reservation | None) -> None:
        self.unanswered += 1
        scope = anyio.CancelScope()
        self.turns.append(scope)
        self.tasks.start_soon(self.work, thread, reservation, scope)

    async def work(self, thread: int, reservation: Reservation | None, scope: anyio.CancelScope) -> None:
        with scope, suppress(AgentSpawnError):
            async with self.at.pool.session(thread, reservation):
                for _ in range(self.random.randrange(8)):
                    await anyio.lowlevel.checkpoint()
        self.turns.remove(scope)
        self.unanswered -= 1

    # Turns beside the one that has the thread's session

    def beside(self) -> None:
        reservation = self.at.pool.try_reserve_extra(self.thread())
        if reservation:
            self.unanswered += 1
            scope = anyio.CancelScope()
            self.turns.append(scope)
            self.tasks.start_soon(self.work_beside, reservation, scope)

    async def work_beside(self, reservation: ExtraReservation, scope: anyio.CancelScope) -> None:
        with scope, suppress(ForkFailed):
            async with self.at.pool.extra_session(reservation) as lease:
                assert lease.how == "forked"
                for _ in range(self.random.randrange(8)):
                    await anyio.lowlevel.checkpoint()
        self.turns.remove(scope)
        self.unanswered -= 1

    # Everything else

    def reserve(self) -> None:
        reservation = self.at.pool.try_reserve(self.thread())
        if reservation:
            self.reserved.append(reservation)

    def release(self) -> None:
        if self.reserved:
            reservation = self.reserved.pop(self.random.randrange(len(self.reserved)))
            reservation.release()
            reservation.release()

    def cancel(self) -> None:
        if self.turns:
            self.random.choice(self.turns).cancel()

    def evict(self) -> None:
        self.at.pool.evict(self.thread())

    def reset(self) -> None:
        self.at.pool.reset(self.thread())

    def die(self) -> None:
        alive = [connection for connection in self.at.agents.connections if connection.alive()]
        if alive:
            self.random.choice(alive).die(1)

    def warm(self) -> None:
        self.at.pool.warm(self.thread())

    def maintain(self) -> None:
        self.at.clock.now += self.random.randrange(4)
        self.at.pool.maintain()

    def crash(self) -> None:
        thread = self.thread()
        sharing = self.mix[thread]
        key = str(thread if sharing is None else sharing.key)
        if self.at.agents.start_errors.pop(key, None) is None:
            self.at.agents.start_errors[key] = CRASH


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.asyncio
async def test_whatever_happens_the_pool_keeps_its_promises(part: int) -> None:
    """P1, P4, P5, P10, Q9: one session a thread, never above the limit, nothing leaked, everyone answered."""
    await walk(range(part, SEQUENCES, PARTS))


async def walk(seeds: Iterable[int]) -> None:
    for seed in seeds:
        try:
            with anyio.fail_after(60):
                await Walk(seed).run()
        except BaseException as exc:
            exc.add_note(f"seed {seed}")
            raise


@pytest.mark.long(30)
@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.asyncio
async def test_whatever_happens_in_a_long_run_the_pool_keeps_its_promises(part: int) -> None:
    """P1, P4, P5, P10: 10,000 walks, all in all."""
    await walk(range(part, LONG_RUN, PARTS))
