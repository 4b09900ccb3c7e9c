"""A database and bots that contend for its lease, in virtual time: networks are cut, bots are stopped and killed.

What each bot does while it believes that it leads is recorded, with the moment in which it looked and the moment in
which that arrived at Discord.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple, TypeVar

import anyio
import anyio.abc

from pool.storage.lease import Leadership, Lease, LeaseLimits, LeaseTrouble, hold

T = TypeVar("T")

LIMITS = LeaseLimits()
STEP = 0.4
"""Seconds between two things that one who leads does."""


class Act(NamedTuple):
    """Something that a bot sent."""

    looked: float
    arrived: float
    epoch: int
    bot: str


@dataclass(slots=True, eq=False)
class Machine:
    """Where a bot runs: its clock, its way to the database, and whether it runs at all.

    Attributes:
        rate, offset: of its clock; no two clocks show the same, and none is exact.
        cut: nothing gets through, in either direction.
        ends: the bot is to end in order, and begins again.
    """

    name: str
    rate: float
    offset: float
    cut: bool = False
    ends: bool = False
    _runs: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self._runs.set()

    def clock(self) -> float:
        return self.offset + self.rate * anyio.current_time()

    def stop(self) -> None:
        if self._runs.is_set():
            self._runs = anyio.Event()

    def go_on(self) -> None:
        self._runs.set()

    async def running(self) -> None:
        while not self._runs.is_set():
            await self._runs.wait()


@dataclass(slots=True, eq=False)
class World:
    """The database's row and lock, the bots, and what they did."""

    random: Random
    limits: LeaseLimits = LIMITS
    up: bool = True
    row: Leadership | None = None
    lock: Session | None = None
    acts: list[Act] = field(default_factory=list)
    leading: dict[str, Lease] = field(default_factory=dict)

    def machine(self, name: str) -> Machine:
        return Machine(name, self.random.uniform(0.99, 1.01), self.random.uniform(-1e6, 1e6))

    def restart(self) -> None:
        """The database ends all sessions."""
        self.lock = None

    async def run_bot(self, machine: Machine) -> None:
        """Be a bot that is started again whenever it ends."""
        while True:
            await machine.running()
            async with hold(
                self._opener(machine), machine.name, self.limits, lambda _waiting: None, machine.clock
            ) as lease:
                self.leading[machine.name] = lease
                await self._act(machine, lease)
            await anyio.sleep(1)

    def _opener(self, machine: Machine) -> Callable[[], Awaitable[Session]]:
        async def open_session() -> Session:
            session = Session(self, machine)
            await session.call(lambda: None)
            return session

        return open_session

    async def _act(self, machine: Machine, lease: Lease) -> None:
        while True:
            await machine.running()
            if not lease.held():
                return
            if machine.ends:
                machine.ends = False
                # In order: not before everything has arrived.
                await anyio.sleep(self.limits.margin)
                return
            # Everything that the margin allows for lies between the look and the arrival.
            looked = anyio.current_time()
            arrived = looked + self.random.uniform(0, 0.9 * self.limits.margin)
            self.acts.append(Act(looked, arrived, lease.epoch, machine.name))
            await anyio.sleep(STEP)

    def check(self) -> None:
        """What one sent arrived before the next one even began."""
        epochs = sorted({act.epoch for act in self.acts})
        for epoch in epochs:
            assert len({act.bot for act in self.acts if act.epoch == epoch}) == 1
        for before, after in itertools.pairwise(epochs):
            last = max(act.arrived for act in self.acts if act.epoch == before)
            first = min(act.looked for act in self.acts if act.epoch == after)
            assert last < first, f"epoch {before} acted until {last}, epoch {after} from {first} on"


class Session:
    """What `PostgresLeaseSession` is, without PostgreSQL."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world, self._machine = world, machine
        self._used = anyio.current_time()
        self._broken = False

    async def look(self) -> Leadership | None:
        return await self.call(lambda: self._world.row)

    async def take(self, seen: Leadership | None, holder: str) -> int | None:
        def take() -> int | None:
            if not self._locks() or self._world.row != seen:
                return None
            epoch = seen.epoch + 1 if seen else 1
            self._world.row = Leadership(epoch, 0, False, holder)
            return epoch

        return await self.call(take)

    async def renew(self, epoch: int) -> bool:
        def renew() -> bool:
            if not self._locks():
                raise LeaseTrouble("another session holds the lock")
            row = self._world.row
            if row is None or row.epoch != epoch:
                return False
            self._world.row = Leadership(epoch, row.renewals + 1, False, row.holder)
            return True

        return await self.call(renew)

    async def release(self, epoch: int) -> None:
        def release() -> None:
            row = self._world.row
            if row is not None and row.epoch == epoch:
                self._world.row = Leadership(epoch, row.renewals, True, row.holder)

        await self.call(release)

    def drop(self) -> None:
        self._broken = True
        # Over a network that is cut the database does not hear of it: it has to find out by itself.
        if not self._machine.cut and self._world.lock is self:
            self._world.lock = None

    @property
    def _idle(self) -> float:
        return anyio.current_time() - self._used

    def _locks(self) -> bool:
        held_by = self._world.lock
        if held_by not in (None, self) and held_by._idle < self._world.limits.duration:
            return False
        self._world.lock = self
        return True

    async def call(self, work: Callable[[], T]) -> T:
        world, machine = self._world, self._machine
        await machine.running()
        await self._travel()
        if self._broken or not world.up:
            raise LeaseTrouble("no connection")
        self._used = anyio.current_time()
        # It is carried out at this moment, whether or not the answer finds its way back.
        answer = work()
        await self._travel()
        await machine.running()
        return answer

    async def _travel(self) -> None:
        await anyio.sleep(self._world.random.choice([0.001, 0.01, 0.1, 0.5, 1.4]))
        if self._machine.cut:
            await anyio.sleep_forever()
