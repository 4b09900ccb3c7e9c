"""The lease on a shared state in PostgreSQL: a row that says who leads, and a lock that goes with the session (R10).

Each session has its own thread while it is asked something, since the driver's calls wait; one that is cut off
loses its socket, which ends the call. The protocol stands in `lease`; it is safe by the row alone. The lock keeps
others away from a bot that lives and can't renew for a moment, and shows in ``pg_locks`` who leads.

A renewal changes no key of the row, so it does not wait for those who write on condition that the epoch is still the
same (``FOR KEY SHARE``); a taking does. The mutable state is the connection, and which one came before it.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import psycopg
from psycopg.rows import TupleRow

from pool.storage.lease import (
    Leadership,
    Lease,
    LeaseLimits,
    LeaseRefused,
    LeaseTrouble,
    LeaseWait,
    hold,
)
from pool.storage.model import StateRefused, StorageFault, StorageLimits
from pool.storage.postgres_server import (
    DURABLE_COMMITS,
    LEASE_LOCK,
    MIGRATION_LOCK,
    connection_arguments,
    faults,
    refuse_pooler,
    refuse_unfit,
    words_for,
)

T = TypeVar("T")

Connection = psycopg.Connection[TupleRow]

# A bot that stands still says nothing: its session ends with its lease, and the lock with the session.
_SET_UP = f"""
SELECT set_config('statement_timeout', %(call)s, false), set_config('lock_timeout', %(call)s, false),
    set_config('idle_session_timeout', %(idle)s, false), {DURABLE_COMMITS}
"""

_WHO = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"

# Behind a pooler the session that was given back may be the one that was just given to us.
_END_FORMER = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = %s AND backend_start = %s AND pid <> pg_backend_pid()
"""

MAKE = """
CREATE TABLE IF NOT EXISTS leadership (
    epoch bigint PRIMARY KEY,
    renewals bigint NOT NULL,
    released boolean NOT NULL,
    holder text NOT NULL,
    until timestamptz NOT NULL
)
"""

_LOOK = "SELECT epoch, renewals, released, holder FROM leadership ORDER BY epoch DESC LIMIT 1"

# An epoch is higher than all before, in a database that was restored or made anew, too: agents on engines carry it, and
# a bot that worked on what was there before may still be about. Within a database only the one before counts, so that
# no clock that is set makes two of one number.
_BEGIN = """
INSERT INTO leadership SELECT extract(epoch FROM clock_timestamp())::bigint, 0, false, %(holder)s,
    clock_timestamp() + %(duration)s * interval '1 s'
WHERE NOT EXISTS (SELECT FROM leadership) RETURNING epoch
"""

_TAKE = """
UPDATE leadership SET epoch = GREATEST(epoch + 1, extract(epoch FROM clock_timestamp())::bigint),
    renewals = 0, released = false, holder = %(holder)s,
    until = clock_timestamp() + %(duration)s * interval '1 s'
WHERE epoch = %(epoch)s AND renewals = %(renewals)s AND released = %(released)s RETURNING epoch
"""

_RENEW = """
UPDATE leadership SET renewals = renewals + 1, until = clock_timestamp() + %(duration)s * interval '1 s'
WHERE epoch = %(epoch)s AND NOT released RETURNING epoch
"""

_RELEASE = "UPDATE leadership SET released = true, until = clock_timestamp() WHERE epoch = %(epoch)s"


@dataclass(slots=True)
class _Former:
    """The session before this one, which may still hold the lock: its process, and when that began."""

    backend: tuple[int, Any] | None = None


class PostgresLeaseSession:
    """A session on one connection; see `lease.LeaseSession`."""

    def __init__(self, connection: Connection, url: str, limits: LeaseLimits, former: _Former) -> None:
        self._connection, self._url, self._limits, self._former = connection, url, limits, former
        # The same connection by another number, which is ours to close.
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._busy = threading.Lock()
        self._limiter = anyio.CapacityLimiter(1)
        self._dropped = False
        self._locked = False

    async def look(self) -> Leadership | None:
        return await self._ask(self._look)

    async def take(self, seen: Leadership | None, holder: str) -> int | None:
        return await self._ask(lambda: self._take(seen, holder))

    async def renew(self, epoch: int) -> bool:
        return await self._ask(lambda: self._renew(epoch))

    async def release(self, epoch: int) -> None:
        await self._ask(lambda: self._execute(_RELEASE, epoch=epoch))

    def drop(self) -> None:
        """Break off; a call that waits for the database ends by that."""
        self._dropped = True
        with suppress(OSError):  # it is closed already, by whichever side
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._close_unless_busy()

    async def _ask(self, call: Callable[[], T]) -> T:
        # Cut off, it may go on for a moment in its thread: the caller that cuts it off drops the session.
        return await anyio.to_thread.run_sync(
            lambda: self._in_thread(call), abandon_on_cancel=True, limiter=self._limiter
        )

    # --- in the thread -------------------------------------------------------------------------------------------

    def _in_thread(self, call: Callable[[], T]) -> T:
        try:
            with self._busy, _troubles(self._url):
                return call()
        finally:
            if self._dropped:
                self._close_unless_busy()

    def _close_unless_busy(self) -> None:
        # Not under a call that is still using it: its thread closes the connection when that has ended.
        if self._busy.acquire(blocking=False):
            try:
                self._connection.close()
            finally:
                self._busy.release()

    def set_up(self) -> None:
        """Bound what the server waits for, and end the session before this one, if it is still there."""
        self._in_thread(self._set_up)

    def _set_up(self) -> None:
        refuse_unfit(self._connection)
        # Once: by then the pooler may have no session left for a look.
        if self._former.backend is None:
            refuse_pooler(self._connection, _arguments(self._url, self._limits))
        self._connection.execute(_SET_UP, {"call": _ms(self._limits.call), "idle": _ms(self._limits.duration)})
        # It may hold the lock still: the server notices that its other end is gone only when TCP does.
        if self._former.backend is not None:
            # By its beginning, too: the server may have given its process id to somebody else.
            self._connection.execute(_END_FORMER, self._former.backend)
        pid, began = self._connection.execute(_WHO).fetchone() or (0, None)
        self._former.backend = pid, began

    def _look(self) -> Leadership | None:
        try:
            row = self._connection.execute(_LOOK).fetchone()
        # Nobody has led yet: the first taking makes the table.
        except psycopg.errors.UndefinedTable:
            return None
        return None if row is None else Leadership(*row)

    def _take(self, seen: Leadership | None, holder: str) -> int | None:
        # The lock first: of those that have seen the same row, one goes on.
        if not self._lock():
            return None
        given = {"holder": holder, "duration": self._limits.duration}
        if seen is None:
            # Not beside a migration, which holds its lock for as long as it takes.
            with self._connection.transaction():
                self._connection.execute(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
                self._connection.execute(MAKE)
            row = self._connection.execute(_BEGIN, given).fetchone()
        else:
            known = {"epoch": seen.epoch, "renewals": seen.renewals, "released": seen.released}
            row = self._connection.execute(_TAKE, given | known).fetchone()
        if row is None:
            # Somebody else was quicker, and could not renew from a new session while this one has the lock.
            self._unlock()
            return None
        return int(row[0])

    def _renew(self, epoch: int) -> bool:
        # A new session, after trouble: without the lock somebody else may be about to take over.
        if not self._locked and not self._lock():
            raise LeaseTrouble("another session holds the lock")
        return self._execute(_RENEW, epoch=epoch, duration=self._limits.duration) == 1

    def _execute(self, statement: str, **values: object) -> int:
        return self._connection.execute(statement, values).rowcount

    def _lock(self) -> bool:
        row = self._connection.execute(f"SELECT pg_try_advisory_lock({LEASE_LOCK})").fetchone()
        self._locked = row == (True,)
        return self._locked

    def _unlock(self) -> None:
        self._connection.execute(f"SELECT pg_advisory_unlock({LEASE_LOCK})")
        self._locked = False


class _Opening:
    """Connects in a thread; what comes too late is closed."""

    def __init__(self, url: str, limits: LeaseLimits, former: _Former) -> None:
        self._url, self._limits, self._former = url, limits, former
        self._decided = threading.Lock()
        self._session: PostgresLeaseSession | None = None
        self._abandoned = False

    async def opened(self) -> PostgresLeaseSession:
        try:
            return await anyio.to_thread.run_sync(self._open, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
        except BaseException:
            with self._decided:
                self._abandoned = True
                if self._session is not None:
                    self._session.drop()
            raise

    def _open(self) -> PostgresLeaseSession:
        with _troubles(self._url):
            connection = psycopg.connect(**_arguments(self._url, self._limits))
        session = PostgresLeaseSession(connection, self._url, self._limits, self._former)
        with self._decided:
            # Under the lock, either the opener finds the session here, or this finds that the opener has given up.
            self._session = session
            if self._abandoned:
                session.drop()
        try:
            session.set_up()
        except BaseException:
            session.drop()
            raise
        return session


def _arguments(url: str, limits: LeaseLimits) -> dict[str, Any]:
    """Return how to connect: every wait for the network is bounded, and each statement is a transaction."""
    within = StorageLimits(connect=limits.call, statement=limits.call)
    return {
        **connection_arguments(url, within),
        "application_name": "weft lease",
        "autocommit": True,
        "prepare_threshold": None,
    }


@contextmanager
def _troubles(url: str) -> Iterator[None]:
    try:
        with faults(url):
            yield
    except StateRefused as exc:
        raise LeaseRefused(str(exc)) from exc
    except StorageFault as exc:
        raise LeaseTrouble(str(exc)) from exc
    except psycopg.Error as exc:
        raise LeaseTrouble(words_for(exc, url)) from exc


def _ms(seconds: float) -> str:
    return f"{max(1, int(seconds * 1000))}ms"


@asynccontextmanager
async def hold_lease(
    url: str,
    holder: str,
    limits: LeaseLimits | None = None,
    on_wait: Callable[[LeaseWait], None] = lambda _waiting: None,
) -> AsyncIterator[Lease]:
    """Wait until nobody else leads on the database, and lead while the body runs; see `lease.hold`.

    Args:
        url: of the database, without a pooler in between: the lock belongs to the session.
        holder: what people know this bot by.
        on_wait: called when what is waited for changes.

    Raises:
        LeaseRefused: the database can't be used, which shows at the start.
    """
    within, former = limits or LeaseLimits(), _Former()

    async def open_session() -> PostgresLeaseSession:
        return await _Opening(url, within, former).opened()

    async with hold(open_session, holder, within, on_wait) as lease:
        yield lease
