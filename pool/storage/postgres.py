"""A database on a PostgreSQL server: its connection, its transactions, and what its errors mean. For a worker thread.

No wait for the server is without an end: it has limits for connecting, for a lock, for a statement and for a network
that swallows everything, and where the server itself hangs, the connection gives up. Nothing is repeated in here.

A COMMIT whose answer is lost may have happened. So each transaction that writes has a number, which is written in it:
if the same operations come again, under the same number, it is seen there whether they were committed (see `_mark`).
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from psycopg import conninfo
from psycopg.abc import PQGen
from sqlalchemy.pool import NullPool

from pool.storage import steps
from pool.storage.model import (
    DAY,
    Answer,
    LeaseLost,
    Operation,
    StateRefused,
    StateTooNew,
    StateTooOld,
    StorageFault,
    StorageLimits,
    T,
)
from pool.storage.operations import perform
from pool.storage.tables import STATE

Fence = Callable[[], int]
"""Gives the epoch in which this process may write; see `pool.storage.lease`."""

OLDEST_SERVER: Final = 14

# Of a schema, not of a database: several bots can have their state in one.
LEASE_LOCK: Final = "hashtextextended('weft lease in ' || current_schema(), 0)"
MIGRATION_LOCK: Final = "hashtextextended('weft migration in ' || current_schema(), 0)"
"""Expressions for the key of an advisory lock."""

_GRACE = 1.2  # how much longer than a statement may take its answer is waited for: the server is to say so itself
_OLD_WRITERS = f"DELETE FROM writers WHERE at < extract(epoch FROM now()) - {30 * DAY}"  # noqa: S608  our own number

# The lock on the row keeps a successor, who changes the key, until this transaction is over; and not a renewal, which
# changes something else.
_FENCE = "SELECT 1 FROM leadership WHERE epoch = :epoch FOR KEY SHARE"
_NUMBER = """
    INSERT INTO writers (writer, batch, at) {source}
    ON CONFLICT (writer) DO UPDATE SET batch = excluded.batch, at = excluded.at WHERE writers.batch < excluded.batch
    RETURNING 1
"""
_VALUES = "CAST(:writer AS text), CAST(:batch AS bigint), CAST(extract(epoch FROM now()) AS bigint)"
_MARK = sa.text(_NUMBER.format(source=f"VALUES ({_VALUES})"))
# Together, as each question to the server takes the time of a trip there.
_FROM_FENCE = _NUMBER.format(source=f"SELECT {_VALUES} FROM fence")  # noqa: S608  no word of it comes from outside
_FENCED_MARK = sa.text(
    f"WITH fence AS ({_FENCE}), mark AS ({_FROM_FENCE})"  # noqa: S608
    " SELECT (SELECT count(*) FROM fence), (SELECT count(*) FROM mark)"
)


class _Connection(psycopg.Connection[Any]):
    """A connection that waits for no answer longer than ``patience`` seconds."""

    patience = 60.0

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        began = time.monotonic()
        try:
            return super().wait(gen, interval, timeout or self.patience)
        except psycopg.OperationalError:
            # The server hangs, and its kernel keeps the connection. What it may still say belongs to no question.
            if time.monotonic() - began >= (timeout or self.patience):
                self.pgconn.finish()
            raise


class Postgres:
    """One connection to a server, made when it is needed; for one thread at a time.

    The mutable state is the connection, and the answers of the last transaction that was to be committed.

    Args:
        fence: gives the epoch in which this process may write; None: nobody else could.
        reading: nothing is changed, not even to make tables.
    """

    def __init__(self, url: str, limits: StorageLimits, fence: Fence | None = None, *, reading: bool = False) -> None:
        self._url, self._limits, self._fence, self._reading = url, limits, fence, reading
        self._writer = uuid.uuid4().hex
        self._core: sa.Connection | None = None
        self._committing: tuple[int, list[Answer]] = (0, [])
        # Errors go into the log, and what people wrote does not: no parameters in their texts.
        self._engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=self._connect,
            poolclass=NullPool,
            hide_parameters=True,
            use_native_hstore=False,
            isolation_level="READ COMMITTED",
        )

    def open(self) -> None:
        """Connect, if that is not done, and give the database the tables of this version.

        Raises:
            StateRefused: it can't be used, and trying again can't help.
            StorageFault: it can't be used now.
            LeaseLost: somebody else works on it.
        """
        with self._faults():
            self._ready()

    def ping(self) -> None:
        """Look whether the server is there.

        Raises:
            StorageFault: it is not.
        """
        with self._faults():
            core = self._ready()
            with core.begin():
                core.exec_driver_sql("SELECT 1")

    def apply(self, operations: Sequence[Operation[Any]], number: int) -> list[Answer]:
        """Carry out the operations in one transaction, in order; one that fails by itself leaves the others alone.

        Args:
            number: of these operations, greater than that of all others before. Called again with the same, it does
                nothing if they were committed, and returns the answers of that time.

        Raises:
            StorageFault: it is not known that any of them was written.
            LeaseLost: somebody else works on it; none of them was written.
        """
        if not operations:
            return []
        with self._faults():
            core = self._ready()
            writes = any(operation.writes for operation in operations)
            # 1. All of them together.
            try:
                return self._transact(core, number if writes else None, lambda: _together(core, operations))
            except _OWN_FAULTS as exc:
                if is_fault(exc):
                    raise
            # 2. Each behind its own savepoint: slower, and only when one of them is known to fail.
            return self._transact(core, number, lambda: _one_by_one(core, operations))

    def _transact(self, core: sa.Connection, number: int | None, carry_out: Callable[[], list[Answer]]) -> list[Answer]:
        with core.begin():
            if number is not None and not self._mark(core, number):
                # Committed at an earlier try, of which the answer did not arrive.
                known, answers = self._committing
                assert known == number
                return answers
            answers = carry_out()
            if number is not None:
                self._committing = number, answers
        return answers

    def _mark(self, core: sa.Connection, number: int) -> bool:
        """Write the number down; False: it stands there already.

        A transaction of an earlier try may still be at it, cut off from us. This waits for its end, since both write
        the same row: there is no moment in which it could be committed after we have looked.
        """
        values = {"writer": self._writer, "batch": number}
        if self._fence is None:
            return core.execute(_MARK, values).scalar() is not None
        epoch = self._fence()
        fenced, marked = core.execute(_FENCED_MARK, {**values, "epoch": epoch}).one()
        if not fenced:
            raise LeaseLost(f"epoch {epoch} is over")
        return bool(marked)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Give the connection, in one transaction, to who copies whole tables.

        Raises:
            StorageFault: it is not known to be committed.
            LeaseLost: somebody else works on it.
        """
        with self._faults():
            core = self._ready()
            with core.begin():
                if self._reading:
                    core.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                else:
                    self._check_fence(core)
                yield core

    def close(self) -> None:
        """Close the connection; what is committed stays, whatever fails here."""
        core, self._core = self._core, None
        if core is None:
            return
        with suppress(sa.exc.SQLAlchemyError, psycopg.Error):  # it is left anyway
            # Not given back, with a last question to a server that may not answer: closed.
            core.invalidate()
            core.close()

    # --- the connection ----------------------------------------------------------------------------------------------

    def _ready(self) -> sa.Connection:
        if self._core is None:
            self._core = self._engine.connect()
            self._check_format(self._core)
        return self._core

    def _connect(self) -> psycopg.Connection[Any]:
        raw = _Connection.connect(**connection_arguments(self._url, self._limits), autocommit=True)
        try:
            raw.patience = self._limits.statement * _GRACE
            refuse_unfit(raw)
            _limit(raw, self._limits)
            raw.autocommit = False
        except BaseException:
            raw.close()
            raise
        return raw

    def _check_format(self, core: sa.Connection) -> None:
        with core.begin():
            found = format_of(core)
        if self._reading and found < newest():
            made = f"has format {found}" if found else "has no tables of Weft's yet"
            raise StateTooOld(f"the database {made}")
        if self._reading and found > newest():
            raise _too_new(found)
        if found != newest():
            self._migrate(core)

    def _migrate(self, core: sa.Connection) -> None:
        """Take the steps that the database has not seen: all of them, or none."""
        raw = _raw(core)
        raw.patience = self._limits.migration * _GRACE
        try:
            with core.begin():
                core.exec_driver_sql(f"SET LOCAL statement_timeout = {int(self._limits.migration * 1000)}")
                # Of two bots that start at once one does it, and the other one then finds it done.
                core.exec_driver_sql(f"SET LOCAL lock_timeout = {int(self._limits.migration * 1000)}")
                core.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
                self._check_fence(core)
                found = format_of(core)
                if found > newest():
                    raise _too_new(found)
                for number, step in enumerate(steps.POSTGRES_STEPS, steps.POSTGRES_BEGAN):
                    for statement in step if number > found else ():
                        core.exec_driver_sql(statement)
                values = {"format": newest()}
                if found:
                    core.execute(sa.update(STATE).values(values))
                else:
                    core.execute(sa.insert(STATE), {**values, "single": True, "identity": uuid.uuid4().hex})
                core.exec_driver_sql(_OLD_WRITERS)
        finally:
            raw.patience = self._limits.statement * _GRACE

    def _check_fence(self, core: sa.Connection) -> None:
        if self._fence is not None:
            epoch = self._fence()
            if core.execute(sa.text(_FENCE), {"epoch": epoch}).first() is None:
                raise LeaseLost(f"epoch {epoch} is over")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            with faults(self._url):
                yield
        except (StorageFault, LeaseLost):
            # Whatever state it is in: the next try begins with a new one, perhaps on another server.
            self.close()
            raise


def _together(core: sa.Connection, operations: Sequence[Operation[Any]]) -> list[Answer]:
    return [Answer(perform(core, operation)) for operation in operations]


def _one_by_one(core: sa.Connection, operations: Sequence[Operation[Any]]) -> list[Answer]:
    answers = []
    for operation in operations:
        try:
            with core.begin_nested():
                answers.append(Answer(perform(core, operation)))
        except _OWN_FAULTS as exc:
            if is_fault(exc):
                raise
            answers.append(Answer(error=exc))
    return answers


def _too_new(found: int) -> StateTooNew:
    return StateTooNew(f"the database has format {found}, and this version knows formats up to {newest()}")


def newest() -> int:
    """Return the format that this version makes."""
    return steps.POSTGRES_BEGAN + len(steps.POSTGRES_STEPS) - 1


def format_of(core: sa.Connection) -> int:
    """Return the format of the database's tables; 0: it has none."""
    here = "SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'state'"
    if core.exec_driver_sql(here).first() is None:
        return 0
    return int(core.execute(sa.select(STATE.c.format)).scalar_one())


def _raw(core: sa.Connection) -> _Connection:
    raw = core.connection.driver_connection
    assert isinstance(raw, _Connection)
    return raw


def refuse_unfit(raw: psycopg.Connection[Any]) -> None:
    """Refuse a server that is too old, and a database that can't hold every text.

    Raises:
        StateRefused: it is one.
    """
    version, encoding = raw.info.server_version // 10_000, raw.info.parameter_status("server_encoding")
    if version < OLDEST_SERVER:
        raise StateRefused(f"the server is PostgreSQL {version}: Weft needs {OLDEST_SERVER} or newer")
    if encoding != "UTF8":
        raise StateRefused(f"the database's encoding is {encoding}: make one with ENCODING 'UTF8' TEMPLATE template0")


def _limit(raw: psycopg.Connection[Any], limits: StorageLimits) -> None:
    statement = int(limits.statement * 1000)
    settings: dict[str, object] = {
        "statement_timeout": statement,
        "lock_timeout": statement // 2,
        # A bot that is cut off in the middle must not keep its locks from whoever takes over.
        "idle_in_transaction_session_timeout": statement // 2,
        "tcp_user_timeout": statement,
        **_KEEPALIVES_THERE,
    }
    chosen = [f"set_config('{name}', '{value}', false)" for name, value in settings.items()]
    # What was acknowledged survives the server's crash; who has chosen more than that keeps it.
    now = "current_setting('synchronous_commit')"
    durable = f"set_config('synchronous_commit', CASE {now} WHEN 'off' THEN 'on' ELSE {now} END, false)"
    raw.execute(f"SELECT {', '.join(chosen)}, {durable}".encode())


# --- where it is -----------------------------------------------------------------------------------------------------

_KEEPALIVES: Final = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
_KEEPALIVES_THERE: Final = {f"tcp_{name}": value for name, value in _KEEPALIVES.items()}


def connection_arguments(url: str, limits: StorageLimits) -> dict[str, Any]:
    """Return the arguments for ``psycopg.connect``; what the URL says itself counts.

    Raises:
        StateRefused: the URL is none.
    """
    given = _understood(url)
    ours: dict[str, Any] = {
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
_NOT_OF_A_STATEMENT: Final = frozenset({"42501", "42P01", "42703", "42P07"})

_OWN_FAULTS = (sa.exc.SQLAlchemyError, psycopg.Error, ValueError, TypeError, OverflowError)
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
