"""A restart at bad moments: Discord out of reach, threads that come and go, writes that a kill falls between."""

from __future__ import annotations

from dataclasses import dataclass, replace

import anyio

from bot.outcome import Outcome
from bot.reply.port import ThreadGone, Unavailable
from bot.work.model import Inbound
from bot.work.record import accepted_prompt
from pool.storage.database import open_memory
from pool.storage.operations import Accept
from pool.store import AcceptedPrompt, StoreBusy
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import LIMITS, FakeChat, NotedStore, Work, running_work
from tests.bot.work.samples import ALICE, BOB, inbound


def kept() -> NotedStore:
    return NotedStore(outlives=True)


def opening(message_id: int = 100) -> Inbound:
    return replace(inbound(message_id), channel_id=7, opens_thread=True)


def notices(work: Work, text: str, thread_id: int = 100) -> list[str]:
    return [shown for shown in work.chat.texts(thread_id) if text in shown]


@dataclass
class FarChat(FakeChat):
    """A chat that can't be reached before a time."""

    until: float = 0.0

    async def _answer(self, kind: str) -> None:
        if anyio.current_time() < self.until:
            await anyio.sleep(60)
            raise Unavailable("there is no connection to Discord at the moment")
        await FakeChat._answer(self, kind)


# --- Discord out of reach ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_prompt_without_its_thread_waits_until_discord_can_be_reached() -> None:
    """O2, R2: accepted is not lost by Discord's connection; an hour without it ends no prompt."""
    store = kept()
    await store.accept(accepted_prompt(opening()))
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
    await store.accept(accepted_prompt(opening()))
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
        work.desk.submit(opening())
        await anyio.sleep(600)
        assert work.desk.stop(100, ALICE, 100).accepted
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
async def test_the_end_of_the_bot_waits_only_for_a_moment_for_a_call_that_is_tried_again_and_again() -> None:
    """R1: last edits have a bound; a message that Discord can't be given is the next run's."""

    limits = replace(LIMITS, stop_bound=3.0, flush_bound=2.0)
    store, chat = kept(), FakeChat()
    chat.thread(100)
    chat.threads[100].delay = 60.0  # so long a call is tried again
    chat.threads[100].fail["send"] = [Unavailable("down")] * 1000
    async with running_work(limits=limits, store=store, chat=chat) as work:
        work.post(1)
        await work.prompted("hello")
        await anyio.sleep(61)
        began = anyio.current_time()
    assert anyio.current_time() - began < 15
    assert len(await store.owed()) == 1


# --- threads that come and go --------------------------------------------------------------------------------------


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


# --- what came too late to be run ----------------------------------------------------------------------------------


@in_virtual_time
async def test_a_message_from_long_ago_is_not_run_by_itself_after_a_kill_either() -> None:
    """R2, O1: the kill falls between the acceptance and the outcome; the notice is there, once."""
    store, chat = kept(), FakeChat()
    store.gates["finished"] = anyio.Event()
    async with running_work(store=store, chat=chat) as work:
        work.desk.missed(inbound(5, text="deploy"))
        await work.shown("Weft was away when this was posted")
    store.gates["finished"].set()
    async with running_work(store=store, chat=chat) as work:
        await work.over()
        assert (work.agents.prompted, work.outcomes) == ([], [(5, Outcome.INTERRUPTED)])
        assert len(notices(work, "Weft was away when this was posted")) == 1
        work.desk.go_on(100, 5, max(chat.threads[100].messages), ALICE)
        await work.over(2)
        assert work.agents.prompted == ["deploy"]


@in_virtual_time
async def test_a_mention_from_long_ago_is_not_run_by_itself_after_a_kill_either() -> None:
    """R2: the same in a channel, where there is no thread yet."""
    store = kept()
    store.gates["finished"] = anyio.Event()
    async with running_work(store=store) as work:
        work.desk.missed(opening(5))
        await work.until(lambda: work.chat.refused)
    store.gates["finished"].set()
    async with running_work(store=store) as work:
        assert await work.over() == [(5, Outcome.INTERRUPTED)]
        assert (work.agents.prompted, work.chat.opened) == ([], [])


@in_virtual_time
async def test_a_message_from_long_ago_that_can_t_be_written_down_stays_pending() -> None:
    """O1, R2: it counts as seen only once it is told; the next run fetches it again."""
    store = kept()
    store.fail["accept"] = StoreBusy("too much")
    async with running_work(store=store) as work:
        work.desk.missed(inbound(5))
        await work.settled()
        assert work.desk.pending() == {5}


# --- the stop ------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_stop_tells_a_thread_in_which_nothing_runs_that_its_prompts_are_kept() -> None:
    """R1: each thread is told, also when the bot has nothing else to wait for."""
    store = kept()
    async with running_work(store=store, held=True) as work:
        work.post(1)
        await work.settled()
    assert len(notices(work, "What waits here goes on afterwards")) == 1


@in_virtual_time
async def test_a_stop_says_nothing_in_a_thread_that_is_not_open_yet() -> None:
    """R1, O2: Discord would call the thread gone, and the prompt would end as stopped."""
    store, chat = kept(), FakeChat(gates={"open_thread": anyio.Event()})
    chat.thread(100)
    chat.threads[100].fail["send"] = [ThreadGone("unknown channel")] * 9
    async with running_work(store=store, chat=chat) as work:
        work.desk.submit(opening())
        await work.until(lambda: chat.opened)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work.desk.shutdown)
            await anyio.sleep(1)
            chat.threads[100].fail.clear()
            chat.gates["open_thread"].set()
    assert work.outcomes == []
    assert [entry.prompt.message_id for entry in await store.open_prompts()] == [100]


# --- secrets -------------------------------------------------------------------------------------------------------


def test_a_statement_that_fails_says_nothing_of_what_was_to_be_written() -> None:
    """R5: such an error goes into the log, and a prompt's text does not."""
    database = open_memory()
    broken = AcceptedPrompt(1, 1, 1, None, payload="what somebody said")  # type: ignore[arg-type]
    ((answer),) = database.apply([Accept(broken)])
    database.close()
    assert answer.error is not None
    assert "what somebody said" not in str(answer.error)


# --- going on ------------------------------------------------------------------------------------------------------


async def cut_off(store: NotedStore) -> None:
    await store.accept(accepted_prompt(inbound(1, text="build it")))
    await store.started(1)


@in_virtual_time
async def test_a_press_just_before_a_stop_is_the_next_run_s() -> None:
    """O2, R1: "Going on." was said, and no later run finds the press in Discord."""
    store = kept()
    await cut_off(store)
    async with running_work(store=store) as work:
        await work.over()
        notice = max(work.chat.threads[100].messages)
        assert work.desk.go_on(100, 1, notice, BOB).accepted
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
        assert work.desk.go_on(100, 1, notice, BOB).accepted
        await work.shown("please press again")
        store.fail.clear()
        assert work.desk.go_on(100, 1, notice, BOB).accepted
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
        work.desk.go_on(100, 1, notice, BOB)
        await work.until(lambda: ("accept", notice) in store.calls)
        (again,) = await store.turn(notice)
        assert (again.prompt.author_id, again.prompt.thread_id) == (BOB.id, 100)
