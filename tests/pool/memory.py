"""A `SessionStore` that lives as long as the process, for tests that are not about storage.

`tests/pool/test_store.py` holds it to what the durable one promises.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Unpack

from pool.storage.durable import SessionStore
from pool.storage.operations import Nothing
from pool.storage.writer import Submitted
from pool.store import (
    AcceptedPrompt,
    Decision,
    KeptCard,
    KeptNotice,
    KeptRule,
    KeptSchedule,
    KeptSpending,
    KeptTranscript,
    KeptWorkTree,
    KnownSession,
    OpenPrompt,
    PendingReply,
    SeenPlace,
    SessionClaim,
    Spent,
    ThreadChanges,
    ThreadRecord,
    ThreadSession,
)

FINISHED_KEPT = 10_000
"""Finished prompts that are known again, the latest ones; of each the id and outcome are kept, and what was to be."""


@dataclass(slots=True)
class _Entry:
    prompt: AcceptedPrompt
    started: bool = False
    shown: tuple[int, ...] = ()
    reply: tuple[str, str] | None = None
    turn: int | None = None

    def as_open(self) -> OpenPrompt:
        return OpenPrompt(self.prompt, self.started, self.shown, self.turn)


@dataclass(slots=True)
class MemoryStore(SessionStore):
    """The mutable state is what is remembered; see `pool.storage.durable.SessionStore` for the calls."""

    _prompts: dict[int, _Entry] = field(default_factory=dict)
    _finished: OrderedDict[int, tuple[str, OpenPrompt | None]] = field(default_factory=OrderedDict)
    _threads: dict[int, ThreadRecord] = field(default_factory=dict)
    _places: dict[int, SeenPlace] = field(default_factory=dict)
    _notices: dict[int, KeptNotice] = field(default_factory=dict)
    _cards: dict[str, KeptCard] = field(default_factory=dict)
    _started: dict[int, int] = field(default_factory=dict)
    _decisions: list[Decision] = field(default_factory=list)
    _rules: dict[int, KeptRule] = field(default_factory=dict)
    _transcripts: dict[int, KeptTranscript] = field(default_factory=dict)
    _claims: dict[int, SessionClaim] = field(default_factory=dict)
    _known: dict[tuple[str, int], bool] = field(default_factory=dict)
    _uses: dict[int, int] = field(default_factory=dict)
    _spent: dict[int, Spent] = field(default_factory=dict)
    _work_trees: dict[int, KeptWorkTree] = field(default_factory=dict)
    _schedules: dict[int, KeptSchedule] = field(default_factory=dict)
    _ids: int = 0

    @property
    def trouble(self) -> str:
        """Memory is never in trouble."""
        return ""

    @property
    def durable(self) -> bool:
        """Nothing here outlives the process."""
        return False

    async def flush(self) -> bool:
        """Nothing here waits to be written."""
        return True

    async def accept(self, prompt: AcceptedPrompt) -> bool:
        """Remember a prompt; False if its message was accepted before."""
        if prompt.message_id in self._prompts or prompt.message_id in self._finished:
            return False
        self._prompts[prompt.message_id] = _Entry(prompt)
        return True

    async def amend(self, message_id: int, payload: str) -> None:
        """Replace what is kept of a prompt that waits."""
        entry = self._prompts.get(message_id)
        if entry is not None and not entry.started and entry.reply is None:
            entry.prompt = dataclasses.replace(entry.prompt, payload=payload)

    async def started(self, first: int, others: Sequence[int] = ()) -> None:
        """Say that prompts are about to be sent to the agent, as one turn."""
        for message_id in (first, *others):
            if (entry := self._prompts.get(message_id)) is not None:
                entry.started, entry.turn = True, None if message_id == first else first
                self._started[message_id] = entry.prompt.channel_id

    async def last_started(self, channel_id: int, until: int | None = None) -> int:
        """Return the newest message of a channel or thread that was sent to an agent."""
        ids = (one for one, where in self._started.items() if where == channel_id and (until is None or one <= until))
        return max(ids, default=0)

    async def shown(self, message_id: int, messages: tuple[int, ...]) -> None:
        """Say which messages show the reply so far."""
        if (entry := self._prompts.get(message_id)) is not None:
            entry.shown = messages

    async def save_pending_reply(self, message_id: int, outcome: str, payload: str) -> None:
        """Say how the prompt ended and what its reply is."""
        entry = self._prompts.get(message_id)
        if entry is not None and (entry.reply is None or entry.reply[0] == outcome):
            entry.reply = (outcome, payload)

    async def finished(self, message_id: int, outcome: str, *, keep: bool = False, turn: int | None = None) -> None:
        """Say that the end of the prompt is visible; unless it is to be kept, its payload is dropped."""
        entry = self._prompts.pop(message_id, None)
        if entry is None:
            return
        kept = dataclasses.replace(entry.as_open(), shown=(), turn=entry.turn or turn) if keep else None
        self._finished[message_id] = (entry.reply[0] if entry.reply else outcome, kept)
        if len(self._finished) > FINISHED_KEPT:
            self._finished.popitem(last=False)

    async def turn(self, message_id: int) -> list[OpenPrompt]:
        """Return the prompts that are one turn with this one, of which the payload is kept."""
        kept = {key: one for key, (_, one) in self._finished.items() if one is not None}
        kept |= {key: entry.as_open() for key, entry in self._prompts.items()}
        if message_id not in kept:
            return []
        first = kept[message_id].turn or message_id
        return [one for key, one in sorted(kept.items()) if first in (key, one.turn)]

    async def open_prompts(self) -> list[OpenPrompt]:
        """Return the accepted prompts that have no outcome, in order of arrival."""
        return [entry.as_open() for _, entry in sorted(self._prompts.items()) if entry.reply is None]

    async def pending_replies(self) -> list[PendingReply]:
        """Return the replies on their way."""
        entries = [entry for _, entry in sorted(self._prompts.items())]
        return [PendingReply(entry.prompt, *entry.reply, entry.shown) for entry in entries if entry.reply is not None]

    async def thread(self, thread_id: int) -> ThreadRecord | None:
        """Return what is remembered of a thread."""
        return self._threads.get(thread_id)

    async def bind(self, thread_id: int, **changes: Unpack[ThreadChanges]) -> None:
        """Change what is remembered of a thread; what is not given stays as it is."""
        record = self._threads.get(thread_id) or ThreadRecord(thread_id)
        if record.session_id is not None and changes.get("session_id", record.session_id) != record.session_id:
            record = dataclasses.replace(record, previous_session_id=record.session_id)
        self._threads[thread_id] = dataclasses.replace(record, **changes)
        self._uses[thread_id] = len(self._uses)
        if (session_id := changes.get("session_id")) is not None:
            self._known[session_id, thread_id] = False

    async def claim_session(self, claim: SessionClaim, apart: Iterable[int] = ()) -> int | None:
        """Keep a session for a thread that is still to be opened."""
        apart = set(apart)
        for thread_id, record in self._threads.items():
            if record.session_id == claim.session_id and thread_id not in apart:
                return thread_id
        if any(one.session_id == claim.session_id for one in self._claims.values()):
            return 0
        self._claims[claim.claim_id] = claim
        return None

    async def set_claim(self, claim_id: int, thread_id: int | None) -> None:
        """Say which thread a claim is for, or that it is over."""
        claim = self._claims.pop(claim_id, None)
        if claim is not None and thread_id is not None:
            self._claims[claim_id] = dataclasses.replace(claim, thread_id=thread_id)

    async def claims(self) -> list[SessionClaim]:
        """Return the claims that are not over, the oldest first."""
        return [claim for _, claim in sorted(self._claims.items())]

    def copied(self, session_id: str, thread_id: int) -> Submitted[None]:
        """Say that a session was made for one turn of a thread."""
        self._known[session_id, thread_id] = True
        submitted = Submitted(Nothing())
        submitted.done.set()
        return submitted

    async def known_sessions(self, session_ids: Iterable[str]) -> list[KnownSession]:
        """Return whose some sessions are and were."""
        wanted = set(session_ids)
        return [
            KnownSession(
                one, thread_id, self._threads.get(thread_id, ThreadRecord(thread_id)).session_id == one, copy=copy
            )
            for (one, thread_id), copy in sorted(self._known.items())
            if one in wanted
        ]

    async def session_threads(self, limit: int, session_id: str | None = None) -> list[ThreadSession]:
        """Return the threads that have a session, or this one, the ones used last first."""
        found = [
            ThreadSession(key, one.session_id, one.agent, one.cwd, one.title, self._uses.get(key, 0))
            for key, one in self._threads.items()
            if one.session_id is not None and session_id in (None, one.session_id)
        ]
        return sorted(found, key=lambda one: -one.used_at)[:limit]

    async def forget(self, gone: Iterable[int]) -> None:
        """Forget threads, channels or servers that are gone, with all that stands in them."""
        for one in gone:
            places = [place for place in self._places.values() if one in (place.parent_id, place.guild_id)]
            for place_id in (one, *(place.place_id for place in places)):
                self._threads.pop(place_id, None)
                self._notices.pop(place_id, None)
                self._cards = {token: one for token, one in self._cards.items() if one.thread_id != place_id}
                self._transcripts = {key: one for key, one in self._transcripts.items() if one.thread_id != place_id}
                self._places.pop(place_id, None)

    async def choices(self) -> dict[int, str]:
        """Return the options of all threads that have some."""
        return {key: record.options for key, record in self._threads.items() if record.options is not None}

    async def keep_work_tree(self, tree: KeptWorkTree) -> None:
        """Remember the work tree of a thread."""
        self._work_trees[tree.thread_id] = tree

    async def drop_work_tree(self, thread_id: int) -> None:
        """Remember that a thread has no work tree."""
        self._work_trees.pop(thread_id, None)

    async def work_trees(self) -> list[KeptWorkTree]:
        """Return all work trees, those of the oldest threads first."""
        return [tree for _, tree in sorted(self._work_trees.items())]

    async def keep_schedule(self, schedule: KeptSchedule) -> None:
        """Remember a schedule."""
        self._schedules[schedule.schedule_id] = schedule

    async def drop_schedule(self, schedule_id: int) -> None:
        """Remember that a schedule is gone."""
        self._schedules.pop(schedule_id, None)

    async def schedules(self) -> list[KeptSchedule]:
        """Return all schedules, the oldest first."""
        return [schedule for _, schedule in sorted(self._schedules.items())]

    async def keep_notice(self, notice: KeptNotice) -> None:
        """Remember the notice of a thread."""
        self._notices[notice.thread_id] = notice

    async def drop_notice(self, thread_id: int) -> None:
        """Forget the notice of a thread."""
        self._notices.pop(thread_id, None)

    async def notices(self) -> list[KeptNotice]:
        """Return the notices of all threads that have one."""
        return [notice for _, notice in sorted(self._notices.items())]

    async def keep_card(self, card: KeptCard) -> None:
        """Remember a card."""
        self._cards[card.token] = card

    async def drop_card(self, token: str) -> None:
        """Forget a card."""
        self._cards.pop(token, None)

    async def cards(self) -> list[KeptCard]:
        """Return the cards, those of the oldest turns first."""
        return sorted(self._cards.values(), key=lambda card: (card.prompt, card.message_id, card.token))

    async def see(self, places: Iterable[SeenPlace]) -> None:
        """Remember places."""
        for place in places:
            known = self._places.get(place.place_id, place)
            self._places[place.place_id] = SeenPlace(
                place.place_id,
                place.guild_id or known.guild_id,
                place.parent_id or known.parent_id,
                place.owner_id or known.owner_id,
                max(place.seen, known.seen),
            )

    async def places(self) -> list[SeenPlace]:
        """Return the places, the one with the newest message first."""
        return sorted(self._places.values(), key=lambda place: -place.seen)

    def decided(self, decision: Decision) -> Submitted[None]:
        """Keep a decision."""
        self._decisions.append(decision)
        submitted = Submitted(Nothing())
        submitted.done.set()
        return submitted

    def transcribed(self, transcript: KeptTranscript) -> Submitted[None]:
        """Keep a transcript."""
        self._transcripts[transcript.turn_id] = transcript
        submitted = Submitted(Nothing())
        submitted.done.set()
        return submitted

    async def transcript(self, turn_id: int) -> KeptTranscript | None:
        """Return the transcript of a turn."""
        return self._transcripts.get(turn_id)

    async def transcripts(self, thread_id: int, limit: int, before: int | None = None) -> list[KeptTranscript]:
        """Return transcripts of a thread, the newest turns first."""
        found = [one for one in self._transcripts.values() if one.thread_id == thread_id]
        found = [one for one in found if before is None or one.turn_id < before]
        return sorted(found, key=lambda one: -one.turn_id)[:limit]

    async def count_transcripts(self, thread_id: int, since: int = 0) -> int:
        """Return how many turns of a thread have a transcript."""
        return sum(one.at >= since for one in await self.transcripts(thread_id, len(self._transcripts)))

    async def decisions(
        self, limit: int, *, thread_id: int | None = None, guild_id: int | None = None
    ) -> list[Decision]:
        """Return the newest decisions first."""
        of_thread = (one for one in reversed(self._decisions) if thread_id in (None, one.thread_id))
        return [one for one in of_thread if guild_id in (None, one.guild_id)][:limit]

    async def keep_rule(self, rule: KeptRule) -> None:
        """Keep a rule."""
        self._rules.setdefault(rule.rule_id, rule)

    async def revoke_rule(self, rule_id: int) -> None:
        """Forget a rule."""
        self._rules.pop(rule_id, None)

    async def rules(self) -> list[KeptRule]:
        """Return all rules, the oldest first."""
        return [rule for _, rule in sorted(self._rules.items())]

    def spent(self, spent: Spent) -> None:
        """Keep what a turn took."""
        self._spent.setdefault(spent.prompt_id, spent)

    async def spending(self, currency: str, since: str, most: int) -> KeptSpending:
        """Return what was spent."""
        days: dict[tuple[str, int, int], tuple[int, int]] = {}
        threads: dict[int, tuple[int, int]] = {}
        sessions: dict[str, tuple[int | None, str | None, int | None]] = {}
        for one in self._spent.values():
            amount = (one.money, 0) if one.currency == currency else (0, one.tokens)
            if one.day >= since:
                day = (one.day, one.person_id, one.thread_id)
                days[day] = _sum(days.get(day, (0, 0)), amount)
            threads[one.thread_id] = _sum(threads.pop(one.thread_id, (0, 0)), amount)
            if one.session is not None:
                sessions.pop(one.session, None)
                sessions[one.session] = (one.total, one.currency, one.context)
        return KeptSpending(
            tuple((*key, *amount) for key, amount in sorted(days.items())),
            tuple((key, *amount) for key, amount in threads.items())[-most:],
            tuple((key, *mark) for key, mark in sessions.items())[-most:],
        )

    def new_id(self) -> int:
        """Return an id greater than all before it."""
        self._ids += 1
        return self._ids


def _sum(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]
