"""The changes that a file out of order has yet to see, folded so that they take little and lose nothing (pure).

Changes of different rows can change places; of those of one row, what a later one makes needless is dropped. Beyond the
bound the oldest notes on what was shown or seen go first, then the oldest of all: ``lost`` counts them. The mutable
state is the map of changes, that count, and how often something was forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

from pool.storage.operations import (
    Accept,
    Amend,
    Bind,
    Change,
    Finish,
    Forget,
    Notice,
    Owe,
    See,
    Shown,
    Started,
    StartedTogether,
)
from pool.store import SeenPlace

Key = tuple[type[Change], int, int]
"""The kind of a change, its row, and how often something was forgotten before: what came after is another row's."""

SPARED_FIRST = (Shown, See, Forget, Notice)
"""What is dropped before anything else: after a restart it costs a look at Discord or a stale notice, and no prompt."""


class Backlog:
    """An ordered map of changes, one of each kind for each row."""

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
        if isinstance(change, See):
            for place in change.places:
                self._add_place(place)
        elif isinstance(change, Bind):
            self._merge(change)
        elif isinstance(change, Forget):
            self._forgotten += 1
            self._changes[Forget, 0, self._forgotten] = change
        elif isinstance(change, Notice):
            self._changes[Notice, change.thread_id, self._forgotten] = change  # the latest counts
        elif isinstance(change, Accept):
            self._start(change)
        else:
            for part in change.parts if isinstance(change, StartedTogether) else (change,):
                self._add_to_prompt(part)
        self._shrink()

    def _start(self, accept: Accept) -> None:
        """What came before concerned a message that nobody knew, and changed nothing."""
        for kind in (Amend, Started, Shown, Owe, Finish):
            self._changes.pop((kind, accept.prompt.message_id, 0), None)
        self._changes[Accept, accept.prompt.message_id, 0] = accept

    def _add_to_prompt(self, change: Amend | Started | Shown | Owe | Finish) -> None:
        key = (type(change), change.message_id, 0)
        if (Finish, change.message_id, 0) in self._changes:
            return
        if isinstance(change, Finish):
            self._changes[key] = self._folded(change)
        elif isinstance(change, Shown | Started):
            self._changes[key] = change
        elif isinstance(change, Amend):
            self._amend(key, change)
        else:
            self._changes.setdefault(key, change)

    def _amend(self, key: Key, amend: Amend) -> None:
        """A prompt that was started, or that is over, stays as it is; else the latest text counts, in its old place."""
        if not ((Started, amend.message_id, 0) in self._changes or (Owe, amend.message_id, 0) in self._changes):
            self._changes[key] = amend

    def _folded(self, finish: Finish) -> Finish:
        """A prompt that is finished keeps its first outcome; its reply is needless."""
        owed = self._changes.pop((Owe, finish.message_id, 0), None)
        self._changes.pop((Shown, finish.message_id, 0), None)
        return replace(finish, outcome=owed.outcome) if isinstance(owed, Owe) else finish

    def _merge(self, bind: Bind) -> None:
        """The later value counts; a session that came and went in between is the previous one all the same."""
        key = (Bind, bind.thread_id, self._forgotten)
        earlier = self._changes.get(key)
        before, after = dict(earlier.changes if isinstance(earlier, Bind) else ()), dict(bind.changes)
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

    def _shrink(self) -> None:
        while len(self._changes) > self._limit:
            del self._changes[self._least(self._changes)]
            self.lost += 1

    @staticmethod
    def _least(keys: Iterable[Key]) -> Key:
        keys = list(keys)
        return next(chain((key for key in keys if key[0] in SPARED_FIRST), keys))
