"""Inserts that mind a row which is there already, for SQLite and for PostgreSQL.

Both write them alike, but SQLAlchemy has a construct of its own for each. A statement is built once for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

New: TypeAlias = Any
"""The columns of the row that was not inserted, as an update of the one that is there may take them."""


class Upsert:
    """An insert into a table; without ``update`` a row that is there stays as it is."""

    def __init__(
        self, table: sa.Table, key: tuple[str, ...] = (), update: Callable[[New], Mapping[str, Any]] | None = None
    ) -> None:
        self._statements: dict[str, sa.Insert] = {}
        for dialect in (sqlite, postgresql):
            insert = dialect.insert(table)
            self._statements[dialect.dialect.name] = (
                insert.on_conflict_do_nothing()
                if update is None
                else insert.on_conflict_do_update(index_elements=list(key), set_=update(insert.excluded))
            )

    def on(self, connection: sa.Connection) -> sa.Insert:
        """Return the statement in the connection's language; the row is its parameters."""
        return self._statements[connection.dialect.name]


def replaced(*names: str) -> Callable[[New], Mapping[str, Any]]:
    """Return an update that takes these columns from the new row."""
    return lambda new: {name: new[name] for name in names}
