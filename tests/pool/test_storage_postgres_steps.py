"""How a database of PostgreSQL gets its tables: the same as a file's, once, and by one bot of several."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import psycopg
import pytest
import sqlalchemy as sa

from pool.storage import database, postgres_steps, steps
from pool.storage.model import StateTooNew, StateTooOld, StorageFault, StorageLimits
from pool.storage.postgres import Postgres
from pool.storage.tables import METADATA
from tests import postgres
from tests.postgres import rows

pytestmark = postgres.needed

KINDS = {"INTEGER": "BIGINT", "REAL": "DOUBLE PRECISION", "BLOB": "BYTEA", "TEXT": "TEXT"}
BOOLEANS = {
    (table.name, c.name) for table in METADATA.tables.values() for c in table.c if isinstance(c.type, sa.Boolean)
}


def made(url: str) -> Postgres:
    there = Postgres(url, StorageLimits())
    there.open()
    return there


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a table: columns with kind and whether they may be null, key, indexes, and what is unique."""

    columns: list[tuple[str, str, bool]]
    key: list[str]
    indexes: set[tuple[str | None, tuple[str | None, ...]]]
    unique: set[tuple[str, ...]]


def shapes(connection: sa.Connection) -> dict[str, Shape]:
    look, found = sa.inspect(connection), dict[str, Shape]()
    for table in METADATA.tables:
        columns = [(c["name"], str(c["type"]).partition(" COLLATE")[0], c["nullable"]) for c in look.get_columns(table)]
        indexes = {(i["name"], tuple(i["column_names"])) for i in look.get_indexes(table)}
        unique = {tuple(u["column_names"]) for u in look.get_unique_constraints(table)}
        indexes = {one for one in indexes if one[1] not in unique}
        found[table] = Shape(columns, look.get_pk_constraint(table)["constrained_columns"], indexes, unique)
    return found


def test_the_steps_of_both_lead_to_the_same_tables() -> None:
    """R6, R9: columns in the same order, what may be null, keys and indexes; the formats have the same numbers."""
    assert postgres_steps.BEGAN + len(postgres_steps.STEPS) - 1 == len(steps.STEPS)
    here, there = database.open_memory(), made(postgres.fresh())
    with here.transaction() as one, there.transaction() as other:
        file, server = shapes(one), shapes(other)
    for table, here_is in file.items():
        columns = [
            (name, "BOOLEAN" if (table, name) in BOOLEANS else KINDS[kind], null and name not in here_is.key)
            for name, kind, null in here_is.columns
        ]
        assert server[table] == replace(here_is, columns=columns), table
        assert [name for name, _, _ in columns] == [column.name for column in METADATA.tables[table].columns]
    here.close()
    there.close()


def test_a_later_version_takes_the_steps_that_a_database_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """R9: all of them or none, and what is there stays; a version that only reads makes no step."""
    url = postgres.fresh()
    made(url).close()
    identity = rows(url, "SELECT identity FROM state")
    with psycopg.connect(url) as raw:
        raw.execute("INSERT INTO threads (thread_id, agent, used_at) VALUES (1, 'a', 0)")
    first = ("ALTER TABLE threads ADD COLUMN colour TEXT DEFAULT 'red'",)
    monkeypatch.setattr(postgres_steps, "STEPS", (*postgres_steps.STEPS, first, ("CREATE NONSENSE",)))
    with pytest.raises(sa.exc.ProgrammingError):
        made(url)
    with pytest.raises(StateTooOld, match="has format 12"):
        Postgres(url, StorageLimits(), reading=True).open()
    assert rows(url, "SELECT format FROM state") == [(12,)]
    monkeypatch.setattr(postgres_steps, "STEPS", postgres_steps.STEPS[:-1])
    for _ in range(2):
        made(url).close()
    assert rows(url, "SELECT agent, colour FROM threads") == [("a", "red")]
    assert rows(url, "SELECT format FROM state") == [(13,)]
    assert rows(url, "SELECT identity FROM state") == identity
    monkeypatch.setattr(postgres_steps, "STEPS", postgres_steps.STEPS[:-1])
    with pytest.raises(StateTooNew, match="format 13"):
        made(url)


def test_of_several_bots_that_start_at_once_one_makes_the_tables() -> None:
    """R9"""
    url, faults = postgres.fresh(), list[Exception]()
    together = threading.Barrier(4)

    def start() -> None:
        together.wait(30)
        try:
            made(url).close()
        except (StorageFault, sa.exc.SQLAlchemyError) as exc:
            faults.append(exc)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    assert rows(url, "SELECT count(*), max(format) FROM state") == [(1, 12)]
