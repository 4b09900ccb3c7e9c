"""The dispatcher: messages in, one outcome for each, whatever fails around it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import anyio
import pytest

from acp.permission_request import PermissionRequest
from acp.schema import PermissionOption, PermissionParams, ToolCall
from bot.model import Inbound, Outcome
from bot.reply.port import PortError
from bot.work.queue_notices import QueueNotices
from bot.work.runs import Runs
from tests.bot.reply.fakes import FakeThread, in_virtual_time
from tests.bot.work.fakes import LIMITS, NotedStore, PlayedSession, chunk, running_work
from tests.bot.work.samples import ALICE, mention

# --- messages ------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_message_gets_its_answer_and_one_outcome() -> None:
    """O1, O2."""
    async with running_work() as work:
        work.post(1)
        assert await work.over() == [(1, Outcome.ANSWERED)]
        assert ["an answer" in text for text in work.chat.texts()] == [True]
        assert work.store.calls == [("accept", 1), ("started", 1), ("finished", 1)]


@in_virtual_time
async def test_a_long_answer_is_a_file_where_that_is_wanted() -> None:
    """V5."""

    def tell_all(session: PlayedSession) -> None:
        session.say("It is fine.\n\n" + "Many words say little. " * 400)
        session.respond()

    async with running_work(limits=replace(LIMITS, long_as_file=True), long=tell_all) as work:
        work.post(1, "long")
        assert await work.over() == [(1, Outcome.ANSWERED)]
        await anyio.sleep(60)
        first, last = work.chat.threads[100].messages.values()
        assert first.text.startswith("It is fine.")
        assert last.file is not None


@in_virtual_time
async def test_a_reply_refers_to_its_message() -> None:
    """D1."""
    async with running_work() as work:
        work.post(1)
        await work.over()
        assert [call.reply_to for call in work.chat.threads[100].of("send")] == [1]


@in_virtual_time
async def test_the_message_that_opened_the_thread_is_not_replied_to() -> None:
    """D1: it stands in another channel."""
    async with running_work() as work:
        work.post(100, channel_id=7, opens_thread=True)
        assert await work.over() == [(100, Outcome.ANSWERED)]
        assert [call.reply_to for call in work.chat.threads[100].of("send")] == [None]


@in_virtual_time
async def test_an_event_that_comes_twice_while_its_message_runs_is_one_message() -> None:
    """O1, R2."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(1, "hang")
        work.dispatcher.controls.stop(100, ALICE)
        assert await work.over() == [(1, Outcome.STOPPED)]
        assert work.store.calls.count(("accept", 1)) == 1


@in_virtual_time
async def test_an_event_that_comes_twice_while_its_message_waits_is_one_message() -> None:
    """O1, R2."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        work.post(2)
        work.dispatcher.controls.stop(100, ALICE)
        assert await work.over(2) == [(1, Outcome.STOPPED), (2, Outcome.ANSWERED)]
        assert work.agents.prompted == ["hang", "hello"]


@in_virtual_time
async def test_an_event_that_comes_again_after_the_end_starts_nothing() -> None:
    """O1, R2: the store remembers the message."""
    async with running_work() as work:
        work.post(1)
        await work.over()
        work.post(1)
        work.post(2)
        assert await work.over(2) == [(1, Outcome.ANSWERED), (2, Outcome.ANSWERED)]
        assert work.agents.prompted == ["hello", "hello"]


@in_virtual_time
async def test_a_thread_has_one_turn_at_a_time_in_order_of_arrival() -> None:
    """Q1: by snowflake, also where the events came in another order."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(3, "third")
        work.post(2, "second")
        await work.settled()
        assert work.agents.prompted == ["hang"]
        work.dispatcher.controls.stop(100, ALICE)
        await work.over(3)
        assert work.agents.prompted == ["hang", "second", "third"]


@in_virtual_time
async def test_who_waits_for_an_agent_is_told_once() -> None:
    """P4."""
    async with running_work(max_agents=1) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2, thread_id=200)
        await work.shown("Waiting for a free agent", 200)
        work.dispatcher.admit()
        await work.settled()
        waits = [call for call in work.chat.threads[200].of("send") if "Waiting" in call.body.text]
        assert [call.reply_to for call in waits] == [2]
        work.dispatcher.controls.stop(100, ALICE)
        assert await work.over(2) == [(1, Outcome.STOPPED), (2, Outcome.ANSWERED)]


@in_virtual_time
async def test_a_session_that_was_lost_is_told_before_the_answer() -> None:
    """P8."""
    async with running_work() as work:
        await work.store.bind(100, session_id="old", cwd="100")
        work.agents.unknown.add("old")
        work.post(1)
        await work.over()
        first, last = work.chat.texts()
        assert "no longer knew this conversation" in first
        assert "an answer" in last


@in_virtual_time
async def test_output_after_the_end_becomes_a_message_of_its_own() -> None:
    """O3."""
    async with running_work() as work:
        work.post(1)
        await work.over()
        late = work.agents.sessions[0].on_late
        assert late is not None
        late(chunk("one more thing"))
        await work.shown("one more thing")
        assert "an answer" not in work.chat.texts()[-1]


@in_virtual_time
async def test_the_editor_of_a_thread_is_let_go_when_its_queue_is_done() -> None:
    """Q10: idle threads cost nothing."""
    async with running_work() as work:
        work.post(1)
        work.post(2)
        await work.over(2)
        assert work.dispatcher._editors._editors == {}
        late = work.agents.sessions[0].on_late
        assert late is not None
        late(chunk("one more thing"))
        await work.shown("one more thing")
        await work.settled()
        assert work.dispatcher._editors._editors == {}


# --- faults --------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_fault_in_a_turn_frees_the_thread_and_touches_no_neighbour() -> None:
    """Q10, O4."""

    def break_down(_session: PlayedSession) -> None:
        raise RuntimeError("a fault of ours")

    async with running_work(broken=break_down) as work:
        work.post(1, "hang", thread_id=200)
        await work.prompted("hang")
        work.post(2, "broken")
        work.post(3)
        assert await work.over(2) == [(2, Outcome.FAILED), (3, Outcome.ANSWERED)]
        assert any("something went wrong in Weft itself" in text for text in work.chat.texts())
        assert not any("a fault of ours" in text for text in work.chat.texts())
        assert work.dispatcher.controls.status(None).startswith("1 running, 0 waiting\n")


@in_virtual_time
async def test_an_agent_that_dies_ends_its_turn_only() -> None:
    """O1, O4."""

    async with running_work(die=lambda session: session.connection.die(3)) as work:
        work.post(1, "hang", thread_id=200)
        await work.prompted("hang")
        work.post(2, "die")
        assert await work.over() == [(2, Outcome.AGENT_DIED)]
        work.post(3)
        assert await work.over(2) == [(2, Outcome.AGENT_DIED), (3, Outcome.ANSWERED)]


@in_virtual_time
async def test_an_outcome_that_the_store_does_not_take_harms_no_other_thread() -> None:
    """O4, Q10."""
    async with running_work() as work:
        work.post(1, "hang", thread_id=200)
        await work.prompted("hang")
        work.store.fail["finished"] = OSError("disk full")
        work.post(2)
        work.post(3, thread_id=300)
        await work.shown("an answer")
        assert await work.outcome(2) is Outcome.ANSWERED
        assert await work.outcome(3) is Outcome.ANSWERED
        await work.settled()
        del work.store.fail["finished"]
        work.dispatcher.controls.stop(200, ALICE)
        assert (1, Outcome.STOPPED) in await work.over(3)


@in_virtual_time
async def test_a_message_that_the_store_does_not_take_fails_alone() -> None:
    """O1, O4: one outcome, one line, and the next message is answered."""
    async with running_work(store=NotedStore(fail={"accept": OSError("disk full")})) as work:
        work.post(1)
        assert await work.outcome(1) is Outcome.FAILED
        assert [number for number, _ in work.chat.refused] == [1]
        work.store.fail.clear()
        work.post(2)
        assert await work.outcome(2) is Outcome.ANSWERED


@in_virtual_time
async def test_a_prompt_is_not_sent_when_its_start_can_not_be_written_down() -> None:
    """R2, Q10: what may have had side effects must be known as started."""
    async with running_work(store=NotedStore(fail={"started": OSError("disk full")})) as work:
        work.post(1)
        assert await work.outcome(1) is Outcome.FAILED
        assert work.agents.prompted == []
        work.store.fail.clear()
        work.post(2)
        assert await work.outcome(2) is Outcome.ANSWERED


@in_virtual_time
async def test_a_listener_that_fails_hurts_nobody() -> None:
    """O4, Q10."""

    def fail(_inbound: Inbound, _outcome: Outcome) -> None:
        raise RuntimeError("listener")

    async with running_work() as work:
        keep, work.dispatcher.deliveries.listeners[:] = list(work.dispatcher.deliveries.listeners), [fail]
        work.post(1)
        await work.shown("an answer")
        await anyio.sleep(5)
        work.dispatcher.deliveries.listeners[:] = keep
        work.post(2, "second")
        await work.prompted("hello", "second")
        assert await work.outcome(2) is Outcome.ANSWERED
        await work.settled()
        assert await work.store.open_prompts() == []


@in_virtual_time
async def test_a_refusal_that_discord_does_not_take_hurts_nobody() -> None:
    """O1, O4: neither a refused request nor a fault in the call itself."""
    async with running_work() as work:
        work.chat.fail = {"open_thread": PortError("no"), "refuse": RuntimeError("broken")}
        work.dispatcher.submit(mention(1))
        assert await work.outcome(1) is Outcome.FAILED
        work.post(2)
        assert await work.outcome(2) is Outcome.ANSWERED


@in_virtual_time
async def test_a_fault_on_a_prompts_way_hurts_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """O4, Q10: whatever it is, the work of the others goes on."""
    async with running_work() as work:
        with monkeypatch.context() as patched:
            patched.setattr(Runs, "reserve", None)  # nothing that can be called
            work.post(1)
            await anyio.sleep(5)
        work.post(2, thread_id=200)
        assert await work.outcome(1) is Outcome.ANSWERED
        assert await work.outcome(2) is Outcome.ANSWERED


@in_virtual_time
async def test_a_reply_that_can_not_be_shown_still_has_a_visible_end() -> None:
    """O1: never none; Discord takes the text of the answer as little as a broken rendering does."""
    async with running_work() as work:
        thread = cast("FakeThread", work.chat.thread(100))
        thread.fail = {"send": [PortError("blocked")] * 6}
        work.post(1)
        assert await work.outcome(1) is Outcome.ANSWERED
        assert "Answered" in "\n".join(work.chat.texts(100))


@in_virtual_time
async def test_a_session_with_an_open_prompt_is_never_handed_on() -> None:
    """T6, Q1: a turn that broke down leaves a prompt behind; the next one gets another process."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        (session,) = work.agents.sessions

        def fail(_now: float, _alive: bool = True) -> None:
            raise RuntimeError("broken")

        session.turn.tick = fail  # type: ignore[method-assign, assignment]
        session.turn.died(None, anyio.current_time())
        session.sink.changed()
        assert await work.outcome(1) is Outcome.FAILED
        work.post(2)
        assert await work.outcome(2) is Outcome.ANSWERED
        assert work.agents.starts == ["100", "100"]


@in_virtual_time
async def test_a_permission_request_that_can_not_be_shown_is_answered_cancelled() -> None:
    """D6, O4: never none; and the fault does not reach the reader of the agent's output."""
    answers: list[Any] = []
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        (session,) = work.agents.sessions
        option = PermissionOption(option_id="o", kind="allow_once")
        params = PermissionParams(session_id="s", tool_call=ToolCall(tool_call_id="t"), options=[option])
        request = PermissionRequest(1, params, lambda _request, response: answers.append(response.result))
        request.tool_call = cast("Any", None)  # what no rendering can show
        session.sink.permission(request)
        assert answers == [{"outcome": {"outcome": "cancelled"}}]
        session.respond()
        assert await work.outcome(1) is Outcome.ANSWERED


@in_virtual_time
async def test_a_thread_whose_last_edit_was_of_a_notice_keeps_no_editor() -> None:
    """Q10."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        await work.shown("Waiting, next in line")
        work.chat.threads[100].delay = 2.0
        work.dispatcher.controls.stop(100, ALICE)
        await work.over(2)
        await anyio.sleep(30)
        assert work.dispatcher._editors._editors == {}


@in_virtual_time
async def test_a_decision_that_can_not_be_carried_out_ends_no_other_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """O4, Q10."""
    async with running_work() as work:
        work.post(1, "hang")
        work.post(3, "hang", thread_id=200)
        await work.prompted("hang", "hang")
        work.post(2)
        await work.shown("Waiting, next in line")

        def fail(_self: QueueNotices, _thread_id: int) -> None:
            raise RuntimeError("no")

        with monkeypatch.context() as patched:
            patched.setattr(QueueNotices, "show", fail)
            work.dispatcher.controls.stop(100, ALICE)
            await anyio.sleep(5)
        work.dispatcher.controls.stop(200, ALICE)
        await work.over(3)
        assert sorted(work.outcomes) == [(1, Outcome.STOPPED), (2, Outcome.ANSWERED), (3, Outcome.STOPPED)]


# --- the end of a turn that is not answered ------------------------------------------------------------------------


@in_virtual_time
async def test_the_end_of_a_stopped_turn_is_shown_with_the_agents_answer_and_the_next_waits_for_the_drain() -> None:
    """T3, T6, O3: what comes late stands under it."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.agents.sessions[0].say("so far")
        await work.shown("so far")
        work.post(2, "next")
        await anyio.sleep(2)
        work.dispatcher.controls.stop(100, ALICE)
        await anyio.sleep(0.04)
        assert any("so far\n⏹ **Stopped**" in text for text in work.chat.texts())
        assert not any(body.buttons for body in work.chat.threads[100].messages.values() if "so far" in body.text)
        assert (1, "⏹️") in work.chat.reacted
        assert work.agents.prompted == ["hang"]
        work.agents.sessions[0].say(" and late")
        await work.over(2)
        assert any("so far and late\n⏹ **Stopped**" in text for text in work.chat.texts())
        assert "".join(work.chat.texts()).count("**Stopped**") == 1
        assert [mark for message, mark in work.chat.reacted if message == 1].count("⏹️") == 1
        assert work.agents.prompted == ["hang", "next"]


@in_virtual_time
async def test_an_end_is_not_shown_before_it_is_written_down() -> None:
    """O1, R2: a later run could tell another one."""
    store = NotedStore(outlives=True)
    async with running_work(store=store) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.dispatcher.controls.stop(100, ALICE)
        await work.shown("**Stopped**")
        assert [one.outcome for one in await store.pending_replies()] == [Outcome.STOPPED]


@pytest.mark.parametrize(
    ("option", "line"),
    [
        (0, "⏹ **Stopped** by the agent."),
        (1, "⏹ The agent ended its turn after `alice` rejected its request."),
        (None, "⏹ Nobody answered the agent's request in time, so the agent ended its turn."),
    ],
    ids=["allowed", "rejected", "expired"],
)
@in_virtual_time
async def test_a_turn_that_the_agent_gives_up_after_a_rejection_is_not_told_as_stopped(
    option: int | None, line: str
) -> None:
    """O1, D6: nobody has stopped it; an agent that was allowed to go on has its own reasons."""
    async with running_work(ask=PlayedSession.ask) as work:
        work.post(1, "ask")
        await work.prompted("ask")
        (token,) = work.dispatcher.permissions._open
        if option is None:
            await anyio.sleep(601)
        else:
            assert work.dispatcher.decide(token, option, ALICE).accepted
        work.agents.sessions[0].respond("cancelled")
        assert await work.over() == [(1, Outcome.STOPPED)]
        assert [text for text in work.chat.texts() if f"\n{line}" in text or text.startswith(line)]


@in_virtual_time
async def test_an_agent_that_is_ended_amid_its_work_after_a_turn_is_named_in_its_thread() -> None:
    """P3, P4: it makes room for another, and what it did is over."""
    async with running_work(max_agents=1) as work:
        work.post(1)
        await work.over()
        work.agents.sessions[0].heard = anyio.current_time()
        work.post(2, thread_id=200)
        await work.over(2)
        assert [text for text in work.chat.texts(100) if "Weft ended it while it still worked" in text]
        work.post(3, thread_id=100)
        await work.over(3)
        assert not [text for text in work.chat.texts(200) if "it was ended" in text]
