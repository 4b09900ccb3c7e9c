"""The tables, as the statements see them, and inserts that fit both kinds of database.

How a file gets the tables stands in `pool.storage.steps`, how a server does in `postgres_steps`.

A prompt is open while it has no outcome; while it has one and no ``finished_at``, its reply is pending; then it is
finished. A finished prompt has a payload only if it was to be kept. ``turn`` is the first message of the turn that a
prompt is part of, and null for that one itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

METADATA = sa.MetaData()

SNOWFLAKE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""SQLite makes only an INTEGER key the row's own address."""


# A PostgreSQL text takes every character but one, which agents can well put into a title: escaped, nothing is lost.
_ZERO, _ESCAPE = "\0", "\x1a"


class _EscapedText(sa.types.TypeDecorator[str]):
    """A text in which U+0000 is written with another character before it, and that character, too."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        if value is None or (_ZERO not in value and _ESCAPE not in value):
            return value
        # The escape first, or those that stand for U+0000 would be escaped again.
        return value.replace(_ESCAPE, f"{_ESCAPE}1").replace(_ZERO, f"{_ESCAPE}0")

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        if value is None or _ESCAPE not in value:
            return value
        # The escape last: put back earlier, it could become a U+0000 together with a "0" behind it.
        return value.replace(f"{_ESCAPE}0", _ZERO).replace(f"{_ESCAPE}1", _ESCAPE)


TEXT: sa.types.TypeEngine[str] = sa.Text().with_variant(_EscapedText(), "postgresql")


def _key(name: str) -> sa.Column[int]:
    # The ids come from outside: a row without one is a fault, and no reason to count one up.
    return sa.Column(name, SNOWFLAKE, primary_key=True, autoincrement=False)


PROMPTS = sa.Table(
    "prompts",
    METADATA,
    _key("message_id"),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("channel_id", SNOWFLAKE, nullable=False),
    sa.Column("author_id", SNOWFLAKE, nullable=False),
    sa.Column("payload", TEXT),
    sa.Column("started", sa.Boolean, nullable=False),
    sa.Column("shown", TEXT, nullable=False),
    sa.Column("outcome", TEXT),
    sa.Column("reply", TEXT),
    sa.Column("finished_at", sa.BigInteger),
    sa.Column("turn", SNOWFLAKE),
)

THREADS = sa.Table(
    "threads",
    METADATA,
    _key("thread_id"),
    sa.Column("agent", TEXT),
    sa.Column("session_id", TEXT),
    sa.Column("cwd", TEXT),
    sa.Column("previous_session_id", TEXT),
    sa.Column("title", TEXT),
    sa.Column("mode", TEXT),
    sa.Column("options", TEXT),
    sa.Column("used_at", sa.BigInteger, nullable=False),
    sa.Column("base", TEXT),
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
    sa.Column("asker_name", TEXT, nullable=False),
    sa.Column("what", TEXT, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("decided_by", TEXT, nullable=False),
    sa.Column("person_id", SNOWFLAKE),
    sa.Column("person_name", TEXT),
    sa.Column("rule", TEXT),
    sa.Column("option", TEXT),
    sa.Column("outcome", TEXT, nullable=False),
    sa.Column("reason", TEXT),
)

RULES = sa.Table(
    "rules",
    METADATA,
    _key("rule_id"),
    sa.Column("agent", TEXT, nullable=False),
    sa.Column("workspace", TEXT, nullable=False),
    sa.Column("allow", sa.Boolean, nullable=False),
    sa.Column("kind", TEXT),
    sa.Column("command", TEXT),
    sa.Column("path", TEXT),
    sa.Column("added_by_id", SNOWFLAKE, nullable=False),
    sa.Column("added_by_name", TEXT, nullable=False),
    sa.Column("added_at", sa.Float, nullable=False),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("prompt_id", SNOWFLAKE, nullable=False),
    sa.Column("request", TEXT, nullable=False),
)

CARDS = sa.Table(
    "cards",
    METADATA,
    sa.Column("token", TEXT, primary_key=True),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("prompt", SNOWFLAKE, nullable=False),
    sa.Column("message_id", SNOWFLAKE, nullable=False),
    sa.Column("archive", SNOWFLAKE),
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
    sa.Column("day", TEXT, nullable=False),
    sa.Column("person_id", SNOWFLAKE, nullable=False),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("agent", TEXT, nullable=False),
    sa.Column("money", sa.BigInteger, nullable=False),
    sa.Column("currency", TEXT),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("session", TEXT),
    sa.Column("total", sa.BigInteger),
    sa.Column("context", sa.BigInteger),
)

SESSIONS = sa.Table(
    "sessions",
    METADATA,
    sa.Column("entry", SNOWFLAKE, primary_key=True),
    sa.Column("session_id", TEXT, nullable=False),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("copy", sa.Boolean, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

CLAIMS = sa.Table(
    "claims",
    METADATA,
    _key("claim_id"),
    sa.Column("session_id", TEXT, nullable=False),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("payload", TEXT, nullable=False),
)

WORK_TREES = sa.Table(
    "work_trees",
    METADATA,
    _key("thread_id"),
    sa.Column("project", TEXT, nullable=False),
    sa.Column("repository", TEXT, nullable=False),
    sa.Column("directory", TEXT, nullable=False),
    sa.Column("branch", TEXT, nullable=False),
    sa.Column("base", TEXT, nullable=False),
    sa.Column("base_commit", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("setup", TEXT, nullable=False),
    sa.Column("made_at", sa.BigInteger, nullable=False),
    sa.Column("used_at", sa.BigInteger, nullable=False),
    sa.Column("payload", TEXT, nullable=False),
)

SCHEDULES = sa.Table(
    "schedules",
    METADATA,
    _key("schedule_id"),
    sa.Column("guild_id", SNOWFLAKE),
    sa.Column("channel_id", SNOWFLAKE, nullable=False),
    sa.Column("thread_id", SNOWFLAKE, nullable=False),
    sa.Column("author_id", SNOWFLAKE, nullable=False),
    sa.Column("author_name", TEXT, nullable=False),
    sa.Column("cron", TEXT, nullable=False),
    sa.Column("zone", TEXT, nullable=False),
    sa.Column("prompt", TEXT, nullable=False),
    sa.Column("paused", TEXT, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("due_at", sa.BigInteger, nullable=False),
    sa.Column("fired_at", sa.BigInteger, nullable=False),
    sa.Column("payload", TEXT, nullable=False),
)


# --- PostgreSQL alone has these ---------------------------------------------------------------------------------------

SHARED = sa.MetaData()

STATE = sa.Table(
    "state",
    SHARED,
    # One row.
    sa.Column("single", sa.Boolean, primary_key=True),
    sa.Column("format", sa.BigInteger, nullable=False),
    sa.Column("identity", sa.Text, nullable=False),
)

WRITERS = sa.Table(
    "writers",
    SHARED,
    # What each store has committed last, by the number of the batch: see `pool.storage.postgres`.
    sa.Column("writer", sa.Text, primary_key=True),
    sa.Column("batch", sa.BigInteger, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)


# --- inserts --------------------------------------------------------------------------------------------------------

# SQLite and PostgreSQL write an insert that minds an existing row alike, but SQLAlchemy has a construct for each.

New: TypeAlias = Any
"""The columns of the row that was not inserted, as an update of the one that is there may take them."""


class Upsert:
    """An insert into a table, built once for both; without ``update`` a row that is there stays as it is."""

    def __init__(
        self, table: sa.Table, key: tuple[str, ...] = (), update: Callable[[New], Mapping[str, Any]] | None = None
    ) -> None:
        self._statements: dict[str, sa.Insert] = {}
        for dialect in (sqlite, postgresql):
            insert = dialect.insert(table)
            self._statements[dialect.dialect.name] = (
                insert.on_conflict_do_nothing()
                if update is None
                else insert.on_conflict_do_update(index_elements=list(key), set_=update(insert.excluded))
            )

    def on(self, connection: sa.Connection) -> sa.Insert:
        """Return the statement in the connection's language; the row is its parameters."""
        return self._statements[connection.dialect.name]


def replaced(*names: str) -> Callable[[New], Mapping[str, Any]]:
    """Return an update that takes these columns from the new row."""
    return lambda new: {name: new[name] for name in names}
