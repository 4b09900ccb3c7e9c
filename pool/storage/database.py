"""A database that is open: carries out operations in transactions, and copies itself. Runs in a worker thread.

What is done when the storage fails stands in `ledger`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pool.storage import migrations, sqlite
from pool.storage.model import Answer, FileDamaged
from pool.storage.operations import Operation
from pool.storage.tables import METADATA

OWN_FAULTS = (sa.exc.SQLAlchemyError, ValueError, TypeError, OverflowError)
"""What a single operation fails with when a value of it can't be stored: text that is no text, an id too large."""


class Database:
    """One connection, for one thread at a time."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw
        self._core = sqlite.core(raw)

    def apply(self, operations: Sequence[Operation[Any]]) -> list[Answer]:
        """Carry out the operations in one transaction, in order; one that fails by itself leaves the others alone.

        Raises:
            StorageFault: none of them was written.
        """
        if not operations:
            return []
        with sqlite.faults():
            try:
                return self._together(operations)
            except OWN_FAULTS as exc:
                if sqlite.is_fault(exc):
                    raise
                return self._apart(operations)

    def _together(self, operations: Sequence[Operation[Any]]) -> list[Answer]:
        with self._core.begin():
            sqlite.begin(self._core, writes=any(operation.writes for operation in operations))
            return [Answer(operation.perform(self._core)) for operation in operations]

    def _apart(self, operations: Sequence[Operation[Any]]) -> list[Answer]:
        """Each behind a savepoint of its own: slower, and only when one of them is known to fail."""
        with self._core.begin():
            sqlite.begin(self._core, writes=True)
            return [self._alone(operation) for operation in operations]

    def _alone(self, operation: Operation[Any]) -> Answer:
        try:
            with self._core.begin_nested():
                return Answer(operation.perform(self._core))
        except OWN_FAULTS as exc:
            if sqlite.is_fault(exc):
                raise
            return Answer(error=exc)

    def copy_to(self, other: Database) -> None:
        """Make the other database the same as this one.

        Raises:
            StorageFault: one of the two can't be read or written.
        """
        with sqlite.faults():
            self._raw.backup(other._raw)

    def check(self) -> None:
        """Read everything.

        Raises:
            FileDamaged: it contradicts itself.
        """
        with sqlite.faults():
            sqlite.check(self._raw)

    def wait_for_locks(self, seconds: float) -> None:
        """Say how long a lock of another process is waited for."""
        sqlite.wait_for_locks(self._raw, seconds)

    def close(self) -> None:
        """Close the connection; what is committed stays, whatever fails here."""
        with suppress(sa.exc.SQLAlchemyError, sqlite3.Error):  # a broken file can refuse even that, and is left anyway
            self._core.close()
            self._core.engine.dispose()
            self._raw.close()

    def migrate(self) -> None:
        """Give the database the tables of this version.

        Raises:
            FileDamaged: it says that it has them, and has not.
        """
        if migrations.version(self._core):
            self._expect(migrations.OLDEST_TABLES)
        migrations.migrate(self._core)
        self._expect(METADATA.tables.keys())

    def _expect(self, tables: Iterable[str]) -> None:
        with self._core.begin():
            found = sa.inspect(self._core).get_table_names()
        if missing := set(tables).difference(found):
            raise FileDamaged(f"the state file lacks {', '.join(sorted(missing))}")


def open_file(
    path: Path, connect: sqlite.Connect, busy: float, on_damage: Callable[[FileDamaged], object] = lambda _: None
) -> Database:
    """Open the file, made if there is none, with the tables of this version.

    Raises:
        FileDamaged: what is there is no sound database; ``on_damage`` was called with it.
        FileTooNew: it was written by a newer version; it was not changed.
        StorageFault: it can't be used for another reason.
    """
    with sqlite.faults():
        sqlite.protect(path)
        raw = connect(path)
    try:
        return _settled(raw, busy)
    except BaseException as exc:
        try:
            if isinstance(exc, FileDamaged):
                on_damage(exc)  # before the connection is closed: closing it, SQLite throws the log away
        finally:
            raw.close()
        raise


def _settled(raw: sqlite3.Connection, busy: float) -> Database:
    with sqlite.faults():
        sqlite.wait_for_locks(raw, busy)
        sqlite.check(raw)
        migrations.refuse_newer(raw)
        sqlite.settle(raw)
        return _migrated(Database(raw))


def _migrated(database: Database) -> Database:
    try:
        database.migrate()
    except BaseException:
        database.close()
        raise
    return database


def open_memory() -> Database:
    """Open an empty database in memory, with its tables."""
    return _migrated(Database(sqlite.connect_memory()))
