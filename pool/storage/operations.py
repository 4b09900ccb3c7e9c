"""What is asked of the database: each change and each question is a value.

Changes can be carried out now or later, and repeated: a second time, none of them changes anything. While the file is
out of order, a `pool.storage.backlog.Backlog` holds what it has yet to see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import bindparam, func

from pool.storage import decisions, sessions, spending, transcripts, work
from pool.storage.decisions import Decide, Decisions, KeepRule, RevokeRule
from pool.storage.model import Operation, Question
from pool.storage.sessions import ClaimSession, NoteSession, SetClaim
from pool.storage.spending import Spend
from pool.storage.tables import (
    CARDS,
    DECISIONS,
    NOTICES,
    PLACES,
    PROMPTS,
    SESSIONS,
    SNOWFLAKE,
    SPENDING,
    STATE,
    TEXT,
    THREADS,
    TRANSCRIPTS,
    Upsert,
    replaced,
)
from pool.storage.transcripts import KeepTranscript
from pool.storage.work import KeepSchedule, KeepWorkTree
from pool.store import (
    AcceptedPrompt,
    KeptCard,
    KeptNotice,
    KeptRule,
    KeptSchedule,
    KeptWorkTree,
    OpenPrompt,
    PendingReply,
    SeenPlace,
    ThreadRecord,
)

Record = TypeVar(
    "Record", OpenPrompt, PendingReply, KeptCard, KeptNotice, KeptRule, KeptSchedule, KeptWorkTree, SeenPlace
)


# --- changes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accept(Operation[bool]):
    """Remember a prompt; False if its message is known."""

    prompt: AcceptedPrompt


@dataclass(frozen=True, slots=True)
class Amend(Operation[None]):
    """A prompt that waits says something else now; one that was started stays as it is."""

    message_id: int
    payload: str


@dataclass(frozen=True, slots=True)
class Started(Operation[None]):
    """The prompt is about to be sent; ``turn``: as part of that message's turn."""

    message_id: int
    turn: int | None = None


@dataclass(frozen=True, slots=True)
class StartedTogether(Operation[None]):
    """These prompts are about to be sent, as one turn: all of them are marked, or none."""

    parts: tuple[Started, ...]


@dataclass(frozen=True, slots=True)
class Shown(Operation[None]):
    """These messages show the reply so far."""

    message_id: int
    messages: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SavePendingReply(Operation[None]):
    """The prompt is over, and its reply is on its way; the first outcome stays, and the latest reply with it."""

    message_id: int
    outcome: str
    payload: str


@dataclass(frozen=True, slots=True)
class Finish(Operation[None]):
    """The end of the prompt is visible, since ``at`` (seconds since the epoch); ``keep``: its payload stays.

    The reply is dropped, and the first outcome stays. ``turn``: it can only be asked for again together with that one.
    """

    message_id: int
    outcome: str
    at: int
    keep: bool = False
    turn: int | None = None


@dataclass(frozen=True, slots=True)
class Bind(Operation[None]):
    """Change what is remembered of a thread, ``at`` seconds since the epoch; ``changes`` are columns and values.

    ``given_up``: it had no session for a while, so that even the same one as before is another one.
    """

    thread_id: int
    changes: tuple[tuple[str, str | None], ...]
    at: int
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class Notice(Operation[None]):
    """A thread may show notices; ``notice`` None: it no longer shows any."""

    thread_id: int
    notice: KeptNotice | None


@dataclass(frozen=True, slots=True)
class KeepCard(Operation[None]):
    """A thread may show a card; ``card`` None: the one of this token waits no more."""

    token: str
    card: KeptCard | None


@dataclass(frozen=True, slots=True)
class See(Operation[None]):
    """Remember places, or what is new of them."""

    places: tuple[SeenPlace, ...]


@dataclass(frozen=True, slots=True)
class Forget(Operation[None]):
    """Forget threads, channels or servers that are gone, with all that stands in them."""

    gone: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prune(Operation[int]):
    """Forget up to ``step`` rows of a table: those before ``before``, and the oldest beyond ``kept``; answer how many.

    ``before`` is in the unit of the table's own age: a snowflake for places, for the others seconds since the epoch.
    ``bytes_kept``: of a table with a ``size``, the oldest go beyond that, too.
    """

    table: sa.Table
    before: int
    kept: int
    step: int
    bytes_kept: int | None = None


OfAPrompt = Amend | Started | Shown | SavePendingReply | Finish
Change = (
    Accept | OfAPrompt | StartedTogether | Bind | Notice | KeepCard | See | Forget | Decide | KeepRule | RevokeRule
    | KeepTranscript | Spend | SetClaim | NoteSession | KeepWorkTree | KeepSchedule
)  # fmt: skip
"""What has to reach the file, sooner or later."""


# --- questions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Nothing(Question[None]):
    """Answered once all that was handed in before it is."""


@dataclass(frozen=True, slots=True)
class Identity(Question[str | None]):
    """The id of a state that several machines can work on; None: a file has none."""


@dataclass(frozen=True, slots=True)
class TurnOf(Question[list[OpenPrompt]]):
    """The prompts that are one turn with this one, of which the payload is kept; none if this one's is not."""

    message_id: int


@dataclass(frozen=True, slots=True)
class All(Question[list[Record]]):
    """All records of a kind: by the message, the thread or the rule; places with the newest message first."""

    kind: type[Record]


@dataclass(frozen=True, slots=True)
class LastStarted(Question[int]):
    """The newest prompt of a channel that was sent, up to ``until``; 0 if there is none."""

    channel_id: int
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Thread(Question[ThreadRecord | None]):
    """What is remembered of a thread."""

    thread_id: int


@dataclass(frozen=True, slots=True)
class Choices(Question[dict[int, str]]):
    """What people have chosen, by thread."""


# --- carrying them out ----------------------------------------------------------------------------------------------

_P = PROMPTS.c
_THIS = _P.message_id == bindparam("id")
# With types, as there may be nothing beside them that has one: PostgreSQL guesses none.
_HOW, _TEXT = bindparam("how", type_=TEXT), bindparam("text", type_=TEXT)
_TURN_OF = bindparam("first", type_=SNOWFLAKE)
_UNFINISHED = sa.and_(_THIS, _P.finished_at.is_(None))
_COUNTED = {"preserve_rowcount": True}
_KNOWN_COLUMNS = [_P.message_id, _P.thread_id, _P.channel_id, _P.author_id, _P.payload]

# Parameters that take part in SET must not be named as the columns are.
# A row that is there stays as it is: another copy of a message must not open its prompt again (O1).
_ACCEPT = Upsert(PROMPTS)
# What was started was sent as it was: the text that is kept must be the one that the agent got.
_AMEND = sa.update(PROMPTS).where(_UNFINISHED, _P.outcome.is_(None), _P.started.is_(False)).values(payload=_TEXT)
_STARTED = sa.update(PROMPTS).where(_UNFINISHED).values(started=True, turn=_TURN_OF)
_SHOWN = sa.update(PROMPTS).where(_UNFINISHED).values(shown=bindparam("ids"))
# With another outcome nothing changes: a message ends once (O1), also if its end is reported again after a kill.
_SAVE_PENDING_REPLY = (
    sa.update(PROMPTS)
    .where(_UNFINISHED, sa.or_(_P.outcome.is_(None), _P.outcome == _HOW))
    .values(outcome=_HOW, reply=_TEXT)
)
# The first outcome stays, be it this one or that of the reply on its way.
_FINISH = (
    sa.update(PROMPTS)
    .where(_UNFINISHED)
    .values(
        outcome=func.coalesce(_P.outcome, _HOW),
        finished_at=bindparam("at"),
        # What people wrote is kept no longer than somebody may ask for it again.
        payload=sa.case((bindparam("keep", type_=sa.Boolean), _P.payload), else_=None),
        reply=None,
        shown="",
        turn=func.coalesce(_P.turn, _TURN_OF),
    )
)
_PROMPT = sa.select(*_KNOWN_COLUMNS, _P.started, _P.shown, _P.turn)
# By the first message of its turn; a prompt whose payload was dropped belongs to none that could be run again.
_FIRST = sa.select(func.coalesce(_P.turn, _P.message_id)).where(_THIS, _P.payload.is_not(None)).scalar_subquery()
_TURN = _PROMPT.where(sa.or_(_P.message_id == _FIRST, _P.turn == _FIRST), _P.payload.is_not(None)).order_by(
    _P.message_id
)
_OPEN = _PROMPT.where(_P.finished_at.is_(None), _P.outcome.is_(None)).order_by(_P.message_id)
_PENDING_REPLIES = (
    sa.select(*_KNOWN_COLUMNS, _P.outcome, _P.reply, _P.shown)
    .where(_P.finished_at.is_(None), _P.outcome.is_not(None))
    .order_by(_P.message_id)
)


_INSIDE = sa.or_(*(column == bindparam("id") for column in (PLACES.c.place_id, PLACES.c.parent_id, PLACES.c.guild_id)))
_THREADS_INSIDE = sa.select(PLACES.c.place_id).where(_INSIDE)
_FORGET = (
    *(
        sa.delete(table).where(sa.or_(table.c.thread_id == bindparam("id"), table.c.thread_id.in_(_THREADS_INSIDE)))
        for table in (THREADS, NOTICES, CARDS, TRANSCRIPTS)
    ),
    sa.delete(PLACES).where(_INSIDE),  # last: the others look for what stands in them
)
_AGES: dict[sa.Table, tuple[sa.ColumnElement[int], sa.ColumnElement[bool]]] = {
    PROMPTS: (_P.finished_at, _P.finished_at.is_not(None)),
    # What was chosen for a server holds for as long as Weft is there.
    THREADS: (
        THREADS.c.used_at,
        THREADS.c.thread_id.not_in(sa.select(PLACES.c.guild_id).where(PLACES.c.guild_id.is_not(None))),
    ),
    PLACES: (PLACES.c.seen, sa.true()),
    DECISIONS: (DECISIONS.c.at, sa.true()),
    TRANSCRIPTS: (TRANSCRIPTS.c.at, sa.true()),
    SPENDING: (SPENDING.c.at, sa.true()),
    SESSIONS: (SESSIONS.c.at, sa.true()),
}
"""By which column the rows of a table are old, and which of them may go at all."""
_KEEP_NOTICE = Upsert(NOTICES, ("thread_id",), replaced("since", "stopping"))
_KEEP_CARD = Upsert(CARDS, ("token",), replaced("thread_id", "prompt", "message_id", "archive"))
_SEE = Upsert(
    PLACES,
    ("place_id",),
    lambda new: {
        **{name: func.coalesce(new[name], PLACES.c[name]) for name in ("guild_id", "parent_id", "owner_id")},
        # Only ever onwards: an older message must not make what was seen since count as new.
        "seen": sa.case((new.seen > PLACES.c.seen, new.seen), else_=PLACES.c.seen),
    },
)


def perform(connection: sa.Connection, operation: Operation[Any]) -> Any:
    """Carry out an operation in the transaction that the connection is in; return its answer."""
    match operation:
        # 1. Changes that answer something.
        case Accept(prompt):
            row = {**asdict(prompt), "started": False, "shown": ""}
            # The count of rows says what was new.
            return connection.execute(_ACCEPT.on(connection), row, execution_options=_COUNTED).rowcount == 1
        case ClaimSession():
            return sessions.claim(connection, operation)
        case Prune():
            return _prune(connection, operation)
        # 2. Questions; the more special ones first.
        case spending.Spending():
            return spending.added_up(connection, operation)
        case transcripts.TranscriptQuestion():
            return transcripts.answer(connection, operation)
        case sessions.SessionQuestion():
            return sessions.answer(connection, operation)
        # After its own kinds above: this fits all of them.
        case Question():
            return _answer(connection, operation)
        # 3. All other changes.
        case _:
            return _change(connection, operation)


def _change(connection: sa.Connection, operation: Operation[Any]) -> None:
    match operation:
        case Amend(message_id, payload):
            connection.execute(_AMEND, {"id": message_id, "text": payload})
        case Started(message_id, turn):
            connection.execute(_STARTED, {"id": message_id, "first": turn})
        case StartedTogether(parts):
            for part in parts:
                _change(connection, part)
        case Shown(message_id, messages):
            connection.execute(_SHOWN, {"id": message_id, "ids": " ".join(map(str, messages))})
        case SavePendingReply(message_id, outcome, payload):
            connection.execute(_SAVE_PENDING_REPLY, {"id": message_id, "how": outcome, "text": payload})
        case Finish(message_id, outcome, at, keep, turn):
            values = {"id": message_id, "how": outcome, "at": at, "keep": keep, "first": turn}
            connection.execute(_FINISH, values)
        case Bind():
            _bind(connection, operation)
        # The row to keep before the id to forget: the pattern below fits both.
        case Notice(_, KeptNotice() as notice):
            connection.execute(_KEEP_NOTICE.on(connection), asdict(notice))
        case Notice(thread_id):
            connection.execute(sa.delete(NOTICES).where(NOTICES.c.thread_id == thread_id))
        case KeepCard(_, KeptCard() as card):
            connection.execute(_KEEP_CARD.on(connection), asdict(card))
        case KeepCard(token):
            connection.execute(sa.delete(CARDS).where(CARDS.c.token == token))
        case See(places):
            for place in places:
                connection.execute(_SEE.on(connection), asdict(place))
        case Forget(gone):
            for place_id in gone:  # one by one: a statement takes only so many values
                for statement in _FORGET:
                    connection.execute(statement, {"id": place_id})
        case Decide() | KeepRule() | RevokeRule():
            decisions.keep(connection, operation)
        case Spend(spent):
            spending.keep(connection, spent)
        case KeepTranscript(transcript):
            transcripts.keep(connection, transcript)
        case KeepWorkTree() | KeepSchedule():
            work.keep(connection, operation)
        case SetClaim():
            sessions.set_claim(connection, operation)
        case NoteSession():
            sessions.note(connection, [operation])


def _bind(connection: sa.Connection, bind: Bind) -> None:
    new, old = dict(bind.changes), THREADS.c
    change: dict[str, Any] = {**new, "used_at": bind.at}
    # In the same write, a session that is replaced becomes the previous one: no moment without either.
    if "session_id" in new and "previous_session_id" not in new:
        stays = old.session_id.is_not_distinct_from(new["session_id"])
        replaced = old.session_id if bind.given_up else sa.case((stays, None), else_=old.session_id)
        change["previous_session_id"] = func.coalesce(replaced, old.previous_session_id)
    row = {"thread_id": bind.thread_id, "used_at": bind.at, **new}
    connection.execute(Upsert(THREADS, ("thread_id",), lambda _: change).on(connection), row)
    sessions.note(connection, notes_of(bind))


def notes_of(bind: Bind) -> list[NoteSession]:
    """Return whose sessions a change of a thread tells."""
    named = (value for column, value in bind.changes if column in ("session_id", "previous_session_id"))
    return [NoteSession(session_id, bind.thread_id, bind.at) for session_id in named if session_id is not None]


def _prune(connection: sa.Connection, prune: Prune) -> int:
    age, may_go = _AGES[prune.table]
    (key,) = prune.table.primary_key.columns
    count = sa.select(func.count()).select_from(prune.table).where(may_go)
    surplus = connection.execute(count).scalar_one() - prune.kept
    too_old = connection.execute(count.where(age < prune.before)).scalar_one()
    too_much = 0
    if prune.bytes_kept is not None:
        # From the newest down: what all of them take up to each row.
        taken = func.sum(prune.table.c.size).over(order_by=(age.desc(), key.desc())).label("taken")
        rows = sa.select(taken).where(may_go).subquery()
        beyond = sa.select(func.count()).select_from(rows).where(rows.c.taken > prune.bytes_kept)
        too_much = connection.execute(beyond).scalar_one()
    # Each of the three counts from the oldest row on, so the largest one covers the others.
    due = min(prune.step, max(surplus, too_old, too_much))
    oldest = sa.select(key).where(may_go).order_by(age, key).limit(due)
    connection.execute(sa.delete(prune.table).where(key.in_(oldest)))
    return due


def _answer(connection: sa.Connection, question: Question[Any]) -> Any:
    match question:
        case Identity():
            # In a table of PostgreSQL's only: a file belongs to its directory, which has an id.
            shared = connection.dialect.name == "postgresql"
            return connection.execute(sa.select(STATE.c.identity)).scalar() if shared else None
        case TurnOf(message_id):
            return _open_prompts(connection.execute(_TURN, {"id": message_id}).all())
        case All(kind) if kind is OpenPrompt:
            return _open_prompts(connection.execute(_OPEN).all())
        case All(kind) if kind is PendingReply:
            rows = connection.execute(_PENDING_REPLIES).all()
            return [PendingReply(AcceptedPrompt(*row[:5]), row.outcome, row.reply, _split(row.shown)) for row in rows]
        case LastStarted(channel_id, until):
            # From the newest down, not max(): that would go through all prompts, and no index knows the channel.
            sent = sa.select(_P.message_id).where(_P.channel_id == channel_id, _P.started)
            within = sent if until is None else sent.where(_P.message_id <= until)
            return connection.execute(within.order_by(_P.message_id.desc()).limit(1)).scalar() or 0
        case Thread(thread_id):
            columns = (THREADS.c[field.name] for field in fields(ThreadRecord))
            found = connection.execute(sa.select(*columns).where(THREADS.c.thread_id == thread_id)).one_or_none()
            return None if found is None else ThreadRecord(**found._mapping)
        case Choices():
            chosen = sa.select(THREADS.c.thread_id, THREADS.c.options).where(THREADS.c.options.is_not(None))
            return {row.thread_id: row.options for row in connection.execute(chosen).all()}
        case Decisions():
            return decisions.answer(connection, question)
        case All(kind) if kind is KeptRule:
            return decisions.rules(connection)
        case All(kind) if kind is KeptWorkTree:
            return work.work_trees(connection)
        case All(kind) if kind is KeptSchedule:
            return work.schedules(connection)
        case All(kind) if kind is KeptNotice:
            by_thread = sa.select(NOTICES).order_by(NOTICES.c.thread_id)
            return [KeptNotice(**row._mapping) for row in connection.execute(by_thread).all()]
        case All(kind) if kind is KeptCard:
            by_age = sa.select(CARDS).order_by(CARDS.c.prompt, CARDS.c.message_id, CARDS.c.token)
            return [KeptCard(**row._mapping) for row in connection.execute(by_age).all()]
        case All():
            newest_first = sa.select(PLACES).order_by(PLACES.c.seen.desc(), PLACES.c.place_id)
            return [SeenPlace(**row._mapping) for row in connection.execute(newest_first).all()]
    return None


def _open_prompts(rows: Sequence[sa.Row[*tuple[Any, ...]]]) -> list[OpenPrompt]:
    return [OpenPrompt(AcceptedPrompt(*row[:5]), row.started, _split(row.shown), row.turn) for row in rows]


def _split(shown: str) -> tuple[int, ...]:
    return tuple(map(int, shown.split()))
