"""What waits for a file that is out of order: a `Backlog` of changes, folded as far as they can be (pure)."""

from __future__ import annotations

from dataclasses import replace

from pool.storage.decisions import Decide, KeepRule, RevokeRule
from pool.storage.operations import (
    Accept,
    Amend,
    Bind,
    Change,
    Finish,
    Forget,
    KeepCard,
    Notice,
    OfAPrompt,
    SavePendingReply,
    See,
    Shown,
    Started,
    StartedTogether,
    notes_of,
)
from pool.storage.sessions import NoteSession, SetClaim
from pool.storage.spending import Spend
from pool.storage.transcripts import KeepTranscript
from pool.storage.work import KeepSchedule, KeepWorkTree
from pool.store import SeenPlace

Key = tuple[type[Change], int | str, int]
"""The kind of a change, its row, and how often something was forgotten before: what came after is another row's."""

SPARED_FIRST = (KeepTranscript,), (Shown, See, Forget, Notice, KeepCard), (Decide,)
"""What is dropped before anything else, in this order.

The first ones are there to be looked up, the next cost a look at Discord, a stale notice or a stale card after a
restart, and no prompt. Decisions stand in the log, too.
"""

MOST_TRANSCRIPTS = 100
"""Of all changes these alone may have a quarter of a megabyte each."""


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
                # What is kept of these places from here on is kept anew, under other keys.
                self._forgotten += 1
                self._changes[Forget, 0, self._forgotten] = change
            case Notice(thread_id):
                self._changes[Notice, thread_id, self._forgotten] = change  # the latest counts
            case KeepCard(token):
                self._changes[KeepCard, token, self._forgotten] = change  # here, too
            case KeepWorkTree(row_id) | KeepSchedule(row_id):
                self._changes[type(change), row_id, 0] = change  # and here
            case Accept(prompt):
                # What came before concerned a message that nobody knew, and changed nothing.
                for kind in (Amend, Started, Shown, SavePendingReply, Finish):
                    self._changes.pop((kind, prompt.message_id, 0), None)
                self._changes[Accept, prompt.message_id, 0] = change
            case StartedTogether(parts):
                for part in parts:
                    self._add_to_prompt(part)
            case Decide(row_id):
                self._changes.setdefault((Decide, row_id, 0), change)
            case KeepTranscript(transcript):
                self._add_transcript(transcript.turn_id, change)
            case SetClaim(claim_id):
                # The latest counts, but what is over stays so.
                if self._changes.get((SetClaim, claim_id, 0)) != SetClaim(claim_id, None):
                    self._changes[SetClaim, claim_id, 0] = change
            case NoteSession():
                self._add_note(change)
            case KeepRule(rule):
                self._changes.setdefault((KeepRule, rule.rule_id, 0), change)
            case Spend(spent):
                self._changes.setdefault((Spend, spent.prompt_id, 0), change)
            case RevokeRule(row_id):
                self._changes.pop((KeepRule, row_id, 0), None)
                self._changes[RevokeRule, row_id, 0] = change  # all the same: the file may know the rule
            case _:
                self._add_to_prompt(change)
        while len(self._changes) > self._limit:
            oldest = next(iter(self._changes))
            # What costs least goes first; without any of that the oldest goes, be it a prompt.
            spared = (key for kinds in SPARED_FIRST for key in self._changes if key[0] in kinds)
            del self._changes[next(spared, oldest)]
            self.lost += 1

    def _add_to_prompt(self, change: OfAPrompt) -> None:
        of, changes = change.message_id, self._changes
        # The first outcome stays, and nothing comes after it (O1).
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

    def _add_transcript(self, turn_id: int, change: Change) -> None:
        self._changes[KeepTranscript, turn_id, self._forgotten] = change  # the latest counts
        held = [key for key in self._changes if key[0] is KeepTranscript]
        if len(held) > MOST_TRANSCRIPTS:
            del self._changes[held[0]]
            self.lost += 1

    def _add_binding(self, bind: Bind) -> None:
        key = (Bind, bind.thread_id, self._forgotten)
        earlier = self._changes.get(key)
        folded = earlier if isinstance(earlier, Bind) else Bind(bind.thread_id, (), bind.at)
        before, after = dict(folded.changes), dict(bind.changes)
        # The later value counts; a session that came and went in between is the previous one all the same.
        passed = before.get("session_id")
        if passed is not None and after.get("session_id", passed) != passed:
            after.setdefault("previous_session_id", passed)
        # In between it had none: the fold must not hide that, or the session of before would count as the same one.
        given_up = folded.given_up or before.get("session_id", "") is None
        self._changes[key] = Bind(bind.thread_id, tuple((before | after).items()), bind.at, given_up)
        # Of sessions that came and went in between, the folded change does not tell.
        for note in notes_of(bind):
            self._add_note(note)

    def _add_note(self, note: NoteSession) -> None:
        # The session stands for the row, with the thread: the same one may be that of several, one after the other.
        self._changes[NoteSession, f"{note.thread_id} {note.session_id}", 0] = note

    def _add_place(self, place: SeenPlace) -> None:
        key = (See, place.place_id, self._forgotten)
        earlier = self._changes.get(key)
        known = earlier.places[0] if isinstance(earlier, See) else place
        merged = SeenPlace(
            place.place_id,
            known.guild_id if place.guild_id is None else place.guild_id,
            known.parent_id if place.parent_id is None else place.parent_id,
            known.owner_id if place.owner_id is None else place.owner_id,
            # As in the file: only ever onwards.
            max(place.seen, known.seen),
        )
        self._changes[key] = See((merged,))
