from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest

from pool.storage import database
from pool.storage.backlog import MOST_TRANSCRIPTS, Backlog
from pool.storage.database import Database
from pool.storage.decisions import Decide, Decisions, KeepRule, RevokeRule
from pool.storage.model import Operation, StorageLimits
from pool.storage.operations import (
    Accept,
    All,
    Bind,
    Change,
    Finish,
    Forget,
    KeepCard,
    Notice,
    Prune,
    SavePendingReply,
    See,
    Shown,
    Started,
    StartedTogether,
    Thread,
    TurnOf,
)
from pool.storage.postgres import Postgres
from pool.storage.sessions import Claims, ClaimSession, KnownSessions, NoteSession, SetClaim
from pool.storage.spending import Spend, Spending
from pool.storage.tables import DECISIONS, PLACES, PROMPTS, SESSIONS, SPENDING, THREADS, TRANSCRIPTS
from pool.storage.transcripts import CountTranscripts, KeepTranscript, TranscriptsOf
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
    SessionClaim,
)
from tests import postgres
from tests.pool.samples import decision, rule, schedule, spent, transcript, work_tree
from tests.repeat import long_run


def accept(message_id: int, payload: str = "{}") -> Accept:
    return Accept(AcceptedPrompt(message_id, 1, 2, 3, payload))


def any_change(rng: random.Random) -> Change:
    message_id, text, at = rng.randint(1, 4), rng.choice("abc"), rng.randint(1, 99)
    place = SeenPlace(rng.randint(1, 3), rng.choice([None, 1, 2]), rng.choice([None, 3]), None, rng.randint(0, 9))
    changes = tuple((column, rng.choice([None, text])) for column in rng.sample(["agent", "mode", "session_id"], k=2))
    return rng.choice(
        (
            accept(message_id, text),
            Started(message_id),
            StartedTogether((Started(message_id), Started(message_id % 4 + 1, message_id))),
            Shown(message_id, (at,)),
            SavePendingReply(message_id, text, text * 2),
            Finish(message_id, text, at, keep=rng.random() < 0.5, turn=rng.choice([None, 2])),
            Bind(rng.randint(1, 2), changes, at),
            Forget((rng.randint(1, 3),)),
            See((place, SeenPlace(2, 7, seen=at))),
            Notice(message_id, rng.choice([None, KeptNotice(message_id, at)])),
            KeepCard(text, rng.choice([None, KeptCard(text, rng.randint(1, 3), message_id, at)])),
            Decide(rng.randint(1, 9), decision(at)),
            KeepRule(rule(message_id, command=text)),
            RevokeRule(message_id),
            NoteSession(text, rng.randint(1, 2), at, copy=rng.random() < 0.5),
            SetClaim(rng.randint(1, 2), rng.choice([None, at])),
            KeepTranscript(transcript(message_id, rng.randint(1, 3), at)),
            KeepWorkTree(message_id, rng.choice([None, work_tree(message_id, branch=text)])),
            KeepSchedule(message_id, rng.choice([None, schedule(message_id, paused=text)])),
            Spend(spent(message_id, money=at, session=text, currency=rng.choice([None, "USD"]))),
        )
    )


def contents(base: Database | Postgres, number: int = 0) -> list[object]:
    questions: list[Operation[Any]] = [All(OpenPrompt), All(PendingReply), All(SeenPlace), All(KeptNotice)]
    questions += [All(KeptCard), All(KeptRule), Decisions(99), Decisions(9, thread_id=1, since=decision(50).at)]
    questions += [*(ask for thread in (1, 2, 3) for ask in (TranscriptsOf(thread, 9), CountTranscripts(thread)))]
    questions += [Spending("USD", "", 2), *map(Thread, (1, 2)), *map(TurnOf, range(1, 5))]
    questions += [All(KeptWorkTree), All(KeptSchedule)]
    questions += [Claims(), KnownSessions(("a", "b", "c"))]
    known = [accept(message_id) for message_id in range(1, 5)]
    asked = [*questions, *known]
    answers = base.apply(asked) if isinstance(base, Database) else base.apply(asked, number)
    return [answer.value for answer in answers]


def test_a_folded_backlog_leads_to_the_same_file_as_every_change_did() -> None:
    """R6"""
    for seed in range(15):
        fold(random.Random(seed))


@pytest.mark.soak
def test_many_folded_backlogs_lead_to_the_same_file_as_every_change_did() -> None:
    """R6"""
    for seed in range(15, 15 + long_run(2_000, 45)):
        fold(random.Random(seed))


def fold(rng: random.Random) -> None:
    early, late = ([any_change(rng) for _ in range(rng.randint(0, 25))] for _ in range(2))
    one_by_one, folded = database.open_memory(), database.open_memory()
    backlog = Backlog(1000)
    for base in (one_by_one, folded):
        base.apply([ClaimSession(SessionClaim(1, "a", "")), *early])
    for change, answer in zip(late, one_by_one.apply(late), strict=True):
        if answer.value is not False:
            backlog.add(change)
    folded.apply(backlog.changes())
    try:
        assert contents(one_by_one) == contents(folded)
    finally:
        one_by_one.close()
        folded.close()


@postgres.needed
def test_both_databases_do_the_same() -> None:
    """R6, R9: the same changes lead to the same rows, forgetting included."""
    on_both(range(4))


@pytest.mark.long(30)
@postgres.needed
@pytest.mark.soak
def test_both_databases_do_the_same_in_a_long_run() -> None:
    """R6, R9"""
    on_both(range(4, 4 + long_run(300, 20)))


def any_prune(rng: random.Random) -> Operation[int]:
    table = rng.choice([PROMPTS, THREADS, PLACES, DECISIONS, TRANSCRIPTS, SPENDING, SESSIONS])
    most = rng.randint(0, 30) if table is TRANSCRIPTS else None
    return Prune(table, rng.randint(0, 99), rng.randint(0, 5), rng.randint(1, 3), most)


def on_both(seeds: Iterable[int]) -> None:
    for seed in seeds:
        rng, there = random.Random(seed), Postgres(postgres.emptied(), StorageLimits())
        here = database.open_memory()
        try:
            for number in range(1, 4):
                batch = [rng.choice([any_change, any_prune])(rng) for _ in range(rng.randint(1, 25))]
                claim = ClaimSession(SessionClaim(number, rng.choice("abc"), ""), (rng.randint(1, 3),))
                assert here.apply([*batch, claim]) == there.apply([*batch, claim], 2 * number)
                assert contents(here) == contents(there, 2 * number + 1)
        finally:
            here.close()
            there.close()


def test_a_prompt_that_ended_keeps_its_first_outcome_and_drops_its_reply() -> None:
    """R6, O1"""
    backlog = Backlog(10)
    for change in (
        accept(1),
        Shown(1, (5,)),
        SavePendingReply(1, "answered", "long"),
        Finish(1, "failed", 9),
        Shown(1, (6,)),
    ):
        backlog.add(change)
    assert backlog.changes() == [accept(1), Finish(1, "answered", 9)]


def test_a_backlog_holds_few_transcripts_and_drops_them_before_anything_else() -> None:
    """S3, R6: each may have a quarter of a megabyte, and stays in memory while the disk fails."""
    backlog = Backlog(1_000)
    for number in range(MOST_TRANSCRIPTS + 5):
        backlog.add(KeepTranscript(transcript(number)))
    assert (len(backlog), backlog.lost) == (MOST_TRANSCRIPTS, 5)
    assert backlog.changes()[0] == KeepTranscript(transcript(5))
    small = Backlog(2)
    for change in (accept(1), KeepTranscript(transcript(1)), KeepTranscript(transcript(1, at=9)), accept(2)):
        small.add(change)
    assert (small.changes(), small.lost) == ([accept(1), accept(2)], 1)


def test_the_latest_reply_of_the_first_outcome_is_kept() -> None:
    """R6, T3: an end that was shown at once may still get text."""
    backlog = Backlog(10)
    for change in (
        SavePendingReply(1, "stopped", "so far"),
        SavePendingReply(1, "stopped", "all"),
        SavePendingReply(1, "failed", "other"),
    ):
        backlog.add(change)
    assert backlog.changes() == [SavePendingReply(1, "stopped", "all")]


def test_beyond_its_bound_the_oldest_notes_on_what_was_shown_or_seen_go_first() -> None:
    """R6"""
    backlog = Backlog(3)
    for change in (accept(1), Shown(1, (5,)), See((SeenPlace(1, 1),)), Started(1)):
        backlog.add(change)
    assert backlog.changes() == [accept(1), See((SeenPlace(1, 1),)), Started(1)]
    assert backlog.lost == 1


def test_decisions_go_before_what_a_prompt_or_a_rule_needs() -> None:
    """C5, R6: they stand in the log, too."""
    backlog = Backlog(3)
    for change in (KeepRule(rule(1)), accept(1), Decide(1, decision()), RevokeRule(2), Shown(1, (5,))):
        backlog.add(change)
    assert backlog.changes() == [KeepRule(rule(1)), accept(1), RevokeRule(2)]
    assert backlog.lost == 2


def test_when_there_are_no_such_notes_the_oldest_change_goes() -> None:
    """R6"""
    backlog = Backlog(2)
    for change in (accept(1), Started(1), accept(2)):
        backlog.add(change)
    assert backlog.changes() == [Started(1), accept(2)]
    assert backlog.lost == 1
