"""Has SQLAlchemy compile each statement once for all stores of this process, not again for each bot of a test.

An engine keeps what it has compiled for itself and its dialect. A bot has one engine in its life; a run of the tests
has thousands, and in most of them compiling would be half of what its storage costs.
"""

from __future__ import annotations

import functools
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite


def share() -> None:
    """Change `sqlalchemy.create_engine` for the rest of this process."""
    compiled: dict[Any, Any] = {}

    @functools.wraps(create := sa.create_engine)
    def create_engine(url: str, **options: Any) -> sa.Engine:
        given = options.pop("execution_options", {})
        return create(url, execution_options={"compiled_cache": compiled, **given}, **options)

    # The dialect is a part of the key; ours are all made without options, so they compile alike.
    SQLiteDialect_pysqlite.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]
    SQLiteDialect_pysqlite.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
    sa.create_engine = create_engine  # type: ignore[assignment]
