"""The next run of the bot on the same state: what it goes on with, what it only tells, what it never does twice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import anyio

from acp.steering import Steering
from bot.model import Outcome, QueueMode
from bot.reply.port import ThreadGone, Unavailable
from bot.work.queue.rules import Rules
from bot.work.serialization import accepted_prompt
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import LIMITS, FakeChat, PlayedSession, cut_off_together, kept, running_work
from tests.bot.work.samples import ALICE, BOB, inbound, mention


@dataclass
class FarChat(FakeChat):
    """A chat that can't be reached before a time."""

    until: float = 0.0

    async def _answer(self, kind: str) -> None:
        if anyio.current_time() < self.until:
            await anyio.sleep(60)
            raise Unavailable("there is no connection to Discord at the moment")
        await FakeChat._answer(self, kind)


# --- what was there before -----------------------------------------------------------------------------------------


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
        work.dispatcher.release()
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
        assert text.startswith("<@11> ⚠️ **Interrupted:** Weft was restarted in the middle of this.")
        assert [custom_id for _, custom_id in work.buttons()] == ["weft:go:100:1"]
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
    await store.save_pending_reply(1, "answered", "no json")
    async with running_work(store=store) as work:
        assert await work.over() == [(1, Outcome.ANSWERED)]
        assert work.chat.texts() == ["-# ⚠️ **Answered:** the reply could not be shown."]


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


@in_virtual_time
async def test_a_message_that_was_removed_is_not_run_by_the_next_run() -> None:
    """O1, Q5, R2: what a person took out stays out, also if the bot is killed before that was told."""
    store = kept()
    async with running_work(store=store) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        await anyio.sleep(0.1)
        assert work.dispatcher.controls.remove(100, 2, ALICE).accepted
        await anyio.sleep(0.2)
        assert [prompt.prompt.message_id for prompt in await store.open_prompts()] == [1]
        (pending,) = await store.pending_replies()
        assert (pending.prompt.message_id, pending.outcome) == (2, Outcome.REMOVED)
        await work.over()
        assert await store.pending_replies() == []


@in_virtual_time
async def test_the_next_run_tells_what_a_kill_left_untold() -> None:
    """O1, R2: once for all that shared a notice."""
    async with running_work(store=kept()) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        work.post(3)
        await anyio.sleep(0.1)
        work.dispatcher.controls.clear(100, ALICE)
        await anyio.sleep(0.2)
        left = kept()  # as a kill right now would leave it
        left._prompts.update({key: work.store._prompts[key] for key in (2, 3)})
    async with running_work(store=left) as work:
        assert sorted(await work.over(2)) == [(2, Outcome.REMOVED), (3, Outcome.REMOVED)]
        assert work.agents.prompted == []
        (notice,) = work.told("Removed")
        assert "alice" in notice


# --- Discord out of reach ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_prompt_without_its_thread_waits_until_discord_can_be_reached() -> None:
    """O2, R2: accepted is not lost by Discord's connection; an hour without it ends no prompt."""
    store = kept()
    await store.accept(accepted_prompt(mention(100)))
    chat = FarChat(until=anyio.current_time() + 3600)
    async with running_work(store=store, chat=chat) as work:
        await anyio.sleep(3600)
        assert work.outcomes == []
        await anyio.sleep(200)
        assert work.outcomes == [(100, Outcome.ANSWERED)]
        assert (chat.refused, work.agents.prompted) == ([], ["hello"])


@in_virtual_time
async def test_a_prompt_without_its_thread_is_kept_by_a_stop_while_discord_is_out_of_reach() -> None:
    """O2, R1, R2: the next run goes on with it."""
    store = kept()
    await store.accept(accepted_prompt(mention(100)))
    async with running_work(store=store, chat=FarChat(until=anyio.current_time() + 3600)) as work:
        await anyio.sleep(600)
        began = anyio.current_time()
    assert anyio.current_time() - began < 21
    assert work.outcomes == []
    async with running_work(store=store) as work:
        assert await work.over() == [(100, Outcome.ANSWERED)]


@in_virtual_time
async def test_a_prompt_that_waits_for_its_thread_can_be_stopped() -> None:
    """T6: in every phase."""
    async with running_work(chat=FarChat(until=anyio.current_time() + 3600)) as work:
        work.dispatcher.submit(mention(100))
        await anyio.sleep(600)
        assert work.dispatcher.controls.stop(100, ALICE, 100).accepted
        await anyio.sleep(600)
        assert work.outcomes == [(100, Outcome.STOPPED)]


@in_virtual_time
async def test_what_is_shown_already_is_not_posted_again_after_discord_was_out_of_reach() -> None:
    """D3, R2: nothing is sent before it is known what is there, however long that takes."""
    store, chat = kept(), FakeChat()
    await store.accept(accepted_prompt(inbound(1)))
    await store.started(1)
    async with running_work(store=store, chat=chat) as work:
        await work.shown("Weft was restarted in the middle of this")
        before = dict(chat.threads[100].messages)
    # The same as after a kill between the message and the row that says so, when the nonce is long forgotten.
    store = kept()
    await store.accept(accepted_prompt(inbound(1)))
    await store.started(1)
    thread = chat.threads[100]
    thread.by_nonce.clear()
    thread.fail["read"] = [Unavailable("down")] * 5
    async with running_work(store=store, chat=chat) as work:
        await anyio.sleep(1000)
        assert work.outcomes == [(1, Outcome.INTERRUPTED)]
    assert thread.messages == before


@in_virtual_time
async def test_a_thread_that_was_locked_at_the_start_works_again_once_it_is_open() -> None:
    """D10, O1: what was owed there is given up; what is asked there later is answered visibly."""
    store, chat = kept(), FakeChat()
    await store.accept(accepted_prompt(inbound(1)))
    await store.started(1)
    chat.thread(100)
    chat.threads[100].fail["read"] = [ThreadGone("locked")]
    async with running_work(store=store, chat=chat) as work:
        assert await work.over() == [(1, Outcome.INTERRUPTED)]
        assert chat.texts() == []
        work.post(2)
        await work.over(2)
        assert "an answer" in "".join(chat.texts())


# --- turns of several messages -------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_turn_of_several_messages_that_was_cut_off_is_told_once_on_the_first() -> None:
    """R2, O1, Q4: each of them ends, and none is run again by itself."""
    store = kept()
    await cut_off_together(store)
    await store.accept(accepted_prompt(inbound(4, text="waited")))
    async with running_work(store=store) as work:
        ended = dict(await work.over(4))
        assert ended == dict.fromkeys((1, 2, 3), Outcome.INTERRUPTED) | {4: Outcome.ANSWERED}
        assert work.agents.prompted == ["waited"]
        assert [custom_id for _, custom_id in work.buttons()] == ["weft:go:100:1"]
        (notice,) = [call for call in work.chat.threads[100].of("send") if "Interrupted" in call.body.text]
        assert notice.reply_to == 1
        assert sorted(work.chat.reacted) == [(1, "❌"), (2, "❌"), (3, "❌"), (4, "✅")]
    async with running_work(store=store, chat=work.chat) as again:
        await again.settled()
        assert again.outcomes == []


@in_virtual_time
async def test_what_was_said_into_a_turn_that_is_over_is_told_once_too() -> None:
    """R2, Q2: it waited for a turn of its own, and may have been read in the one before."""
    store = kept()
    await cut_off_together(store)
    await store.finished(1, "superseded")
    async with running_work(store=store) as work:
        assert sorted(await work.over(2)) == [(2, Outcome.INTERRUPTED), (3, Outcome.INTERRUPTED)]
        ((notice, custom_id),) = work.buttons()
        assert custom_id == "weft:go:100:2"
        work.dispatcher.controls.go_on(100, 2, notice, BOB)
        await work.over(3)
        assert work.agents.prompted[0].endswith(
            "request:\n\n[alice (user 11) wrote:]\n> two\n\n[bob (user 12) wrote:]\n> three"
        )


@in_virtual_time
async def test_a_message_of_a_cut_off_turn_that_can_t_be_read_hurts_no_other() -> None:
    """O4, R2"""
    store = kept()
    await cut_off_together(store)
    store._prompts[2].prompt = replace(store._prompts[2].prompt, payload="no json")
    async with running_work(store=store) as work:
        assert sorted(await work.over(2)) == [(1, Outcome.INTERRUPTED), (3, Outcome.INTERRUPTED)]


@in_virtual_time
async def test_what_is_said_into_a_turn_is_part_of_it_for_the_next_run() -> None:
    """Q2, R2, Q4: of a row that is one prompt, of what is steered, of what could not be steered."""

    def listen(session: PlayedSession) -> None:
        session.steer = lambda _turn, _prompt: Steering(0.1)  # type: ignore[attr-defined]
        session.can_steer = True

    store = kept()
    limits = replace(LIMITS, rules=Rules(debounce=0.5))
    async with running_work(limits=limits, store=store) as work:
        work.agents.parts["one\ntwo"] = listen
        work.post(1, "one")
        work.post(2, "two")
        await work.prompted("one\ntwo")
        work.dispatcher._scheduler.queue(100).memory.can_steer = True
        work.post(3, "three", mode=QueueMode.STEER)
        await work.until(lambda: store.calls[-2:] == [("accept", 3), ("started", 1)])
        assert [one.turn for one in await store.open_prompts()] == [None, 1, 1]
        await work.until(lambda: len(work.outcomes) == 3)
        assert ("started", 3) in store.calls


# --- who may still run, what was posted meanwhile ------------------------------------------------------------------


@in_virtual_time
async def test_who_lost_the_role_that_let_them_in_is_not_run_after_the_restart() -> None:
    """D2, R2: and who has another one that lets in is."""
    store, old, new = kept(), frozenset({1}), frozenset({2})
    for number, author in ((1, ALICE), (2, BOB)):
        await store.accept(accepted_prompt(inbound(number, author=replace(author, roles=old))))
    async with running_work(store=store, held=True, may=lambda one: bool(one.author.roles & new)) as work:
        await work.settled()
        assert work.dispatcher.authors() == {(1, ALICE.id), (1, BOB.id)}
        work.dispatcher.roles_now(1, ALICE.id, new)
        work.dispatcher.roles_now(1, BOB.id, frozenset())
        work.dispatcher.release()
        assert sorted(await work.over(2)) == [(1, Outcome.ANSWERED), (2, Outcome.REMOVED)]


@in_virtual_time
async def test_while_it_is_held_nothing_starts_and_what_runs_goes_on() -> None:
    """Q1."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.dispatcher.hold()
        work.post(2, thread_id=200)
        work.agents.sessions[0].respond()
        assert await work.over() == [(1, Outcome.ANSWERED)]
        work.dispatcher.release()
        assert await work.over(2) == [(1, Outcome.ANSWERED), (2, Outcome.ANSWERED)]


@in_virtual_time
async def test_a_message_is_pending_until_it_is_written() -> None:
    """O2, R2: nobody may count it as seen before."""
    async with running_work() as work:
        work.store.gates["accept"] = anyio.Event()
        work.post(1)
        assert work.dispatcher.pending() == {1}
        work.store.gates["accept"].set()
        await work.over()
        assert work.dispatcher.pending() == frozenset()
