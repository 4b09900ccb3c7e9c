"""The state's storage fails: the bot goes on in memory, says so in /status, and loses no message."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest

from bot.sandbox import FakeDiscord
from tests.agents import scenario
from tests.commands import WEFT
from tests.e2e.play import LIMIT
from tests.e2e.process import Run, connected, first_lines, mention, rows, run, status, until_answered, until_rows
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

UNFINISHED = "select count(*) from prompts where finished_at is null"
PROMPTS = "select count(*) from prompts"


def state(directory: Path) -> Path:
    """Make the directory of the state; return where the database is."""
    place = directory / "state" / "weft"
    place.mkdir(mode=0o700, parents=True)
    return place / "weft.db"


async def stopped(bot: Run) -> None:
    assert await bot.signalled(signal.SIGTERM) == 0


async def answered(discord: FakeDiscord, text: str) -> int:
    """Have a mention answered."""
    thread_id = await mention(discord, text)
    await until_answered(discord, thread_id, text)
    return thread_id


async def storage_line(discord: FakeDiscord) -> str:
    """Return what /status says of the storage; nothing where all is well."""
    return "\n".join(line for line in (await status(discord)).splitlines() if "Storage" in line)


async def until_well(discord: FakeDiscord) -> None:
    """Wait until /status has no warning; people ask, and each time the file may be tried again."""
    with anyio.fail_after(LIMIT):
        while await storage_line(discord):
            await answered(discord, "try again")


# --- at the start ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [b"SQLite format 3\0" + b"\xff" * 8192, *in_soak([b"no database " * 1000])],
    ids=["torn", "text"],
)
async def test_a_damaged_database_is_moved_aside_and_the_bot_works_and_says_so(tmp_path: Path, garbage: bytes) -> None:
    """R6, Q11: the log has it, too, and what was there is kept."""
    path = state(tmp_path)
    path.write_bytes(garbage)
    async with connected(tmp_path, scenario(tmp_path)) as (discord, bot):
        await answered(discord, "hello")
        (aside,) = path.parent.glob("weft.db.corrupt-*")
        assert aside.read_bytes() == garbage
        assert await storage_line(discord) == (f"⚠️ Storage: the state file was damaged and moved aside to {aside.name}")
        (told,) = [event for event in bot.events() if event["event"] == "store.moved_aside"]
        assert told["level"] == "error"
        await until_rows(tmp_path, UNFINISHED, [(0,)])
        assert rows(tmp_path, PROMPTS) == [(1,)]
        await stopped(bot)


async def test_a_database_of_a_newer_version_is_left_alone_with_one_line_and_78(tmp_path: Path) -> None:
    """R6, exits: going back to an older version is for a person to sort out."""
    path = state(tmp_path)
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("pragma user_version = 99")
        newer.execute("create table of_the_future (id integer)")
        newer.commit()
    before, agent = path.read_bytes(), scenario(tmp_path)
    async with FakeDiscord() as discord, run(tmp_path, discord.api_url, discord.token, agent) as bot:
        assert await bot.ended() == 78
        (line,) = bot.plain_lines()
        assert line.startswith("weft: the state file has format 99, and this version knows formats up to ")
        assert discord.gateway.identifies == 0
    assert path.read_bytes() == before
    assert agent.pids() == []


async def test_a_database_that_can_not_be_opened_costs_no_message_and_is_tried_again(tmp_path: Path) -> None:
    """R6, O2, Q11: what was kept in memory is written once the way is free, and a restart knows it."""
    path = state(tmp_path)
    path.mkdir()
    agent = scenario(tmp_path, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await answered(discord, "hello")
        assert await storage_line(discord) == (
            "⚠️ Storage: the state file can't be opened (Is a directory): kept in memory only"
        )
        path.rmdir()
        await until_well(discord)
        await until_rows(tmp_path, UNFINISHED, [(0,)])
        assert rows(tmp_path, f"{PROMPTS} where thread_id = {thread_id}") == [(1,)]
        await stopped(bot)
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await again.logged("gateway.ready")
            await discord.owner.say(thread_id, "again")
            await until_answered(discord, thread_id, "again")
            assert len(agent.received("session/resume")) == 1
            await stopped(again)


# --- while the bot runs ----------------------------------------------------------------------------------------


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the database's lock, as another process may."""
    with closing(sqlite3.connect(directory / "state" / "weft" / "weft.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        yield
        other.execute("rollback")


async def test_a_database_that_somebody_locks_delays_a_message_for_a_moment_and_loses_none(tmp_path: Path) -> None:
    """R6, O2, Q11: written once the lock is gone."""
    async with connected(tmp_path, scenario(tmp_path)) as (discord, bot):
        first = await answered(discord, "before")
        await until_rows(tmp_path, UNFINISHED, [(0,)])
        with locked(tmp_path):
            second = await answered(discord, "meanwhile")
            assert await storage_line(discord) == (
                "⚠️ Storage: another process locks the state file: kept in memory only"
            )
            assert rows(tmp_path, PROMPTS) == [(1,)]
        await until_well(discord)
        await until_rows(tmp_path, f"{PROMPTS} where message_id in ({first}, {second})", [(2,)])
        await stopped(bot)


def limited(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Let no file of the bot's grow beyond ``size`` bytes, as on a disk that is full."""
    monkeypatch.setattr("tests.e2e.process.WEFT", ("prlimit", f"--fsize={size}:{size}", *WEFT))


@pytest.mark.soak
@pytest.mark.usefixtures("cold_start")
async def test_on_a_full_disk_messages_are_answered_and_status_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R6, O1, O2, Q11: the limit is the system's own."""
    limited(monkeypatch, 400_000)
    agent = scenario(tmp_path, words={"much": [{"text": "many words " * 20_000}]})
    async with connected(tmp_path, agent) as (discord, bot):
        await answered(discord, "hello")
        assert await storage_line(discord) == ""
        thread_id = await mention(discord, "much")
        with anyio.fail_after(LIMIT):
            await bot.logged("store.degraded")
        await until_answered(discord, thread_id, "is in the file.")
        assert await storage_line(discord) in (
            "⚠️ Storage: the disk is full: kept in memory only",
            "⚠️ Storage: the disk reports errors: kept in memory only",
        )
        after = await answered(discord, "hello")
        assert first_lines(discord, after) == ["hello"]
        await stopped(bot)
