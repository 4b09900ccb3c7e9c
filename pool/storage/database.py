"""An open database: its transactions, its copies, and all that only SQLite has. Runs in a worker thread.

What only PostgreSQL has stands in `postgres`, and what is done when the storage fails in `ledger`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from pool.storage import steps
from pool.storage.model import Answer, FileDamaged, Operation, StorageFault
from pool.storage.operations import perform

Connect = Callable[[Path], sqlite3.Connection]

COMPANIONS: Final = ("-wal", "-shm")
"""What SQLite keeps beside the file; moved and protected with it."""

MODE: Final = 0o600

SETTINGS: Final = (
    # The file survives a loss of power: a log in front of it, synced at every commit.
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA journal_size_limit = 16777216",
)

DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

WORDS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the state file is read-only",
    sqlite3.SQLITE_BUSY: "another process locks the state file",
    sqlite3.SQLITE_LOCKED: "another process locks the state file",
    sqlite3.SQLITE_IOERR: "the disk reports errors",
    sqlite3.SQLITE_CANTOPEN: "the state file can't be opened",
    sqlite3.SQLITE_PERM: "the state file can't be opened",
    sqlite3.SQLITE_CORRUPT: "the state file is damaged",
    sqlite3.SQLITE_NOTADB: "the state file is damaged",
}

OWN_FAULTS = (sa.exc.SQLAlchemyError, ValueError, TypeError, OverflowError)
"""What a single operation fails with when a value of it can't be stored: text that is no text, an id too large."""


class Database:
    """One connection, for one thread at a time."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw
        # Errors go into the log, and what people wrote does not: no parameters in their texts.
        # One pool of one: this very connection, and never another one beside it.
        engine = sa.create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, hide_parameters=True)
        self._core = engine.connect()

    def apply(self, operations: Sequence[Operation[Any]]) -> list[Answer]:
        """Carry out the operations in one transaction, in order; one that fails by itself leaves the others alone.

        Raises:
            StorageFault: none of them was written.
        """
        if not operations:
            return []
        with faults():
            # 1. All of them together.
            try:
                with self._transaction(writes=any(operation.writes for operation in operations)):
                    return [Answer(perform(self._core, operation)) for operation in operations]
            except OWN_FAULTS as exc:
                if is_fault(exc):
                    raise
            # 2. Each behind its own savepoint: slower, and only when one of them is known to fail.
            answers = []
            # The first try has left nothing: its transaction was rolled back as a whole.
            with self._transaction(writes=True):
                for operation in operations:
                    try:
                        with self._core.begin_nested():
                            answers.append(Answer(perform(self._core, operation)))
                    except OWN_FAULTS as exc:
                        if is_fault(exc):
                            raise
                        answers.append(Answer(error=exc))
            return answers

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Give the connection, in one transaction that may write, to who copies whole tables.

        Raises:
            StorageFault: nothing was written.
        """
        with faults(), self._transaction(writes=True):
            yield self._core

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[None]:
        with self._core.begin():
            # The lock is taken here, where waiting for it can be repeated, and not at the first write.
            self._core.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
            yield

    def copy_to(self, other: Database) -> None:
        """Make the other database the same as this one.

        Raises:
            StorageFault: one of the two can't be read or written.
        """
        with faults():
            self._raw.backup(other._raw)

    def check(self) -> None:
        """Read everything.

        Raises:
            FileDamaged: it contradicts itself.
        """
        with faults():
            if self._raw.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise FileDamaged(WORDS[sqlite3.SQLITE_CORRUPT])

    def wait_for_locks(self, seconds: float) -> None:
        """Say how long a lock of another process is waited for."""
        self._raw.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    def migrate(self) -> None:
        """Give the database the tables of this version.

        Raises:
            FileDamaged: it says that it has them, and has not.
            StateTooNew: a newer version wrote it; it was not changed.
        """
        with faults():
            # Before anything that changes the file: the newer version may not understand what an older one leaves.
            steps.refuse_newer(self._raw)
            for setting in SETTINGS:
                self._raw.execute(setting)
            steps.migrate(self._core)

    def close(self) -> None:
        """Close the connection; what is committed stays, whatever fails here."""
        with suppress(sa.exc.SQLAlchemyError, sqlite3.Error):  # a broken file can refuse even that, and is left anyway
            self._core.close()
            self._core.engine.dispose()
            self._raw.close()


# --- opening --------------------------------------------------------------------------------------------------------


def open_file(
    path: Path, connect: Connect, busy: float, on_damage: Callable[[FileDamaged], object] | None = None
) -> Database:
    """Open the file, made if there is none, with the tables of this version.

    Raises:
        FileDamaged: what is there is no sound database; ``on_damage`` was called with it.
        StateTooNew: it was written by a newer version; it was not changed.
        StorageFault: it can't be used for another reason.
    """
    with faults():
        # Made here and not by SQLite, which would let others read it until its mode is changed.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE))
        for suffix in ("", *COMPANIONS):  # SQLite gives the companions the mode of the file
            with suppress(FileNotFoundError):  # they exist only while the file is open, or after a crash
                beside(path, suffix).chmod(MODE)
        database = Database(connect(path))
    try:
        database.wait_for_locks(busy)
        # Before the tables are changed: the steps would write into a damaged file, and make more of it unreadable.
        database.check()
        database.migrate()
    except BaseException as exc:
        try:
            if on_damage is not None and isinstance(exc, FileDamaged):
                on_damage(exc)  # before the connection is closed: closing it, SQLite throws the log away
        finally:
            database.close()
        raise
    return database


def open_memory() -> Database:
    """Open an empty database in memory, with its tables."""
    database = Database(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
    database.migrate()
    return database


def connect(path: Path) -> sqlite3.Connection:
    """Open the file; the driver begins no transactions by itself."""
    # Used by one worker thread at a time, which need not be the same one each time.
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


# --- the file and its companions ------------------------------------------------------------------------------------


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a companion."""
    return path.with_name(path.name + suffix)


def move_aside(path: Path, stamp: str) -> Path:
    """Rename the file with its companions, so that SQLite could still open them together; return the new path."""
    # Never over an earlier one, which may be all that is left of a state.
    target, count = beside(path, f".corrupt-{stamp}"), 1
    while target.exists():
        count += 1
        target = beside(path, f".corrupt-{stamp}-{count}")
    for suffix in ("", *COMPANIONS):
        with suppress(FileNotFoundError):  # see `open_file`
            beside(path, suffix).rename(beside(target, suffix))
    return target


# --- what errors mean -----------------------------------------------------------------------------------------------


@contextmanager
def faults() -> Iterator[None]:
    """Turn the errors that are the storage's own into `StorageFault`; those of a statement or a value pass."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as exc:
        cause = exc.orig if isinstance(exc, sa.exc.DBAPIError) else exc
        if cause is not exc and not (isinstance(cause, sqlite3.Error) and is_fault(exc)):
            raise
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # an extended code names the same kind in its low byte
        kind = FileDamaged if code in DAMAGED else StorageFault
        raise kind(WORDS.get(code, f"the state file can't be used ({cause})")) from exc
    except OSError as exc:
        raise StorageFault(f"the state file can't be opened ({exc.strerror})") from exc


def is_fault(error: Exception) -> bool:
    """Whether an error of a statement is the storage's own."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    # DatabaseError itself, and no kind of it, stands for damage; the other kinds are about what was asked.
    return isinstance(cause, sqlite3.OperationalError | sqlite3.InternalError) or type(cause) is sqlite3.DatabaseError
