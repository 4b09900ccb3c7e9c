"""A file that an earlier version wrote is opened, brought up to date, and gives every row back.

`formats` has a file for each format: what the store of that time left behind after the same calls, row by row, as SQL.
They are never changed. Before a new step goes into `pool.storage.tables`, the format that was the newest needs one.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pool.storage import database, steps, tables
from pool.storage.durable import open_store
from pool.storage.model import StateTooNew
from pool.store import (
    AcceptedPrompt,
    KeptCard,
    KeptNotice,
    KnownSession,
    OpenPrompt,
    PendingReply,
    SeenPlace,
    SessionClaim,
    ThreadRecord,
)
from tests.pool.samples import decision, rule, schedule, transcript, work_tree
from tests.pool.test_storage_durable import files, rows

FORMATS = Path(__file__).parent / "formats"
NUMBERS = range(1, len(list(FORMATS.glob("state_format_*.sql"))) + 1)
NEWEST = len(steps.STEPS)

GUILD, AUTHOR, CHANNEL, THREAD, FIRST = (number * 10**17 + 1 for number in (10, 11, 12, 13, 14))
SECOND, THIRD, FOURTH, FIFTH, SIXTH = range(FIRST + 1, FIRST + 6)
SHOWN = (FIRST + 20, FIRST + 21)
FINISHED_AT = 1_764_000_000
BASE = (None, "9f3c")
"""What a thread began with, before format 8 and since."""


def old_file(folder: Path, number: int) -> Path:
    """Make the file that a version with this format left behind."""
    path = folder / "state.db"
    with closing(sqlite3.connect(path)) as old:
        old.executescript((FORMATS / f"state_format_{number}.sql").read_text(encoding="utf-8"))
    return path


def prompt(message_id: int) -> AcceptedPrompt:
    return AcceptedPrompt(message_id, THREAD, CHANNEL, AUTHOR, f'{{"text": "prompt {message_id}, ü🙂"}}')


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.asyncio
async def test_a_file_of_an_earlier_format_gives_every_row_back(tmp_path: Path, number: int) -> None:
    """R6, R2: whose turns prompts were part of, format 1 does not say."""
    path = old_file(tmp_path, number)
    joined = OpenPrompt(prompt(SIXTH), started=number > 1, turn=SECOND if number > 1 else None)
    first, second = OpenPrompt(prompt(FIRST), started=False), OpenPrompt(prompt(SECOND), started=True, shown=SHOWN)
    async with open_store(path) as store:
        assert store.trouble == ""
        assert await store.open_prompts() == [first, second, joined]
        assert await store.turn(SECOND) == ([second, joined] if number > 1 else [second])
        assert await store.pending_replies() == [
            PendingReply(prompt(THIRD), "answered", '{"text": "Done."}', (FIRST + 30,))
        ]
        assert await store.turn(FOURTH) == [OpenPrompt(prompt(FOURTH), started=True)], "somebody may ask for it again"
        assert await store.turn(FIFTH) == []
        assert [await store.accept(prompt(known)) for known in range(FIRST, SIXTH + 1)] == [False] * 6
        assert await store.thread(THREAD) == ThreadRecord(
            THREAD, "gemini", "second", "/work/a", "first", "A title", "plan", '{"model": "large"}', BASE[number > 7]
        )
        assert await store.thread(THREAD + 1) == ThreadRecord(THREAD + 1, cwd="/work/b")
        assert await store.choices() == {THREAD: '{"model": "large"}'}
        assert await store.places() == [
            SeenPlace(THREAD, GUILD, CHANNEL, AUTHOR, SIXTH),
            SeenPlace(THREAD + 2, None, None, None, 0),
        ]
        assert await store.notices() == ([KeptNotice(THREAD, FIRST + 89, stopping=True)] if number > 3 else [])
        decided = ([decision(2)], [rule(2)]) if number > 5 else ([], [])
        assert (await store.decisions(9), await store.rules()) == decided
        assert await store.transcripts(1, 9) == ([transcript(2)] if number > 8 else [])


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.asyncio
async def test_no_column_of_an_earlier_format_loses_its_value(tmp_path: Path, number: int) -> None:
    """R6: also what no question of the store shows, such as when a prompt was finished."""
    path = old_file(tmp_path, number)
    before = contents(path)
    async with open_store(path):
        pass
    after = contents(path)
    newer = {"notices": 1} if number > 3 else {}
    newer |= {"decisions": 1, "rules": 1} if number > 5 else {}
    newer |= {"cards": 1} if number > 6 else {}
    newer |= {"transcripts": 1} if number > 8 else {}
    newer |= {"spending": 1} if number > 9 else {}
    newer |= {"sessions": 2, "claims": 0} if number > 10 else {}
    assert {name: len(found) for name, found in before.items()} == {"prompts": 6, "threads": 2, "places": 2} | newer
    for name, found in before.items():
        # By position: a step may give a column another name, and adds new ones at the end.
        assert [row[: len(found[0])] for row in after[name]] == found, name
    ends = rows(path, "SELECT outcome, finished_at FROM prompts ORDER BY message_id")
    finished = [("interrupted", FINISHED_AT), ("removed", FINISHED_AT)]
    assert ends == [(None, None), (None, None), ("answered", None), *finished, (None, None)]


def test_there_is_a_file_of_each_earlier_format() -> None:
    """R6"""
    assert len(NUMBERS) >= NEWEST - 1


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.asyncio
async def test_a_file_of_an_earlier_format_gets_the_tables_of_a_new_one(tmp_path: Path, number: int) -> None:
    """R6: indexes, too; a step that was changed after its release would show here."""
    path = old_file(tmp_path, number)
    async with open_store(path), open_store(tmp_path / "new.db"):
        pass
    schema = "SELECT name, sql FROM sqlite_master ORDER BY name"
    assert rows(path, schema) == rows(tmp_path / "new.db", schema)
    assert rows(path, "PRAGMA user_version") == [(NEWEST,)]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.asyncio
async def test_a_file_of_an_earlier_format_is_gone_on_with(tmp_path: Path, number: int) -> None:
    """R6, R2: what is new in later formats can be written for rows that were there before."""
    async with open_store(old_file(tmp_path, number)) as store:
        await store.started(FIRST, [SIXTH])
        assert [one.prompt.message_id for one in await store.turn(SIXTH)] == [FIRST, SIXTH]
        await store.keep_notice(KeptNotice(THREAD, 90, stopping=True))
        assert await store.notices() == [KeptNotice(THREAD, 90, stopping=True)]
        await store.decided(decision()).value()
        await store.keep_rule(rule())
        assert decision() in await store.decisions(9)
        assert rule() in await store.rules()
        await store.keep_card(KeptCard("x", THREAD, FIRST))
        assert await store.cards() == [KeptCard("x", THREAD, FIRST)]
        await store.bind(THREAD, base="9f3c")
        assert await store.thread(THREAD) == ThreadRecord(
            THREAD, "gemini", "second", "/work/a", "first", "A title", "plan", '{"model": "large"}', "9f3c"
        )
        await store.transcribed(transcript(SECOND, THREAD)).value()
        assert await store.transcripts(THREAD, 9) == [transcript(SECOND, THREAD)]
        await store.keep_work_tree(work_tree(THREAD))
        await store.keep_schedule(schedule(THREAD))
        # Whose sessions were is known of those that were named then, and stays when the thread is gone.
        known = [KnownSession("first", THREAD, held=False), KnownSession("second", THREAD, held=True)]
        assert await store.known_sessions(["first", "second"]) == known
        assert await store.claim_session(SessionClaim(1, "second", "")) == THREAD
        assert await store.claim_session(SessionClaim(1, "first", "")) is None
        assert await store.claims() == [SessionClaim(1, "first", "")]
        await store.forget([THREAD])
        assert [one.held for one in await store.known_sessions(["first", "second"])] == [False, False]
        assert (await store.thread(THREAD), await store.notices(), await store.transcript(SECOND)) == (None, [], None)
        # W5: what is in a work tree may be all that there is of somebody's work.
        assert (await store.work_trees(), await store.schedules()) == ([work_tree(THREAD)], [schedule(THREAD)])


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.asyncio
async def test_threads_of_an_older_file_count_as_used_just_now(tmp_path: Path, number: int) -> None:
    """R6, P8: how long ago they really were is not known, and none is forgotten for that."""
    path, before = old_file(tmp_path, number), time.time()
    async with open_store(path):
        pass
    used = [at for (at,) in rows(path, "SELECT used_at FROM threads")]
    assert len(used) == 2
    assert all(isinstance(at, int) and before - 1 <= at <= time.time() for at in used)


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of every table."""
    tables_of_the_file = rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'")
    return {str(name): rows(path, f"SELECT * FROM {name} ORDER BY 1") for (name,) in tables_of_the_file}


# Steps


def test_the_migrated_tables_are_those_of_the_statements(tmp_path: Path) -> None:
    """R6"""
    file = database.open_file(tmp_path / "state.db", database.connect, 1)
    try:
        found = sa.inspect(file._core)
        columns = {name: [each["name"] for each in found.get_columns(name)] for name in found.get_table_names()}
        assert columns == {
            name: [column.name for column in each.columns] for name, each in tables.METADATA.tables.items()
        }
    finally:
        file.close()
    assert rows(tmp_path / "state.db", "PRAGMA user_version") == [(len(steps.STEPS),)]


def test_a_later_version_takes_the_steps_that_are_missing_and_keeps_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R6"""
    path = tmp_path / "state.db"
    database.open_file(path, database.connect, 1).close()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("INSERT INTO threads (thread_id, agent) VALUES (1, 'a')")
    more = (*steps.STEPS, ("ALTER TABLE threads ADD COLUMN colour TEXT DEFAULT 'red'",))
    monkeypatch.setattr(steps, "STEPS", more)
    for _ in range(2):
        database.open_file(path, database.connect, 1).close()
    assert rows(path, "SELECT agent, colour FROM threads") == [("a", "red")]
    assert rows(path, "PRAGMA user_version") == [(len(more),)]


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R6"""
    path = tmp_path / "state.db"
    monkeypatch.setattr(steps, "STEPS", (("CREATE TABLE half (id INTEGER)", "CREATE NONSENSE"),))
    with pytest.raises(Exception, match="NONSENSE"):
        database.open_file(path, database.connect, 1)
    assert rows(path, "SELECT count(*) FROM sqlite_master") == [(0,)]
    assert rows(path, "PRAGMA user_version") == [(0,)]


@pytest.mark.asyncio
async def test_a_file_of_a_newer_version_is_refused_and_not_touched(tmp_path: Path) -> None:
    """R6, R3: the composition root can exit with a plain message."""
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StateTooNew, match="format 99"):
        async with open_store(path):
            pytest.fail("opened")
    assert path.read_bytes() == before
    assert files(tmp_path) == ["state.db"]
