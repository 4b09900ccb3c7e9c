"""Work trees and schedules, in the database.

Neither goes with the thread that it is for: a work tree may have in it what nobody has merged yet, and a schedule says
in a list why it no longer runs. Whoever made a row takes it away.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import sqlalchemy as sa

from pool.storage.model import Operation
from pool.storage.tables import SCHEDULES, WORK_TREES, Upsert, replaced
from pool.store import KeptSchedule, KeptWorkTree


@dataclass(frozen=True, slots=True)
class KeepWorkTree(Operation[None]):
    """A thread has a work tree, in place of what was kept of it; ``tree`` None: it has none."""

    thread_id: int
    tree: KeptWorkTree | None


@dataclass(frozen=True, slots=True)
class KeepSchedule(Operation[None]):
    """There is a schedule, in place of what was kept of it; ``schedule`` None: there is none of that id."""

    schedule_id: int
    schedule: KeptSchedule | None


_KEEP_WORK_TREE = Upsert(WORK_TREES, ("thread_id",), replaced(*WORK_TREES.c.keys()))
_KEEP_SCHEDULE = Upsert(SCHEDULES, ("schedule_id",), replaced(*SCHEDULES.c.keys()))


def keep(connection: sa.Connection, change: KeepWorkTree | KeepSchedule) -> None:
    """Write a change down."""
    match change:
        case KeepWorkTree(_, KeptWorkTree() as tree):
            connection.execute(_KEEP_WORK_TREE.on(connection), asdict(tree))
        case KeepWorkTree(thread_id):
            connection.execute(sa.delete(WORK_TREES).where(WORK_TREES.c.thread_id == thread_id))
        case KeepSchedule(_, KeptSchedule() as schedule):
            connection.execute(_KEEP_SCHEDULE.on(connection), asdict(schedule))
        case KeepSchedule(schedule_id):
            connection.execute(sa.delete(SCHEDULES).where(SCHEDULES.c.schedule_id == schedule_id))


def work_trees(connection: sa.Connection) -> list[KeptWorkTree]:
    """Return all work trees, those of the oldest threads first."""
    rows = connection.execute(sa.select(WORK_TREES).order_by(WORK_TREES.c.thread_id)).all()
    return [KeptWorkTree(**row._mapping) for row in rows]


def schedules(connection: sa.Connection) -> list[KeptSchedule]:
    """Return all schedules, the oldest first."""
    rows = connection.execute(sa.select(SCHEDULES).order_by(SCHEDULES.c.schedule_id)).all()
    return [KeptSchedule(**row._mapping) for row in rows]
