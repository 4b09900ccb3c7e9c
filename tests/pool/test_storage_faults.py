"""The store on a file that can't be read or written: it goes on in memory, says so, and catches up."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from pool.storage import database, steps
from pool.storage.durable import SessionStore, open_store
from pool.storage.ledger import FileLedger
from pool.storage.model import StorageLimits
from pool.store import AcceptedPrompt, OpenPrompt, SeenPlace
from tests.pool.samples import transcript

ROOT = Path(__file__).parents[2]
EAGER = StorageLimits(busy=0, busy_again=0, retry_pause=0)
"""Gives up on a lock at once, and tries again with every call."""


def prompt(message_id: int, payload: str = "{}") -> AcceptedPrompt:
    return AcceptedPrompt(message_id=message_id, thread_id=1, channel_id=2, author_id=3, payload=payload)


def rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as other:
        return other.execute(statement).fetchall()


@contextmanager
def lock(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


class Disk:
    """Opens connections that fail as SQLite does, for as long as something is wrong."""

    def __init__(self) -> None:
        self.full = False
        self.read_only = False
        self.unreachable = False
        self.opened: list[sqlite3.Connection] = []

    def connect(self, path: Path) -> sqlite3.Connection:
        raw = database.connect(path.with_name("nowhere") / path.name if self.unreachable else path)
        self.opened.append(raw)
        if self.full:
            self.fill()
        if self.read_only:
            self.protect()
        return raw

    def fill(self) -> None:
        self.full = True
        self.opened[-1].execute("PRAGMA max_page_count = 1")

    def protect(self) -> None:
        self.read_only = True
        self.opened[-1].execute("PRAGMA query_only = ON")

    def repair(self) -> None:
        self.full = self.read_only = self.unreachable = False


@asynccontextmanager
async def eager(path: Path, disk: Disk | None = None) -> AsyncIterator[SessionStore]:
    with anyio.fail_after(30):
        async with open_store(path, EAGER, connect=(disk or Disk()).connect) as store:
            yield store


BIG = "x" * 100_000
"""More than fits into a page that is there already."""


@pytest.mark.asyncio
async def test_on_a_full_disk_the_store_goes_on_in_memory_and_says_so(tmp_path: Path) -> None:
    """R6"""
    disk = Disk()
    async with eager(tmp_path / "state.db", disk) as store:
        await store.accept(prompt(1))
        await store.bind(1, session_id="s")
        disk.fill()
        assert await store.accept(prompt(2, BIG))
        assert store.trouble == "the disk is full: kept in memory only"
        assert [await store.accept(prompt(each)) for each in (1, 2, 3)] == [False, False, True]
        await store.finished(1, "answered")
        assert [each.prompt.message_id for each in await store.open_prompts()] == [2, 3]
        record = await store.thread(1)
        assert record is not None
        assert record.session_id == "s"


@pytest.mark.asyncio
async def test_what_was_kept_in_memory_is_written_once_the_disk_has_room(tmp_path: Path) -> None:
    """R6"""
    path, disk = tmp_path / "state.db", Disk()
    async with eager(path, disk) as store:
        await store.accept(prompt(1))
        disk.fill()
        await store.accept(prompt(2, BIG))
        await store.started(2)
        await store.finished(1, "answered")
        assert rows(path, "SELECT message_id, outcome FROM prompts") == [(1, None)]
        disk.repair()
        await store.accept(prompt(3))
        assert store.trouble == ""
        assert rows(path, "SELECT message_id, started, outcome FROM prompts") == [
            (1, 0, "answered"),
            (2, 1, None),
            (3, 0, None),
        ]


@pytest.mark.asyncio
async def test_a_file_that_turned_read_only_is_no_error_to_anybody(tmp_path: Path) -> None:
    """R6"""
    disk = Disk()
    async with eager(tmp_path / "state.db", disk) as store:
        disk.protect()
        assert await store.accept(prompt(1))
        assert store.trouble == "the state file is read-only: kept in memory only"
        disk.repair()
        assert [OpenPrompt(prompt(1), started=False)] == await store.open_prompts()
        assert store.trouble == ""


@pytest.mark.asyncio
async def test_a_file_that_cannot_be_opened_at_the_start_is_tried_again(tmp_path: Path) -> None:
    """R6"""
    path, disk = tmp_path / "state.db", Disk()
    disk.unreachable = True
    async with eager(path, disk) as store:
        assert store.trouble == "the state file can't be opened: kept in memory only"
        assert await store.accept(prompt(1))
        assert not await store.accept(prompt(1))
        disk.repair()
        await store.started(1)
        assert store.trouble == ""
    assert rows(path, "SELECT message_id, started FROM prompts") == [(1, 1)]


@pytest.mark.asyncio
async def test_a_folder_that_cannot_be_written_is_no_error_to_anybody(tmp_path: Path) -> None:
    """R6: seen as the error of the system, without SQLite."""
    (tmp_path / "file").touch()
    async with eager(tmp_path / "file" / "state.db") as store:
        assert await store.accept(prompt(1))
        assert store.trouble.startswith("the state file can't be opened (Not a directory)")


@pytest.mark.asyncio
async def test_the_timer_tries_again_when_nobody_calls(tmp_path: Path) -> None:
    """R6"""
    path = tmp_path / "state.db"
    limits = StorageLimits(busy=0, busy_again=0, retry=0.01, retry_pause=1000)
    with anyio.fail_after(30):
        async with open_store(path, limits) as store:
            with lock(path):
                await store.accept(prompt(1))
                assert store.trouble == "another process locks the state file: kept in memory only"
            while store.trouble:
                await anyio.lowlevel.checkpoint()
            assert rows(path, "SELECT message_id FROM prompts") == [(1,)]


@pytest.mark.asyncio
async def test_while_the_disk_fails_memory_forgets_old_transcripts(tmp_path: Path) -> None:
    """S3, R6: memory has no room for what a disk may take, however long the disk is in trouble."""
    path = tmp_path / "state.db"
    limits = StorageLimits(busy=0, busy_again=0, retry=0.01, retry_pause=1000, transcripts_bytes=25, prune_step=2)
    with anyio.fail_after(30):
        async with open_store(path, limits) as store:
            with lock(path):
                for turn in range(1, 10):
                    store.transcribed(transcript(turn, at=int(time.time()), payload=bytes(10)))
                while await store.count_transcripts(1) > 2:
                    await anyio.lowlevel.checkpoint()
                assert [one.turn_id for one in await store.transcripts(1, 9)] == [9, 8]
                assert store.trouble


@pytest.mark.asyncio
async def test_calls_in_quick_succession_do_not_try_each_time(tmp_path: Path) -> None:
    """R6: a broken disk is not asked for every chunk."""
    disk = Disk()
    disk.unreachable = True
    with anyio.fail_after(30):
        async with open_store(tmp_path / "state.db", StorageLimits(retry_pause=1000), connect=disk.connect) as store:
            disk.repair()
            for message_id in range(20):
                await store.accept(prompt(message_id))
            assert store.trouble
            assert disk.opened == []
    assert rows(tmp_path / "state.db", "SELECT count(*) FROM prompts") == [(20,)]


@pytest.mark.asyncio
async def test_leaving_gives_the_backlog_a_last_chance_and_says_when_it_is_lost(tmp_path: Path) -> None:
    """R6"""
    disk = Disk()
    with capture_logs() as logs:
        async with eager(tmp_path / "state.db", disk) as store:
            disk.fill()
            await store.accept(prompt(1, BIG))
            await store.accept(prompt(2, BIG))
    lost = [entry for entry in logs if entry["event"] == "store.abandoned"]
    assert [(entry["log_level"], entry["changes"]) for entry in lost] == [("error", 2)]


@pytest.mark.asyncio
async def test_what_the_backlog_cannot_hold_is_counted_for_people(tmp_path: Path) -> None:
    """R6"""
    disk = Disk()
    disk.unreachable = True
    limits = StorageLimits(backlog=2, retry_pause=0)
    with anyio.fail_after(30):
        async with open_store(tmp_path / "state.db", limits, connect=disk.connect) as store:
            await store.accept(prompt(1))
            await store.see(SeenPlace(place, 1) for place in (1, 2, 3))
            assert store.trouble.endswith(": kept in memory only, 2 changes can't be kept")
            assert len(await store.places()) == 3
            disk.repair()
            await store.open_prompts()
            assert len(await store.places()) == 1
            assert not await store.accept(prompt(1))
            assert store.trouble == ""


@pytest.mark.asyncio
async def test_a_value_that_cannot_be_stored_is_refused_in_memory_too(tmp_path: Path) -> None:
    """R6"""
    disk = Disk()
    disk.unreachable = True
    async with eager(tmp_path / "state.db", disk) as store:
        with pytest.raises(UnicodeEncodeError):
            await store.accept(prompt(1, "\ud800"))
        assert isinstance(store._ledger, FileLedger)
        assert len(store._ledger._backlog) == 0
        assert await store.accept(prompt(1))


# Another process's lock

HOLDER = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
other.execute("COMMIT")
other.close()
print("free", flush=True)
sys.stdin.readline()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the write lock until it is sent a line."""
    command = [sys.executable, "-I", "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def release(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "free\n"


@pytest.mark.asyncio
async def test_a_lock_that_is_let_go_in_time_is_waited_for(tmp_path: Path) -> None:
    """R6"""
    path = tmp_path / "state.db"
    with anyio.fail_after(30):
        async with open_store(path, StorageLimits(busy=15)) as store, anyio.create_task_group() as tasks:
            with holder(path) as other:
                tasks.start_soon(store.accept, prompt(1))
                await anyio.lowlevel.checkpoint()
                while store._inbox:
                    await anyio.lowlevel.checkpoint()
                release(other)
                assert len(await store.open_prompts()) == 1
                assert store.trouble == ""
    assert rows(path, "SELECT message_id FROM prompts") == [(1,)]


@pytest.mark.asyncio
async def test_a_lock_that_is_held_too_long_costs_nothing_but_the_file(tmp_path: Path) -> None:
    """R6"""
    path = tmp_path / "state.db"
    async with eager(path) as store:
        with holder(path) as other:
            assert await store.accept(prompt(1))
            assert not await store.accept(prompt(1))
            assert store.trouble == "another process locks the state file: kept in memory only"
            release(other)
            assert len(await store.open_prompts()) == 1
            assert store.trouble == ""
    assert rows(path, "SELECT message_id FROM prompts") == [(1,)]


# Damage


@pytest.mark.parametrize("length", [100, 5000])
@pytest.mark.asyncio
async def test_what_is_no_database_is_moved_aside_loudly(tmp_path: Path, length: int) -> None:
    """R6"""
    path = tmp_path / "state.db"
    path.write_bytes(b"no database " * length)
    with capture_logs() as logs:
        async with open_store(path, now=lambda: 0.0) as store:
            assert await store.accept(prompt(1))
            assert store.trouble == "the state file was damaged and moved aside to state.db.corrupt-19700101T000000Z"
    assert ("error", "store.moved_aside") in {(entry["log_level"], entry["event"]) for entry in logs}
    assert (tmp_path / "state.db.corrupt-19700101T000000Z").read_bytes() == b"no database " * length
    assert rows(path, "SELECT message_id FROM prompts") == [(1,)]


async def fill(path: Path) -> None:
    async with open_store(path) as store, anyio.create_task_group() as tasks:
        for message_id in range(200):
            tasks.start_soon(store.accept, prompt(message_id, "x" * 500))


@pytest.mark.asyncio
async def test_a_database_that_contradicts_itself_is_moved_aside(tmp_path: Path) -> None:
    """R6"""
    path = tmp_path / "state.db"
    await fill(path)
    content = bytearray(path.read_bytes())
    content[8192:12288] = b"\xff" * 4096
    path.write_bytes(content)
    async with open_store(path) as store:
        assert "moved aside" in store.trouble
        assert await store.accept(prompt(1))


@pytest.mark.asyncio
async def test_the_log_of_a_damaged_file_is_moved_with_it(tmp_path: Path) -> None:
    """R6: it may hold what is to be saved, and must not be taken for that of the new file."""
    path = tmp_path / "state.db"
    for suffix in ("", *database.COMPANIONS):
        database.beside(path, suffix).write_bytes(b"no database " * 5000)
    async with open_store(path, now=lambda: 0.0) as store:
        await store.accept(prompt(1))
    aside = tmp_path / "state.db.corrupt-19700101T000000Z"
    assert database.beside(aside, "-wal").read_bytes() == b"no database " * 5000
    assert rows(path, "SELECT message_id FROM prompts") == [(1,)]


@pytest.mark.asyncio
async def test_a_second_damaged_file_does_not_replace_the_first(tmp_path: Path) -> None:
    """R6"""
    path = tmp_path / "state.db"
    for content in (b"first " * 100, b"second " * 100):
        path.write_bytes(content)
        async with open_store(path, now=lambda: 0.0):
            pass
    kept = [(tmp_path / f"state.db.corrupt-19700101T000000Z{suffix}").read_bytes() for suffix in ("", "-2")]
    assert kept == [b"first " * 100, b"second " * 100]


@pytest.mark.parametrize("version", range(1, len(steps.STEPS) + 1))
@pytest.mark.asyncio
async def test_a_file_that_lacks_its_tables_is_moved_aside(tmp_path: Path, version: int) -> None:
    """R6"""
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {version}")
    async with open_store(path) as store:
        assert await store.accept(prompt(1))
        assert "moved aside" in store.trouble


@pytest.mark.asyncio
async def test_a_file_that_is_overwritten_while_in_use_is_replaced_by_what_memory_knows(tmp_path: Path) -> None:
    """R6"""
    path, disk = tmp_path / "state.db", Disk()
    async with eager(path, disk) as store:
        await store.accept(prompt(1))
        await store.bind(1, session_id="s")
        disk.fill()
        await store.accept(prompt(2, BIG))
        path.write_bytes(b"no database " * 1000)
        disk.repair()
        await store.accept(prompt(3))
        assert store.trouble.startswith("the state file was damaged and moved aside")
        assert [each.prompt.message_id for each in await store.open_prompts()] == [1, 2, 3]
    assert rows(path, "SELECT session_id FROM threads") == [("s",)]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


# A limit that the system sets

LIMITED = """
import json, resource, sys
from pathlib import Path
import anyio
from pool.storage.durable import open_store
from pool.storage.model import StorageLimits
from pool.store import AcceptedPrompt

async def main():
    path = Path(sys.argv[1])
    async with open_store(path, StorageLimits(retry_pause=0)) as store:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        message_id = 0
        while not store.trouble:
            message_id += 1
            await store.accept(AcceptedPrompt(message_id, 1, 2, 3, "x" * 20_000))
        trouble = store.trouble
        again = await store.accept(AcceptedPrompt(message_id, 1, 2, 3, ""))
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        known = len(await store.open_prompts())
        print(json.dumps([message_id, trouble, again, known, store.trouble]))

anyio.run(main)
"""


def test_a_file_that_may_not_grow_loses_nothing(tmp_path: Path) -> None:
    """R6: the limit is the system's own; all is written once it is lifted."""
    path = tmp_path / "state.db"
    command = [sys.executable, "-c", LIMITED, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    count, trouble, again, known, end = json.loads(done.stdout.splitlines()[-1])
    assert trouble.endswith(": kept in memory only")
    assert (again, known, end) == (False, count, "")
    assert rows(path, "SELECT count(*) FROM prompts") == [(count,)]
