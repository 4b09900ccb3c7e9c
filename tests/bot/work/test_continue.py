"""Continue: what a restart cut off and what was posted too long ago runs again when somebody asks for it."""

from __future__ import annotations

from dataclasses import replace

import anyio

from bot.model import Lane, Outcome
from bot.reply.port import Body
from bot.work.serialization import accepted_prompt, inbound_of
from pool.store import StoreBusy
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import FakeChat, NotedStore, cut_off_together, kept, running_work
from tests.bot.work.samples import ALICE, BOB, inbound, mention


async def cut_off(store: NotedStore) -> None:
    await store.accept(accepted_prompt(inbound(1, text="build it")))
    await store.started(1)


@in_virtual_time
async def test_continue_asks_the_agent_to_go_on_with_the_request() -> None:
    """R2: the successor is a prompt of its own, by whoever pressed."""
    store = kept()
    await store.accept(accepted_prompt(inbound(1, text="build it")))
    await store.started(1)
    async with running_work(store=store) as work:
        await work.over()
        ((notice, _),) = work.buttons()
        told = work.dispatcher.controls.go_on(100, 1, notice, BOB)
        assert (told.text, told.accepted) == ("Going on.", True)
        again = work.dispatcher.controls.go_on(100, 1, notice, BOB)
        assert (again.text, again.accepted) == ("Already going on.", False)
        assert await work.over(2) == [(1, Outcome.INTERRUPTED), (notice, Outcome.ANSWERED)]
        (prompted,) = work.agents.prompted
        assert prompted.endswith("go on with this request:\n\nbuild it")
    async with running_work(store=store, chat=work.chat) as work:
        work.dispatcher.controls.go_on(100, 1, notice, BOB)
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
            work.dispatcher.controls.go_on(100, prompt, 50 + prompt, BOB)
        await work.settled()
        again = {one.prompt.message_id: inbound_of(one.prompt) for one in await store.open_prompts()}
        assert [(again[one].channel_id, again[one].parent_id) for one in (51, 52)] == [(100, 7), (100, 7)]


@in_virtual_time
async def test_continue_is_not_stale_by_a_stop_of_all_that_came_before_it_was_pressed() -> None:
    """Q7, R2: the notice is older than the stop, the press is not; one that comes after the press ends it."""
    store = kept()
    for number in (1, 2):
        await store.accept(accepted_prompt(inbound(number)))
        await store.started(number)
    async with running_work(store=store) as work:
        await work.over(2)
        (first, _), (second, _) = work.buttons()
        work.dispatcher.controls.stop_all(100, ALICE, before=second + 1000)
        work.dispatcher.controls.go_on(100, 1, first, BOB)
        assert (await work.over(3))[2:] == [(first, Outcome.ANSWERED)]
        work.dispatcher.controls.go_on(100, 2, second, BOB)
        work.dispatcher.controls.stop_all(100, ALICE, before=second + 2000)
        assert (await work.over(4))[3:] == [(second, Outcome.STALE)]


@in_virtual_time
async def test_continue_of_another_thread_s_prompt_starts_nothing() -> None:
    """D2: a custom_id can name anything."""
    store = kept()
    await store.accept(accepted_prompt(inbound(1)))
    await store.started(1)
    async with running_work(store=store) as work:
        await work.over()
        work.dispatcher.controls.go_on(200, 1, 999, ALICE)
        await work.shown("no longer know what was asked", 200)
        assert work.agents.prompted == []


@in_virtual_time
async def test_a_message_from_long_ago_is_told_once_and_runs_when_asked_for() -> None:
    """R2: a gap that was too long is listed, not run."""
    store = kept()
    async with running_work(store=store) as work:
        for _ in range(2):
            work.dispatcher.missed(inbound(5, text="deploy"))
        assert await work.over() == [(5, Outcome.INTERRUPTED)]
        (text,) = work.chat.texts()
        assert text.startswith("⚠️ **Interrupted:** Weft was away when this was posted")
        ((notice, custom_id),) = work.buttons()
        assert custom_id == "weft:go:100:5"
        work.dispatcher.controls.go_on(100, 5, notice, ALICE)
        await work.over(2)
        assert work.agents.prompted == ["deploy"]


@in_virtual_time
async def test_a_mention_from_long_ago_is_told_where_it_was_posted() -> None:
    """R2, D1: there is no thread yet."""
    async with running_work(store=kept()) as work:
        work.dispatcher.missed(replace(inbound(5), channel_id=7, thread_id=5, opens_thread=True))
        assert await work.over() == [(5, Outcome.INTERRUPTED)]
        ((message_id, text),) = work.chat.refused
        assert (message_id, text.endswith("Mention me again if you still want it.")) == (5, True)
        assert work.chat.opened == []


@in_virtual_time
async def test_a_message_from_long_ago_is_not_run_by_itself_after_a_kill_either() -> None:
    """R2, O1: the kill falls between the acceptance and the outcome; the notice is there, once."""
    store, chat = kept(), FakeChat()
    store.gates["finished"] = anyio.Event()
    async with running_work(store=store, chat=chat) as work:
        work.dispatcher.missed(inbound(5, text="deploy"))
        await work.shown("Weft was away when this was posted")
    store.gates["finished"].set()
    async with running_work(store=store, chat=chat) as work:
        await work.over()
        assert (work.agents.prompted, work.outcomes) == ([], [(5, Outcome.INTERRUPTED)])
        assert len(work.told("Weft was away when this was posted")) == 1
        work.dispatcher.controls.go_on(100, 5, max(chat.threads[100].messages), ALICE)
        await work.over(2)
        assert work.agents.prompted == ["deploy"]


@in_virtual_time
async def test_a_mention_from_long_ago_is_not_run_by_itself_after_a_kill_either() -> None:
    """R2: the same in a channel, where there is no thread yet."""
    store = kept()
    store.gates["finished"] = anyio.Event()
    async with running_work(store=store) as work:
        work.dispatcher.missed(mention(5))
        await work.until(lambda: work.chat.refused)
    store.gates["finished"].set()
    async with running_work(store=store) as work:
        assert await work.over() == [(5, Outcome.INTERRUPTED)]
        assert (work.agents.prompted, work.chat.opened) == ([], [])
        assert [message_id for message_id, _ in work.chat.refused] == [5]


@in_virtual_time
async def test_a_mention_from_long_ago_is_told_once_however_late_the_next_run_comes() -> None:
    """R2, O1: Discord forgets a nonce after minutes, so what is there is looked up."""
    store, chat = kept(), FakeChat()
    store.gates["finished"] = anyio.Event()
    async with running_work(store=store, chat=chat) as work:
        work.dispatcher.missed(mention(5))
        work.dispatcher.missed(mention(6))
        await work.until(lambda: len(chat.refused) == 2)
        told = dict(chat.refused)
    store.gates["finished"].set()
    # Of the two notices, one got through before the kill.
    channel_id = mention(5).channel_id
    await chat.thread(channel_id).send(Body(told[5]), nonce="a5", reply_to=5)
    chat.refused.clear()
    async with running_work(store=store, chat=chat) as work:
        assert sorted(await work.over(2)) == [(5, Outcome.INTERRUPTED), (6, Outcome.INTERRUPTED)]
        assert [message_id for message_id, _ in chat.refused] == [6]


@in_virtual_time
async def test_a_message_from_long_ago_that_can_t_be_written_down_stays_pending() -> None:
    """O1, R2: it counts as seen only once it is told; the next run fetches it again."""
    store = kept()
    store.fail["accept"] = StoreBusy("too much")
    async with running_work(store=store) as work:
        work.dispatcher.missed(inbound(5))
        await work.settled()
        assert work.dispatcher.pending() == {5}


@in_virtual_time
async def test_a_press_just_before_a_stop_is_the_next_run_s() -> None:
    """O2, R1: "Going on." was said, and no later run finds the press in Discord."""
    store = kept()
    await cut_off(store)
    async with running_work(store=store) as work:
        await work.over()
        notice = max(work.chat.threads[100].messages)
        assert work.dispatcher.controls.go_on(100, 1, notice, BOB).accepted
    async with running_work(store=store) as work:
        assert await work.over() == [(notice, Outcome.ANSWERED)]
        assert len(work.agents.prompted) == 1


@in_virtual_time
async def test_a_press_that_could_not_be_written_down_can_be_repeated() -> None:
    """O1: it is told, and "Already going on." is not."""
    store = kept()
    await cut_off(store)
    async with running_work(store=store) as work:
        await work.over()
        notice = max(work.chat.threads[100].messages)
        store.fail["accept"] = StoreBusy("too much")
        assert work.dispatcher.controls.go_on(100, 1, notice, BOB).accepted
        await work.shown("Please press again")
        store.fail.clear()
        assert work.dispatcher.controls.go_on(100, 1, notice, BOB).accepted
        await work.over(2)
        assert len(work.agents.prompted) == 1


@in_virtual_time
async def test_what_is_gone_on_with_belongs_to_whoever_pressed() -> None:
    """D2, D9: the rights and the ping are theirs, the request is the other's."""
    store = kept()
    await cut_off(store)
    async with running_work(store=store, hanging=lambda _session: None) as work:
        await work.over()
        notice = max(work.chat.threads[100].messages)
        work.dispatcher.controls.go_on(100, 1, notice, BOB)
        await work.until(lambda: ("accept", notice) in store.calls)
        (again,) = await store.turn(notice)
        assert (again.prompt.author_id, again.prompt.thread_id) == (BOB.id, 100)


@in_virtual_time
async def test_a_bots_prompt_that_a_person_goes_on_with_is_a_persons() -> None:
    """D2, D6, Q6: the card is for whoever pressed, and says so; a bot's would be for the owners."""
    store = kept()
    await store.accept(accepted_prompt(replace(inbound(1, text="build it"), lane=Lane.BACKGROUND)))
    await store.started(1)
    async with running_work(store=store, held=True) as work:
        work.dispatcher.controls.go_on(100, 1, 51, BOB)
        await work.settled()
        (again,) = [one.prompt for one in await store.open_prompts()]
        assert (inbound_of(again).lane, inbound_of(again).author.id) == (Lane.MAIN, BOB.id)


@in_virtual_time
async def test_continue_of_a_turn_of_several_messages_repeats_all_of_it() -> None:
    """R2, Q2: whether a kill cut it off or a stop; with names where several people spoke."""
    store = kept()
    await cut_off_together(store)
    async with running_work(store=store) as work:
        await work.over(3)
        ((notice, _),) = work.buttons()
    async with running_work(store=store, chat=work.chat) as work:
        work.dispatcher.controls.go_on(100, 1, notice, BOB)
        await work.over()
        (prompted,) = work.agents.prompted
        one, two, three = (
            f"[{who} wrote:]\n> {text}"
            for who, text in [("alice (user 11)", "one"), ("alice (user 11)", "two"), ("bob (user 12)", "three")]
        )
        assert prompted.endswith(f"go on with this request:\n\n{one}\n\n{two}\n\n{three}")
