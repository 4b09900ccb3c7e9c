"""How a file gets its tables: an ordered row of steps, each in one transaction with the version it leads to.

The steps are SQLite's own language. A step that was released is never changed; a change of the tables is a new step.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import sqlalchemy as sa

from pool.storage import sqlite
from pool.storage.model import FileTooNew

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
)

OLDEST_TABLES: Final = frozenset({"prompts", "threads", "places"})
"""What every file has that took a step: the first one makes them."""


def refuse_newer(raw: sqlite3.Connection) -> None:
    """Leave a file alone that a newer version wrote; this comes before anything that changes the file.

    Raises:
        FileTooNew: it is one.
    """
    found = raw.execute("PRAGMA user_version").fetchone()[0]
    if found > len(STEPS):
        raise FileTooNew(f"the state file has format {found}, and this version knows formats up to {len(STEPS)}")


def version(connection: sa.Connection) -> int:
    """Return how many steps the file has seen."""
    with connection.begin():
        return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def migrate(connection: sa.Connection) -> None:
    """Take the steps that the file has not seen."""
    done = version(connection)
    for number, step in enumerate(STEPS[done:], done + 1):
        with connection.begin():
            sqlite.begin(connection, writes=True)
            for statement in step:
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"PRAGMA user_version = {number}")
