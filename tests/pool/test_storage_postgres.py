"""The store on a server: batches, what can't be stored, a server that is away, a COMMIT of which nothing is heard."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import anyio
import anyio.to_thread
import psycopg
import pytest
import sqlalchemy as sa
import structlog

from pool.storage.durable import SessionStore
from pool.storage.model import StateRefused, StorageLimits
from pool.storage.move import counts
from pool.storage.postgres import Postgres
from pool.storage.postgres_ledger import open_database_store
from pool.store import AcceptedPrompt, StoreBusy, StoreClosed
from tests import postgres
from tests.pool.cut_connection import Cut, Wire, wire
from tests.pool.samples import decision, rule
from tests.pool.test_storage_durable import commits, prompt
from tests.postgres import rows

pytestmark = postgres.needed

EAGER = StorageLimits(pause_first=0.01, pause_most=0.05, connect=10.0, statement=10.0)
"""Tries often, and gives a busy machine its time."""


@asynccontextmanager
async def by_wire(limits: StorageLimits = EAGER, **more: Any) -> AsyncIterator[tuple[SessionStore, Wire, str]]:
    """A store whose connection can be cut, and the address of its database without that."""
    with anyio.fail_after(30):
        url = await anyio.to_thread.run_sync(postgres.emptied)
        async with wire(postgres.server()) as cut, open_database_store(cut.url(url), limits, **more) as store:
            yield store, cut, url


async def asked(url: str, statement: str) -> list[tuple[object, ...]]:
    """Ask the server without keeping the loop, on which the wire runs."""
    return await anyio.to_thread.run_sync(rows, url, statement)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  what is looked at is told by no event
        await anyio.sleep(0.01)


@pytest.mark.asyncio
async def test_what_was_written_is_there_after_a_restart_and_the_state_keeps_its_id() -> None:
    """R2, R6"""
    url = await anyio.to_thread.run_sync(postgres.emptied)
    with anyio.fail_after(30):
        async with open_database_store(url) as store:
            await store.accept(prompt(7))
            identity = await store.identity()
            assert (store.trouble, store.behind, await store.flush(), store.durable) == ("", 0, True, True)
        async with open_database_store(url) as store:
            assert not await store.accept(prompt(7))
            assert await store.identity() == identity
    assert len(identity or "") == 32


@pytest.mark.asyncio
async def test_a_hundred_messages_at_once_take_a_few_transactions_on_a_server() -> None:
    """O2: what waits is committed together; questions see what was handed in before them."""
    async with by_wire() as (store, _, url):
        await store.flush()
        with commits() as seen:
            async with anyio.create_task_group() as tasks:
                for message_id in range(100):
                    tasks.start_soon(store.accept, prompt(message_id))
                tasks.start_soon(store.open_prompts)
        assert 1 <= len(seen) <= 3
        assert await asked(url, "SELECT count(*) FROM prompts") == [(100,)]


@pytest.mark.asyncio
async def test_a_value_that_a_server_cannot_store_fails_its_own_call_only() -> None:
    """R6: text that is no text, an id that is no snowflake; a character that PostgreSQL does not take is kept."""
    refused: list[Exception] = []
    async with by_wire() as (store, _, _):

        async def accept(each: AcceptedPrompt) -> None:
            try:
                await store.accept(each)
            except (ValueError, sa.exc.DataError) as exc:
                refused.append(exc)

        odd = "a\0b\x1a0\x1a\0"
        async with anyio.create_task_group() as tasks:
            for each in (prompt(1, odd), prompt(2, "\ud800"), prompt(3), prompt(2**70), prompt(4)):
                tasks.start_soon(accept, each)
        assert [each.prompt.message_id for each in await store.open_prompts()] == [1, 3, 4]
        assert (await store.open_prompts())[0].prompt.payload == odd
        await store.decided(decision(what=odd)).value()
        await store.keep_rule(rule(command=odd))
        assert [one.what for one in await store.decisions(1)] == [odd]
        assert store.trouble == ""
    assert [type(each) for each in refused] == [UnicodeEncodeError, sa.exc.DataError]
    assert odd not in str(refused)


@pytest.mark.asyncio
async def test_what_a_person_has_to_mend_is_refused_at_the_start() -> None:
    """R9: waiting would not help. Nothing is changed in what is refused."""
    there = postgres.server()
    newer, foreign, readable = (postgres.fresh() for _ in range(3))
    execute(newer, "CREATE TABLE state (single boolean, format bigint, identity text)")
    execute(newer, "INSERT INTO state VALUES (true, 99, 'x')")
    execute(foreign, "CREATE TABLE sessions (id bigint)")
    execute(there.url(), "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    execute(there.url(), "CREATE ROLE stranger LOGIN")
    refused = {
        newer: "format 99, and this version knows formats up to 12",
        foreign: "tables that are not Weft's",
        there.url("nothing"): "there is no such database",
        there.url("latin"): "encoding is LATIN1",
        there.url().replace("user=weft", "user=nobody"): "refuses the user or the password",
        readable.replace("user=weft", "user=stranger"): "has no schema for its tables",
    }
    for url, words in refused.items():
        with pytest.raises(StateRefused, match=words):
            async with open_database_store(url):
                pytest.fail("opened")
    assert rows(foreign, "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()") == [(1,)]


# Limits of the server's, which its owner has set


@pytest.mark.asyncio
async def test_a_role_whose_idle_sessions_end_is_no_reason_to_say_that_the_database_is_away() -> None:
    """R9: a bot to which nobody writes for an hour is as well as any."""
    there, url = postgres.server(), await anyio.to_thread.run_sync(postgres.emptied)
    await anyio.to_thread.run_sync(
        execute, there.url(), "CREATE ROLE idler LOGIN SUPERUSER; ALTER ROLE idler SET idle_session_timeout = '200ms'"
    )
    with anyio.fail_after(30), structlog.testing.capture_logs() as logs:
        async with open_database_store(url.replace("user=weft", "user=idler"), EAGER) as store:
            await store.accept(prompt(1))
            await anyio.sleep(0.6)  # the server's own clock is what counts here
            await store.accept(prompt(2))
    assert [line for line in logs if line["event"] == "store.away"] == []


def test_a_copy_of_whole_tables_may_wait_for_its_other_end() -> None:
    """R9: over a slow line a piece takes longer than a statement of the bot's may."""
    limits = StorageLimits(statement=0.5, migration=30.0)
    with closing(Postgres(postgres.emptied(), limits, reading=True)) as source, source.transaction() as there:
        time.sleep(0.5)  # the other end is at it; half of a statement's time was the limit
        assert counts(there)["prompts"] == 0
        there.exec_driver_sql("SELECT pg_sleep(0.7)")


# A COMMIT of which nothing is heard


@pytest.mark.parametrize("cut", Cut)
@pytest.mark.asyncio
async def test_what_was_cut_off_while_it_was_committed_is_done_once(cut: Cut) -> None:
    """R6, R2: neither lost nor twice, and a message that was accepted then is not told to be an old one."""
    async with by_wire() as (store, between, url):
        await store.accept(prompt(1))
        between.cut = cut
        answers: dict[str, bool] = {}

        async def accept(name: str, message_id: int) -> None:
            answers[name] = await store.accept(prompt(message_id))

        async with anyio.create_task_group() as tasks:
            for name, message_id in {"old": 1, "new": 2, "same": 2}.items():
                tasks.start_soon(accept, name, message_id)
            tasks.start_soon(store.see, [])
            if cut is Cut.LATE:
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                # By now the store has a new connection, and stands before what the old one has not finished.
                while await asked(url, waiting) == [(0,)]:  # noqa: ASYNC110  the server tells no event
                    await anyio.sleep(0.01)
                assert answers == {}
                between.late.set()
        assert answers == {"old": False, "new": True, "same": False}
        assert (between.cuts, between.connections) == (1, 2)
        assert await asked(url, "SELECT message_id FROM prompts ORDER BY 1") == [(1,), (2,)]
        assert store.trouble == ""


@pytest.mark.parametrize("at", [b"SAVEPOINT sa_savepoint_2", b"RELEASE SAVEPOINT sa_savepoint_1", b"COMMIT\0"])
@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
@pytest.mark.asyncio
async def test_a_batch_with_a_value_that_cannot_be_stored_is_cut_off_as_well(cut: Cut, at: bytes) -> None:
    """R6, R9: each of its operations is behind a savepoint then."""
    answers: dict[int, object] = {}
    async with by_wire() as (store, between, url):
        await store.accept(prompt(1))
        between.cut, between.at = cut, at

        async def accept(one: AcceptedPrompt) -> None:
            try:
                answers[one.message_id] = await store.accept(one)
            except UnicodeEncodeError:
                answers[one.message_id] = "refused"

        async with anyio.create_task_group() as tasks:
            for one in (prompt(1), prompt(2), prompt(3, "\ud800"), prompt(4)):
                tasks.start_soon(accept, one)
        assert answers == {1: False, 2: True, 3: "refused", 4: True}
        assert (between.cuts, between.connections) == (1, 2)
        assert await asked(url, "SELECT message_id FROM prompts ORDER BY 1") == [(1,), (2,), (4,)]


@pytest.mark.asyncio
async def test_another_batch_is_not_taken_for_the_one_that_was_cut_off() -> None:
    """R6: what somebody gave up on may have been committed, and what comes next is carried out all the same."""
    async with by_wire() as (store, between, url):
        for message_id, cut in enumerate((Cut.AFTER, Cut.BEFORE, Cut.AFTER), 1):
            between.cut = cut
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(store.accept, prompt(message_id))
                    await until(lambda cut=cut: between.cut is None)  # type: ignore[misc]
                    scope.cancel()
            assert await store.accept(prompt(message_id + 10))
        assert await asked(url, "SELECT count(*) FROM prompts") == [(6,)]


# Away


@pytest.mark.asyncio
async def test_calls_wait_while_the_server_is_away_and_trouble_says_so() -> None:
    """R6: nothing is in memory only; a prompt is refused when too much waits, and nothing else is."""
    limits = StorageLimits(inbox=2, pause_first=0.01, pause_most=0.05)
    done: list[int] = []
    async with by_wire(limits) as (store, between, url):
        between.away = True
        between.disconnect()

        async def accept(message_id: int) -> None:
            assert await store.accept(prompt(message_id))
            done.append(message_id)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept, 1)
            await until(lambda: bool(store.trouble))
            tasks.start_soon(accept, 2)
            tasks.start_soon(accept, 3)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(StoreBusy):
                await store.accept(prompt(4))
            tasks.start_soon(store.started, 1)
            await anyio.wait_all_tasks_blocked()
            assert (done, store.behind) == ([], 4)
            wait = "nothing is saved until it is back, and what needs that waits"
            assert store.trouble == f"the database can't be reached: {wait}"
            between.away = False
        assert (done, store.behind, store.trouble) == ([1, 2, 3], 0, "")
        assert await asked(url, "SELECT message_id FROM prompts ORDER BY 1") == [(1,), (2,), (3,)]


@pytest.mark.asyncio
async def test_a_store_opens_while_the_server_is_away() -> None:
    """R6, R2"""
    url = await anyio.to_thread.run_sync(postgres.emptied)
    with anyio.fail_after(30):
        async with wire(postgres.server()) as between:
            between.away = True
            async with open_database_store(between.url(url), EAGER) as store, anyio.create_task_group() as tasks:
                assert store.trouble
                tasks.start_soon(store.accept, prompt(1))
                await anyio.wait_all_tasks_blocked()
                between.away = False
            assert await asked(url, "SELECT count(*) FROM prompts") == [(1,)]


@pytest.mark.asyncio
async def test_a_server_that_came_back_is_noticed_though_nobody_asks_it() -> None:
    """R6: `/status` says what is true now."""
    async with by_wire(StorageLimits(ping=0.01, pause_most=0.01)) as (store, between, _):
        between.away = True
        between.disconnect()
        await until(lambda: bool(store.trouble))
        between.away = False
        await until(lambda: not store.trouble)


@pytest.mark.parametrize("closing", [True, False])
@pytest.mark.asyncio
async def test_leaving_waits_for_a_server_that_is_away_no_longer_than_its_bound(closing: bool) -> None:
    """R6, R1: whoever still waits is told that it is not known to be written."""
    told: list[type[Exception]] = []
    async with by_wire(StorageLimits(close=0.1, pause_most=30.0)) as (store, between, url):
        between.away = True
        between.disconnect()

        async def accept() -> None:
            try:
                await store.accept(prompt(1))
            except StoreClosed as exc:
                told.append(type(exc))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept)
            await until(lambda: bool(store.trouble))
            if closing:
                await store.close()
            else:
                store.leave(0)
        with pytest.raises(StoreClosed):
            await store.accept(prompt(2))
        assert await asked(url, "SELECT count(*) FROM prompts") == [(0,)]
    assert told == [StoreClosed]


@pytest.mark.asyncio
async def test_a_server_whose_disk_is_full_is_waited_for() -> None:
    """R6: an answer that is no loss of the connection."""
    full = """
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON prompts EXECUTE FUNCTION full_disk()
    """
    async with by_wire() as (store, _, url), anyio.create_task_group() as tasks:
        try:
            await anyio.to_thread.run_sync(execute, url, full)
            tasks.start_soon(store.accept, prompt(1))
            await until(lambda: bool(store.trouble))
            assert store.trouble.startswith("the database server's disk is full: ")
        finally:
            await anyio.to_thread.run_sync(execute, url, "DROP TRIGGER full_disk ON prompts; DROP FUNCTION full_disk")
        await until(lambda: not store.trouble)
        assert not await store.accept(prompt(1))


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


# Somebody else's


LEADERSHIP = "DROP TABLE IF EXISTS leadership; CREATE TABLE leadership (epoch BIGINT PRIMARY KEY, holder TEXT)"


@pytest.mark.asyncio
async def test_a_store_whose_epoch_is_over_writes_nothing_more() -> None:
    """R4: whoever took over has the state for itself; a write on its way is done before that, or not at all."""
    url = await anyio.to_thread.run_sync(postgres.emptied)
    await anyio.to_thread.run_sync(execute, url, f"{LEADERSHIP}; INSERT INTO leadership VALUES (3, 'a')")
    with anyio.fail_after(30):
        async with open_database_store(url, EAGER, lambda: 3) as store:
            assert await store.accept(prompt(1))
            await anyio.to_thread.run_sync(execute, url, "UPDATE leadership SET epoch = 4, holder = 'b'")
            assert not store.lost.is_set()
            assert len(await store.open_prompts()) == 1
            for message_id in (2, 3):
                with pytest.raises(StoreClosed):
                    await store.accept(prompt(message_id))
            await store.lost.wait()
        assert rows(url, "SELECT message_id FROM prompts") == [(1,)]


@pytest.mark.asyncio
async def test_a_renewal_does_not_wait_for_a_write_and_a_successor_does() -> None:
    """R4: two transactions of one epoch, and one that ends it."""
    url = await anyio.to_thread.run_sync(postgres.emptied)
    execute(url, f"{LEADERSHIP}; INSERT INTO leadership VALUES (3, 'a')")
    with psycopg.connect(url) as writing, psycopg.connect(url, autocommit=True) as other:
        writing.execute("SELECT 1 FROM leadership WHERE epoch = 3 FOR KEY SHARE")
        other.execute("SET lock_timeout = 50")
        other.execute("UPDATE leadership SET holder = 'still a'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("UPDATE leadership SET epoch = 4")
