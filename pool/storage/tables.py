"""The tables as the statements see them; how a file gets them stands in `migrations`.

A prompt is open while it has no outcome, owed while it has one and no ``finished_at``, and finished after that. A
finished prompt has a payload only if it was to be kept. ``turn`` is the first message of the turn that a prompt is part
of, and null for that one itself. ``threads`` holds what was chosen for servers, too; ``used_at`` (seconds since the
epoch) is when something was last written there.
"""

from __future__ import annotations

import sqlalchemy as sa

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
    sa.Column("message_id", SNOWFLAKE, nullable=False),
    sa.Column("stopping", sa.Boolean, nullable=False),
)
