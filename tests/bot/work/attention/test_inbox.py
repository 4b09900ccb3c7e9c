"""What ended while whoever asked was away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest

from bot.model import Inbound, Lane, Outcome, QueueMode
from bot.work.attention.inbox import GIST_LIMIT, READ_AFTER, Inbox
from bot.work.attention.notifications import MOST_PEOPLE
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import ONE_AGENT, NotedStore, kept, running_work
from tests.bot.work.samples import ALICE, BOB, inbound, mention

SECRET = "hunter2"
GUILD = 1


@asynccontextmanager
async def inbox(store: NotedStore | None = None, at: float = 1_000_000.0) -> AsyncIterator[Inbox]:
    async with anyio.create_task_group() as tasks:
        settings = ThreadSettings(TaskTracker(tasks), store or NotedStore(), ONE_AGENT, QueueMode.QUEUE)
        await settings.load()
        yield Inbox(settings, lambda text: text.replace(SECRET, "[secret]"), lambda: at)


@pytest.mark.parametrize("outcome", Outcome)
@in_virtual_time
async def test_what_nobody_ended_on_purpose_is_unread_until_its_author_is_seen(outcome: Outcome) -> None:
    """A2: a message, a press and a reaction count in that thread alone, and those of others don't."""
    by_people = {Outcome.STOPPED, Outcome.SUPERSEDED, Outcome.REMOVED, Outcome.STALE}
    async with inbox() as box:
        box.ended(inbound(5, text=f"say  {SECRET} " + "x" * 5000), outcome)
        found = box.unread(ALICE.id, GUILD)
        assert [one.failed for one in found] == ([] if outcome in by_people else [outcome is not Outcome.ANSWERED])
        for one in found:
            assert one.gist.startswith("say [secret] xxx")
            assert len(one.gist) <= GIST_LIMIT
            assert one.link == "https://discord.com/channels/1/100/5"
        # Somebody else, another thread, a message from before, another server.
        box.seen(100, BOB.id)
        box.seen(200, ALICE.id)
        box.seen(100, ALICE.id, 4)
        assert (box.unread(ALICE.id, GUILD), box.unread(ALICE.id, 2), box.unread(BOB.id, GUILD)) == (found, [], [])
        box.seen(100, ALICE.id, 6)
        assert box.unread(ALICE.id, GUILD) == []


@in_virtual_time
async def test_a_prompt_does_not_wait_until_it_is_written_that_its_author_is_there() -> None:
    """A2: that is written with the next end in the thread; seen otherwise, at once."""
    for prompts in (True, False):
        store = kept()
        async with inbox(store) as box:
            box.ended(inbound(5), Outcome.ANSWERED)
            await anyio.wait_all_tasks_blocked()
            box.seen(100, ALICE.id, 6, prompts=prompts)
            assert box.unread(ALICE.id, GUILD) == []
        async with inbox(store) as box:
            assert len(box.unread(ALICE.id, GUILD)) == prompts
            box.seen(100, ALICE.id, 6, prompts=prompts)
            box.ended(replace(inbound(7), author=BOB), Outcome.ANSWERED)
        async with inbox(store) as box:
            assert (box.unread(ALICE.id, GUILD), len(box.unread(BOB.id, GUILD))) == ([], 1)


@in_virtual_time
async def test_the_longest_unread_comes_first_over_restarts_and_each_thread_keeps_its_last_end() -> None:
    """A2: a thread that was opened from a channel is linked itself; bots read nothing."""
    store, now = kept(), [0.0]

    def ended(box: Inbox, message: Inbound, outcome: Outcome, at: float) -> None:
        box.now = lambda: at
        box.ended(message, outcome)

    async with inbox(store) as box:
        ended(box, mention(300), Outcome.ANSWERED, 30)
        ended(box, inbound(5), Outcome.FAILED, 10)
        ended(box, inbound(6, thread_id=200), Outcome.ANSWERED, 20)
        ended(box, inbound(7), Outcome.ANSWERED, 40)
        ended(box, replace(inbound(8, thread_id=400), lane=Lane.BACKGROUND), Outcome.FAILED, 50)
        ended(box, inbound(9, author=BOB), Outcome.TIMED_OUT, 60)
    async with inbox(store, at=60) as box:
        found = box.unread(ALICE.id, GUILD)
        assert [(one.prompt, one.failed, one.at) for one in found] == [(6, False, 20), (300, False, 30), (7, False, 40)]
        assert [one.link.rpartition("channels/")[2] for one in found] == ["1/200/6", "1/300", "1/100/7"]
        assert box.clear(ALICE.id, GUILD, until=30).text == "Cleared."
        assert [one.prompt for one in box.unread(ALICE.id, GUILD)] == [7]
        assert [one.prompt for one in box.unread(BOB.id, GUILD)] == [9]
        box.now = lambda: 41.0 + READ_AFTER
        assert box.clear(ALICE.id, GUILD, until=99).text == "Nothing to clear."
        assert now == [0.0]


@in_virtual_time
async def test_what_another_version_kept_hurts_nobody_and_a_thread_keeps_so_many_people() -> None:
    """A2"""
    store = NotedStore()
    await store.bind(100, options='{"unread": {"11": {"prompt": "x"}, "12": 5}}')
    await store.bind(200, options='{"unread": [1]}')
    async with inbox(store) as box:
        assert box.unread(ALICE.id, GUILD) == []
        box.seen(100, ALICE.id, 9)
        box.seen(200, ALICE.id, 9)
        for number in range(MOST_PEOPLE + 1):
            box.ended(inbound(5, author=replace(ALICE, id=1000 + number)), Outcome.ANSWERED)
        assert [len(box.unread(one, GUILD)) for one in (12, 1000, 1001)] == [0, 0, 1]


@in_virtual_time
async def test_a_turn_is_unread_once_its_end_is_visible_and_again_after_the_next_one() -> None:
    """A2, O1: of messages that were asked as one, each author's."""
    async with running_work() as work:
        fields: dict[str, Any] = {"parent_id": 7}
        work.post(1, **fields)
        await work.over(1)
        unread = work.dispatcher.inbox.unread
        (end,) = unread(ALICE.id, GUILD)
        assert (end.prompt, end.place.parent_id) == (1, 7)
        work.dispatcher.inbox.seen(100, ALICE.id, 2)
        assert unread(ALICE.id, GUILD) == []
        work.post(2, "login", **fields)
        await work.over(2)
        assert [(one.prompt, one.failed) for one in unread(ALICE.id, GUILD)] == [(2, True)]
        work.dispatcher.thread_gone(100, "the thread was deleted")
        work.dispatcher.forget(100)
        assert unread(ALICE.id, GUILD) == []
