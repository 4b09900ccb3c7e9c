"""A PostgreSQL server as everybody sees it who connects to it: its address, what fits, its locks, and its errors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from psycopg import conninfo

from pool.storage.model import StateRefused, StorageFault, StorageLimits

OLDEST_SERVER: Final = 14

# Of a schema, not of a database: several bots can have their state in one.
LEASE_LOCK: Final = "hashtextextended('weft lease in ' || current_schema(), 0)"
MIGRATION_LOCK: Final = "hashtextextended('weft migration in ' || current_schema(), 0)"
"""Expressions for the key of an advisory lock."""

_PROCESS: Final = "SELECT pg_backend_pid()"

# What was acknowledged survives the server's crash; who has chosen more than that keeps it.
_COMMITS: Final = "current_setting('synchronous_commit')"
DURABLE_COMMITS: Final = (
    f"set_config('synchronous_commit', CASE {_COMMITS} WHEN 'off' THEN 'on' ELSE {_COMMITS} END, false)"
)
"""An expression that has the session's commits wait for the disk."""


def refuse_unfit(raw: psycopg.Connection[Any]) -> None:
    """Refuse a server that is too old, and a database that can't hold every text, or has no place for tables.

    Raises:
        StateRefused: it is one.
    """
    version, encoding = raw.info.server_version // 10_000, raw.info.parameter_status("server_encoding")
    if version < OLDEST_SERVER:
        raise StateRefused(f"the server is PostgreSQL {version}: Weft needs {OLDEST_SERVER} or newer")
    if encoding != "UTF8":
        raise StateRefused(f"the database's encoding is {encoding}: make one with ENCODING 'UTF8' TEMPLATE template0")
    # Where there is none, the names of locks and tables are null, and nobody would ever get a lock.
    if raw.execute("SELECT current_schema()").fetchone() == (None,):
        raise StateRefused(f"{_WORDS['3F000']}: CREATE SCHEMA, or correct search_path")


def refuse_pooler(raw: psycopg.Connection[Any], arguments: Mapping[str, Any]) -> None:
    """Refuse a pooler that gives each transaction another session of the server's.

    Locks and time limits would be set in sessions of somebody else's, and stay there.

    Args:
        raw: a connection on which each statement is a transaction.
        arguments: how it was made.

    Raises:
        StateRefused: there is one.
    """
    ours = raw.execute(_PROCESS).fetchone()
    # Who is connected directly was told the number of the same process at the start.
    if ours == (raw.info.backend_pid,):
        return
    with psycopg.connect(**{**arguments, "autocommit": False}) as other:
        other.execute(_PROCESS)  # as long as its transaction lasts, this has the session that was ours, if any may
        if raw.execute(_PROCESS).fetchone() != ours:
            what = "hands out connections by transaction: reach the server directly, or have it pool by session"
            raise StateRefused(f"a pooler before the database {what}")


# --- where it is -----------------------------------------------------------------------------------------------------

_KEEPALIVES: Final = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
KEEPALIVES_THERE: Final = {f"tcp_{name}": value for name, value in _KEEPALIVES.items()}


def connection_arguments(url: str, limits: StorageLimits) -> dict[str, Any]:
    """Return the arguments for ``psycopg.connect``; what the URL says itself counts.

    Raises:
        StateRefused: the URL is none.
    """
    given = _understood(url)
    ours: dict[str, Any] = {
        # libpq takes no less.
        "connect_timeout": max(2, int(limits.connect)),
        "keepalives": 1,
        **_KEEPALIVES,
        "tcp_user_timeout": int(limits.statement * 1000),
        "application_name": "weft",
    }
    if "," in str(given.get("host", "")):
        ours["target_session_attrs"] = "read-write"  # of several servers, the one that takes writes
    return {**ours, **given, "client_encoding": "UTF8"}


def where(url: str) -> str:
    """Return where the database is, without who uses it: ``host:port/database``.

    Raises:
        StateRefused: the URL is none.
    """
    given = _understood(url)
    host, name = given.get("host") or given.get("hostaddr") or "localhost", given.get("dbname") or ""
    return f"{host}:{given.get('port') or 5432}" + (f"/{name}" if name else "")


def _understood(url: str) -> dict[str, Any]:
    try:
        return dict(conninfo.conninfo_to_dict(url))
    except psycopg.ProgrammingError:
        # Not from it: the driver's own words may have the whole URL in them.
        raise StateRefused("the address of the database is not understood") from None


# --- what errors mean ------------------------------------------------------------------------------------------------

_WORDS: Final = {
    "53100": "the database server's disk is full",
    "53200": "the database server is out of memory",
    "53300": "the database server takes no more connections",
    "57014": "the database server takes too long",
    "55P03": "something else locks the tables of the database",
    "25006": "the database server takes no changes, perhaps as it is a replica",
    "25P03": "the connection to the database server was cut off",
    "42501": "the database's user lacks rights: make it the owner of the database and of its tables",
    "42P01": "the database lacks tables that it had",
    "42703": "the tables of the database are not Weft's",
    "42P07": "the database has tables that are not Weft's: give it a database, or a schema, of its own",
    "3D000": "there is no such database",
    "3F000": "the database's user has no schema for its tables",
}
_WORDS_OF_CLASS: Final = {
    "28": "the database server refuses the user or the password",
    "53": "the database server lacks resources",
    "57": "the database server is stopping or starting",
    "58": "the database server's disk reports errors",
    "XX": "the database server reports damage",
}
_LASTING: Final = frozenset({"28", "3D", "3F"})
_LASTING_CODES: Final = frozenset({"42501", "42P07", "42703"})
"""What a person has to mend, where it is found at the start."""

_OF_A_STATEMENT: Final = frozenset({"0A", "21", "22", "23", "42", "54"})
# Of the same class, but about rights and tables, which keep every other statement from working, too.
_NOT_OF_A_STATEMENT: Final = frozenset({"42501", "42P01", "42703", "42P07"})

OWN_FAULTS = (sa.exc.SQLAlchemyError, psycopg.Error, ValueError, TypeError, OverflowError)
"""What a single operation fails with when a value of it can't be stored: text that is no text, an id too large."""


@contextmanager
def faults(url: str) -> Iterator[None]:
    """Turn the errors that are the storage's own into `StorageFault`; those of a statement or a value pass."""
    try:
        yield
    except (sa.exc.DBAPIError, psycopg.Error) as exc:
        if not is_fault(exc):
            raise
        code = _code(exc)
        kind = StateRefused if code[:2] in _LASTING or code in _LASTING_CODES else StorageFault
        raise kind(words_for(exc, url)) from exc
    except OSError as exc:
        raise StorageFault(f"the database at {where(url)} can't be reached ({exc.strerror})") from exc


def words_for(error: Exception, url: str) -> str:
    """Return what an error of the driver means, in a few words for people, without any secret."""
    code = _code(error)
    known = _WORDS.get(code) or _WORDS_OF_CLASS.get(code[:2])
    if known:
        return f"{known} ({where(url)})"
    if code and code[:2] != "08":
        return f"the database at {where(url)} can't be used (error {code})"
    return f"the database at {where(url)} can't be reached"


def is_fault(error: Exception) -> bool:
    """Whether an error of a statement is the storage's own."""
    cause = _cause(error)
    if not isinstance(cause, psycopg.Error):
        return False
    code = cause.sqlstate or ""
    if not code:  # the driver's: about the connection, or about a value
        return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError | psycopg.InternalError)
    return code[:2] not in _OF_A_STATEMENT or code in _NOT_OF_A_STATEMENT


def _cause(error: Exception) -> BaseException | None:
    return error.orig if isinstance(error, sa.exc.DBAPIError) else error


# What keeps a connection from being made has no code in the driver, but words: the server's, so in English as a rule.
_SPOKEN: Final = (
    (re.compile(r"database .* does not exist"), "3D000"),
    (re.compile(r"authentication failed|role .* does not exist|no password supplied|pg_hba\.conf"), "28000"),
    (re.compile(r"too many (clients|connections)|connection slots"), "53300"),
    (re.compile(r"is (starting up|shutting down)|recovery"), "57P03"),
    (re.compile(r"session is read-only|in hot standby"), "25006"),
)


def _code(error: Exception) -> str:
    cause = _cause(error)
    if not isinstance(cause, psycopg.OperationalError) or cause.sqlstate:
        return getattr(cause, "sqlstate", None) or ""
    return next((code for words, code in _SPOKEN if words.search(str(cause))), "")
