"""All that only SQLite has: its driver, its settings, how it begins and upserts, and what its errors mean.

Another database behind the same statements would need another one of this file, and of `migrations`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.pool import StaticPool

from pool.storage.model import FileDamaged, StorageFault

Connect = Callable[[Path], sqlite3.Connection]

COMPANIONS: Final = ("-wal", "-shm")
"""What SQLite keeps beside the file; moved and protected with it."""

MODE: Final = 0o600

SETTINGS: Final = (
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

__all__ = ["Connect", "Insert", "insert"]


def connect(path: Path) -> sqlite3.Connection:
    """Open the file; transactions are begun by `begin` only."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def connect_memory() -> sqlite3.Connection:
    """Open an empty database in memory."""
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


def core(raw: sqlite3.Connection) -> sa.Connection:
    """Return SQLAlchemy's connection on the driver's one."""
    # Errors go into the log, and what people wrote does not: no parameters in their texts.
    return sa.create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, hide_parameters=True).connect()


def begin(connection: sa.Connection, *, writes: bool) -> None:
    """Begin in earnest; the lock is taken here, where waiting for it can be repeated, and not at the first write."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def wait_for_locks(raw: sqlite3.Connection, seconds: float) -> None:
    """Say how long a lock of another process is waited for."""
    raw.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")


def settle(raw: sqlite3.Connection) -> None:
    """Make the file one that survives a loss of power: a log in front of it, synced at every commit."""
    for setting in SETTINGS:
        raw.execute(setting)


def check(raw: sqlite3.Connection) -> None:
    """Read the file through.

    Raises:
        FileDamaged: it contradicts itself.
    """
    finding = raw.execute("PRAGMA quick_check(1)").fetchone()
    if finding != ("ok",):
        raise FileDamaged(WORDS[sqlite3.SQLITE_CORRUPT])


def protect(path: Path) -> None:
    """Make the file if there is none, and keep others from reading it; SQLite gives its companions the same mode."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
    os.close(descriptor)
    for suffix in ("", *COMPANIONS):
        with suppress(FileNotFoundError):  # the companions exist only while the file is open, or after a crash
            beside(path, suffix).chmod(MODE)


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a companion."""
    return path.with_name(path.name + suffix)


def move_aside(path: Path, stamp: str) -> Path:
    """Rename the file with its companions, so that SQLite could still open them together; return the new path."""
    target, count = beside(path, f".corrupt-{stamp}"), 1
    while target.exists():
        count += 1
        target = beside(path, f".corrupt-{stamp}-{count}")
    for suffix in ("", *COMPANIONS):
        with suppress(FileNotFoundError):  # see `protect`
            beside(path, suffix).rename(beside(target, suffix))
    return target


@contextmanager
def faults() -> Iterator[None]:
    """Turn the errors that are the storage's own into `StorageFault`; those of a statement or a value pass."""
    try:
        yield
    except sa.exc.DBAPIError as exc:
        if isinstance(exc.orig, sqlite3.Error) and is_fault(exc):
            raise _fault(exc.orig) from exc
        raise
    except sqlite3.Error as exc:
        raise _fault(exc) from exc
    except OSError as exc:
        raise StorageFault(f"the state file can't be opened ({exc.strerror})") from exc


def is_fault(error: Exception) -> bool:
    """Tell whether an error of a statement is the storage's own.

    DatabaseError itself, and no kind of it, stands for damage; the other kinds are about what was asked.
    """
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return isinstance(cause, sqlite3.OperationalError | sqlite3.InternalError) or type(cause) is sqlite3.DatabaseError


def _fault(error: sqlite3.Error) -> StorageFault:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    kind = FileDamaged if code in DAMAGED else StorageFault
    return kind(WORDS.get(code, f"the state file can't be used ({error})"))
