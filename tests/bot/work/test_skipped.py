"""Messages that never ran: shown once for each author and burst, each with its outcome; and which are too many."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import anyio

from bot.model import Outcome
from bot.reply.pacing import Pacing
from bot.work.delivery import Deliveries
from bot.work.editors import Editors
from bot.work.ending import TurnEnd
from bot.work.observer import Observer
from bot.work.reactions import Reactions
from bot.work.skipped import SkippedMessages
from bot.work.task_tracker import TaskTracker
from bot.work.transcripts.service import Transcripts
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import LIMITS, FakeChat, NotedStore, busy_scheduler, kept, nothing_handed_out, running_work
from tests.bot.work.samples import ALICE, BOB, inbound

FULL = TurnEnd(Outcome.DROPPED, reason="the queue is full (10)")


@asynccontextmanager
async def telling() -> AsyncIterator[tuple[SkippedMessages, FakeChat, list[tuple[int, Outcome]]]]:
    chat, recorded, numbers = FakeChat(), list[tuple[int, Outcome]](), itertools.count()

    async with anyio.create_task_group() as tasks:
        tracker, store = TaskTracker(tasks), NotedStore()
        editors = Editors(tasks, chat.thread, Pacing(), lambda: f"n{next(numbers)}", busy_scheduler(), lambda *_: None)
        reactions = Reactions(tasks, chat, enabled=False)
        deliveries = Deliveries(
            tracker,
            editors,
            store,
            reactions,
            Observer(),
            nothing_handed_out(),
            cast("Any", None),
            str,
            Transcripts(store, str, 0),
        )
        deliveries.listeners.append(lambda message, outcome: recorded.append((message.message_id, outcome)))
        yield SkippedMessages(tracker, editors, deliveries, store, str), chat, recorded
        await anyio.sleep(30)
        tasks.cancel_scope.cancel()


@in_virtual_time
async def test_one_message_is_told_as_a_reply_to_it() -> None:
    """O1"""
    async with telling() as (unrun, chat, recorded):
        unrun.end(inbound(1), FULL)
    (sent,) = chat.threads[100].of("send")
    assert sent.body.text == "⚠️ **Not run:** the queue is full (10). Send it again later."
    assert sent.reply_to == 1
    assert recorded == [(1, Outcome.DROPPED)]


@in_virtual_time
async def test_a_burst_of_one_author_is_one_notice_and_an_outcome_each() -> None:
    """Q3, O1"""
    async with telling() as (unrun, chat, recorded):
        for number in range(1, 6):
            unrun.end(inbound(number), FULL)
            await anyio.sleep(0.1)
    assert chat.texts() == ["⚠️ **Not run:** the queue is full (10). Send it again later.\n-# 5 messages of `alice`"]
    assert recorded == [(number, Outcome.DROPPED) for number in range(1, 6)]


@in_virtual_time
async def test_another_author_another_end_and_another_burst_have_notices_of_their_own() -> None:
    """Q3"""
    async with telling() as (unrun, chat, recorded):
        unrun.end(inbound(1), FULL)
        unrun.end(inbound(2, author=BOB), FULL)
        unrun.end(inbound(3), TurnEnd(Outcome.SUPERSEDED))
        unrun.end(inbound(4, thread_id=200), FULL)
        await anyio.sleep(5)
        unrun.end(replace(inbound(5), author=ALICE), FULL)
    assert len(chat.texts()) == 4
    assert len(chat.texts(200)) == 1
    assert sorted(number for number, _ in recorded) == [1, 2, 3, 4, 5]


@in_virtual_time
async def test_at_the_end_of_the_bot_nothing_is_gathered_any_more() -> None:
    """R1"""
    async with telling() as (unrun, _, recorded):
        unrun.hurry()
        began = anyio.current_time()
        unrun.end(inbound(1), FULL)
        while not recorded:  # noqa: ASYNC110  the clock is virtual
            await anyio.sleep(0.01)
        assert anyio.current_time() - began < 0.5


@in_virtual_time
async def test_an_end_that_was_told_of_several_messages_is_not_told_again_after_a_kill() -> None:
    """O1, R2: the next run looks for what was said, and that was said of them together."""
    store, chat = kept(), FakeChat()
    store.gates["finished"] = anyio.Event()
    async with running_work(store=store, chat=chat) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        work.post(3)
        await work.settled()
        work.dispatcher.controls.clear(100, ALICE)
        await work.shown("2 messages of `alice`")
    store.gates.clear()
    async with running_work(store=store, chat=chat) as work:
        outcomes = dict(await work.over(3))
        assert (outcomes[2], outcomes[3]) == (Outcome.REMOVED, Outcome.REMOVED)
        (told,) = work.told("**Removed**")
        assert "2 messages of `alice`" in told


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
        assert len(work.told("Not run")) == 1


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
        assert work.dispatcher.pending() == {1, 2}
        await work.over(2)
        assert work.dispatcher.pending() == frozenset()


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
        assert work.told("more than 2 messages in 60 s; wait 28 s")
