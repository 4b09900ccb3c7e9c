"""The tables, as the statements see them and as a file gets them: in steps, each with the version it leads to.

A prompt is open while it has no outcome; while it has one and no ``finished_at``, its reply is pending; then it is
finished. A finished prompt has a payload only if it was to be kept. ``turn`` is the first message of the turn that a
prompt is part of, and null for that one itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa

from pool.storage.model import FileDamaged, FileTooNew

METADATA = sa.MetaData()

SNOWFLAKE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""SQLite makes only an INTEGER key the row's own address."""


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, SNOWFLAKE, primary_key=True, autoincrement=False)


PROMPTS = sa.Table(
    "prompts",
    METADATA,
    _key("message_id"),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("channel_id", SNOWFLAKE, nullable=False),
    sa.Column("author_id", SNOWFLAKE, nullable=False),
    sa.Column("payload", sa.Text),
    sa.Column("started", sa.Boolean, nullable=False),
    sa.Column("shown", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Column("reply", sa.Text),
    sa.Column("finished_at", sa.BigInteger),
    sa.Column("turn", SNOWFLAKE),
)

THREADS = sa.Table(
    "threads",
    METADATA,
    _key("thread_id"),
    sa.Column("agent", sa.Text),
    sa.Column("session_id", sa.Text),
    sa.Column("cwd", sa.Text),
    sa.Column("previous_session_id", sa.Text),
    sa.Column("title", sa.Text),
    sa.Column("mode", sa.Text),
    sa.Column("options", sa.Text),
    sa.Column("used_at", sa.BigInteger, nullable=False),
    sa.Column("base", sa.Text),
)

PLACES = sa.Table(
    "places",
    METADATA,
    _key("place_id"),
    sa.Column("guild_id", SNOWFLAKE),
    sa.Column("parent_id", SNOWFLAKE),
    sa.Column("owner_id", SNOWFLAKE),
    sa.Column("seen", SNOWFLAKE, nullable=False),
)

NOTICES = sa.Table(
    "notices",
    METADATA,
    _key("thread_id"),
    sa.Column("since", SNOWFLAKE, nullable=False),
    sa.Column("stopping", sa.Boolean, nullable=False),
)

DECISIONS = sa.Table(
    "decisions",
    METADATA,
    _key("decision_id"),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("guild_id", SNOWFLAKE),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("prompt_id", SNOWFLAKE, nullable=False),
    sa.Column("asker_id", SNOWFLAKE, nullable=False),
    sa.Column("asker_name", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("decided_by", sa.Text, nullable=False),
    sa.Column("person_id", SNOWFLAKE),
    sa.Column("person_name", sa.Text),
    sa.Column("rule", sa.Text),
    sa.Column("option", sa.Text),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
)

RULES = sa.Table(
    "rules",
    METADATA,
    _key("rule_id"),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("workspace", sa.Text, nullable=False),
    sa.Column("allow", sa.Boolean, nullable=False),
    sa.Column("kind", sa.Text),
    sa.Column("command", sa.Text),
    sa.Column("path", sa.Text),
    sa.Column("added_by_id", SNOWFLAKE, nullable=False),
    sa.Column("added_by_name", sa.Text, nullable=False),
    sa.Column("added_at", sa.Float, nullable=False),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("prompt_id", SNOWFLAKE, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
)

CARDS = sa.Table(
    "cards",
    METADATA,
    sa.Column("token", sa.Text, primary_key=True),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("prompt", SNOWFLAKE, nullable=False),
    sa.Column("message_id", SNOWFLAKE, nullable=False),
    sa.Column("archive", sa.Integer),
)

TRANSCRIPTS = sa.Table(
    "transcripts",
    METADATA,
    _key("turn_id"),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
)

SPENDING = sa.Table(
    "spending",
    METADATA,
    # Its number says what came later: people move prompts, and clocks are set back.
    sa.Column("number", SNOWFLAKE, primary_key=True),
    sa.Column("prompt_id", SNOWFLAKE, nullable=False, unique=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("day", sa.Text, nullable=False),
    sa.Column("person_id", SNOWFLAKE, nullable=False),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("money", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("session", sa.Text),
    sa.Column("total", sa.BigInteger),
    sa.Column("context", sa.BigInteger),
)

SESSIONS = sa.Table(
    "sessions",
    METADATA,
    sa.Column("entry", sa.Integer, primary_key=True),
    sa.Column("session_id", sa.Text, nullable=False),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("copy", sa.Boolean, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

CLAIMS = sa.Table(
    "claims",
    METADATA,
    _key("claim_id"),
    sa.Column("session_id", sa.Text, nullable=False),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
)

WORK_TREES = sa.Table(
    "work_trees",
    METADATA,
    _key("thread_id"),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("repository", sa.Text, nullable=False),
    sa.Column("directory", sa.Text, nullable=False),
    sa.Column("branch", sa.Text, nullable=False),
    sa.Column("base", sa.Text, nullable=False),
    sa.Column("base_commit", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("setup", sa.Text, nullable=False),
    sa.Column("made_at", sa.BigInteger, nullable=False),
    sa.Column("used_at", sa.BigInteger, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
)

SCHEDULES = sa.Table(
    "schedules",
    METADATA,
    _key("schedule_id"),
    sa.Column("guild_id", SNOWFLAKE),
    sa.Column("channel_id", SNOWFLAKE, nullable=False),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("author_id", SNOWFLAKE, nullable=False),
    sa.Column("author_name", sa.Text, nullable=False),
    sa.Column("cron", sa.Text, nullable=False),
    sa.Column("zone", sa.Text, nullable=False),
    sa.Column("prompt", sa.Text, nullable=False),
    sa.Column("paused", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("due_at", sa.BigInteger, nullable=False),
    sa.Column("fired_at", sa.BigInteger, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
)

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
        FileTooNew: it is one.
    """
    found = raw.execute("PRAGMA user_version").fetchone()[0]
    if found > len(STEPS):
        raise FileTooNew(f"the state file has format {found}, and this version knows formats up to {len(STEPS)}")


def migrate(connection: sa.Connection) -> None:
    """Take the steps that the file has not seen.

    Raises:
        FileDamaged: it says that it has tables, and has not.
    """
    with connection.begin():
        done = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
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
