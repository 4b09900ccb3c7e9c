"""Copying a state from one database into another, empty one, of either kind: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy import func

from pool.storage.tables import METADATA, SESSIONS, SPENDING, STATE

_ROWS_AT_ONCE = 50
"""Of the largest ones, each has a quarter of a megabyte."""

_NUMBERED = (SPENDING.c.number, SESSIONS.c.entry)
"""Keys that the database counts up by itself."""


class NotEmpty(Exception):
    """There is a state already where one is to be put."""


class NotAllThere(Exception):
    """The copy is not what it should be, and was not kept."""


def counts(connection: sa.Connection) -> dict[str, int]:
    """Return how many rows each table has."""
    return {
        table.name: connection.execute(sa.select(func.count()).select_from(table)).scalar_one()
        for table in METADATA.sorted_tables
    }


def refuse_rows(target: sa.Connection) -> None:
    """Refuse a target in which there is anything.

    Raises:
        NotEmpty: there is; nothing was changed.
    """
    if there := {name: count for name, count in counts(target).items() if count}:
        raise NotEmpty(", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in there.items()))


def copy(source: sa.Connection, target: sa.Connection, identity: str | None = None) -> dict[str, int]:
    """Copy all rows of all tables into empty ones, in the transactions in which both are; return how many of each.

    Args:
        identity: becomes that of the target, if it keeps one.

    Raises:
        NotAllThere: fewer or more rows arrived than there are.
    """
    wanted = counts(source)
    for table in METADATA.sorted_tables:
        for rows in _pieces(source, table):
            target.execute(sa.insert(table), rows)
    found = counts(target)
    if wrong := [name for name, count in wanted.items() if found[name] != count]:
        raise NotAllThere(", ".join(f"{name}: {found[name]} of {wanted[name]}" for name in wrong))
    if target.dialect.name == "postgresql":
        for key in _NUMBERED:
            # What is counted up from now on comes after what was copied.
            # `False` below: this number is the next one, and not the last one that was used.
            last = sa.select(func.coalesce(func.max(key), 0) + 1).scalar_subquery()
            target.execute(sa.select(func.setval(func.pg_get_serial_sequence(key.table.name, key.name), last, False)))
        if identity is not None:
            target.execute(sa.update(STATE).values(identity=identity))
    return wanted


def _pieces(source: sa.Connection, table: sa.Table) -> Iterator[list[dict[str, object]]]:
    # Piece by piece, as a state may be larger than the memory; by key, so that both sides have one order.
    by_key = sa.select(table).order_by(*table.primary_key.columns)
    with source.execute(by_key, execution_options={"yield_per": _ROWS_AT_ONCE}) as found:
        for piece in found.mappings().partitions():
            yield [dict(row) for row in piece]
