"""What is asked of the database, and what waits for it: each change and each question is a value.

Changes can be carried out now or later, and repeated: a second time, none of them changes anything. While the file is
out of order, a `Backlog` holds what it has yet to see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy import bindparam, func
from sqlalchemy.dialects.sqlite import insert

from pool.storage.tables import NOTICES, PLACES, PROMPTS, THREADS
from pool.store import AcceptedPrompt, KeptNotice, OpenPrompt, PendingReply, SeenPlace, ThreadRecord

T = TypeVar("T")
Record = TypeVar("Record", OpenPrompt, PendingReply, KeptNotice, SeenPlace)


class Operation(Generic[T]):
    """A change or a question, and the type of its answer; ``writes`` tells which."""

    __slots__ = ()
    writes: ClassVar[bool] = True


class Question(Operation[T]):
    """What changes nothing."""

    __slots__ = ()
    writes: ClassVar[bool] = False


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

    The reply is dropped, and the first outcome stays.
    """

    message_id: int
    outcome: str
    at: int
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Bind(Operation[None]):
    """Change what is remembered of a thread, ``at`` seconds since the epoch; ``changes`` are columns and values."""

    thread_id: int
    changes: tuple[tuple[str, str | None], ...]
    at: int


@dataclass(frozen=True, slots=True)
class Notice(Operation[None]):
    """A thread may show notices; ``notice`` None: it no longer shows any."""

    thread_id: int
    notice: KeptNotice | None


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

    ``before`` is in the unit of the table's own age: seconds since the epoch for prompts and threads, a snowflake for
    places.
    """

    table: sa.Table
    before: int
    kept: int
    step: int


Change = Accept | Amend | Started | StartedTogether | Shown | SavePendingReply | Finish | Bind | Notice | See | Forget
"""What has to reach the file, sooner or later."""


# --- questions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Nothing(Question[None]):
    """Answered once all that was handed in before it is."""


@dataclass(frozen=True, slots=True)
class TurnOf(Question[list[OpenPrompt]]):
    """The prompts that are one turn with this one, of which the payload is kept; none if this one's is not."""

    message_id: int


@dataclass(frozen=True, slots=True)
class All(Question[list[Record]]):
    """All records of a kind: by the message or the thread; places with the newest message first."""

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
_UNFINISHED = sa.and_(_THIS, _P.finished_at.is_(None))
_KNOWN_COLUMNS = [_P.message_id, _P.thread_id, _P.channel_id, _P.author_id, _P.payload]

# Parameters that take part in SET must not be named as the columns are.
_ACCEPT = insert(PROMPTS).on_conflict_do_nothing().execution_options(preserve_rowcount=True)  # it says what was new
# What was started was sent as it was: the text that is kept must be the one that the agent got.
_AMEND = (
    sa.update(PROMPTS).where(_UNFINISHED, _P.outcome.is_(None), _P.started.is_(False)).values(payload=bindparam("text"))
)
_STARTED = sa.update(PROMPTS).where(_UNFINISHED).values(started=True, turn=bindparam("first"))
_SHOWN = sa.update(PROMPTS).where(_UNFINISHED).values(shown=bindparam("ids"))
_SAVE_PENDING_REPLY = (
    sa.update(PROMPTS)
    .where(_UNFINISHED, sa.or_(_P.outcome.is_(None), _P.outcome == bindparam("how")))
    .values(outcome=bindparam("how"), reply=bindparam("text"))
)
# The first outcome stays, be it this one or that of the reply on its way.
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
        for table in (THREADS, NOTICES)
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
}
"""By which column the rows of a table are old, and which of them may go at all."""
_NEW_NOTICE = insert(NOTICES)
_KEEP_NOTICE = _NEW_NOTICE.on_conflict_do_update(
    index_elements=[NOTICES.c.thread_id],
    set_={"since": _NEW_NOTICE.excluded.since, "stopping": _NEW_NOTICE.excluded.stopping},
)
_NEW_PLACE = insert(PLACES)
_SEE = _NEW_PLACE.on_conflict_do_update(
    index_elements=[PLACES.c.place_id],
    set_={
        "guild_id": func.coalesce(_NEW_PLACE.excluded.guild_id, PLACES.c.guild_id),
        "parent_id": func.coalesce(_NEW_PLACE.excluded.parent_id, PLACES.c.parent_id),
        "owner_id": func.coalesce(_NEW_PLACE.excluded.owner_id, PLACES.c.owner_id),
        # Only ever onwards: an older message must not make what was seen since count as new.
        "seen": sa.case((_NEW_PLACE.excluded.seen > PLACES.c.seen, _NEW_PLACE.excluded.seen), else_=PLACES.c.seen),
    },
)


def perform(connection: sa.Connection, operation: Operation[Any]) -> Any:
    """Carry out an operation in the transaction that the connection is in; return its answer."""
    match operation:
        case Accept(prompt):
            row = {**asdict(prompt), "started": False, "shown": ""}
            return connection.execute(_ACCEPT, row).rowcount == 1
        case Amend(message_id, payload):
            connection.execute(_AMEND, {"id": message_id, "text": payload})
        case Started(message_id, turn):
            connection.execute(_STARTED, {"id": message_id, "first": turn})
        case StartedTogether(parts):
            for part in parts:
                perform(connection, part)
        case Shown(message_id, messages):
            connection.execute(_SHOWN, {"id": message_id, "ids": " ".join(map(str, messages))})
        case SavePendingReply(message_id, outcome, payload):
            connection.execute(_SAVE_PENDING_REPLY, {"id": message_id, "how": outcome, "text": payload})
        case Finish(message_id, outcome, at, keep):
            connection.execute(_FINISH, {"id": message_id, "how": outcome, "at": at, "keep": keep})
        case Bind():
            _bind(connection, operation)
        case Notice(_, KeptNotice() as notice):
            connection.execute(_KEEP_NOTICE, asdict(notice))
        case Notice(thread_id):
            connection.execute(sa.delete(NOTICES).where(NOTICES.c.thread_id == thread_id))
        case See(places):
            for place in places:
                connection.execute(_SEE, asdict(place))
        case Forget(gone):
            for place_id in gone:  # one by one: a statement takes only so many values
                for statement in _FORGET:
                    connection.execute(statement, {"id": place_id})
        case Prune():
            return _prune(connection, operation)
        case Question():
            return _answer(connection, operation)
    return None


def _bind(connection: sa.Connection, bind: Bind) -> None:
    new, old = dict(bind.changes), THREADS.c
    change: dict[str, Any] = {**new, "used_at": bind.at}
    # In the same write, a session that is replaced becomes the previous one: no moment without either.
    if "session_id" in new and "previous_session_id" not in new:
        stays = old.session_id.is_not_distinct_from(new["session_id"])
        replaced = sa.case((stays, None), else_=old.session_id)
        change["previous_session_id"] = func.coalesce(replaced, old.previous_session_id)
    row = insert(THREADS).values(thread_id=bind.thread_id, used_at=bind.at, **new)
    connection.execute(row.on_conflict_do_update(index_elements=[old.thread_id], set_=change))


def _prune(connection: sa.Connection, prune: Prune) -> int:
    age, may_go = _AGES[prune.table]
    (key,) = prune.table.primary_key.columns
    count = sa.select(func.count()).select_from(prune.table).where(may_go)
    surplus = connection.execute(count).scalar_one() - prune.kept
    due = min(prune.step, max(surplus, connection.execute(count.where(age < prune.before)).scalar_one()))
    oldest = sa.select(key).where(may_go).order_by(age, key).limit(due)
    connection.execute(sa.delete(prune.table).where(key.in_(oldest)))
    return due


def _answer(connection: sa.Connection, question: Question[Any]) -> Any:
    match question:
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
        case All(kind) if kind is KeptNotice:
            by_thread = sa.select(NOTICES).order_by(NOTICES.c.thread_id)
            return [KeptNotice(**row._mapping) for row in connection.execute(by_thread).all()]
        case All():
            newest_first = sa.select(PLACES).order_by(PLACES.c.seen.desc(), PLACES.c.place_id)
            return [SeenPlace(**row._mapping) for row in connection.execute(newest_first).all()]
    return None


def _open_prompts(rows: Sequence[sa.Row[*tuple[Any, ...]]]) -> list[OpenPrompt]:
    return [OpenPrompt(AcceptedPrompt(*row[:5]), row.started, _split(row.shown), row.turn) for row in rows]


def _split(shown: str) -> tuple[int, ...]:
    return tuple(map(int, shown.split()))


# --- what a file that is out of order has yet to see ----------------------------------------------------------------

Key = tuple[type[Change], int, int]
"""The kind of a change, its row, and how often something was forgotten before: what came after is another row's."""

SPARED_FIRST = (Shown, See, Forget, Notice)
"""What is dropped before anything else: after a restart it costs a look at Discord or a stale notice, and no prompt."""


class Backlog:
    """An ordered map of changes, one of each kind for each row, folded so that they take little and lose nothing.

    Changes of different rows can change places; of those of one row, what a later one makes needless is dropped.

    Attributes:
        lost: how many changes did not fit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changes: dict[Key, Change] = {}
        self._forgotten = 0
        self.lost = 0

    def __len__(self) -> int:
        return len(self._changes)

    def changes(self) -> list[Change]:
        """Return what the file has yet to see, in order."""
        return list(self._changes.values())

    def clear(self) -> None:
        """Forget what the file has seen."""
        self._changes.clear()
        self.lost = 0

    def add(self, change: Change) -> None:
        """Take a change in; of the prompts, only those that were accepted."""
        match change:
            case See(places):
                for place in places:
                    self._add_place(place)
            case Bind():
                self._add_binding(change)
            case Forget():
                self._forgotten += 1
                self._changes[Forget, 0, self._forgotten] = change
            case Notice(thread_id):
                self._changes[Notice, thread_id, self._forgotten] = change  # the latest counts
            case Accept(prompt):
                # What came before concerned a message that nobody knew, and changed nothing.
                for kind in (Amend, Started, Shown, SavePendingReply, Finish):
                    self._changes.pop((kind, prompt.message_id, 0), None)
                self._changes[Accept, prompt.message_id, 0] = change
            case StartedTogether(parts):
                for part in parts:
                    self._add_to_prompt(part)
            case _:
                self._add_to_prompt(change)
        while len(self._changes) > self._limit:
            oldest = next(iter(self._changes))
            del self._changes[next((key for key in self._changes if key[0] in SPARED_FIRST), oldest)]
            self.lost += 1

    def _add_to_prompt(self, change: Amend | Started | Shown | SavePendingReply | Finish) -> None:
        of, changes = change.message_id, self._changes
        if (Finish, of, 0) in changes:
            return
        key = (type(change), of, 0)
        match change:
            case Shown() | Started():
                changes[key] = change
            case Amend():
                # A prompt that was started, or that is over, stays as it is; else the latest counts, in its old place.
                if (Started, of, 0) not in changes and (SavePendingReply, of, 0) not in changes:
                    changes[key] = change
            case SavePendingReply():
                # As in the file: the first outcome stays, and the latest reply with it.
                earlier = changes.setdefault(key, change)
                if isinstance(earlier, SavePendingReply) and earlier.outcome == change.outcome:
                    changes[key] = change
            case Finish():
                # The reply is needless now, and its outcome was the first.
                saved = changes.pop((SavePendingReply, of, 0), None)
                changes.pop((Shown, of, 0), None)
                changes[key] = replace(change, outcome=saved.outcome) if isinstance(saved, SavePendingReply) else change

    def _add_binding(self, bind: Bind) -> None:
        key = (Bind, bind.thread_id, self._forgotten)
        earlier = self._changes.get(key)
        before, after = dict(earlier.changes if isinstance(earlier, Bind) else ()), dict(bind.changes)
        # The later value counts; a session that came and went in between is the previous one all the same.
        passed = before.get("session_id")
        if passed is not None and after.get("session_id", passed) != passed:
            after.setdefault("previous_session_id", passed)
        self._changes[key] = Bind(bind.thread_id, tuple((before | after).items()), bind.at)

    def _add_place(self, place: SeenPlace) -> None:
        key = (See, place.place_id, self._forgotten)
        earlier = self._changes.get(key)
        known = earlier.places[0] if isinstance(earlier, See) else place
        merged = SeenPlace(
            place.place_id,
            known.guild_id if place.guild_id is None else place.guild_id,
            known.parent_id if place.parent_id is None else place.parent_id,
            known.owner_id if place.owner_id is None else place.owner_id,
            max(place.seen, known.seen),
        )
        self._changes[key] = See((merged,))
