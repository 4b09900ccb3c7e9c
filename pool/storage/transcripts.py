"""The transcripts of turns in the database: kept, found by turn or by thread (see `operations` for what forgets them).

A payload is opaque here: bytes that somebody else has packed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func

from pool.storage.model import Operation, Question, T
from pool.storage.tables import TRANSCRIPTS, Upsert, replaced
from pool.store import KeptTranscript


@dataclass(frozen=True, slots=True)
class KeepTranscript(Operation[None]):
    """Keep the transcript of a turn, in place of what was kept of that turn before."""

    transcript: KeptTranscript


class TranscriptQuestion(Question[T]):
    """A question about transcripts."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TranscriptOf(TranscriptQuestion[KeptTranscript | None]):
    """The transcript of a turn."""

    turn_id: int


@dataclass(frozen=True, slots=True)
class TranscriptsOf(TranscriptQuestion[list[KeptTranscript]]):
    """The transcripts of a thread, the newest turns first; ``before``: of turns that are older than this one."""

    thread_id: int
    limit: int
    before: int | None = None


@dataclass(frozen=True, slots=True)
class CountTranscripts(TranscriptQuestion[int]):
    """How many turns of a thread that ended at ``since`` or later (seconds since the epoch) have a transcript."""

    thread_id: int
    since: int = 0


_T = TRANSCRIPTS.c
_COLUMNS = [_T[field.name] for field in fields(KeptTranscript)]
_KEEP = Upsert(TRANSCRIPTS, ("turn_id",), replaced(*(column.name for column in _T if not column.primary_key)))


def keep(connection: sa.Connection, transcript: KeptTranscript) -> None:
    """Write a transcript."""
    # Its size is a column with an index: adding up all of them must not read the payloads.
    connection.execute(_KEEP.on(connection), {**asdict(transcript), "size": len(transcript.payload)})


def answer(connection: sa.Connection, question: TranscriptQuestion[Any]) -> Any:
    """Return the answer to a question."""
    match question:
        case TranscriptOf(turn_id):
            row = connection.execute(sa.select(*_COLUMNS).where(_T.turn_id == turn_id)).one_or_none()
            return None if row is None else KeptTranscript(**row._mapping)
        case TranscriptsOf(thread_id, limit, before):
            newest = sa.select(*_COLUMNS).where(_T.thread_id == thread_id).order_by(_T.turn_id.desc()).limit(limit)
            newest = newest if before is None else newest.where(_T.turn_id < before)
            return [KeptTranscript(**row._mapping) for row in connection.execute(newest).all()]
        case CountTranscripts(thread_id, since):
            these = (_T.thread_id == thread_id, _T.at >= since)
            count = sa.select(func.count()).select_from(TRANSCRIPTS).where(*these)
            return connection.execute(count).scalar_one()
    return None
