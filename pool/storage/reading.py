"""Reading a state file that belongs to another process: nothing in its directory is changed.

While somebody writes it, the file itself is read, beside the writer. Otherwise a copy is: opening the file would leave
SQLite's companions beside it, or take away those that a killed writer left.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pool.storage import database, steps
from pool.storage.database import Database
from pool.storage.decisions import Decisions
from pool.storage.model import StateTooOld
from pool.store import Decision

BUSY = 2.0
"""Seconds that a writer's lock is waited for; in a WAL, readers hardly ever meet one."""


def read_decisions(path: Path, question: Decisions, *, in_use: bool) -> list[Decision]:
    """Return the answer to the question; ``in_use``: another process has the file open.

    Raises:
        StateTooNew, StateTooOld: another version wrote it.
        StorageFault: it can't be read; the message says why.
    """
    with database.faults(), opened(path, in_use=in_use) as raw:
        steps.refuse_newer(raw)
        found = raw.execute("PRAGMA user_version").fetchone()[0]
        if found < steps.DECISIONS_SINCE:
            raise StateTooOld(f"the state file has format {found}, which has no decisions in it")
        base = Database(raw)
        base.wait_for_locks(BUSY)
        answer = base.apply([question])[0]
        base.close()
    return list(answer.value)


@contextmanager
def opened(path: Path, *, in_use: bool) -> Iterator[sqlite3.Connection]:
    """Open the file to read it, or a copy of it that goes at the end; ``in_use``: another process has it open."""
    # Looked at first: SQLite says only that it can't be opened, and not why.
    with path.open("rb"):
        pass
    if in_use:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as raw:
            yield raw
        return
    with tempfile.TemporaryDirectory(prefix="weft-state-") as directory:
        copy = Path(directory) / path.name
        # Not the -shm, which SQLite makes anew from the log.
        for suffix in ("", "-wal"):
            if database.beside(path, suffix).exists():
                shutil.copyfile(database.beside(path, suffix), database.beside(copy, suffix))
        with closing(database.connect(copy)) as raw:
            yield raw
