"""A database on a PostgreSQL server: its connection, its transactions and its tables. For a worker thread.

No wait for the server is without an end: it has limits for connecting, for a lock, for a statement and for a network
that swallows everything, and where the server itself hangs, the connection gives up. Nothing is repeated in here.

A COMMIT whose answer is lost may have happened. So each transaction that writes has a number, which is written in it:
if the same operations come again, under the same number, it is seen there whether they were committed (see `_mark`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.abc import PQGen
from sqlalchemy.pool import NullPool

from pool.storage import postgres_steps
from pool.storage.model import (
    DAY,
    Answer,
    LeaseLost,
    Operation,
    StateTooNew,
    StateTooOld,
    StorageFault,
    StorageLimits,
    T,
)
from pool.storage.operations import perform
from pool.storage.postgres_server import (
    DURABLE_COMMITS,
    KEEPALIVES_THERE,
    MIGRATION_LOCK,
    OWN_FAULTS,
    connection_arguments,
    faults,
    is_fault,
    refuse_unfit,
)
from pool.storage.tables import STATE

Fence = Callable[[], int]
"""Gives the epoch in which this process may write; see `pool.storage.lease`."""

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
            # After a fault a connection is thrown away, and never handed out again.
            poolclass=NullPool,
            hide_parameters=True,
            use_native_hstore=False,
            # Whatever the server's own is: `_mark` waits for a row of another transaction, and has to see it then.
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
            LeaseLost: somebody else works on it; nothing was written by this call.
        """
        if not operations:
            return []
        with self._faults():
            core = self._ready()
            writes = any(operation.writes for operation in operations)
            # 1. All of them together.
            try:
                return self._transact(core, number if writes else None, lambda: _together(core, operations))
            except OWN_FAULTS as exc:
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
                # Before the commit, whose answer may be lost: then the next try returns these.
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
            with self._unhurried(core):
                # It stands still while the other end takes a piece, which may be far away.
                idle = int(self._limits.migration * 1000)
                core.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = {idle}")
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
            # If this fails, `_faults` drops the connection: the next call would take it for looked at.
            self._check_format(self._core)
        return self._core

    def _connect(self) -> psycopg.Connection[Any]:
        # Without a transaction until all is set: settings that are made in one go with its rollback.
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
        with self._unhurried(core):
            # Of two bots that start at once one does it, and the other one then finds it done.
            core.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            self._check_fence(core)
            found = format_of(core)
            if found > newest():
                raise _too_new(found)
            for number, step in enumerate(postgres_steps.STEPS, postgres_steps.BEGAN):
                for statement in step if number > found else ():
                    core.exec_driver_sql(statement)
            values = {"format": newest()}
            if found:
                core.execute(sa.update(STATE).values(values))
            else:
                core.execute(sa.insert(STATE), {**values, "single": True, "identity": uuid.uuid4().hex})
            core.exec_driver_sql(_OLD_WRITERS)

    @contextmanager
    def _unhurried(self, core: sa.Connection) -> Iterator[None]:
        """Have a transaction in which a statement may take as long as changing the tables does."""
        raw, seconds = _raw(core), self._limits.migration
        raw.patience = seconds * _GRACE
        try:
            with core.begin():
                for name in ("statement_timeout", "lock_timeout"):
                    core.exec_driver_sql(f"SET LOCAL {name} = {int(seconds * 1000)}")
                yield
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
        except OWN_FAULTS as exc:
            # The server's own trouble is not this operation's: all of them come again.
            if is_fault(exc):
                raise
            answers.append(Answer(error=exc))
    return answers


def _too_new(found: int) -> StateTooNew:
    return StateTooNew(f"the database has format {found}, and this version knows formats up to {newest()}")


def newest() -> int:
    """Return the format that this version makes."""
    return postgres_steps.BEGAN + len(postgres_steps.STEPS) - 1


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


def _limit(raw: psycopg.Connection[Any], limits: StorageLimits) -> None:
    statement = int(limits.statement * 1000)
    settings: dict[str, object] = {
        "statement_timeout": statement,
        "lock_timeout": statement // 2,
        # A bot that is cut off in the middle must not keep its locks from its successor.
        "idle_in_transaction_session_timeout": statement // 2,
        # A bot may have nothing to write for long; a server or a role that ends idle sessions means others.
        "idle_session_timeout": 0,
        "tcp_user_timeout": statement,
        **KEEPALIVES_THERE,
    }
    chosen = [f"set_config('{name}', '{value}', false)" for name, value in settings.items()]
    raw.execute(f"SELECT {', '.join(chosen)}, {DURABLE_COMMITS}".encode())
