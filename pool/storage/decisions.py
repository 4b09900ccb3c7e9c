"""What was decided about requests of agents, and the rules that people added, in the database."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import sqlalchemy as sa

from pool.storage.model import Operation, Question
from pool.storage.tables import DECISIONS, RULES, Upsert
from pool.store import Decision, KeptRule


@dataclass(frozen=True, slots=True)
class Decide(Operation[None]):
    """Something was decided; a later decision has a greater ``decision_id``."""

    decision_id: int
    decision: Decision


@dataclass(frozen=True, slots=True)
class KeepRule(Operation[None]):
    """A person has added a rule."""

    rule: KeptRule


@dataclass(frozen=True, slots=True)
class RevokeRule(Operation[None]):
    """A person has taken a rule back."""

    rule_id: int


@dataclass(frozen=True, slots=True)
class Decisions(Question[list[Decision]]):
    """The newest decisions first: of a thread, a server or all, since a time (seconds since the epoch)."""

    limit: int
    thread_id: int | None = None
    guild_id: int | None = None
    since: float = 0.0


# What is there stays: a batch may come for a second time.
_KEEP_DECISION, _KEEP_RULE = Upsert(DECISIONS), Upsert(RULES)


def keep(connection: sa.Connection, change: Decide | KeepRule | RevokeRule) -> None:
    """Write a change down, if that is not there yet."""
    match change:
        case Decide(decision_id, decision):
            row = {**asdict(decision), "decision_id": decision_id}
            connection.execute(_KEEP_DECISION.on(connection), row)
        case KeepRule(rule):
            connection.execute(_KEEP_RULE.on(connection), asdict(rule))
        case RevokeRule(rule_id):
            connection.execute(sa.delete(RULES).where(RULES.c.rule_id == rule_id))


def answer(connection: sa.Connection, question: Decisions) -> list[Decision]:
    """Return the decisions that are asked for."""
    columns = DECISIONS.c
    newest_first = sa.select(*(columns[field.name] for field in fields(Decision))).order_by(columns.decision_id.desc())
    if question.thread_id is not None:
        newest_first = newest_first.where(columns.thread_id == question.thread_id)
    if question.guild_id is not None:
        newest_first = newest_first.where(columns.guild_id == question.guild_id)
    if question.since:
        newest_first = newest_first.where(columns.at >= question.since)
    return [Decision(**row._mapping) for row in connection.execute(newest_first.limit(question.limit)).all()]


def rules(connection: sa.Connection) -> list[KeptRule]:
    """Return the rules that people added, the oldest first."""
    return [KeptRule(**row._mapping) for row in connection.execute(sa.select(RULES).order_by(RULES.c.rule_id)).all()]
