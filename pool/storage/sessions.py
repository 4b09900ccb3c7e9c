"""Which thread has which session, in the database: claims on sessions, and whose each one has been.

A session is a thread's while its row in ``threads`` names it. A claim keeps it for a thread that is still to be opened.
What a thread had once stays noted, also when the thread is gone: who may not see that thread must not see the session.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func

from pool.storage.model import Operation, Question, T
from pool.storage.tables import CLAIMS, SESSIONS, THREADS, Upsert, replaced
from pool.store import KnownSession, SessionClaim, ThreadSession


@dataclass(frozen=True, slots=True)
class ClaimSession(Operation[int | None]):
    """Claim a session for a thread that is still to be opened; None: it is claimed.

    Otherwise the answer is the thread that has it, or 0 if another claim does. ``apart``: threads that may have one of
    that id, since they have another agent. Not a change that could be made up for later: it decides, and so is made in
    the file or not at all.
    """

    claim: SessionClaim
    apart: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SetClaim(Operation[None]):
    """The thread of a claim is known; ``thread_id`` None: the claim is over."""

    claim_id: int
    thread_id: int | None


@dataclass(frozen=True, slots=True)
class NoteSession(Operation[None]):
    """A session is a thread's, since ``at`` (seconds since the epoch); ``copy``: it was copied from its own."""

    session_id: str
    thread_id: int
    at: int
    copy: bool = False


class SessionQuestion(Question[T]):
    """A question about sessions."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Claims(SessionQuestion[list[SessionClaim]]):
    """All claims, the oldest first."""


@dataclass(frozen=True, slots=True)
class KnownSessions(SessionQuestion[list[KnownSession]]):
    """What is known of some sessions: whose they are and were."""

    session_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SessionThreads(SessionQuestion[list[ThreadSession]]):
    """The threads that have a session, the ones used last first; ``session_id``: only those that have this one."""

    limit: int
    session_id: str | None = None


_S, _H, _C = SESSIONS.c, THREADS.c, CLAIMS.c
_NOTE = Upsert(SESSIONS, ("session_id", "thread_id"), replaced("at", "copy"))


def claim(connection: sa.Connection, operation: ClaimSession) -> int | None:
    """Carry a claim out, in the one transaction in which it is looked at who has the session."""
    wanted = operation.claim
    having = sa.select(_H.thread_id).where(_H.session_id == wanted.session_id, _H.thread_id.not_in(operation.apart))
    # In one transaction with the insert: two people who want the same session at once get one thread.
    thread_id = connection.execute(having.limit(1)).scalar()
    if thread_id is not None:
        return int(thread_id)
    if connection.execute(sa.select(_C.claim_id).where(_C.session_id == wanted.session_id)).first() is not None:
        return 0
    connection.execute(sa.insert(CLAIMS), asdict(wanted))
    return None


def set_claim(connection: sa.Connection, operation: SetClaim) -> None:
    """Write down the thread of a claim, or that it is over."""
    mine = _C.claim_id == operation.claim_id
    if operation.thread_id is None:
        connection.execute(sa.delete(CLAIMS).where(mine))
    else:
        connection.execute(sa.update(CLAIMS).where(mine).values(thread_id=operation.thread_id))


def note(connection: sa.Connection, notes: Iterable[NoteSession]) -> None:
    """Write down whose sessions are."""
    for one in notes:
        connection.execute(_NOTE.on(connection), asdict(one))


def answer(connection: sa.Connection, question: SessionQuestion[Any]) -> Any:
    """Return the answer to a question."""
    match question:
        case Claims():
            rows = connection.execute(sa.select(CLAIMS).order_by(_C.claim_id)).all()
            return [SessionClaim(**row._mapping) for row in rows]
        case KnownSessions(session_ids):
            # A thread that is gone has no row, and no session is its own then.
            held = func.coalesce(_H.session_id == _S.session_id, sa.false()).label("held")
            known = (
                sa.select(_S.session_id, _S.thread_id, held, _S.copy)
                .select_from(SESSIONS.outerjoin(THREADS, _H.thread_id == _S.thread_id))
                .where(_S.session_id.in_(session_ids))
                .order_by(_S.session_id, _S.thread_id)
            )
            return [
                KnownSession(one.session_id, one.thread_id, bool(one.held), bool(one.copy))
                for one in connection.execute(known).all()
            ]
        case SessionThreads(limit, session_id):
            columns = (_H.thread_id, _H.session_id, _H.agent, _H.cwd, _H.title, _H.used_at)
            newest = sa.select(*columns).where(_H.session_id.is_not(None)).order_by(_H.used_at.desc(), _H.thread_id)
            newest = newest if session_id is None else newest.where(_H.session_id == session_id)
            return [ThreadSession(**row._mapping) for row in connection.execute(newest.limit(limit)).all()]
    return None
