"""What every `SessionStore` promises: each test runs over the one in memory, in a file, and on a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from pool.storage.durable import SessionStore, open_store
from pool.storage.postgres_ledger import open_database_store
from pool.store import (
    AcceptedPrompt,
    KeptCard,
    KeptNotice,
    KeptSpending,
    OpenPrompt,
    PendingReply,
    SeenPlace,
    SessionClaim,
    ThreadRecord,
)
from tests import postgres
from tests.pool import memory
from tests.pool.memory import MemoryStore
from tests.pool.samples import decision, rule, schedule, spent, transcript, work_tree

Opened = Callable[[Path], AbstractAsyncContextManager[SessionStore]]


@asynccontextmanager
async def in_memory(_: Path) -> AsyncIterator[SessionStore]:
    yield MemoryStore()


@asynccontextmanager
async def in_a_file(folder: Path) -> AsyncIterator[SessionStore]:
    with anyio.fail_after(30):
        async with open_store(folder / "state.db") as store:
            yield store


@asynccontextmanager
async def in_postgres(_: Path) -> AsyncIterator[SessionStore]:
    with anyio.fail_after(30):
        async with open_database_store(postgres.emptied()) as store:
            yield store


each = pytest.mark.parametrize("opened", [in_memory, in_a_file, pytest.param(in_postgres, marks=postgres.needed)])


def prompt(message_id: int) -> AcceptedPrompt:
    return AcceptedPrompt(message_id=message_id, thread_id=1, channel_id=2, author_id=3, payload=f"{message_id}: ü🧵")


@each
@pytest.mark.asyncio
async def test_a_message_is_accepted_once_whatever_became_of_it(opened: Opened, tmp_path: Path) -> None:
    """R2: decided at acceptance."""
    async with opened(tmp_path) as store:
        assert await store.accept(prompt(7))
        assert not await store.accept(prompt(7))
        await store.save_pending_reply(7, "answered", "text")
        assert not await store.accept(prompt(7))
        await store.finished(7, "answered")
        assert not await store.accept(prompt(7))


@each
@pytest.mark.asyncio
async def test_open_prompts_are_those_without_an_outcome_in_order_of_arrival(opened: Opened, tmp_path: Path) -> None:
    """O1, R2"""
    async with opened(tmp_path) as store:
        for message_id in (9, 7, 8, 6):
            await store.accept(prompt(message_id))
        await store.started(7)
        await store.finished(8, "answered")
        await store.save_pending_reply(6, "answered", "text")
        assert [OpenPrompt(prompt(7), started=True), OpenPrompt(prompt(9), started=False)] == await store.open_prompts()


@each
@pytest.mark.asyncio
async def test_what_shows_a_reply_is_the_latest_list(opened: Opened, tmp_path: Path) -> None:
    """R2"""
    async with opened(tmp_path) as store:
        await store.accept(prompt(7))
        await store.shown(7, (1,))
        await store.shown(7, (1, 2**62))
        assert [OpenPrompt(prompt(7), started=False, shown=(1, 2**62))] == await store.open_prompts()
        await store.shown(7, ())
        assert [OpenPrompt(prompt(7), started=False)] == await store.open_prompts()


@each
@pytest.mark.asyncio
async def test_replies_are_owed_until_they_are_visible(opened: Opened, tmp_path: Path) -> None:
    """O1, R2: the first reply stays."""
    async with opened(tmp_path) as store:
        for message_id in (8, 7):
            await store.accept(prompt(message_id))
            await store.save_pending_reply(message_id, "answered", f"reply to {message_id}")
        await store.save_pending_reply(7, "failed", "another")
        await store.shown(7, (5, 6))
        first = PendingReply(prompt(7), "answered", "reply to 7", (5, 6))
        assert [first, PendingReply(prompt(8), "answered", "reply to 8")] == await store.pending_replies()
        await store.finished(7, "answered")
        assert [PendingReply(prompt(8), "answered", "reply to 8")] == await store.pending_replies()
        assert await store.open_prompts() == []


@each
@pytest.mark.asyncio
async def test_a_message_that_was_never_accepted_is_left_alone(opened: Opened, tmp_path: Path) -> None:
    """O1: a message that was refused before it was accepted may still be accepted later."""
    async with opened(tmp_path) as store:
        await store.started(7)
        await store.shown(7, (1,))
        await store.save_pending_reply(7, "answered", "text")
        await store.finished(7, "interrupted")
        assert await store.accept(prompt(7))
        assert [OpenPrompt(prompt(7), started=False)] == await store.open_prompts()


@each
@pytest.mark.asyncio
async def test_a_finished_prompt_does_not_come_back(opened: Opened, tmp_path: Path) -> None:
    """O1, R2"""
    async with opened(tmp_path) as store:
        await store.accept(prompt(7))
        await store.finished(7, "answered")
        await store.started(7)
        await store.save_pending_reply(7, "failed", "text")
        await store.shown(7, (1,))
        assert (await store.open_prompts(), await store.pending_replies()) == ([], [])


@each
@pytest.mark.asyncio
async def test_a_prompt_is_at_hand_until_it_is_finished_and_longer_if_it_is_to_be_kept(
    opened: Opened, tmp_path: Path
) -> None:
    """R2: what was interrupted can be asked for again."""
    async with opened(tmp_path) as store:
        assert await store.turn(6) == []
        for message_id in (6, 7):
            await store.accept(prompt(message_id))
            await store.started(message_id)
            await store.shown(message_id, (1,))
        assert [OpenPrompt(prompt(6), started=True, shown=(1,))] == await store.turn(6)
        await store.finished(6, "interrupted", keep=True)
        await store.finished(7, "answered")
        await store.finished(7, "answered", keep=True)
        assert [OpenPrompt(prompt(6), started=True)] == await store.turn(6)
        assert await store.turn(7) == []
        assert not await store.accept(prompt(6))
        assert await store.open_prompts() == []


@each
@pytest.mark.asyncio
async def test_the_messages_of_a_turn_are_known_together(opened: Opened, tmp_path: Path) -> None:
    """R2, Q2, Q4: those of its prompt, and those that were said into it later; a turn of one is its own."""
    async with opened(tmp_path) as store:
        for message_id in (9, 8, 7, 6, 5):
            await store.accept(prompt(message_id))
        await store.started(6, [7])
        await store.started(6, [9])
        await store.started(8)
        expected = [OpenPrompt(prompt(6), started=True), *(OpenPrompt(prompt(n), started=True, turn=6) for n in (7, 9))]
        for message_id in (6, 7, 9):
            assert expected == await store.turn(message_id)
        assert [OpenPrompt(prompt(8), started=True)] == await store.turn(8)
        assert [OpenPrompt(prompt(5), started=False)] == await store.turn(5)
        assert [one.turn for one in await store.open_prompts()] == [None, None, 6, None, 6]


@each
@pytest.mark.asyncio
async def test_a_turn_keeps_only_those_of_its_messages_that_were_to_be_kept(opened: Opened, tmp_path: Path) -> None:
    """R2: Continue repeats what was interrupted."""
    async with opened(tmp_path) as store:
        for message_id in (6, 7, 8):
            await store.accept(prompt(message_id))
        await store.started(6, [7, 8])
        await store.finished(8, "interrupted", keep=True)
        await store.finished(7, "answered")
        await store.finished(6, "interrupted", keep=True)
        kept = [OpenPrompt(prompt(6), started=True), OpenPrompt(prompt(8), started=True, turn=6)]
        assert kept == await store.turn(6)
        assert kept == await store.turn(8)
        assert await store.turn(7) == []


@each
@pytest.mark.asyncio
async def test_a_message_that_a_turn_did_not_take_gets_a_turn_of_its_own(opened: Opened, tmp_path: Path) -> None:
    """Q2, R2"""
    async with opened(tmp_path) as store:
        for message_id in (6, 7, 8):
            await store.accept(prompt(message_id))
        await store.started(6, [7])
        await store.started(7, [8])
        assert [one.turn for one in await store.open_prompts()] == [None, None, 7]


@each
@pytest.mark.asyncio
async def test_the_newest_message_of_a_place_that_was_sent_is_known_after_its_end(
    opened: Opened, tmp_path: Path
) -> None:
    """F9: what was said before it is told to no agent twice."""
    async with opened(tmp_path) as store:
        assert await store.last_started(2) == 0
        for message_id in (5, 6, 7, 8):
            await store.accept(prompt(message_id))
        await store.started(5)
        await store.started(7, [6])
        await store.finished(7, "answered")
        assert await store.last_started(2) == 7
        assert [await store.last_started(2, until) for until in (4, 5, 6, 8)] == [0, 5, 6, 7]
        assert await store.last_started(1) == 0


@each
@pytest.mark.asyncio
async def test_a_prompt_can_be_amended_until_it_is_started(opened: Opened, tmp_path: Path) -> None:
    """Q5: an edit of a message that waits survives a restart; what the agent was told stays as it was."""
    async with opened(tmp_path) as store:
        await store.accept(prompt(6))
        await store.amend(6, "edited")
        await store.amend(7, "nobody's")
        assert [one.prompt.payload for one in await store.open_prompts()] == ["edited"]
        await store.started(6)
        await store.amend(6, "too late")
        assert [one.prompt.payload for one in await store.open_prompts()] == ["edited"]


@each
@pytest.mark.asyncio
async def test_what_people_chose_is_found_for_all_threads(opened: Opened, tmp_path: Path) -> None:
    """Q2"""
    async with opened(tmp_path) as store:
        await store.bind(1, options="{}")
        await store.bind(2, title="without")
        await store.bind(3, options="gone")
        await store.bind(3, options=None)
        assert await store.choices() == {1: "{}"}


@each
@pytest.mark.asyncio
async def test_binding_changes_only_what_is_given(opened: Opened, tmp_path: Path) -> None:
    """P8"""
    async with opened(tmp_path) as store:
        assert await store.thread(1) is None
        await store.bind(1, agent="a", session_id="s", cwd="/w", title="t", mode="m", options="{}", base="b")
        await store.bind(1, session_id=None)
        await store.bind(1)
        await store.bind(2)
        assert ThreadRecord(1, "a", None, "/w", "s", "t", "m", "{}", "b") == await store.thread(1)
        assert ThreadRecord(2) == await store.thread(2)


@each
@pytest.mark.asyncio
async def test_what_is_gone_is_forgotten_with_all_that_stood_in_it(opened: Opened, tmp_path: Path) -> None:
    """R6, D10: a thread, a channel, a server; a prompt stays until its end is written."""
    async with opened(tmp_path) as store:
        here = [SeenPlace(1, 10, 5, seen=1), SeenPlace(2, 10, 5, seen=2), SeenPlace(3, 10, 6, seen=3)]
        await store.see([*here, SeenPlace(5, 10, seen=5), SeenPlace(4, 11, 7, seen=4)])
        for place_id in (1, 2, 3, 4, 10, 11):
            await store.bind(place_id, options="x")
        await store.accept(prompt(1))
        await store.forget([1])
        assert sorted(await store.choices()) == [2, 3, 4, 10, 11]
        assert len(await store.open_prompts()) == 1
        await store.forget([5])
        assert sorted(await store.choices()) == [3, 4, 10, 11]
        assert [place.place_id for place in await store.places()] == [4, 3]
        await store.forget([10, 999])
        assert sorted(await store.choices()) == [4, 11]
        assert [place.place_id for place in await store.places()] == [4]


@each
@pytest.mark.asyncio
async def test_what_was_seen_only_grows_and_what_is_known_of_a_place_stays(opened: Opened, tmp_path: Path) -> None:
    """R2"""
    async with opened(tmp_path) as store:
        await store.see([SeenPlace(1, 10, 11, 12, seen=5), SeenPlace(2, None)])
        await store.see([])
        await store.see(SeenPlace(place, 20, seen=seen) for place, seen in ((1, 4), (2, 9)))
        assert [SeenPlace(2, 20, seen=9), SeenPlace(1, 20, 11, 12, seen=5)] == await store.places()


@each
@pytest.mark.asyncio
async def test_a_thread_has_one_notice_at_most(opened: Opened, tmp_path: Path) -> None:
    """Q5, R2"""
    async with opened(tmp_path) as store:
        await store.keep_notice(KeptNotice(1, 10))
        await store.keep_notice(KeptNotice(2, 20))
        await store.keep_notice(KeptNotice(1, 11, stopping=True))
        await store.drop_notice(2)
        await store.drop_notice(3)
        assert [KeptNotice(1, 11, stopping=True)] == await store.notices()
        await store.forget([1])
        assert await store.notices() == []


@each
@pytest.mark.asyncio
async def test_transcripts_are_found_by_turn_and_by_thread_and_go_with_it(opened: Opened, tmp_path: Path) -> None:
    """S3, V2, R6: the newest turns first, and the latest of a turn counts, though nobody waits for it."""
    kept = [transcript(turn, thread_id=1 + turn % 2) for turn in range(1, 10)]
    async with opened(tmp_path) as store:
        for one in (transcript(4, thread_id=1, payload=b"early"), *kept):
            store.transcribed(one)
        assert (await store.transcript(4), await store.transcript(99)) == (kept[3], None)
        assert [one.turn_id for one in await store.transcripts(1, 2)] == [8, 6]
        assert [one.turn_id for one in await store.transcripts(1, 9, before=6)] == [4, 2]
        assert [await store.count_transcripts(thread) for thread in (1, 2, 3)] == [4, 5, 0]
        assert await store.count_transcripts(1, 2**40) == 0
        await store.forget([1])
        assert [await store.count_transcripts(thread) for thread in (1, 2)] == [0, 5]


@each
@pytest.mark.asyncio
async def test_decisions_are_found_newest_first_by_thread_and_by_server(opened: Opened, tmp_path: Path) -> None:
    """C5: whoever hands one in need not wait; a thread that is gone keeps its decisions."""
    here, there = [decision(number) for number in (1, 2, 3)], decision(4, thread_id=2, guild_id=None, reason="ü🧵")
    async with opened(tmp_path) as store:
        handed_in = [store.decided(one) for one in (here[0], there, here[1], here[2])]
        assert await store.decisions(2, thread_id=1) == [here[2], here[1]]
        assert await store.decisions(9, guild_id=10) == here[::-1]
        assert await store.decisions(9) == [here[2], here[1], there, here[0]]
        for one in handed_in:
            await one.value()
        await store.forget([1, 10])
        assert len(await store.decisions(9)) == 4


@each
@pytest.mark.asyncio
async def test_a_rule_is_kept_until_it_is_revoked(opened: Opened, tmp_path: Path) -> None:
    """C2"""
    async with opened(tmp_path) as store:
        first, second = rule(store.new_id()), rule(2**62, command=None, path="src/**", allow=False)
        await store.keep_rule(second)
        await store.keep_rule(first)
        assert await store.rules() == [first, second]
        await store.keep_rule(rule(first.rule_id, command="rm"))
        await store.revoke_rule(second.rule_id)
        await store.revoke_rule(5)
        assert await store.rules() == [first]


@each
@pytest.mark.asyncio
async def test_cards_are_kept_until_they_show_their_end(opened: Opened, tmp_path: Path) -> None:
    """C4: record before show; what is known later of one takes the place of what was."""
    async with opened(tmp_path) as store:
        await store.keep_card(KeptCard("b", 1, 20))
        await store.keep_card(KeptCard("a", 2, 10))
        await store.keep_card(KeptCard("b", 1, 20, message_id=25, archive=60))
        await store.drop_card("c")
        assert await store.cards() == [KeptCard("a", 2, 10), KeptCard("b", 1, 20, message_id=25, archive=60)]
        await store.drop_card("a")
        assert [card.token for card in await store.cards()] == ["b"]
        await store.forget([1])
        assert await store.cards() == []


@each
@pytest.mark.asyncio
async def test_concurrent_copies_of_a_message_are_accepted_once(opened: Opened, tmp_path: Path) -> None:
    """R2"""
    answers: list[bool] = []
    async with opened(tmp_path) as store:

        async def accept() -> None:
            answers.append(await store.accept(prompt(7)))

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(accept)
    assert answers.count(True) == 1


@each
@pytest.mark.asyncio
async def test_a_sound_store_has_no_trouble(opened: Opened, tmp_path: Path) -> None:
    """R6"""
    async with opened(tmp_path) as store:
        await store.accept(prompt(7))
        assert store.trouble == ""
        assert (opened is not in_memory) == store.durable


@pytest.mark.asyncio
async def test_in_memory_the_first_outcome_stays() -> None:
    """O1"""
    store = MemoryStore()
    await store.accept(prompt(7))
    await store.save_pending_reply(7, "answered", "text")
    await store.finished(7, "failed")
    assert store._finished == {7: ("answered", None)}


@pytest.mark.asyncio
async def test_finished_prompts_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """R2: the last ones are known again; the payloads are gone, and what is open is kept however old it is."""
    monkeypatch.setattr(memory, "FINISHED_KEPT", 2)
    store = MemoryStore()
    await store.accept(prompt(1))
    for message_id in (7, 8, 9):
        await store.accept(prompt(message_id))
        await store.finished(message_id, "answered")
    assert list(store._finished) == [8, 9]
    assert list(store._prompts) == [1]
    assert [await store.accept(prompt(message_id)) for message_id in (1, 8, 9)] == [False] * 3


@each
@pytest.mark.asyncio
async def test_what_turns_took_is_added_up_once_each_by_money_or_else_by_tokens(opened: Opened, tmp_path: Path) -> None:
    """A4: by day, person and thread, with how far each session has come."""
    async with opened(tmp_path) as store:
        store.spent(spent(1))
        store.spent(spent(1, money=7_000_000))  # of one turn, the first word stays
        store.spent(spent(2, person_id=4, currency="EUR", session="second"))
        store.spent(spent(4, day="2025-11-25", thread_id=2, currency=None, total=None, session=None))
        store.spent(spent(3, day="2025-11-25", total=4_000_000))
        assert await store.spending("USD", "2025-11-25", 10) == KeptSpending(
            (("2025-11-25", 3, 1, 1_000_000, 0), ("2025-11-25", 3, 2, 0, 500)),
            ((2, 0, 500), (1, 2_000_000, 500)),
            (("second", 3_000_000, "EUR", 9_000), ("first", 4_000_000, "USD", 9_000)),
        )
        latest = await store.spending("USD", "2026", 1)
        assert (latest.days, [one[0] for one in latest.threads], [one[0] for one in latest.sessions]) == (
            (),
            [1],
            ["first"],
        )


@each
@pytest.mark.asyncio
async def test_a_session_has_one_thread_or_one_claim_at_a_time(opened: Opened, tmp_path: Path) -> None:
    """S1: whoever is first, also of several in the same instant; what was forgotten counts no more."""
    async with opened(tmp_path) as store:
        await store.bind(1, session_id="a", cwd="/w", title="One")
        await store.bind(2, session_id="b")
        assert await store.claim_session(SessionClaim(10, "a", "x")) == 1
        assert await store.claim_session(SessionClaim(10, "a", "x"), apart=[1]) is None, "another agent's"
        claimed: list[int | None] = []

        async def claim(number: int) -> None:
            claimed.append(await store.claim_session(SessionClaim(number, "c", "x")))

        async with anyio.create_task_group() as tasks:
            for number in range(20, 25):
                tasks.start_soon(claim, number)
        assert sorted(claimed, key=str) == [0, 0, 0, 0, None]
        (winner,) = [one.claim_id for one in await store.claims() if one.session_id == "c"]
        await store.set_claim(winner, 3)
        assert SessionClaim(winner, "c", "x", 3) in await store.claims()
        await store.set_claim(winner, None)
        await store.bind(3, session_id="c")
        assert await store.claim_session(SessionClaim(30, "c", "x")) == 3
        await store.bind(3, session_id=None)
        assert await store.claim_session(SessionClaim(30, "c", "x")) is None


@each
@pytest.mark.asyncio
async def test_prompts_that_ended_together_are_asked_for_again_together(opened: Opened, tmp_path: Path) -> None:
    """A4: a burst of messages that were refused."""
    async with opened(tmp_path) as store:
        for number in (7, 8):
            await store.accept(prompt(number))
            await store.finished(number, "over_budget", keep=True, turn=7 if number > 7 else None)
        assert await store.turn(7) == [
            OpenPrompt(prompt(7), started=False),
            OpenPrompt(prompt(8), started=False, turn=7),
        ]


@each
@pytest.mark.asyncio
async def test_whose_sessions_are_and_were_is_known_also_of_threads_that_are_gone(
    opened: Opened, tmp_path: Path
) -> None:
    """S1: who may not see a thread is not to see what it was about."""
    async with opened(tmp_path) as store:
        for session in ("a", "b", "c"):
            await store.bind(1, session_id=session, cwd="/w", title="One")
        await store.bind(2, session_id="a")
        await store.copied("d", 1).value()
        known = [(one.session_id, one.thread_id, one.held, one.copy) for one in await store.known_sessions("abcd")]
        assert known == [
            ("a", 1, False, False),
            ("a", 2, True, False),
            ("b", 1, False, False),
            ("c", 1, True, False),
            ("d", 1, False, True),
        ]
        assert sorted((one.thread_id, one.session_id, one.title) for one in await store.session_threads(9)) == [
            (1, "c", "One"),
            (2, "a", None),
        ]
        assert [one.thread_id for one in await store.session_threads(9, "a")] == [2]
        assert len(await store.session_threads(1)) == 1
        await store.forget([1])
        assert [one.thread_id for one in await store.known_sessions(["c", "x"])] == [1]
        assert [one.held for one in await store.known_sessions(["c"])] == [False]


@each
@pytest.mark.asyncio
async def test_work_trees_and_schedules_are_kept_until_they_are_dropped(opened: Opened, tmp_path: Path) -> None:
    """W5, A5: the last that was said of one counts, and the end of a thread takes neither."""
    async with opened(tmp_path) as store:
        for tree in (work_tree(2, state="making"), work_tree(1), work_tree(2)):
            await store.keep_work_tree(tree)
        for one in (schedule(8), schedule(7, guild_id=None), schedule(8, paused="by alice", fired_at=9)):
            await store.keep_schedule(one)
        await store.forget([1, 2, 10])
        assert await store.work_trees() == [work_tree(1), work_tree(2)]
        assert await store.schedules() == [schedule(7, guild_id=None), schedule(8, paused="by alice", fired_at=9)]
        await store.drop_work_tree(1)
        await store.drop_schedule(8)
        await store.drop_schedule(8)
        assert (await store.work_trees(), await store.schedules()) == ([work_tree(2)], [schedule(7, guild_id=None)])
