"""How a file gets its tables: in steps, each with the format that it leads to.

A change of the tables is a new step here and in `pool.storage.postgres_steps`, and it stands in `pool.storage.tables`.
What the steps make is compared with the statements' tables by tests, for both.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa

from pool.storage.model import FileDamaged, StateTooNew
from pool.storage.tables import METADATA

# In the language of SQLite. A step that was released is never changed; a change of the tables is a new step.
STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE prompts (
            message_id INTEGER PRIMARY KEY,
            thread_id INTEGER NOT NULL,
            channel_id INTEGER NOT NULL,
            author_id INTEGER NOT NULL,
            payload TEXT,
            started INTEGER NOT NULL,
            shown TEXT NOT NULL,
            outcome TEXT,
            reply TEXT,
            finished_at INTEGER
        )
        """,
        "CREATE INDEX prompts_unfinished ON prompts (message_id) WHERE finished_at IS NULL",
        "CREATE INDEX prompts_finished ON prompts (finished_at) WHERE finished_at IS NOT NULL",
        """
        CREATE TABLE threads (
            thread_id INTEGER PRIMARY KEY,
            agent TEXT,
            session_id TEXT,
            cwd TEXT,
            previous_session_id TEXT,
            title TEXT,
            mode TEXT,
            options TEXT
        )
        """,
        """
        CREATE TABLE places (
            place_id INTEGER PRIMARY KEY,
            guild_id INTEGER,
            parent_id INTEGER,
            owner_id INTEGER,
            seen INTEGER NOT NULL
        )
        """,
    ),
    (
        "ALTER TABLE prompts ADD COLUMN turn INTEGER",
        "CREATE INDEX prompts_turn ON prompts (turn) WHERE turn IS NOT NULL",
    ),
    (
        # What is there already counts as used now: how long ago it really was, nobody knows.
        "ALTER TABLE threads ADD COLUMN used_at INTEGER NOT NULL DEFAULT 0",
        "UPDATE threads SET used_at = CAST(strftime('%s', 'now') AS INTEGER)",
        "CREATE INDEX threads_used ON threads (used_at)",
        "CREATE INDEX places_seen ON places (seen)",
    ),
    (
        """
        CREATE TABLE notices (
            thread_id INTEGER PRIMARY KEY,
            message_id INTEGER NOT NULL,
            stopping INTEGER NOT NULL
        )
        """,
    ),
    (
        # Not the notice itself any more, which an older version would delete: it may be a message of somebody else.
        "ALTER TABLE notices RENAME COLUMN message_id TO since",
    ),
    (
        """
        CREATE TABLE decisions (
            decision_id INTEGER PRIMARY KEY,
            at REAL NOT NULL,
            guild_id INTEGER,
            thread_id INTEGER NOT NULL,
            prompt_id INTEGER NOT NULL,
            asker_id INTEGER NOT NULL,
            asker_name TEXT NOT NULL,
            what TEXT NOT NULL,
            kind TEXT NOT NULL,
            decided_by TEXT NOT NULL,
            person_id INTEGER,
            person_name TEXT,
            rule TEXT,
            option TEXT,
            outcome TEXT NOT NULL,
            reason TEXT
        )
        """,
        "CREATE INDEX decisions_at ON decisions (at)",
        "CREATE INDEX decisions_thread ON decisions (thread_id, decision_id)",
        """
        CREATE TABLE rules (
            rule_id INTEGER PRIMARY KEY,
            agent TEXT NOT NULL,
            workspace TEXT NOT NULL,
            allow INTEGER NOT NULL,
            kind TEXT,
            command TEXT,
            path TEXT,
            added_by_id INTEGER NOT NULL,
            added_by_name TEXT NOT NULL,
            added_at REAL NOT NULL,
            thread_id INTEGER NOT NULL,
            prompt_id INTEGER NOT NULL,
            request TEXT NOT NULL
        )
        """,
    ),
    (
        """
        CREATE TABLE cards (
            token TEXT PRIMARY KEY NOT NULL,
            thread_id INTEGER NOT NULL,
            prompt INTEGER NOT NULL,
            message_id INTEGER NOT NULL,
            archive INTEGER
        )
        """,
    ),
    ("ALTER TABLE threads ADD COLUMN base TEXT",),
    (
        """
        CREATE TABLE transcripts (
            turn_id INTEGER PRIMARY KEY,
            thread_id INTEGER NOT NULL,
            at INTEGER NOT NULL,
            size INTEGER NOT NULL,
            payload BLOB NOT NULL
        )
        """,
        "CREATE INDEX transcripts_thread ON transcripts (thread_id, turn_id)",
        "CREATE INDEX transcripts_at ON transcripts (at, turn_id, size)",
    ),
    (
        """
        CREATE TABLE spending (
            number INTEGER PRIMARY KEY,
            prompt_id INTEGER NOT NULL UNIQUE,
            at INTEGER NOT NULL,
            day TEXT NOT NULL,
            person_id INTEGER NOT NULL,
            thread_id INTEGER NOT NULL,
            agent TEXT NOT NULL,
            money INTEGER NOT NULL,
            currency TEXT,
            tokens INTEGER NOT NULL,
            session TEXT,
            total INTEGER,
            context INTEGER
        )
        """,
        "CREATE INDEX spending_at ON spending (at)",
        "CREATE INDEX spending_day ON spending (day)",
    ),
    (
        """
        CREATE TABLE sessions (
            entry INTEGER PRIMARY KEY,
            session_id TEXT NOT NULL,
            thread_id INTEGER NOT NULL,
            copy INTEGER NOT NULL,
            at INTEGER NOT NULL,
            UNIQUE (session_id, thread_id)
        )
        """,
        "CREATE INDEX sessions_at ON sessions (at)",
        # Of earlier sessions no more is known than the last one of each thread.
        """
        INSERT OR IGNORE INTO sessions (session_id, thread_id, copy, at)
            SELECT session_id, thread_id, 0, used_at FROM threads WHERE session_id IS NOT NULL
        """,
        """
        INSERT OR IGNORE INTO sessions (session_id, thread_id, copy, at)
            SELECT previous_session_id, thread_id, 0, used_at FROM threads WHERE previous_session_id IS NOT NULL
        """,
        """
        CREATE TABLE claims (
            claim_id INTEGER PRIMARY KEY,
            session_id TEXT NOT NULL UNIQUE,
            thread_id INTEGER NOT NULL,
            payload TEXT NOT NULL
        )
        """,
        "CREATE INDEX threads_session ON threads (session_id) WHERE session_id IS NOT NULL",
    ),
    (
        """
        CREATE TABLE work_trees (
            thread_id INTEGER PRIMARY KEY,
            project TEXT NOT NULL,
            repository TEXT NOT NULL,
            directory TEXT NOT NULL,
            branch TEXT NOT NULL,
            base TEXT NOT NULL,
            base_commit TEXT NOT NULL,
            state TEXT NOT NULL,
            setup TEXT NOT NULL,
            made_at INTEGER NOT NULL,
            used_at INTEGER NOT NULL,
            payload TEXT NOT NULL
        )
        """,
        """
        CREATE TABLE schedules (
            schedule_id INTEGER PRIMARY KEY,
            guild_id INTEGER,
            channel_id INTEGER NOT NULL,
            thread_id INTEGER NOT NULL,
            author_id INTEGER NOT NULL,
            author_name TEXT NOT NULL,
            cron TEXT NOT NULL,
            zone TEXT NOT NULL,
            prompt TEXT NOT NULL,
            paused TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            due_at INTEGER NOT NULL,
            fired_at INTEGER NOT NULL,
            payload TEXT NOT NULL
        )
        """,
    ),
)

DECISIONS_SINCE: Final = 6
"""The first format with decisions in it."""

OLDEST_TABLES: Final = frozenset({"prompts", "threads", "places"})
"""What every file has that took a step: the first one makes them."""


def refuse_newer(raw: sqlite3.Connection) -> None:
    """Leave a file alone that a newer version wrote.

    Raises:
        StateTooNew: it is one.
    """
    found = raw.execute("PRAGMA user_version").fetchone()[0]
    if found > len(STEPS):
        raise StateTooNew(f"the state file has format {found}, and this version knows formats up to {len(STEPS)}")


def migrate(connection: sa.Connection) -> None:
    """Take the steps that the file has not seen.

    Raises:
        FileDamaged: it says that it has tables, and has not.
    """
    with connection.begin():
        done = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    # Looked at before the first step, which would build on tables that are not there.
    if done:
        _expect(connection, OLDEST_TABLES)
    for number, step in enumerate(STEPS[done:], done + 1):
        with connection.begin():
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            for statement in step:
                connection.exec_driver_sql(statement)
            # In the same transaction: a step that is cut off half-way was not taken.
            connection.exec_driver_sql(f"PRAGMA user_version = {number}")
    _expect(connection, METADATA.tables.keys())


def _expect(connection: sa.Connection, tables: Iterable[str]) -> None:
    with connection.begin():
        found = sa.inspect(connection).get_table_names()
    if missing := set(tables).difference(found):
        raise FileDamaged(f"the state file lacks {', '.join(sorted(missing))}")
