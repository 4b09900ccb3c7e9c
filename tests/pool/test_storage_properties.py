"""Random calls, with locks, restarts and batches between them, answered as the store in memory answers them."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from pool.storage.durable import SessionStore, open_store
from pool.storage.model import StorageLimits
from pool.storage.postgres_ledger import open_database_store
from pool.store import AcceptedPrompt, KeptCard, SeenPlace
from tests import postgres
from tests.pool.memory import MemoryStore
from tests.pool.samples import decision, rule
from tests.repeat import long_run

EAGER = StorageLimits(busy=0, busy_again=0, retry_pause=0)

Call = Callable[[SessionStore], Awaitable[Any]]


def any_write(rng: random.Random) -> Call:
    number, text = rng.randint(1, 5), rng.choice(["", "a", "bc"])
    guild, parent, owner = (rng.choice([None, 1, 2]) for _ in range(3))
    place = SeenPlace(number, guild, parent, owner, rng.randint(0, 9))
    changes: dict[str, Any] = {
        name: rng.choice([None, text]) for name in rng.sample(["agent", "session_id", "cwd", "mode", "options"], k=2)
    }
    calls: list[Call] = [
        lambda store: store.accept(AcceptedPrompt(number, 1, 2, 3, text)),
        lambda store: store.amend(number, text * 3),
        lambda store: store.started(number),
        lambda store: store.started(number, [number % 5 + 1]),
        lambda store: store.shown(number, tuple(range(number))),
        lambda store: store.save_pending_reply(number, text, text * 2),
        lambda store: store.finished(number, text, keep=text == "a"),
        lambda store: store.bind(number, **changes),
        lambda store: store.see([place]),
        lambda store: store.keep_card(KeptCard(text, number, number * 2, number, guild)),
        lambda store: store.drop_card(text),
        lambda store: store.decided(decision(number, thread_id=number % 2)).value(),
        lambda store: store.keep_rule(rule(number, kind=text)),
        lambda store: store.revoke_rule(number),
    ]
    return rng.choice(calls)


async def places(store: SessionStore) -> list[SeenPlace]:
    return sorted(await store.places(), key=lambda place: (-place.seen, place.place_id))


def any_call(rng: random.Random) -> Call:
    number = rng.randint(1, 5)
    questions: list[Call] = [
        lambda store: store.open_prompts(),
        lambda store: store.pending_replies(),
        lambda store: store.turn(number),
        lambda store: store.thread(number),
        lambda store: store.choices(),
        lambda store: store.cards(),
        lambda store: store.decisions(number, thread_id=1),
        lambda store: store.rules(),
        places,
    ]
    return rng.choice(questions) if rng.random() < 0.3 else any_write(rng)


async def answers(store: SessionStore, calls: list[Call]) -> list[Any]:
    """Make the calls at once; they are handed in in this order."""
    found: dict[int, Any] = {}

    async def one(index: int) -> None:
        found[index] = await calls[index](store)

    async with anyio.create_task_group() as tasks:
        for index in range(len(calls)):
            tasks.start_soon(one, index)
    return [found[index] for index in range(len(calls))]


async def walk_on_a_server(url: str, rng: random.Random) -> None:
    """Walk with restarts, and with connections that the server ends in the middle."""
    model, limits = MemoryStore(), StorageLimits(pause_first=0.01)
    for _ in range(rng.randint(1, 2)):
        async with open_database_store(url, limits) as store:
            for _ in range(rng.randint(1, 5)):
                calls = [any_call(rng) for _ in range(rng.randint(1, 9))]
                assert await answers(store, calls) == await answers(model, calls)
                if rng.random() < 0.3:
                    await anyio.to_thread.run_sync(postgres.end_connections, url)


async def walk(path: Path, rng: random.Random) -> None:
    model = MemoryStore()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for _ in range(rng.randint(1, 3)):
            async with open_store(path, EAGER) as store, AsyncExitStack() as at_the_end:
                at_the_end.callback(other.rollback)
                for _ in range(rng.randint(1, 5)):
                    calls = [any_call(rng) for _ in range(rng.randint(1, 9))]
                    assert await answers(store, calls) == await answers(model, calls)
                    if rng.random() < 0.3:
                        other.execute("ROLLBACK" if other.in_transaction else "BEGIN IMMEDIATE")


@pytest.mark.asyncio
async def test_the_file_answers_as_memory_does(tmp_path: Path) -> None:
    """R2, R6: over restarts and over locks of another process."""
    with anyio.fail_after(50):
        await walks(tmp_path, range(20))


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(4))
@pytest.mark.asyncio
async def test_the_file_answers_as_memory_does_in_a_long_run(tmp_path: Path, part: int) -> None:
    """R2, R6"""
    await walks(tmp_path, range((part + 1) * 1000, (part + 1) * 1000 + long_run(300, 20)))


@postgres.needed
@pytest.mark.asyncio
async def test_a_server_answers_as_memory_does() -> None:
    """R2, R9: over restarts and lost connections."""
    with anyio.fail_after(60):
        await server_walks(range(6))


@postgres.needed
@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.asyncio
async def test_a_server_answers_as_memory_does_in_a_long_run() -> None:
    """R2, R9"""
    await server_walks(range(1000, 1000 + long_run(400, 40)))


async def server_walks(seeds: Iterable[int]) -> None:
    for seed in seeds:
        await walk_on_a_server(await anyio.to_thread.run_sync(postgres.emptied), random.Random(seed))


async def walks(tmp_path: Path, seeds: Iterable[int]) -> None:
    for seed in seeds:
        await walk(tmp_path / f"{seed}.db", random.Random(seed))
