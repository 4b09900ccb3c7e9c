"""What people may ask of the dispatcher: stop in each phase, status, reset, a decision; all answered at once."""

from __future__ import annotations

import anyio

from bot.model import Outcome
from bot.reply.port import PortError, ThreadGone
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import PlayedSession, Work, answer, running_work
from tests.bot.work.samples import ALICE, BOB, mention

# --- stop ----------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_there_may_be_nothing_to_stop() -> None:
    """Q7."""
    async with running_work() as work:
        told = work.dispatcher.controls.stop(100, ALICE)
        assert (told.text, told.accepted) == ("There is nothing to stop.", False)


@in_virtual_time
async def test_a_running_turn_is_stopped_and_says_by_whom() -> None:
    """Q7, T6, O1."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        told = work.dispatcher.controls.stop(100, BOB)
        assert (told.text, told.accepted) == ("Stopping.", True)
        assert await work.over() == [(1, Outcome.STOPPED)]
        assert any("⏹ **Stopped** by `bob`." in text for text in work.chat.texts())
        assert work.agents.sessions[0].cancels == 1


@in_virtual_time
async def test_the_first_who_stops_a_turn_is_named() -> None:
    """T6."""
    async with running_work() as work:
        work.post(1, "deaf")
        await work.prompted("deaf")
        work.dispatcher.controls.stop(100, BOB)
        work.dispatcher.controls.stop(100, ALICE)
        await work.over()
        assert any("by `bob`" in text for text in work.chat.texts())


@in_virtual_time
async def test_a_stop_takes_the_running_turn_before_those_that_wait() -> None:
    """Q7."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        work.dispatcher.controls.stop(100, ALICE)
        assert await work.over(2) == [(1, Outcome.STOPPED), (2, Outcome.ANSWERED)]


@in_virtual_time
async def test_a_turn_whose_response_is_there_is_told_to_be_finished() -> None:
    """T6: draining."""
    async with running_work(respond=answer) as work:
        work.post(1, "respond")
        await work.prompted("respond")
        told = work.dispatcher.controls.stop(100, ALICE)
        assert (told.text, told.accepted) == ("Already finished.", False)
        assert await work.over() == [(1, Outcome.ANSWERED)]


@in_virtual_time
async def test_a_prompt_that_waits_for_capacity_is_stopped_before_it_begins() -> None:
    """T6: waiting for capacity."""
    async with running_work(max_agents=1) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2, thread_id=200)
        await work.shown("Waiting for a free agent", 200)
        told = work.dispatcher.controls.stop(200, BOB)
        assert (told.text, told.accepted) == ("Stopped before it began.", True)
        assert await work.over() == [(2, Outcome.STOPPED)]
        assert any("by `bob`" in text for text in work.chat.texts(200))
        assert work.agents.prompted == ["hang"]


@in_virtual_time
async def test_a_stop_while_the_agent_starts_leaves_the_start_going() -> None:
    """T6: spawning."""
    async with running_work() as work:
        work.agents.start_gates["100"] = anyio.Event()
        work.post(1)
        await work.until(lambda: work.agents.starts == ["100"])
        assert work.dispatcher.controls.stop(100, ALICE).text == "Stopping."
        assert await work.over() == [(1, Outcome.STOPPED)]
        work.agents.start_gates["100"].set()
        work.post(2, "next")
        await work.over(2)
        assert (work.agents.starts, work.agents.prompted) == (["100"], ["next"])


@in_virtual_time
async def test_a_stop_while_the_start_of_the_turn_is_written_sends_no_prompt() -> None:
    """T6."""
    async with running_work() as work:
        work.store.gates["started"] = anyio.Event()
        work.post(1)
        await work.until(lambda: ("started", 1) in work.store.calls)
        work.dispatcher.controls.stop(100, BOB)
        work.store.gates["started"].set()
        assert await work.over() == [(1, Outcome.STOPPED)]
        assert work.agents.prompted == []
        assert any("by `bob`" in text for text in work.chat.texts())


@in_virtual_time
async def test_the_stop_of_a_message_stops_no_other() -> None:
    """Q7: the button of an old reply."""
    async with running_work() as work:
        work.post(1)
        await work.over()
        work.post(2, "hang")
        await work.prompted("hello", "hang")
        told = work.dispatcher.controls.stop(100, ALICE, prompt=1)
        assert (told.text, told.accepted) == ("Already finished.", False)
        assert work.outcomes == [(1, Outcome.ANSWERED)]
        assert work.dispatcher.controls.stop(100, ALICE, prompt=2).accepted


@in_virtual_time
async def test_the_stop_of_a_message_takes_that_one_out_of_those_that_wait() -> None:
    """Q7."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2, "second")
        work.post(3, "third")
        await work.settled()
        assert work.dispatcher.controls.stop(100, ALICE, prompt=3).text == "Stopped before it began."
        assert await work.over() == [(3, Outcome.STOPPED)]
        work.dispatcher.controls.stop(100, ALICE)
        await work.over(3)
        assert work.agents.prompted == ["hang", "second"]


@in_virtual_time
async def test_a_stop_takes_the_oldest_of_those_that_wait() -> None:
    """Q7."""
    async with running_work(max_agents=1) as work:
        work.post(1, "hang", thread_id=200)
        await work.prompted("hang")
        work.post(2, "second")
        work.post(3, "third")
        await work.settled()
        work.dispatcher.controls.stop(100, ALICE)
        assert await work.over() == [(2, Outcome.STOPPED)]


@in_virtual_time
async def test_a_message_that_is_stopped_while_the_store_writes_it_has_one_outcome() -> None:
    """O1, T6: queued."""
    async with running_work() as work:
        work.store.gates["accept"] = anyio.Event()
        work.post(1)
        await work.until(lambda: work.store.calls)
        assert work.dispatcher.controls.stop(100, ALICE).text == "Stopped before it began."
        await work.settled()
        work.store.gates["accept"].set()
        assert await work.over() == [(1, Outcome.STOPPED)]
        assert work.agents.prompted == []
        assert await work.store.open_prompts() == []


@in_virtual_time
async def test_a_message_that_is_stopped_while_its_thread_is_opened_has_one_outcome() -> None:
    """O1: also when the thread can't be opened then."""
    async with running_work() as work:
        work.chat.gates["open_thread"] = anyio.Event()
        work.chat.fail["open_thread"] = ThreadGone("no such channel")
        work.post(100, opens_thread=True)
        await work.until(lambda: work.chat.opened)
        work.dispatcher.controls.stop(100, ALICE)
        await work.settled()
        work.chat.gates["open_thread"].set()
        assert await work.over() == [(100, Outcome.STOPPED)]


@in_virtual_time
async def test_a_deaf_agent_is_told_to_stop_and_nobody_gets_its_session() -> None:
    """T6, P6: the grace is over; the next turn has a new process."""
    async with running_work() as work:
        work.post(1, "deaf")
        await work.prompted("deaf")
        work.dispatcher.controls.stop(100, ALICE)
        work.post(2)
        assert await work.over(2) == [(1, Outcome.STOPPED), (2, Outcome.ANSWERED)]
        assert work.agents.sessions[0].connection.told_to_stop
        assert work.agents.starts == ["100", "100"]
        assert any("so far" in text for text in work.chat.texts())


@in_virtual_time
async def test_a_message_that_is_stopped_while_its_thread_opens_has_one_end() -> None:
    """T6, O1: it is told in the thread, once that is there."""
    async with running_work() as work:
        gate = work.chat.gates["open_thread"] = anyio.Event()
        work.dispatcher.submit(mention(1))
        await anyio.sleep(1)
        assert work.dispatcher.controls.stop(1, ALICE).accepted
        assert not work.dispatcher.controls.stop(1, ALICE).accepted
        gate.set()
        assert await work.outcome(1) is Outcome.STOPPED
        assert "**Stopped**" in "\n".join(work.chat.texts(1))
        assert work.agents.prompted == []


@in_virtual_time
async def test_a_message_that_is_stopped_and_whose_thread_does_not_open_has_one_end() -> None:
    """T6, O1: it is told where it was posted."""
    async with running_work() as work:
        gate = work.chat.gates["open_thread"] = anyio.Event()
        work.chat.fail = {"open_thread": PortError("no")}
        work.dispatcher.submit(mention(1))
        await anyio.sleep(1)
        assert work.dispatcher.controls.stop(1, ALICE).accepted
        gate.set()
        assert await work.outcome(1) is Outcome.STOPPED
        assert len(work.chat.refused) == 1
        assert 1 not in work.chat.threads


@in_virtual_time
async def test_a_message_that_is_stopped_before_the_store_has_it_opens_no_thread() -> None:
    """T6, O1."""
    async with running_work() as work:
        work.dispatcher.submit(mention(1))
        assert work.dispatcher.controls.stop(1, ALICE).accepted
        assert await work.outcome(1) is Outcome.STOPPED
        assert work.chat.opened == []
        assert len(work.chat.refused) == 1
        assert await work.store.open_prompts() == []


@in_virtual_time
async def test_a_stop_that_is_older_than_what_runs_stops_nothing() -> None:
    """Q7: a catch-up replays the word after newer messages have begun."""
    async with running_work() as work:
        work.post(20, "hang")
        await work.prompted("hang")
        work.post(21)
        await anyio.sleep(0.1)
        assert not work.dispatcher.controls.stop(100, ALICE, before=10).accepted
        await work.settled()
        assert work.outcomes == []
        assert work.dispatcher.controls.stop(100, ALICE, before=30).accepted
        assert await work.over(2) == [(20, Outcome.STOPPED), (21, Outcome.ANSWERED)]


@in_virtual_time
async def test_a_stop_of_all_that_ends_nothing_says_so() -> None:
    """Q7: what waits is newer."""
    async with running_work() as work:
        work.post(20, "hang")
        await work.prompted("hang")
        work.post(21)
        await anyio.sleep(0.1)
        assert not work.dispatcher.controls.stop_all(100, ALICE, before=10).accepted
        answer = work.dispatcher.controls.stop_all(100, ALICE, before=21)
        assert (answer.accepted, answer.text) == (True, "Stopping everything: 1 running, 0 waiting.")
        await work.over(2)


# --- status, reset, decide -----------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_status_of_a_thread_shows_its_turn_and_its_queue() -> None:
    """Q11."""
    async with running_work() as work:
        assert work.dispatcher.controls.status(100).splitlines()[0] == "Nothing is running here."
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        await anyio.sleep(10)
        lines = work.dispatcher.controls.status(100).splitlines()
        assert lines[0].startswith("Working for 10 s")
        assert lines[1:] == ["Queue: 1 waiting", "Agent: `fake`, ready"]


@in_virtual_time
async def test_the_status_outside_threads_is_that_of_the_whole_bot() -> None:
    """Q11."""
    async with running_work(max_agents=1) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        work.post(3, thread_id=200)
        await work.settled()
        assert work.dispatcher.controls.status(None).splitlines() == [
            "1 running, 2 waiting",
            "Agents: 1 live, 0 starting, 0 ending, at most 1",
        ]


@in_virtual_time
async def test_a_reset_stops_the_turn_and_what_waits_goes_on_with_a_new_session() -> None:
    """Q8, P8."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        told = work.dispatcher.controls.reset(100, BOB)
        assert (told.text, told.accepted) == ("Done. Your next message starts a new conversation.", True)
        assert await work.over(2) == [(1, Outcome.STOPPED), (2, Outcome.ANSWERED)]
        assert any("by `bob`" in text for text in work.chat.texts())
        first, second = work.agents.sessions
        assert first.id != second.id
        assert work.agents.starts == ["100", "100"]


@in_virtual_time
async def test_a_reset_where_nothing_runs_forgets_the_session() -> None:
    """Q8, P8."""
    async with running_work() as work:
        work.post(1)
        await work.over()
        work.dispatcher.controls.reset(100, ALICE)
        await work.settled()
        record = await work.store.thread(100)
        assert record is not None
        assert (record.session_id, record.previous_session_id) == (None, work.agents.sessions[0].id)


@in_virtual_time
async def test_a_press_on_a_card_answers_the_agent() -> None:
    """D6."""
    async with running_work(ask=PlayedSession.ask) as work:
        work.post(1, "ask")
        await work.prompted("ask")
        (button, _) = await card_buttons(work)
        told = work.dispatcher.decide(button.split(":")[2], 0, ALICE)
        assert (told.text, told.accepted) == ("Answered: `Allow`", True)
        assert work.agents.sessions[0].requests[0].answered
        await work.shown("✅ `Allow` by `alice`")


@in_virtual_time
async def test_a_stop_while_a_card_is_open_closes_it() -> None:
    """T6, D6: waiting for a person."""
    async with running_work(ask=PlayedSession.ask) as work:
        work.post(1, "ask")
        await work.prompted("ask")
        (button, _) = await card_buttons(work)
        work.dispatcher.controls.stop(100, ALICE)
        assert await work.over() == [(1, Outcome.STOPPED)]
        assert any("Cancelled: the turn ended before anyone answered." in text for text in work.chat.texts())
        assert work.dispatcher.decide(button.split(":")[2], 0, ALICE).text == "This request was cancelled."


async def card_buttons(work: Work) -> list[str]:
    await work.shown("asks for permission")
    bodies = list(work.chat.threads[100].messages.values())
    return [button.custom_id for body in bodies for button in body.buttons if "perm" in button.custom_id]
