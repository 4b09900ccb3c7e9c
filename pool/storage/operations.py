"""What is asked of the database: each change and each question is a value that can be carried out, now or later.

Changes can be repeated: a second time, none of them changes anything. `Operation` says what they share.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy import bindparam, func

from pool.storage import sqlite
from pool.storage.tables import NOTICES, PLACES, PROMPTS, THREADS
from pool.store import AcceptedPrompt, KeptNotice, OpenPrompt, OwedReply, SeenPlace, ThreadRecord

T_co = TypeVar("T_co", covariant=True)


class Operation(Protocol[T_co]):
    """A change or a question; ``writes`` tells which."""

    writes: ClassVar[bool]

    def perform(self, connection: sa.Connection) -> T_co:
        """Carry it out in the transaction that the connection is in."""


_P = PROMPTS.c
_THIS = _P.message_id == bindparam("id")
_UNFINISHED = sa.and_(_THIS, _P.finished_at.is_(None))
_KNOWN_COLUMNS = [_P.message_id, _P.thread_id, _P.channel_id, _P.author_id, _P.payload]

# Parameters that take part in SET must not be named as the columns are.
_ACCEPT = sqlite.insert(PROMPTS).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
_AMEND = (
    sa.update(PROMPTS).where(_UNFINISHED, _P.outcome.is_(None), _P.started.is_(False)).values(payload=bindparam("text"))
)
_STARTED = sa.update(PROMPTS).where(_UNFINISHED).values(started=True, turn=bindparam("first"))
_SHOWN = sa.update(PROMPTS).where(_UNFINISHED).values(shown=bindparam("ids"))
_OWE = (
    sa.update(PROMPTS)
    .where(_UNFINISHED, _P.outcome.is_(None))
    .values(outcome=bindparam("how"), reply=bindparam("text"))
)
_FINISH = (
    sa.update(PROMPTS)
    .where(_UNFINISHED)
    .values(
        outcome=func.coalesce(_P.outcome, bindparam("how")),
        finished_at=bindparam("at"),
        payload=sa.case((bindparam("keep"), _P.payload), else_=None),
        reply=None,
        shown="",
    )
)
_PROMPT = sa.select(*_KNOWN_COLUMNS, _P.started, _P.shown, _P.turn)
_FIRST = sa.select(func.coalesce(_P.turn, _P.message_id)).where(_THIS, _P.payload.is_not(None)).scalar_subquery()
_TURN = _PROMPT.where(sa.or_(_P.message_id == _FIRST, _P.turn == _FIRST), _P.payload.is_not(None)).order_by(
    _P.message_id
)
_OPEN = _PROMPT.where(_P.finished_at.is_(None), _P.outcome.is_(None)).order_by(_P.message_id)
_OWED = (
    sa.select(*_KNOWN_COLUMNS, _P.outcome, _P.reply, _P.shown)
    .where(_P.finished_at.is_(None), _P.outcome.is_not(None))
    .order_by(_P.message_id)
)


def _joined(messages: tuple[int, ...]) -> str:
    return " ".join(map(str, messages))


def _split(shown: str) -> tuple[int, ...]:
    return tuple(map(int, shown.split()))


def _open_prompt(row: sa.Row[*tuple[Any, ...]]) -> OpenPrompt:
    return OpenPrompt(AcceptedPrompt(*row[:5]), row.started, _split(row.shown), row.turn)


_INSIDE = sa.or_(*(column == bindparam("id") for column in (PLACES.c.place_id, PLACES.c.parent_id, PLACES.c.guild_id)))
_FORGET_THREADS = sa.delete(THREADS).where(
    sa.or_(
        THREADS.c.thread_id == bindparam("id"),
        THREADS.c.thread_id.in_(sa.select(PLACES.c.place_id).where(_INSIDE)),
    )
)
_FORGET_NOTICES = sa.delete(NOTICES).where(
    sa.or_(
        NOTICES.c.thread_id == bindparam("id"),
        NOTICES.c.thread_id.in_(sa.select(PLACES.c.place_id).where(_INSIDE)),
    )
)
_FORGET_PLACES = sa.delete(PLACES).where(_INSIDE)
_AGES: dict[sa.Table, tuple[sa.ColumnElement[int], sa.ColumnElement[bool]]] = {
    PROMPTS: (_P.finished_at, _P.finished_at.is_not(None)),
    # What was chosen for a server holds for as long as Weft is there.
    THREADS: (
        THREADS.c.used_at,
        THREADS.c.thread_id.not_in(sa.select(PLACES.c.guild_id).where(PLACES.c.guild_id.is_not(None))),
    ),
    PLACES: (PLACES.c.seen, sa.true()),
}
"""By which column the rows of a table are old, and which of them may go at all."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Remember a prompt; False if its message is known."""

    writes: ClassVar[bool] = True
    prompt: AcceptedPrompt

    def perform(self, connection: sa.Connection) -> bool:
        """Insert the row unless there is one."""
        row = {field.name: getattr(self.prompt, field.name) for field in fields(AcceptedPrompt)}
        return connection.execute(_ACCEPT, {**row, "started": False, "shown": ""}).rowcount == 1


@dataclass(frozen=True, slots=True)
class Amend:
    """A prompt that waits says something else now."""

    writes: ClassVar[bool] = True
    message_id: int
    payload: str

    def perform(self, connection: sa.Connection) -> None:
        """Replace the payload of a prompt that was not started."""
        connection.execute(_AMEND, {"id": self.message_id, "text": self.payload})


@dataclass(frozen=True, slots=True)
class Started:
    """The prompt is about to be sent; ``turn``: as part of that message's turn."""

    writes: ClassVar[bool] = True
    message_id: int
    turn: int | None = None

    def perform(self, connection: sa.Connection) -> None:
        """Set the flag."""
        connection.execute(_STARTED, {"id": self.message_id, "first": self.turn})


@dataclass(frozen=True, slots=True)
class StartedTogether:
    """These prompts are about to be sent, as one turn."""

    writes: ClassVar[bool] = True
    parts: tuple[Started, ...]

    def perform(self, connection: sa.Connection) -> None:
        """Set the flag of each."""
        for part in self.parts:
            part.perform(connection)


@dataclass(frozen=True, slots=True)
class Shown:
    """These messages show the reply so far."""

    writes: ClassVar[bool] = True
    message_id: int
    messages: tuple[int, ...]

    def perform(self, connection: sa.Connection) -> None:
        """Replace the list."""
        connection.execute(_SHOWN, {"id": self.message_id, "ids": _joined(self.messages)})


@dataclass(frozen=True, slots=True)
class Owe:
    """The prompt is over, and its reply is on its way."""

    writes: ClassVar[bool] = True
    message_id: int
    outcome: str
    payload: str

    def perform(self, connection: sa.Connection) -> None:
        """Keep the reply, unless one is kept."""
        connection.execute(_OWE, {"id": self.message_id, "how": self.outcome, "text": self.payload})


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of the prompt is visible, since ``at`` (seconds since the epoch); ``keep``: its payload stays."""

    writes: ClassVar[bool] = True
    message_id: int
    outcome: str
    at: int
    keep: bool = False

    def perform(self, connection: sa.Connection) -> None:
        """Drop the reply, and the payload unless it is to be kept; the first outcome stays."""
        row = {"id": self.message_id, "how": self.outcome, "at": self.at, "keep": self.keep}
        connection.execute(_FINISH, row)


@dataclass(frozen=True, slots=True)
class Bind:
    """Change what is remembered of a thread, ``at`` seconds since the epoch; ``changes`` are columns and values."""

    writes: ClassVar[bool] = True
    thread_id: int
    changes: tuple[tuple[str, str | None], ...]
    at: int

    def perform(self, connection: sa.Connection) -> None:
        """Insert or change the row; in the same write, a session that is replaced becomes the previous one."""
        new, old = dict(self.changes), THREADS.c
        row = sqlite.insert(THREADS).values(thread_id=self.thread_id, used_at=self.at, **new)
        change: dict[str, Any] = {**new, "used_at": self.at}
        if "session_id" in new and "previous_session_id" not in new:
            stays = old.session_id.is_not_distinct_from(new["session_id"])
            replaced = sa.case((stays, None), else_=old.session_id)
            change["previous_session_id"] = func.coalesce(replaced, old.previous_session_id)
        connection.execute(row.on_conflict_do_update(index_elements=[old.thread_id], set_=change))


def _see() -> sqlite.Insert:
    statement = sqlite.insert(PLACES)
    new, old = statement.excluded, PLACES.c
    return statement.on_conflict_do_update(
        index_elements=[old.place_id],
        set_={
            "guild_id": func.coalesce(new.guild_id, old.guild_id),
            "parent_id": func.coalesce(new.parent_id, old.parent_id),
            "owner_id": func.coalesce(new.owner_id, old.owner_id),
            "seen": sa.case((new.seen > old.seen, new.seen), else_=old.seen),
        },
    )


_SEE = _see()


@dataclass(frozen=True, slots=True)
class See:
    """Remember places."""

    writes: ClassVar[bool] = True
    places: tuple[SeenPlace, ...]

    def perform(self, connection: sa.Connection) -> None:
        """Insert the rows, or add to them what is new."""
        for place in self.places:
            connection.execute(_SEE, {field.name: getattr(place, field.name) for field in fields(SeenPlace)})


_NOTICE = sqlite.insert(NOTICES)
_KEEP_NOTICE = _NOTICE.on_conflict_do_update(
    index_elements=[NOTICES.c.thread_id],
    set_={"message_id": _NOTICE.excluded.message_id, "stopping": _NOTICE.excluded.stopping},
)


@dataclass(frozen=True, slots=True)
class Notice:
    """The notice of a thread is this one; ``notice`` None: it has none any more."""

    writes: ClassVar[bool] = True
    thread_id: int
    notice: KeptNotice | None

    def perform(self, connection: sa.Connection) -> None:
        """Insert, replace or delete the row."""
        if self.notice is None:
            connection.execute(sa.delete(NOTICES).where(NOTICES.c.thread_id == self.thread_id))
            return
        row = {field.name: getattr(self.notice, field.name) for field in fields(KeptNotice)}
        connection.execute(_KEEP_NOTICE, row)


@dataclass(frozen=True, slots=True)
class Forget:
    """Forget threads, channels or servers that are gone, with all that stands in them."""

    writes: ClassVar[bool] = True
    gone: tuple[int, ...]

    def perform(self, connection: sa.Connection) -> None:
        """Delete the rows; one by one: a statement takes only so many values."""
        for place_id in self.gone:
            connection.execute(_FORGET_THREADS, {"id": place_id})
            connection.execute(_FORGET_NOTICES, {"id": place_id})
            connection.execute(_FORGET_PLACES, {"id": place_id})


@dataclass(frozen=True, slots=True)
class Prune:
    """Forget up to ``step`` rows of a table: those from before ``before``, and the oldest beyond ``kept``.

    ``before`` is in the unit of the table's own age: seconds since the epoch for prompts and threads, a snowflake for
    places.
    """

    writes: ClassVar[bool] = True
    table: sa.Table
    before: int
    kept: int
    step: int

    def perform(self, connection: sa.Connection) -> int:
        """Delete the rows; return how many."""
        age, may_go = _AGES[self.table]
        (key,) = self.table.primary_key.columns
        count = sa.select(func.count()).select_from(self.table).where(may_go)
        surplus = connection.execute(count).scalar_one() - self.kept
        due = min(self.step, max(surplus, connection.execute(count.where(age < self.before)).scalar_one()))
        oldest = sa.select(key).where(may_go).order_by(age, key).limit(due)
        connection.execute(sa.delete(self.table).where(key.in_(oldest)))
        return due


@dataclass(frozen=True, slots=True)
class Nothing:
    """Answered once all that was handed in before it is."""

    writes: ClassVar[bool] = False

    def perform(self, connection: sa.Connection) -> None:
        """Leave everything as it is."""


@dataclass(frozen=True, slots=True)
class TurnOf:
    """The prompts that are one turn with this one."""

    writes: ClassVar[bool] = False
    message_id: int

    def perform(self, connection: sa.Connection) -> list[OpenPrompt]:
        """Return those of which the payload is kept, in order of arrival; none if this one's is not."""
        return [_open_prompt(row) for row in connection.execute(_TURN, {"id": self.message_id}).all()]


@dataclass(frozen=True, slots=True)
class OpenPrompts:
    """Which prompts have no outcome."""

    writes: ClassVar[bool] = False

    def perform(self, connection: sa.Connection) -> list[OpenPrompt]:
        """Return them in order of arrival."""
        return [_open_prompt(row) for row in connection.execute(_OPEN).all()]


@dataclass(frozen=True, slots=True)
class OwedReplies:
    """Which replies are on their way."""

    writes: ClassVar[bool] = False

    def perform(self, connection: sa.Connection) -> list[OwedReply]:
        """Return them in order of arrival of their prompts."""
        rows = connection.execute(_OWED).all()
        return [OwedReply(AcceptedPrompt(*row[:5]), row.outcome, row.reply, _split(row.shown)) for row in rows]


@dataclass(frozen=True, slots=True)
class Thread:
    """What is remembered of a thread."""

    writes: ClassVar[bool] = False
    thread_id: int

    def perform(self, connection: sa.Connection) -> ThreadRecord | None:
        """Return the row."""
        columns = (THREADS.c[field.name] for field in fields(ThreadRecord))
        row = connection.execute(sa.select(*columns).where(THREADS.c.thread_id == self.thread_id)).one_or_none()
        return None if row is None else ThreadRecord(**row._mapping)


@dataclass(frozen=True, slots=True)
class Choices:
    """What people have chosen for threads."""

    writes: ClassVar[bool] = False

    def perform(self, connection: sa.Connection) -> dict[int, str]:
        """Return the options by thread."""
        columns = THREADS.c.thread_id, THREADS.c.options
        rows = connection.execute(sa.select(*columns).where(THREADS.c.options.is_not(None))).all()
        return {row.thread_id: row.options for row in rows}


@dataclass(frozen=True, slots=True)
class Notices:
    """Which threads have a notice."""

    writes: ClassVar[bool] = False

    def perform(self, connection: sa.Connection) -> list[KeptNotice]:
        """Return the rows."""
        rows = connection.execute(sa.select(NOTICES).order_by(NOTICES.c.thread_id)).all()
        return [KeptNotice(**row._mapping) for row in rows]


@dataclass(frozen=True, slots=True)
class Places:
    """Which places are known."""

    writes: ClassVar[bool] = False

    def perform(self, connection: sa.Connection) -> list[SeenPlace]:
        """Return the rows, the newest message first."""
        rows = connection.execute(sa.select(PLACES).order_by(PLACES.c.seen.desc(), PLACES.c.place_id)).all()
        return [SeenPlace(**row._mapping) for row in rows]


Change = Accept | Amend | Started | StartedTogether | Shown | Owe | Finish | Bind | Notice | See | Forget
"""What has to reach the file, sooner or later."""
