"""What turns took, in the database: kept, and added up for whoever has to know it without asking again."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy import func

from pool.storage.model import Operation, Question
from pool.storage.tables import SNOWFLAKE, SPENDING, Upsert
from pool.store import KeptSpending, Spent


@dataclass(frozen=True, slots=True)
class Spend(Operation[None]):
    """A turn has taken something; the first that is said of a turn stays."""

    spent: Spent


@dataclass(frozen=True, slots=True)
class Spending(Question[KeptSpending]):
    """What was spent in a currency: on each day from ``since`` on, and by the last ``most`` threads and sessions."""

    currency: str
    since: str
    most: int


# What is there stays: a batch may come for a second time.
_KEEP = Upsert(SPENDING)


def keep(connection: sa.Connection, spent: Spent) -> None:
    """Write down what a turn took, if that is not there yet."""
    connection.execute(_KEEP.on(connection), asdict(spent))


def added_up(connection: sa.Connection, question: Spending) -> KeptSpending:
    """Return what was spent."""
    columns = SPENDING.c
    # Each turn counts once: by its money, or by its tokens where that is not known.
    counts = columns.currency.is_not_distinct_from(question.currency)
    sums = (
        # A whole number also where the sum of such is a decimal.
        sa.cast(func.sum(sa.case((counts, columns.money), else_=0)), SNOWFLAKE),
        sa.cast(func.sum(sa.case((counts, 0), else_=columns.tokens)), SNOWFLAKE),
    )
    latest = func.max(columns.number)
    by_day = sa.select(columns.day, columns.person_id, columns.thread_id, *sums).where(columns.day >= question.since)
    by_day = by_day.group_by(columns.day, columns.person_id, columns.thread_id)
    by_day = by_day.order_by(columns.day, columns.person_id, columns.thread_id)
    by_thread = (
        sa.select(columns.thread_id, *sums).group_by(columns.thread_id).order_by(latest.desc()).limit(question.most)
    )
    last_turns = sa.select(latest).where(columns.session.is_not(None)).group_by(columns.session)
    by_session = sa.select(columns.session, columns.total, columns.currency, columns.context)
    by_session = by_session.where(columns.number.in_(last_turns)).order_by(columns.number.desc()).limit(question.most)
    threads, sessions = connection.execute(by_thread).all(), connection.execute(by_session).all()
    return KeptSpending(
        tuple((row[0], row[1], row[2], row[3], row[4]) for row in connection.execute(by_day).all()),
        tuple((row[0], row[1], row[2]) for row in reversed(threads)),
        tuple((row[0], row[1], row[2], row[3]) for row in reversed(sessions)),
    )
