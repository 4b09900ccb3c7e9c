"""The end of the bot: every message has its outcome, within a bound, and nothing starts any more."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from acp.steering import Steering
from acp.turn_deadlines import TurnLimits
from bot.model import Outcome, QueueMode
from bot.reply.port import ThreadGone, Unavailable
from bot.work.limits import WorkLimits
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import LIMITS, FakeChat, PlayedSession, answer, chunk, kept, running_work
from tests.bot.work.samples import ALICE, mention

HASTY_END = replace(LIMITS, turn=TurnLimits(cancel_grace=2.0), stop_bound=5.0)


def ignore_cancel(session: PlayedSession) -> None:
    session.deaf = True


GRACE: WorkLimits = replace(LIMITS, stop_grace=30.0)


@in_virtual_time
async def test_the_end_of_the_bot_tells_what_runs_and_what_waits() -> None:
    """R1, O1."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        await work.until(lambda: ("accept", 2) in work.store.calls)
        await work.dispatcher.shutdown()
        assert sorted(work.outcomes) == [(1, Outcome.INTERRUPTED), (2, Outcome.INTERRUPTED)]
        assert len([text for text in work.chat.texts() if "send this message again" in text]) == 2
        assert work.agents.prompted == ["hang"]


@in_virtual_time
async def test_what_an_agent_says_within_its_grace_is_shown_at_the_end_of_the_bot() -> None:
    """R1, T6: what we decided counts more than the stop reason; the text is kept."""

    def finish_anyway(session: PlayedSession) -> None:
        session.on_cancel = answer

    async with running_work(finish=finish_anyway) as work:
        work.post(1, "finish")
        await work.prompted("finish")
        await work.dispatcher.shutdown()
        assert work.outcomes == [(1, Outcome.INTERRUPTED)]
        assert any("an answer" in text for text in work.chat.texts())


@in_virtual_time
async def test_a_turn_that_is_starting_is_interrupted_at_the_end_of_the_bot() -> None:
    """R1."""
    async with running_work() as work:
        work.agents.start_gates["100"] = anyio.Event()
        work.post(1)
        await work.until(lambda: work.agents.starts == ["100"])
        await work.dispatcher.shutdown()
        assert work.outcomes == [(1, Outcome.INTERRUPTED)]


@in_virtual_time
async def test_a_message_that_is_being_written_at_the_end_of_the_bot_has_one_outcome() -> None:
    """R1, O1."""
    async with running_work() as work:
        work.store.gates["accept"] = anyio.Event()
        work.post(1)
        await work.until(lambda: work.store.calls)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work.dispatcher.shutdown)
                await work.settled()
                work.store.gates["accept"].set()
        await work.settled()
        assert work.outcomes == [(1, Outcome.INTERRUPTED)]
        assert await work.store.open_prompts() == []


@in_virtual_time
async def test_a_message_after_the_end_has_begun_is_told_so_and_not_accepted() -> None:
    """R1, O1."""
    async with running_work() as work:
        work.post(1, "deaf")
        await work.prompted("deaf")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work.dispatcher.shutdown)
            await work.settled()
            work.post(2, thread_id=200)
        ((message_id, text),) = work.chat.refused
        assert message_id == 2
        assert "⚠️ **Interrupted:**" in text
        assert work.outcomes == [(2, Outcome.INTERRUPTED), (1, Outcome.INTERRUPTED)]
        assert ("accept", 2) not in work.store.calls
        assert [number for number, _ in work.chat.acknowledged] == [1]


@in_virtual_time
async def test_what_comes_after_the_end_starts_nothing_and_breaks_nothing() -> None:
    """R1: agents and Discord's connection are taken down after the work."""
    async with running_work() as work:
        work.post(1)
        await work.over()
    before = work.chat.texts()
    late = work.agents.sessions[0].on_late
    assert late is not None
    late(chunk("one more thing"))
    work.post(2)
    work.dispatcher.admit()
    await work.settled()
    assert (work.agents.prompted, work.chat.texts(), work.chat.refused) == (["hello"], before, [])
    assert ("accept", 2) not in work.store.calls


@in_virtual_time
async def test_the_end_of_the_bot_does_not_wait_for_ever_for_discord() -> None:
    """R1: bounded."""
    limits = replace(LIMITS, stop_bound=3.0, flush_bound=2.0)
    async with running_work(limits=limits, speak=lambda session: session.say("hello there")) as work:
        work.chat.thread(100)
        work.chat.threads[100].delay = 500.0
        work.post(1, "speak")
        await work.prompted("speak")
        began = anyio.current_time()
        await work.dispatcher.shutdown()
        assert anyio.current_time() - began == pytest.approx(5.0)


@in_virtual_time
async def test_the_end_of_an_idle_bot_waits_for_nothing() -> None:
    """R1."""
    async with running_work() as work:
        began = anyio.current_time()
        await work.dispatcher.shutdown()
        assert anyio.current_time() == began


@in_virtual_time
async def test_messages_that_are_being_accepted_when_the_bot_stops_are_told() -> None:
    """R1, O1: each once, whether its thread opens in time or not."""
    async with running_work() as work:
        gate = work.chat.gates["open_thread"] = anyio.Event()
        work.dispatcher.submit(mention(1))
        await anyio.sleep(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work.dispatcher.shutdown)
            await anyio.sleep(1)
            gate.set()
        assert work.outcomes == [(1, Outcome.INTERRUPTED)]
        assert "**Interrupted:**" in "\n".join(work.chat.texts(1))


@in_virtual_time
async def test_a_message_that_comes_while_the_bot_stops_is_told_and_not_accepted() -> None:
    """R1."""
    async with running_work(limits=HASTY_END, mute=ignore_cancel) as work:
        work.post(1, "mute")
        await work.prompted("mute")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work.dispatcher.shutdown)
            await anyio.sleep(0.5)
            work.post(2, thread_id=200)
        assert dict(work.outcomes) == {1: Outcome.INTERRUPTED, 2: Outcome.INTERRUPTED}
        assert [number for number, _ in work.chat.refused] == [2]


@in_virtual_time
async def test_a_message_after_the_end_is_left_alone() -> None:
    """R1: nothing is raised into Discord's event handler, and no task is left."""
    async with running_work() as work:
        work.chat.thread(100)
    work.post(1)
    work.dispatcher.admit()
    assert not work.dispatcher.controls.reset(100, ALICE).accepted
    assert not work.dispatcher.controls.stop(100, ALICE).accepted
    assert work.outcomes == []


@in_virtual_time
async def test_a_shutdown_after_the_work_broke_down_does_not_wait_for_what_was_cut_off() -> None:
    """R1, O4: the tasks that would deliver are gone already."""
    with anyio.CancelScope() as everything:
        async with running_work(limits=HASTY_END, mute=ignore_cancel) as work:
            work.post(1, "mute")
            await work.prompted("mute")
            began = anyio.current_time()
            everything.cancel()
    assert anyio.current_time() - began < 1


@in_virtual_time
async def test_a_turn_that_a_person_stopped_before_the_shutdown_stays_stopped() -> None:
    """O1, R1: what was decided first counts."""
    async with running_work(limits=HASTY_END, mute=ignore_cancel) as work:
        work.post(1, "mute")
        await work.prompted("mute")
        assert work.dispatcher.controls.stop(100, ALICE).accepted
        await work.dispatcher.shutdown()
        assert work.outcomes == [(1, Outcome.STOPPED)]


@in_virtual_time
async def test_a_shutdown_that_is_hurried_waits_no_longer_for_a_turn() -> None:
    """R1: the second signal; a hurry without a shutdown does nothing."""
    async with running_work(limits=HASTY_END, mute=ignore_cancel) as work:
        work.dispatcher.hurry()
        work.post(1, "mute")
        await work.prompted("mute")
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work.dispatcher.shutdown)
            await anyio.sleep(0.1)
            work.dispatcher.hurry()
        assert anyio.current_time() - began < 1.5


@in_virtual_time
async def test_the_end_of_the_bot_takes_the_buttons_of_what_waits_away() -> None:
    """Q5, R1: it tells instead that what waits is kept."""
    chat = FakeChat()
    async with running_work(store=kept(), chat=chat) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        await work.shown("Waiting, next in line")
    assert [text for text in chat.texts() if "Waiting" in text] == []
    assert [text for text in chat.texts() if "goes on afterwards" in text] == [chat.texts()[0]]


@in_virtual_time
async def test_what_could_not_be_steered_when_the_bot_stops_has_an_end() -> None:
    """O1, R1: where nothing is kept, there is no next run to tell it."""

    def take_nothing(session: PlayedSession) -> None:
        session.can_steer = True
        session.steer = lambda _turn, _prompt: Steering(60.0)  # type: ignore[attr-defined]

    async with running_work(mute=take_nothing) as work:
        work.post(1, "mute")
        await work.prompted("mute")
        work.dispatcher._scheduler.queue(100).memory.can_steer = True
        work.post(2, mode=QueueMode.STEER)
        await anyio.sleep(0.1)
        await work.dispatcher.shutdown()
        assert sorted(work.outcomes) == [(1, Outcome.INTERRUPTED), (2, Outcome.INTERRUPTED)]


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
    assert len(await store.pending_replies()) == 1


@in_virtual_time
async def test_a_stop_tells_a_thread_in_which_nothing_runs_that_its_prompts_are_kept() -> None:
    """R1: each thread is told, also when the bot has nothing else to wait for."""
    store = kept()
    async with running_work(store=store, held=True) as work:
        work.post(1)
        await work.settled()
    assert len(work.told("What waits here goes on afterwards")) == 1


@in_virtual_time
async def test_a_stop_says_nothing_in_a_thread_that_is_not_open_yet() -> None:
    """R1, O2: Discord would call the thread gone, and the prompt would end as stopped."""
    store, chat = kept(), FakeChat(gates={"open_thread": anyio.Event()})
    chat.thread(100)
    chat.threads[100].fail["send"] = [ThreadGone("unknown channel")] * 9
    async with running_work(store=store, chat=chat) as work:
        work.dispatcher.submit(mention(100))
        await work.until(lambda: chat.opened)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work.dispatcher.shutdown)
            await anyio.sleep(1)
            chat.threads[100].fail.clear()
            chat.gates["open_thread"].set()
    assert work.outcomes == []
    assert [entry.prompt.message_id for entry in await store.open_prompts()] == [100]


@in_virtual_time
async def test_a_turn_may_finish_within_the_grace() -> None:
    """R1"""

    def slow(session: PlayedSession) -> None:
        session.say("working")

    async with running_work(limits=GRACE, store=kept(), slow=slow) as work:
        work.post(1, "slow")
        await work.prompted("slow")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work.dispatcher.shutdown)
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
        await work.dispatcher.shutdown()
        assert 30 <= anyio.current_time() - began < 32
        assert work.outcomes == [(1, Outcome.INTERRUPTED)]
        assert work.agents.sessions[0].cancels == 1
        ((notice, custom_id),) = work.buttons()
        assert custom_id == "weft:go:100:1"
    async with running_work(store=work.store, chat=work.chat) as again:
        again.dispatcher.controls.go_on(100, 1, notice, ALICE)
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
            tasks.start_soon(work.dispatcher.shutdown)
            await work.settled()
            work.dispatcher.hurry()
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
        await work.dispatcher.shutdown()
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
            tasks.start_soon(work.dispatcher.shutdown)
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
            tasks.start_soon(work.dispatcher.shutdown)
            await work.settled()
            work.post(2, "late")
            await work.settled()
            assert work.dispatcher.pending() == {2}
            work.dispatcher.hurry()
        assert ("accept", 2) not in store.calls
        assert work.chat.refused == []
    async with running_work(store=store) as work:
        work.post(2, "late")  # fetched from Discord's history
        assert await work.over() == [(2, Outcome.ANSWERED)]
