"""The store on a sound file: opening, migrations, batches, bounds, closing, forgetting."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy as sa

from pool.storage.durable import SessionStore, open_store
from pool.storage.ledger import FileLedger
from pool.storage.model import DAY, StorageLimits
from pool.store import AcceptedPrompt, OpenPrompt, SeenPlace, StoreBusy, StoreClosed
from tests.pool.samples import decision, transcript


def prompt(message_id: int, payload: str = "{}") -> AcceptedPrompt:
    return AcceptedPrompt(message_id=message_id, thread_id=1, channel_id=2, author_id=3, payload=payload)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the file's write lock, as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as other:
        return other.execute(statement).fetchall()


def files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def commits() -> Iterator[list[None]]:
    seen: list[None] = []

    def count(_: sa.Connection) -> None:
        seen.append(None)

    sa.event.listen(sa.Engine, "commit", count)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, "commit", count)


@asynccontextmanager
async def blocked(path: Path, limits: StorageLimits) -> AsyncIterator[SessionStore]:
    """A store whose writer waits for the lock with one accepted message, 1, in its hands."""
    with anyio.fail_after(30):
        async with open_store(path, limits) as store, anyio.create_task_group() as tasks:
            with lock(path):
                tasks.start_soon(store.accept, prompt(1))
                await anyio.lowlevel.checkpoint()
                while store._inbox:
                    await anyio.lowlevel.checkpoint()
                yield store


# Opening


@pytest.mark.asyncio
async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    """R2, R6"""
    async with open_store(tmp_path / "state.db") as store:
        await store.accept(prompt(7))
        await store.bind(1, session_id="s")
    async with open_store(tmp_path / "state.db") as store:
        assert not await store.accept(prompt(7))
        assert [OpenPrompt(prompt(7), started=False)] == await store.open_prompts()
        record = await store.thread(1)
        assert record is not None
        assert record.session_id == "s"


@pytest.mark.asyncio
async def test_the_file_survives_a_loss_of_power(tmp_path: Path) -> None:
    """R6: WAL, synchronous=FULL."""
    async with open_store(tmp_path / "state.db") as store:
        assert isinstance(store._ledger, FileLedger)
        file = store._ledger._file
        assert file is not None
        settings = [file._raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        assert settings == ["wal", 2]


@pytest.mark.parametrize("mode", [None, 0o644])
@pytest.mark.asyncio
async def test_nobody_else_can_read_the_state(tmp_path: Path, mode: int | None) -> None:
    """R6"""
    path = tmp_path / "state.db"
    if mode is not None:
        path.touch(mode)
        path.chmod(mode)
    async with open_store(path) as store:
        await store.accept(prompt(7))
        modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in files(tmp_path)}
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}


# Batches


@pytest.mark.asyncio
async def test_a_hundred_messages_at_once_take_a_few_transactions(tmp_path: Path) -> None:
    """O2: what waits is committed together."""
    async with open_store(tmp_path / "state.db") as store:
        with commits() as seen:
            async with anyio.create_task_group() as tasks:
                for message_id in range(100):
                    tasks.start_soon(store.accept, prompt(message_id))
        assert len(await store.open_prompts()) == 100
    assert 1 <= len(seen) <= 3


@pytest.mark.asyncio
async def test_a_batch_takes_no_more_than_its_bound(tmp_path: Path) -> None:
    """O2"""
    async with open_store(tmp_path / "state.db", StorageLimits(batch=10)) as store:
        with commits() as seen:
            async with anyio.create_task_group() as tasks:
                for message_id in range(30):
                    tasks.start_soon(store.accept, prompt(message_id))
    assert len(seen) >= 3


@pytest.mark.asyncio
async def test_a_call_returns_when_its_transaction_is_committed(tmp_path: Path) -> None:
    """O2, R6"""
    path = tmp_path / "state.db"
    async with open_store(path) as store:
        for message_id in range(5):
            await store.accept(prompt(message_id))
            assert rows(path, "SELECT max(message_id) FROM prompts") == [(message_id,)]


@pytest.mark.asyncio
async def test_a_value_that_cannot_be_stored_fails_its_own_call_only(tmp_path: Path) -> None:
    """R6: text that is no text, an id that is no snowflake."""
    refused: list[Exception] = []
    async with open_store(tmp_path / "state.db") as store:

        async def accept(each: AcceptedPrompt) -> None:
            try:
                await store.accept(each)
            except (ValueError, OverflowError) as exc:
                refused.append(exc)

        with commits() as seen:
            async with anyio.create_task_group() as tasks:
                for each in (prompt(1), prompt(2, "\ud800"), prompt(3), prompt(2**70), prompt(4)):
                    tasks.start_soon(accept, each)
        assert [each.prompt.message_id for each in await store.open_prompts()] == [1, 3, 4]
        assert store.trouble == ""
    assert [type(each) for each in refused] == [UnicodeEncodeError, OverflowError]
    assert len(seen) == 1


@pytest.mark.asyncio
async def test_a_question_sees_what_was_handed_in_before_it(tmp_path: Path) -> None:
    """R2"""
    found: list[OpenPrompt] = []
    async with open_store(tmp_path / "state.db") as store:

        async def ask() -> None:
            found.extend(await store.open_prompts())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.accept, prompt(1))
            tasks.start_soon(ask)
            tasks.start_soon(store.accept, prompt(2))
    assert [each.prompt.message_id for each in found] == [1]


# Bounds


@pytest.mark.asyncio
async def test_prompts_are_refused_when_too_much_waits_and_nothing_else_is(tmp_path: Path) -> None:
    """R6"""
    path = tmp_path / "state.db"
    async with anyio.create_task_group() as tasks, blocked(path, StorageLimits(inbox=2, busy=10)) as store:
        for message_id in (2, 3):
            tasks.start_soon(store.accept, prompt(message_id))
        await anyio.lowlevel.checkpoint()
        with pytest.raises(StoreBusy):
            await store.accept(prompt(4))
        tasks.start_soon(store.started, 1)
        tasks.start_soon(store.finished, 2, "answered")
        await anyio.lowlevel.checkpoint()
        assert len(store._inbox) == 4
    assert rows(path, "SELECT message_id, started, outcome FROM prompts") == [
        (1, 1, None),
        (2, 0, "answered"),
        (3, 0, None),
    ]


@pytest.mark.asyncio
async def test_what_a_caller_gave_up_on_is_written_all_the_same(tmp_path: Path) -> None:
    """R6"""
    path = tmp_path / "state.db"
    async with blocked(path, StorageLimits(busy=10)) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(store.accept, prompt(2))
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert rows(path, "SELECT message_id FROM prompts") == [(1,), (2,)]


@pytest.mark.asyncio
async def test_leaving_by_cancellation_writes_what_was_handed_in(tmp_path: Path) -> None:
    """R6"""
    path = tmp_path / "state.db"
    with anyio.CancelScope() as scope:
        async with open_store(path) as store, anyio.create_task_group() as tasks:
            for message_id in range(1000):
                tasks.start_soon(store.accept, prompt(message_id))
            await anyio.lowlevel.checkpoint()
            scope.cancel()
    assert rows(path, "SELECT count(*) FROM prompts") == [(1000,)]
    assert files(tmp_path) == ["state.db"]


@pytest.mark.asyncio
async def test_leaving_does_not_take_longer_than_its_bound(tmp_path: Path) -> None:
    """R6: whoever still waits is told."""
    path = tmp_path / "state.db"
    told: list[type[Exception]] = []
    with anyio.fail_after(30):
        async with open_store(path, StorageLimits(busy=1, close=0.05)) as store, anyio.create_task_group() as tasks:

            async def accept() -> None:
                try:
                    await store.accept(prompt(1))
                except StoreClosed as exc:
                    told.append(type(exc))

            with lock(path):
                tasks.start_soon(accept)
                await anyio.lowlevel.checkpoint()
                await store.close()
        with pytest.raises(StoreClosed):
            await store.accept(prompt(2))
    assert told == [StoreClosed]


@pytest.mark.asyncio
async def test_an_error_inside_is_handed_on_as_it_is(tmp_path: Path) -> None:
    """R6"""
    with pytest.raises(KeyError, match="inside"):
        async with open_store(tmp_path / "state.db"):
            raise KeyError("inside")


def test_nothing_is_left_of_a_store_that_was_closed(tmp_path: Path) -> None:
    """R6: no thread, no descriptor."""

    async def use() -> None:
        async with open_store(tmp_path / "state.db") as store:
            await store.accept(prompt(7))

    anyio.run(use)
    threads, before = set(threading.enumerate()), descriptors()
    for _ in range(3):
        anyio.run(use)
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
        assert not thread.is_alive()
    assert descriptors() <= before


# Forgetting


@pytest.mark.asyncio
async def test_a_finished_prompt_leaves_no_text_in_its_row(tmp_path: Path) -> None:
    """R6: id and outcome are kept."""
    path = tmp_path / "state.db"
    async with open_store(path, now=lambda: 5.0) as store:
        await store.accept(prompt(7, "secret"))
        await store.shown(7, (1, 2))
        await store.save_pending_reply(7, "answered", "secret")
        await store.finished(7, "failed")
    columns = "message_id, payload, shown, outcome, reply, finished_at"
    assert rows(path, f"SELECT {columns} FROM prompts") == [(7, None, "", "answered", None, 5)]


FORGETFUL = StorageLimits(finished_age=30 * DAY, finished_kept=6, prune_step=2, prune_first=0, prune_pause=0)


@pytest.mark.asyncio
async def test_finished_prompts_are_forgotten_by_age_and_number_and_open_ones_are_not(tmp_path: Path) -> None:
    """R6: the file does not grow for ever."""
    path, now = tmp_path / "state.db", 0.0
    async with open_store(path, now=lambda: now) as store:
        for message_id in range(1, 13):
            now = message_id * DAY
            await store.accept(prompt(message_id))
            if message_id not in (1, 2):
                await store.finished(message_id, "answered")
    now = 38.5 * DAY  # 3 to 8 are too old; of the others, 9 to 12, none is one too many
    with anyio.fail_after(30):
        async with open_store(path, FORGETFUL, now=lambda: now) as store:
            while rows(path, "SELECT count(*) FROM prompts") != [(6,)]:
                await anyio.lowlevel.checkpoint()
    assert rows(path, "SELECT message_id FROM prompts") == [(each,) for each in (1, 2, 9, 10, 11, 12)]


@pytest.mark.asyncio
async def test_threads_and_places_are_forgotten_by_age_and_number_and_servers_are_not(tmp_path: Path) -> None:
    """R6, R2, Q2: what was chosen for a server holds for as long as Weft is there."""
    path, start = tmp_path / "state.db", 1_500_000_000
    now = start
    limits = StorageLimits(
        threads_age=10 * DAY,
        threads_kept=3,
        places_age=10 * DAY,
        places_kept=2,
        prune_step=1,
        prune_first=0,
        prune_pause=0,
    )

    def posted(day: int) -> int:
        return (start + day * DAY - 1_420_070_400) * 1000 << 22

    async with open_store(path, now=lambda: now) as store:
        await store.bind(77, options="of a server")
        for thread_id, day in ((5, 0), (6, 3), (7, 4), (8, 9), (9, 8), (6, 10)):
            now = start + day * DAY
            await store.bind(thread_id, session_id="s")
        await store.see(SeenPlace(one, 77, seen=posted(day)) for one, day in ((1, 12), (2, 0), (3, 11), (4, 13)))
    now = start + 12 * DAY  # thread 5 and place 2 are too old, thread 7 and place 3 one too many
    with anyio.fail_after(30):
        async with open_store(path, limits, now=lambda: now):
            while rows(path, "SELECT count(*) FROM threads UNION ALL SELECT count(*) FROM places") != [(4,), (2,)]:
                await anyio.lowlevel.checkpoint()
    assert rows(path, "SELECT thread_id FROM threads ORDER BY 1") == [(6,), (8,), (9,), (77,)]
    assert rows(path, "SELECT place_id FROM places ORDER BY 1") == [(1,), (4,)]


@pytest.mark.asyncio
async def test_a_decision_is_written_though_nobody_waits_and_forgotten_by_age_and_number(tmp_path: Path) -> None:
    """C5, R6: it is handed in where nobody can wait, and the file does not grow for ever."""
    path, start = tmp_path / "state.db", 1_764_000_000
    limits = StorageLimits(decisions_age=5, decisions_kept=3, prune_step=1, prune_first=0, prune_pause=0)
    async with open_store(path) as store:
        for number in (6, 1, 2, 3, 4, 5):
            store.decided(decision(number))
    with pytest.raises(StoreClosed):
        store.decided(decision())
    now = start + 7.5  # 1 and 2 are too old; of the others 3 is one too many
    with anyio.fail_after(30):
        async with open_store(path, limits, now=lambda: now) as store:
            while len(await store.decisions(9)) > 3:
                await anyio.lowlevel.checkpoint()
            assert [one.at - start for one in await store.decisions(9)] == [5, 4, 6], "in the order of being handed in"


@pytest.mark.asyncio
async def test_transcripts_are_forgotten_by_age_number_and_size(tmp_path: Path) -> None:
    """S3, R6: the oldest first, a few at a time."""
    path, day = tmp_path / "state.db", 1_764_000_000
    kept = [transcript(turn, at=day + turn, payload=bytes(10)) for turn in range(1, 10, 2)]
    async with open_store(path) as store:
        for one in kept:
            store.transcribed(one)

    async def left(**limits: int) -> list[tuple[object, ...]]:
        at_once = StorageLimits(prune_step=1, prune_first=0, prune_pause=0, **({"transcripts_age": 99} | limits))
        before, count = rows(path, "SELECT count(*) FROM transcripts")[0][0], "SELECT count(*) FROM transcripts"
        async with open_store(path, at_once, now=lambda: day + 9.0):
            while rows(path, count)[0][0] == before:
                await anyio.lowlevel.checkpoint()
        return rows(path, "SELECT turn_id FROM transcripts ORDER BY turn_id")

    with anyio.fail_after(30):
        assert await left(transcripts_age=7) == [(3,), (5,), (7,), (9,)]
        assert await left(transcripts_kept=3) == [(5,), (7,), (9,)]
        assert await left(transcripts_bytes=29) == [(7,), (9,)]


@pytest.mark.asyncio
async def test_a_clock_that_is_set_back_repeats_no_id(tmp_path: Path) -> None:
    """C5: two decisions with one id would be one row."""
    async with open_store(tmp_path / "state.db", now=lambda: 0.0) as first:
        ids = [first.new_id() for _ in range(3)]
        assert ids == sorted(set(ids))
    async with open_store(tmp_path / "state.db", now=lambda: 2_500_000_000.0) as store:
        late = store.new_id()
        assert ids[-1] < late < 2**63


@pytest.mark.asyncio
async def test_of_too_many_finished_prompts_the_oldest_are_forgotten(tmp_path: Path) -> None:
    """R6"""
    path, now = tmp_path / "state.db", 0.0
    async with open_store(path, now=lambda: now) as store:
        for message_id in (5, 4, 3, 2, 1, 9, 8, 7, 6):
            now += 1
            await store.accept(prompt(message_id))
            await store.finished(message_id, "answered")
    with anyio.fail_after(30):
        async with open_store(path, FORGETFUL, now=lambda: now):
            while rows(path, "SELECT count(*) FROM prompts") != [(6,)]:
                await anyio.lowlevel.checkpoint()
    assert rows(path, "SELECT message_id FROM prompts") == [(each,) for each in (1, 2, 6, 7, 8, 9)]


@pytest.mark.asyncio
async def test_the_store_tells_how_long_calls_took_and_how_far_behind_the_file_is(tmp_path: Path) -> None:
    """R6: what a lock keeps from the file is kept in memory, and counted until the file has it."""
    path, took = tmp_path / "state.db", list[float]()
    eager = StorageLimits(busy=0, busy_again=0, retry_pause=0)
    with anyio.fail_after(30):
        async with open_store(path, eager) as store:
            store.observe = took.append
            await store.accept(prompt(1))
            assert (len(took), store.behind) == (1, 0)
            with lock(path):
                await store.accept(prompt(2))
                assert (bool(store.trouble), store.behind) == (True, 1)
            await store.accept(prompt(3))
            assert (store.trouble, store.behind) == ("", 0)
    assert len(took) == 3
    assert all(seconds >= 0 for seconds in took)
