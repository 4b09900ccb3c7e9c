"""The lease on a shared state: one leads, the others take over (R10)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from random import Random
from typing import cast

import anyio
import anyio.to_thread
import psycopg
import pytest

from pool.storage.lease import LeaseLimits, LeaseRefused, LeaseWait
from pool.storage.model import StateRefused
from pool.storage.postgres_lease import hold_lease
from pool.storage.postgres_reading import examine
from pool.storage.postgres_server import LEASE_LOCK
from tests import postgres
from tests.pool.lease_world import LIMITS, Machine, World
from tests.pool.virtual_time import run_virtually
from tests.repeat import long_run

TAKEN_OVER = LIMITS.duration + LIMITS.look + 3 * LIMITS.call
"""Seconds within which somebody leads again, once the database can be reached."""

EVENTS = ("cut", "heal", "stop", "go on", "away", "back", "restart", "end")


@dataclass(slots=True)
class Scenario:
    """Some bots, and what happens to them; all of it comes from a seed."""

    seed: int

    async def play(self) -> World:
        random = Random(self.seed)
        world = World(random)
        machines = [world.machine(name) for name in ("one", "two", "three")[: random.choice([2, 3])]]
        async with anyio.create_task_group() as tasks:
            for machine in machines:
                tasks.start_soon(world.run_bot, machine)
            for _ in range(random.randint(1, 14)):
                await anyio.sleep(random.choice([0.05, 1, 4, 10, 12, 16, 30]) * random.uniform(0.8, 1.2))
                self._happens(random.choice(EVENTS), random.choice(machines), world)
            # Everything is well again: then somebody leads, and soon.
            for machine in machines:
                machine.cut = machine.ends = False
                machine.go_on()
            world.up = True
            await anyio.sleep(TAKEN_OVER)
            assert [name for name, lease in world.leading.items() if lease.held()] != []
            tasks.cancel_scope.cancel()
        return world

    def _happens(self, event: str, machine: Machine, world: World) -> None:
        match event:
            case "cut" | "heal":
                machine.cut = event == "cut"
            case "stop":
                machine.stop()
            case "go on":
                machine.go_on()
            case "end":
                machine.ends = True
            case "away" | "back":
                world.up = event == "back"
                world.restart()
            case "restart":
                world.restart()


def play(seed: int) -> None:
    world = run_virtually(Scenario(seed).play)
    assert world.acts
    world.check()


def test_no_two_ever_lead_and_somebody_takes_over_soon() -> None:
    """R10: with delays, cuts, stops of bots and of the database, in any order."""
    for seed in range(40):
        play(seed)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(4))
def test_no_two_ever_lead_in_many_scenarios(part: int) -> None:
    """R10: as above."""
    for number in range(long_run(1000, 100)):
        play((part + 1) * 10_000 + number)


# --- on PostgreSQL ----------------------------------------------------------------------------------------------------

PATIENT = LeaseLimits(duration=60, margin=20, renew=0.05, look=0.05, call=10, retry=0.05)
"""Of a holder that lives: how long the others would wait for it does not matter."""


LOCKED = f"FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32) | objid::bigint = {LEASE_LOCK}"


def row(url: str) -> tuple[object, ...]:
    (found,) = postgres.rows(url, "SELECT epoch, renewals, released, holder FROM leadership")
    return found


async def until_renewed(url: str) -> None:
    """Wait until the lease is renewed once more."""
    _, before, *_ = row(url)
    with anyio.fail_after(30):
        while row(url)[1] == before:  # noqa: ASYNC110  the server tells nobody
            await anyio.sleep(0.02)


@postgres.needed
@pytest.mark.asyncio
async def test_the_others_wait_for_a_bot_whose_sessions_end_and_take_over_when_it_gives_the_lease_back() -> None:
    """R10: a session that was lost is replaced, for the same epoch."""
    url, over = postgres.fresh(), anyio.Event()
    waits: list[LeaseWait] = []
    epochs: list[int] = []

    async def stand_by() -> None:
        async with hold_lease(url, "two", PATIENT, waits.append) as lease:
            assert (lease.epoch > epochs[0], lease.held()) == (True, True)
            epochs.append(lease.epoch)
            over.set()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            async with hold_lease(url, "one", PATIENT) as lease:
                assert row(url)[0] == lease.epoch
                epochs.append(lease.epoch)
                tasks.start_soon(stand_by)
                while not waits:  # noqa: ASYNC110  it is told by a call
                    await anyio.sleep(0.02)
                for _ in range(2):
                    await until_renewed(url)
                    assert postgres.rows(url, f"SELECT pg_terminate_backend(pid) {LOCKED}") == [(True,)]
                await until_renewed(url)
                assert waits == [LeaseWait("one")]
                assert lease.held()
                assert not over.is_set()
            await over.wait()
            assert (lease.held(), lease.lost.is_set()) == (False, False)
    assert (row(url)[0], *row(url)[2:]) == (epochs[1], True, "two")
    assert postgres.rows(url, f"SELECT pid {LOCKED}") == []


@postgres.needed
@pytest.mark.asyncio
async def test_whoever_writes_for_an_epoch_holds_up_the_next_one_but_no_renewal() -> None:
    """R10: what was begun in an epoch is over before the next one begins."""
    url, taken = postgres.fresh(), anyio.Event()

    async def take() -> None:
        # A taking whose answer comes too late is made up for by another one, once its own lease is over.
        async with hold_lease(url, "two", replace(PATIENT, call=0.5, duration=3, margin=1)):
            taken.set()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            with psycopg.connect(url) as writer:
                async with hold_lease(url, "one", PATIENT) as lease:
                    writer.execute("SELECT 1 FROM leadership WHERE epoch = %s FOR KEY SHARE", (lease.epoch,))
                    await until_renewed(url)
                tasks.start_soon(take)
                with anyio.move_on_after(1.2):
                    await taken.wait()
                assert (row(url)[0], taken.is_set()) == (lease.epoch, False)
                writer.commit()
            await taken.wait()
    assert cast("int", row(url)[0]) > lease.epoch


@postgres.needed
@pytest.mark.asyncio
async def test_epochs_grow_when_the_database_is_restored_or_the_servers_clock_was_ahead() -> None:
    """R10: agents on engines carry them, whatever became of the database since."""
    url, before = postgres.fresh(), time.time()

    async def taken() -> int:
        async with hold_lease(url, "one", PATIENT) as lease:
            return lease.epoch

    with anyio.fail_after(60):
        first = await taken()
        assert abs(first - before) < 60
        postgres.rows(url, "UPDATE leadership SET epoch = 41 RETURNING 1")
        restored = await taken()
        assert restored >= first
        postgres.rows(url, f"UPDATE leadership SET epoch = {2 * first} RETURNING 1")
        assert await taken() == 2 * first + 1


@postgres.needed
@pytest.mark.asyncio
async def test_a_pooler_that_hands_out_connections_by_transaction_is_refused_and_one_by_session_is_not() -> None:
    """R10: a lock would stay behind in a connection of the pooler's, and nobody could lead until that ends."""
    refused = "hands out connections by transaction"
    with anyio.fail_after(60):
        with postgres.pooler("transaction") as url:
            with pytest.raises(LeaseRefused, match=refused):
                async with hold_lease(url, "one", PATIENT):
                    pytest.fail("leads")
            with pytest.raises(StateRefused, match=refused):
                await anyio.to_thread.run_sync(examine, url)
        with postgres.pooler("session") as url:
            async with hold_lease(url, "one", PATIENT) as lease:
                found = await anyio.to_thread.run_sync(examine, url)
                assert (lease.held(), found.leader) == (True, "one")


@postgres.needed
@pytest.mark.asyncio
async def test_a_database_without_a_schema_for_its_user_is_refused_and_not_waited_for() -> None:
    """R10: its locks would have no name, so that nobody ever got one."""
    with anyio.fail_after(30), pytest.raises(LeaseRefused, match="no schema for its tables"):
        async with hold_lease(postgres.server().url(schema="nowhere"), "one", PATIENT):
            pytest.fail("leads")
