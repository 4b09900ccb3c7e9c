"""The next run of the bot on the same state: what it goes on with, what it only tells, what it never does twice."""

from __future__ import annotations

from dataclasses import replace

import anyio

from bot.outcome import Outcome
from bot.reply.port import Unavailable
from bot.work.limits import DeskLimits
from bot.work.record import accepted_prompt, inbound_of
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import LIMITS, FakeChat, NotedStore, PlayedSession, Work, answer, running_work
from tests.bot.work.samples import ALICE, BOB, inbound

GRACE: DeskLimits = replace(LIMITS, stop_grace=30.0)


def kept() -> NotedStore:
    return NotedStore(outlives=True)


def buttons(work: Work, thread_id: int = 100) -> list[tuple[int, str]]:
    """Return message and custom_id of each button that the thread shows."""
    messages = work.chat.threads[thread_id].messages.items()
    return [(number, button.custom_id) for number, body in messages for button in body.buttons]


# --- what was there before ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_prompt_that_waited_goes_on_after_the_restart() -> None:
    """R2, O2: accepted is not lost."""
    store = kept()
    await store.accept(accepted_prompt(inbound(1, text="waited")))
    async with running_work(store=store) as work:
        assert await work.over() == [(1, Outcome.ANSWERED)]
        assert work.agents.prompted == ["waited"]
        assert work.chat.acknowledged == [(1, "👀")]


@in_virtual_time
async def test_a_prompt_whose_thread_was_not_open_yet_gets_it_after_the_restart() -> None:
    """O2: the accept is written before the thread is made."""
    store = kept()
    await store.accept(accepted_prompt(replace(inbound(100), channel_id=7, opens_thread=True)))
    async with running_work(store=store) as work:
        assert await work.over() == [(100, Outcome.ANSWERED)]
        assert work.chat.opened == [100]


@in_virtual_time
async def test_prompts_that_waited_run_in_order_and_before_what_is_posted_now() -> None:
    """Q1, R2."""
    store = kept()
    for number in (3, 2):
        await store.accept(accepted_prompt(inbound(number, text=f"prompt {number}")))
    async with running_work(store=store, held=True) as work:
        work.post(4, "prompt 4")
        await work.settled()
        assert work.agents.prompted == []
        work.desk.release()
        await work.over(3)
        assert work.agents.prompted == ["prompt 2", "prompt 3", "prompt 4"]


@in_virtual_time
async def test_a_turn_that_was_cut_off_is_told_and_not_run_again() -> None:
    """R2, O1: it may have had side effects."""
    store = kept()
    await store.accept(accepted_prompt(inbound(1)))
    await store.started(1)
    async with running_work(store=store) as work:
        assert await work.over() == [(1, Outcome.INTERRUPTED)]
        assert work.agents.prompted == []
        (text,) = work.chat.texts()
        assert text.startswith("⚠️ **interrupted**: Weft was restarted in the middle of this.")
        assert [custom_id for _, custom_id in buttons(work)] == ["weft:go:100:1"]
        assert work.chat.threads[100].of("send")[0].reply_to == 1
    async with running_work(store=store, chat=work.chat) as again:
        await again.settled()
        assert again.outcomes == []
        assert len(again.chat.texts()) == 1


@in_virtual_time
async def test_a_reply_on_its_way_arrives_after_the_restart_once() -> None:
    """R2, D3: the turn is over; what it said is kept until it is visible."""
    store, chat = kept(), FakeChat()
    async with running_work(store=store, chat=chat) as work:
        work.chat.thread(100)
        chat.threads[100].fail["send"] = [Unavailable("down")] * 1000
        work.post(1)
        await work.until(lambda: work.agents.prompted)
        await work.settled()
        assert work.outcomes == []
    chat.threads[100].fail.clear()
    assert chat.texts() == []
    async with running_work(store=store, chat=chat) as work:
        assert await work.over() == [(1, Outcome.ANSWERED)]
        assert work.agents.prompted == []
        assert "an answer" in "".join(chat.texts())
    before = chat.texts()
    async with running_work(store=store, chat=chat) as work:
        await work.settled()
    assert chat.texts() == before


@in_virtual_time
async def test_a_damaged_reply_is_told_by_its_outcome() -> None:
    """O1: never none."""
    store = kept()
    await store.accept(accepted_prompt(inbound(1)))
    await store.started(1)
    await store.owe(1, "answered", "no json")
    async with running_work(store=store) as work:
        assert await work.over() == [(1, Outcome.ANSWERED)]
        assert work.chat.texts() == ["-# ⚠️ **answered**: the reply could not be shown."]


@in_virtual_time
async def test_a_message_that_is_fetched_again_after_the_restart_is_ignored() -> None:
    """R2, O1: decided at acceptance."""
    store = kept()
    async with running_work(store=store) as work:
        work.post(1)
        await work.over()
    async with running_work(store=store) as work:
        work.post(1)
        await work.settled()
        assert (work.agents.prompted, work.outcomes) == ([], [])


# --- going on ----------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_continue_asks_the_agent_to_go_on_with_the_request() -> None:
    """R2: the successor is a prompt of its own, by whoever pressed."""
    store = kept()
    await store.accept(accepted_prompt(inbound(1, text="build it")))
    await store.started(1)
    async with running_work(store=store) as work:
        await work.over()
        ((notice, _),) = buttons(work)
        told = work.desk.go_on(100, 1, notice, BOB)
        assert (told.text, told.accepted) == ("Going on.", True)
        again = work.desk.go_on(100, 1, notice, BOB)
        assert (again.text, again.accepted) == ("Already going on.", False)
        assert await work.over(2) == [(1, Outcome.INTERRUPTED), (notice, Outcome.ANSWERED)]
        (prompted,) = work.agents.prompted
        assert prompted.endswith("go on with this request:\n\nbuild it")
    async with running_work(store=store, chat=work.chat) as work:
        work.desk.go_on(100, 1, notice, BOB)
        await work.settled()
        assert work.agents.prompted == []


@in_virtual_time
async def test_continue_keeps_in_which_channel_its_thread_stands() -> None:
    """D2, R2: the next run decides by that whether it may run."""
    store = kept()
    asked_in_channel = replace(inbound(1, thread_id=100), channel_id=7, opens_thread=True)
    asked_in_thread = replace(inbound(2, thread_id=100), parent_id=7)
    for one in (asked_in_channel, asked_in_thread):
        await store.accept(accepted_prompt(one))
        await store.started(one.message_id)
    async with running_work(store=store, held=True) as work:
        for prompt in (1, 2):
            work.desk.go_on(100, prompt, 50 + prompt, BOB)
        await work.settled()
        again = {one.prompt.message_id: inbound_of(one.prompt) for one in await store.open_prompts()}
        assert [(again[one].channel_id, again[one].parent_id) for one in (51, 52)] == [(100, 7), (100, 7)]


@in_virtual_time
async def test_who_lost_the_role_that_let_them_in_is_not_run_after_the_restart() -> None:
    """D2, R2: and who has another one that lets in is."""
    store, old, new = kept(), frozenset({1}), frozenset({2})
    for number, author in ((1, ALICE), (2, BOB)):
        await store.accept(accepted_prompt(inbound(number, author=replace(author, roles=old))))
    async with running_work(store=store, held=True) as work:
        work.desk.may = lambda one: bool(one.author.roles & new)
        await work.settled()
        assert work.desk.authors() == {(1, ALICE.id), (1, BOB.id)}
        work.desk.roles_now(1, ALICE.id, new)
        work.desk.roles_now(1, BOB.id, frozenset())
        work.desk.release()
        assert sorted(await work.over(2)) == [(1, Outcome.ANSWERED), (2, Outcome.REMOVED)]


@in_virtual_time
async def test_continue_is_not_stale_by_a_stop_of_all_that_came_before_it_was_pressed() -> None:
    """Q7, R2: the notice is older than the stop, the press is not; one that comes after the press ends it."""
    store = kept()
    for number in (1, 2):
        await store.accept(accepted_prompt(inbound(number)))
        await store.started(number)
    async with running_work(store=store) as work:
        await work.over(2)
        (first, _), (second, _) = buttons(work)
        work.desk.stop_all(100, ALICE, before=second + 1000)
        work.desk.go_on(100, 1, first, BOB)
        assert (await work.over(3))[2:] == [(first, Outcome.ANSWERED)]
        work.desk.go_on(100, 2, second, BOB)
        work.desk.stop_all(100, ALICE, before=second + 2000)
        assert (await work.over(4))[3:] == [(second, Outcome.STALE)]


@in_virtual_time
async def test_continue_of_another_thread_s_prompt_starts_nothing() -> None:
    """D2: a custom_id can name anything."""
    store = kept()
    await store.accept(accepted_prompt(inbound(1)))
    await store.started(1)
    async with running_work(store=store) as work:
        await work.over()
        work.desk.go_on(200, 1, 999, ALICE)
        await work.shown("no longer known", 200)
        assert work.agents.prompted == []


# --- what was posted meanwhile -----------------------------------------------------------------------------------


@in_virtual_time
async def test_a_message_from_long_ago_is_told_once_and_runs_when_asked_for() -> None:
    """R2: a gap that was too long is listed, not run."""
    store = kept()
    async with running_work(store=store) as work:
        for _ in range(2):
            work.desk.missed(inbound(5, text="deploy"))
        assert await work.over() == [(5, Outcome.INTERRUPTED)]
        (text,) = work.chat.texts()
        assert text.startswith("⚠️ **interrupted**: Weft was away when this was posted")
        ((notice, custom_id),) = buttons(work)
        assert custom_id == "weft:go:100:5"
        work.desk.go_on(100, 5, notice, ALICE)
        await work.over(2)
        assert work.agents.prompted == ["deploy"]


@in_virtual_time
async def test_a_mention_from_long_ago_is_told_where_it_was_posted() -> None:
    """R2, D1: there is no thread yet."""
    async with running_work(store=kept()) as work:
        work.desk.missed(replace(inbound(5), channel_id=7, thread_id=5, opens_thread=True))
        assert await work.over() == [(5, Outcome.INTERRUPTED)]
        ((message_id, text),) = work.chat.refused
        assert (message_id, text.endswith("Mention me again if you still want it.")) == (5, True)
        assert work.chat.opened == []


@in_virtual_time
async def test_while_it_is_held_nothing_starts_and_what_runs_goes_on() -> None:
    """Q1."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.desk.hold()
        work.post(2, thread_id=200)
        work.agents.sessions[0].respond()
        assert await work.over() == [(1, Outcome.ANSWERED)]
        work.desk.release()
        assert await work.over(2) == [(1, Outcome.ANSWERED), (2, Outcome.ANSWERED)]


@in_virtual_time
async def test_a_message_is_pending_until_it_is_written() -> None:
    """O2, R2: nobody may count it as seen before."""
    async with running_work() as work:
        work.store.gates["accept"] = anyio.Event()
        work.post(1)
        assert work.desk.pending() == {1}
        work.store.gates["accept"].set()
        await work.over()
        assert work.desk.pending() == frozenset()


# --- the end of a run whose state is kept --------------------------------------------------------------------------


@in_virtual_time
async def test_a_turn_may_finish_within_the_grace() -> None:
    """R1"""

    def slow(session: PlayedSession) -> None:
        session.say("working")

    async with running_work(limits=GRACE, store=kept(), slow=slow) as work:
        work.post(1, "slow")
        await work.prompted("slow")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work.desk.shutdown)
            await work.shown("Weft is about to restart. This turn has 30 s to finish")
            answer(work.agents.sessions[0])
        assert work.outcomes == [(1, Outcome.ANSWERED)]
        assert work.agents.sessions[0].cancels == 0


@in_virtual_time
async def test_a_turn_that_outlasts_the_grace_is_cancelled_and_told() -> None:
    """R1, T6"""
    async with running_work(limits=GRACE, store=kept()) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        began = anyio.current_time()
        await work.desk.shutdown()
        assert 30 <= anyio.current_time() - began < 32
        assert work.outcomes == [(1, Outcome.INTERRUPTED)]
        assert work.agents.sessions[0].cancels == 1
        ((notice, custom_id),) = buttons(work)
        assert custom_id == "weft:go:100:1"
    async with running_work(store=work.store, chat=work.chat) as again:
        again.desk.go_on(100, 1, notice, ALICE)
        await again.until(lambda: again.agents.prompted)
        assert again.agents.prompted[0].endswith("go on with this request:\n\nhang")


@in_virtual_time
async def test_a_second_signal_ends_the_grace() -> None:
    """R1"""
    async with running_work(limits=GRACE, store=kept()) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work.desk.shutdown)
            await work.settled()
            work.desk.hurry()
        assert anyio.current_time() - began < 10
        assert work.outcomes == [(1, Outcome.INTERRUPTED)]


@in_virtual_time
async def test_what_waits_is_told_kept_and_run_by_the_next_run() -> None:
    """R1, R2, O1: one outcome, over both runs."""
    store, chat = kept(), FakeChat()
    async with running_work(store=store, chat=chat) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2, "second")
        await work.until(lambda: ("accept", 2) in store.calls)
        await work.desk.shutdown()
        assert work.outcomes == [(1, Outcome.INTERRUPTED)]
        assert [text for text in chat.texts() if "What waits here goes on afterwards." in text]
    async with running_work(store=store, chat=chat) as work:
        assert await work.over() == [(2, Outcome.ANSWERED)]
        assert work.agents.prompted == ["second"]


@in_virtual_time
async def test_an_open_card_is_answered_cancelled_when_the_bot_stops() -> None:
    """R1, D6"""

    def ask(session: PlayedSession) -> None:
        session.ask()

    async with running_work(limits=GRACE, store=kept(), ask=ask) as work:
        work.post(1, "ask")
        await work.prompted("ask")
        await work.until(lambda: work.agents.sessions)
        session = work.agents.sessions[0]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work.desk.shutdown)
            await work.until(lambda: session.requests[0].answered)
            assert session.cancels == 0
            second = session.ask("another", 2)
            assert second.answered
            answer(session)
        assert work.outcomes == [(1, Outcome.ANSWERED)]


@in_virtual_time
async def test_a_message_that_comes_while_the_bot_stops_is_left_to_the_next_run() -> None:
    """R1, R2: it is not accepted, and does not count as seen."""
    store = kept()
    async with running_work(limits=GRACE, store=store) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work.desk.shutdown)
            await work.settled()
            work.post(2, "late")
            await work.settled()
            assert work.desk.pending() == {2}
            work.desk.hurry()
        assert ("accept", 2) not in store.calls
        assert work.chat.refused == []
    async with running_work(store=store) as work:
        work.post(2, "late")  # fetched from Discord's history
        assert await work.over() == [(2, Outcome.ANSWERED)]
