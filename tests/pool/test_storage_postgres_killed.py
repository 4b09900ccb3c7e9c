"""A server that is killed, or that hangs, amid writes: what was acknowledged is there, once, and the rest follows."""

from __future__ import annotations

import random
from collections.abc import Iterator

import anyio
import anyio.to_thread
import pytest

from pool.storage.durable import SessionStore
from pool.storage.model import StorageLimits
from pool.storage.postgres_ledger import open_database_store
from pool.store import AcceptedPrompt
from tests import postgres
from tests.postgres import OwnServer, own_server, rows
from tests.repeat import long_run

pytestmark = [postgres.needed, pytest.mark.soak, pytest.mark.timeout(600)]

TASKS, EACH = 4, 40


@pytest.fixture(scope="module")
def own() -> Iterator[OwnServer]:
    with own_server(durable=True) as server:
        yield server


async def write(store: SessionStore, first: int, accepted: list[int]) -> None:
    for message_id in range(first, first + EACH):
        # False would mean that somebody had accepted it: nobody else has.
        assert await store.accept(AcceptedPrompt(message_id, 1, 2, 3, "x" * 300))
        accepted.append(message_id)
        if message_id % 3 == 0:
            await store.finished(message_id, "answered")


@pytest.mark.parametrize("number", range(long_run(12, 3)))
@pytest.mark.asyncio
async def test_a_server_that_is_killed_amid_writes_loses_nothing_and_does_nothing_twice(
    own: OwnServer, number: int
) -> None:
    """R9, R6: killed at a moment of chance, and started again on its files."""
    rng, accepted = random.Random(number), list[int]()
    url = await anyio.to_thread.run_sync(postgres.fresh, own.server)
    with anyio.fail_after(120):
        async with open_database_store(url, StorageLimits(pause_first=0.01, pause_most=0.1)) as store:
            async with anyio.create_task_group() as tasks:
                for task in range(TASKS):
                    tasks.start_soon(write, store, 1 + 1000 * task, accepted)
                for _ in range(3):
                    seen = len(accepted) + rng.randint(1, 20)
                    while len(accepted) < min(seen, TASKS * EACH):  # noqa: ASYNC110  looked at by the way
                        await anyio.sleep(0.001)
                    await anyio.to_thread.run_sync(own.kill)
                    known = len(accepted)
                    own.start()  # in this thread, with which it ends
                    assert len(accepted) >= known
            assert sorted(accepted) == sorted(1 + 1000 * task + n for task in range(TASKS) for n in range(EACH))
            assert store.trouble == ""
    there = rows(url, "SELECT message_id FROM prompts ORDER BY 1")
    assert [one for (one,) in there] == sorted(accepted)


@pytest.mark.asyncio
async def test_a_server_that_hangs_is_given_up_and_asked_again(own: OwnServer) -> None:
    """R9: its sockets are open, and nothing comes; every wait for it ends."""
    url = await anyio.to_thread.run_sync(postgres.fresh, own.server)
    limits = StorageLimits(statement=0.5, connect=2.0, pause_first=0.01, pause_most=0.1)
    with anyio.fail_after(120):
        async with open_database_store(url, limits) as store:
            await store.flush()
            own.hang()
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(store.accept, AcceptedPrompt(1, 1, 2, 3, "x"))
                    while not store.trouble:  # noqa: ASYNC110  told by no event
                        await anyio.sleep(0.01)
                    own.resume()
            finally:
                own.resume()
            assert not await store.accept(AcceptedPrompt(1, 1, 2, 3, "x"))
