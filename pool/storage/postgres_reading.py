"""Reading a state that is in a database, beside a bot that may work on it: nothing there is changed.

Of a file that says `pool.storage.reading`.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from pool.storage import postgres_server
from pool.storage.decisions import Decisions
from pool.storage.model import StorageLimits
from pool.storage.postgres import Postgres
from pool.storage.tables import METADATA, SHARED
from pool.store import Decision


@dataclass(frozen=True, slots=True)
class Examined:
    """What is found in a database.

    Attributes:
        where: ``host:port/database``.
        server: the version of the server.
        format: of the tables; 0: there are none.
        missing: rights that the user lacks, in a few words.
        leader: who works on it, if somebody does.
        identity: of the state, if there is one.
        durable: whether what is committed survives a crash of the server.
    """

    where: str
    server: str
    format: int
    missing: str
    leader: str
    identity: str | None
    durable: bool


def read_decisions_there(url: str, question: Decisions) -> list[Decision]:
    """Return the answer to the question.

    Raises:
        StateTooNew, StateTooOld: another version wrote it.
        StorageFault: it can't be read; the message says why.
    """
    database = Postgres(url, StorageLimits(), reading=True)
    try:
        return list(database.apply([question], 0)[0].value)
    finally:
        database.close()


def examine(url: str, limits: StorageLimits | None = None) -> Examined:
    """Look at a database, whatever is in it.

    Raises:
        StorageFault: it can't be reached, or can't be used whatever is in it.
    """
    limits = limits or StorageLimits()
    arguments = postgres_server.connection_arguments(url, limits)
    with postgres_server.faults(url), psycopg.connect(**arguments, autocommit=True) as raw:
        postgres_server.refuse_pooler(raw, arguments)
        raw.autocommit = False  # what follows is seen at one moment
        postgres_server.refuse_unfit(raw)
        raw.execute(f"SET LOCAL statement_timeout = {int(limits.statement * 1000)}".encode())
        found = raw.execute("SELECT to_regclass(format('%I.state', current_schema())) IS NOT NULL").fetchone()
        form = raw.execute("SELECT format, identity FROM state").fetchone() if found and found[0] else None
        fsync = raw.execute("SELECT current_setting('fsync')").fetchone()
        return Examined(
            where=postgres_server.where(url),
            server=str(raw.info.parameter_status("server_version")).partition(" ")[0],
            format=form[0] if form else 0,
            missing=_missing(raw),
            leader=_leader(raw),
            identity=form[1] if form else None,
            durable=fsync == ("on",),
        )


_RIGHTS = """
    SELECT coalesce(bool_and(has_table_privilege(name, needed)), true)
    FROM unnest(%s::text[]) name CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) needed
    WHERE to_regclass(name) IS NOT NULL
"""


# No lease is as long as a minute: after that the server's clock was set back, perhaps by hours.
_LEADS = """
    SELECT holder FROM leadership
    WHERE NOT released AND until BETWEEN clock_timestamp() AND clock_timestamp() + interval '1 min'
"""


def _missing(raw: psycopg.Connection[tuple[object, ...]]) -> str:
    if raw.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
        return "the server is a replica, which takes no changes"
    # Asked of one that has all tables, too: a later version makes more.
    if raw.execute("SELECT has_schema_privilege(current_schema(), 'CREATE')").fetchone() != (True,):
        return "the user may make no tables there"
    names = [*METADATA.tables, *SHARED.tables]
    return "" if raw.execute(_RIGHTS, [names]).fetchone() == (True,) else "the user may not change the tables"


def _leader(raw: psycopg.Connection[tuple[object, ...]]) -> str:
    made = raw.execute("SELECT to_regclass(format('%I.leadership', current_schema())) IS NOT NULL").fetchone()
    if made != (True,):
        return ""
    # For people: who really leads can't be told by a time of day, and nothing is decided by this.
    row = raw.execute(_LEADS).fetchone()
    return str(row[0]) if row else ""
