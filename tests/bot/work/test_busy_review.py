"""The queue at work, at bad moments: wake-ups, ends that a kill falls between, marks that come late, floods."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import anyio
import pytest

from acp.errors import ForkFailed
from acp.steering import Steering
from bot.chat.commands import carry_out
from bot.chat.words import Command
from bot.outcome import Outcome
from bot.work.model import QueueMode
from bot.work.policy.rules import Rules
from bot.work.ports import Answer, Desk
from bot.work.queued import QueuedNotices
from bot.work.reactions import Mark, Reactions
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import LIMITS, FakeChat, NotedStore, PlayedSession, Work, running_work
from tests.bot.work.samples import ALICE, BOB, inbound

SLOW = replace(LIMITS, rules=Rules(debounce=2.0))


def kept() -> NotedStore:
    return NotedStore(outlives=True)


def told(work: Work, text: str, thread_id: int = 100) -> list[str]:
    return [shown for shown in work.chat.texts(thread_id) if text in shown]


# --- who wakes the clock -------------------------------------------------------------------------------------------


@in_virtual_time
async def test_what_still_collects_when_the_turn_before_it_ends_starts_by_itself() -> None:
    """Q4, O1: while the turn ran there was nothing to wait for; its end must set the clock anew."""
    async with running_work(limits=SLOW) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2, "next")
        await anyio.sleep(0.5)
        work.desk.stop(100, ALICE)
        await anyio.sleep(2)
        assert work.agents.prompted == ["hang", "next"]


@in_virtual_time
async def test_what_still_collects_when_the_hold_ends_starts_by_itself() -> None:
    """Q1, Q4."""
    async with running_work(limits=SLOW, held=True) as work:
        work.post(1)
        await anyio.sleep(0.5)
        work.desk.release()
        await anyio.sleep(2)
        assert work.agents.prompted == ["hello"]


@in_virtual_time
async def test_what_still_collects_when_the_one_before_it_is_removed_starts_by_itself() -> None:
    """Q4, Q5: the wait of the one before it was for an agent, and not for the time."""
    async with running_work(limits=SLOW, max_agents=1) as work:
        work.post(1, "hang", thread_id=200)
        await work.prompted("hang")
        work.post(2)
        await anyio.sleep(3)
        work.post(3, "other", author=BOB)
        await anyio.sleep(0.5)
        work.desk.remove(100, 2, ALICE)
        work.desk.stop(200, ALICE)
        await anyio.sleep(2.5)
        assert work.agents.prompted == ["hang", "other"]


# --- ends that a kill falls between --------------------------------------------------------------------------------


@in_virtual_time
async def test_a_message_that_was_removed_is_not_run_by_the_next_run() -> None:
    """O1, Q5, R2: what a person took out stays out, also if the bot is killed before that was told."""
    store = kept()
    async with running_work(store=store) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        await anyio.sleep(0.1)
        assert work.desk.remove(100, 2, ALICE).accepted
        await anyio.sleep(0.2)
        assert [prompt.prompt.message_id for prompt in await store.open_prompts()] == [1]
        (owed,) = await store.owed()
        assert (owed.prompt.message_id, owed.outcome) == (2, Outcome.REMOVED)
        await work.over()
        assert await store.owed() == []


@in_virtual_time
async def test_the_next_run_tells_what_a_kill_left_untold() -> None:
    """O1, R2: once for all that shared a notice."""
    async with running_work(store=kept()) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        work.post(3)
        await anyio.sleep(0.1)
        work.desk.clear(100, ALICE)
        await anyio.sleep(0.2)
        left = kept()  # as a kill right now would leave it
        left._prompts.update({key: work.store._prompts[key] for key in (2, 3)})
    async with running_work(store=left) as work:
        assert sorted(await work.over(2)) == [(2, Outcome.REMOVED), (3, Outcome.REMOVED)]
        assert work.agents.prompted == []
        (notice,) = told(work, "removed")
        assert "alice" in notice


# --- asked for long ago --------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_stop_that_is_older_than_what_runs_stops_nothing() -> None:
    """Q7: a catch-up replays the word after newer messages have begun."""
    async with running_work() as work:
        work.post(20, "hang")
        await work.prompted("hang")
        work.post(21)
        await anyio.sleep(0.1)
        assert not work.desk.stop(100, ALICE, before=10).accepted
        await work.settled()
        assert work.outcomes == []
        assert work.desk.stop(100, ALICE, before=30).accepted
        assert await work.over(2) == [(20, Outcome.STOPPED), (21, Outcome.ANSWERED)]


@in_virtual_time
async def test_a_stop_of_all_that_ends_nothing_says_so() -> None:
    """Q7: what waits is newer."""
    async with running_work() as work:
        work.post(20, "hang")
        await work.prompted("hang")
        work.post(21)
        await anyio.sleep(0.1)
        assert not work.desk.stop_all(100, ALICE, before=10).accepted
        answer = work.desk.stop_all(100, ALICE, before=21)
        assert (answer.accepted, answer.text) == (True, "Stopping everything: 1 running, 0 waiting.")
        await work.over(2)


# --- too many of one person ----------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_message_that_was_answered_is_not_dropped_when_it_comes_again_too_hastily() -> None:
    """O1, R2: a catch-up may hand over what an earlier run had."""
    async with running_work(limits=replace(LIMITS, user_messages=1)) as work:
        work.post(1)
        await work.over()
        work.post(2)
        work.post(1)
        assert await work.over(2) == [(1, Outcome.ANSWERED), (2, Outcome.DROPPED)]
        assert len(told(work, "dropped")) == 1


@in_virtual_time
async def test_a_message_that_was_dropped_as_too_hasty_is_not_run_when_it_comes_again() -> None:
    """O1, R2: its end was told."""
    async with running_work(limits=replace(LIMITS, user_messages=1, user_window=2.0)) as work:
        work.post(1)
        work.post(2)
        assert sorted(await work.over(2)) == [(1, Outcome.ANSWERED), (2, Outcome.DROPPED)]
        work.post(2)
        await work.settled()
        assert sorted(work.outcomes) == [(1, Outcome.ANSWERED), (2, Outcome.DROPPED)]


@in_virtual_time
async def test_a_message_that_is_too_hasty_is_pending_until_it_is_written_down() -> None:
    """R2: else a kill right now would lose it."""
    async with running_work(limits=replace(LIMITS, user_messages=1)) as work:
        work.post(1)
        work.post(2)
        assert work.desk.pending() == {1, 2}
        await work.over(2)
        assert work.desk.pending() == frozenset()


@in_virtual_time
async def test_what_was_posted_at_leisure_is_not_too_hasty_when_a_catch_up_hands_it_over_at_once() -> None:
    """R2, O2."""
    async with running_work(limits=replace(LIMITS, user_messages=2)) as work:
        for number in range(1, 6):
            work.post((number * 60_000) << 22)  # a minute apart
        assert {outcome for _, outcome in await work.over(5)} == {Outcome.ANSWERED}


@in_virtual_time
async def test_what_was_posted_in_a_burst_is_too_hasty_however_late_it_is_handed_over() -> None:
    """R2, O1: the bot's own clock says nothing of when people wrote."""
    async with running_work(limits=replace(LIMITS, user_messages=2)) as work:
        for number in range(1, 4):
            work.post((number * 1_000) << 22)  # a second apart
            await anyio.sleep(60)
        outcomes = [outcome for _, outcome in await work.over(3)]
        assert outcomes == [Outcome.ANSWERED, Outcome.ANSWERED, Outcome.DROPPED]
        assert told(work, "more than 2 messages in 60 s; try again in 28 s")


# --- turns that could not run side by side -------------------------------------------------------------------------


@in_virtual_time
async def test_a_turn_that_could_not_be_forked_keeps_its_place() -> None:
    """Q1, Q9: also if the turn that it was to run beside has ended meanwhile."""
    limits = replace(LIMITS, rules=Rules(debounce=0.0, max_concurrent=2))
    async with running_work(limits=limits) as work:
        gate = work.agents.fork_gates["100"] = anyio.Event()
        work.agents.fork_errors["100"] = ForkFailed("no")
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2, "second")
        await anyio.sleep(0.5)
        work.post(3, "third")
        await anyio.sleep(0.5)
        work.desk.stop(100, ALICE, prompt=1)
        gate.set()
        await work.over(3)
        assert work.agents.prompted == ["hang", "second", "third"]


# --- reactions -----------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_an_acknowledgement_that_comes_after_the_end_leaves_nothing_behind() -> None:
    """D3, Q10: reactions have a slow limit of their own, so in a flood that is the rule."""
    async with running_work() as work:
        gate = work.chat.gates["acknowledge"] = anyio.Event()
        work.post(1)
        await work.over()
        gate.set()
        await work.settled()
        assert work.desk._floor.reactions._cells == {}


@in_virtual_time
async def test_a_mark_that_is_wanted_again_while_it_is_set_ends_nothing() -> None:
    """O4: a fault there would end the work of all threads."""
    chat = FakeChat()
    gate = chat.gates["react"] = anyio.Event()
    async with anyio.create_task_group() as tasks:
        reactions = Reactions(tasks, chat, enabled=True)
        reactions.show(inbound(1), Mark.DONE)
        await anyio.sleep(1)
        reactions.show(inbound(1), Mark.DONE)
        gate.set()
    assert chat.reacted == [(1, Mark.DONE)]
    assert reactions._cells == {}


@in_virtual_time
async def test_a_message_that_is_deleted_while_it_is_marked_ends_nothing() -> None:
    """O4, Q5: also if the mark of the accept came just then."""
    chat = FakeChat()
    gate = chat.gates["react"] = anyio.Event()
    async with anyio.create_task_group() as tasks:
        reactions = Reactions(tasks, chat, enabled=True)
        reactions.show(inbound(1), Mark.WAITING)
        await anyio.sleep(5)
        reactions.accepted(inbound(1))
        reactions.forget(1)
        gate.set()
    assert reactions._cells == {}


# --- notices -------------------------------------------------------------------------------------------------------


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
async def test_a_thread_whose_last_edit_was_of_a_notice_keeps_no_editor() -> None:
    """Q10."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        await work.shown("Waiting, next in line")
        work.chat.threads[100].delay = 2.0
        work.desk.stop(100, ALICE)
        await work.over(2)
        await anyio.sleep(30)
        assert work.desk._floor.editors._editors == {}


# --- resets, modes -------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_mode_of_the_server_is_shown_as_that_of_its_threads() -> None:
    """Q2, Q11."""
    async with running_work() as work:
        work.desk.choose_mode(1, QueueMode.FOLLOWUP, ALICE, server=True)
        assert "Mode: followup" in work.desk.queue(100, 1)


# --- the end of the bot, and faults --------------------------------------------------------------------------------


@in_virtual_time
async def test_what_could_not_be_steered_when_the_bot_stops_has_an_end() -> None:
    """O1, R1: where nothing is kept, there is no next run to tell it."""

    def take_nothing(session: PlayedSession) -> None:
        session.can_steer = True
        session.steer = lambda _prompt: Steering(60.0)  # type: ignore[attr-defined]

    async with running_work(mute=take_nothing) as work:
        work.post(1, "mute")
        await work.prompted("mute")
        work.desk._floor.scheduler.queue(100).steerable(can=True)
        work.post(2, mode=QueueMode.STEER)
        await anyio.sleep(0.1)
        await work.desk.shutdown()
        assert sorted(work.outcomes) == [(1, Outcome.INTERRUPTED), (2, Outcome.INTERRUPTED)]


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

        def fail(_self: QueuedNotices, _thread_id: int, _queue: object) -> None:
            raise RuntimeError("no")

        with monkeypatch.context() as patched:
            patched.setattr(QueuedNotices, "show", fail)
            work.desk.stop(100, ALICE)
            await anyio.sleep(5)
        work.desk.stop(200, ALICE)
        await work.over(3)
        assert sorted(work.outcomes) == [(1, Outcome.STOPPED), (2, Outcome.ANSWERED), (3, Outcome.STOPPED)]


def test_a_stop_that_was_typed_is_about_nothing_newer_than_itself() -> None:
    """Q7."""
    asked: list[object] = []

    class Asked:
        def stop(self, *args: object, **fields: object) -> Answer:
            asked.append((args, fields))
            return Answer("Stopping.", accepted=True)

    carry_out(Command.STOP, cast("Desk", Asked()), 100, ALICE, 55)
    assert asked == [((100, ALICE), {"before": 55})]
