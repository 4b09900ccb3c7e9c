"""Cards on disk, and the threads that are kept open for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import anyio

from bot.reply.port import PortError, ThreadGone
from bot.work.card_records import LONGEST_SILENCE, CardRecords
from bot.work.task_tracker import TaskTracker
from pool.store import KeptCard
from tests.bot.reply.fakes import in_virtual_time
from tests.pool.memory import MemoryStore

DAY, WEEK = 24 * 60, LONGEST_SILENCE
LONG = DAY * 60.0
FIRST, SECOND = KeptCard("a", 100, 1), KeptCard("b", 100, 1)


@dataclass
class Silence:
    """A thread that tells and changes after how much silence it is archived."""

    minutes: int | None = DAY
    error: PortError | None = None
    changes: list[int] = field(default_factory=list)

    async def archives_after(self) -> int | None:
        await anyio.sleep(0.1)
        return self.minutes

    async def archive_after(self, minutes: int) -> None:
        await anyio.sleep(0.1)
        if self.error is not None:
            raise self.error
        self.minutes = minutes
        self.changes.append(minutes)


@asynccontextmanager
async def records(thread: Silence) -> AsyncIterator[tuple[CardRecords, MemoryStore, Callable[[], Any]]]:
    store = MemoryStore()
    async with anyio.create_task_group() as tasks:
        tracker = TaskTracker(tasks)

        async def settled() -> None:
            await tracker.until(lambda: tracker.under_way == 0)

        yield CardRecords(tracker, store, cast("Any", None), cast("Any", lambda _id: thread)), store, settled


def nothing() -> None:
    """Show nothing."""


@in_virtual_time
async def test_a_thread_stays_open_until_the_last_of_its_cards_is_over() -> None:
    """C1: what was is on disk until it is given back, whatever else is written down of the card."""
    thread = Silence()
    async with records(thread) as (kept, store, settled):
        kept.keep(FIRST, nothing, LONG)
        kept.shown(FIRST, 55)
        kept.keep(SECOND, nothing, LONG)
        await settled()
        kept.shown(FIRST, 56)
        await settled()
        assert thread.changes == [WEEK]
        assert await store.cards() == [SECOND, KeptCard("a", 100, 1, message_id=56, archive=DAY)]
        kept.over(FIRST)
        await settled()
        assert thread.changes == [WEEK]
        assert [card.archive for card in await store.cards()] == [None, DAY]
        kept.over(SECOND)
        await settled()
        assert (thread.changes, await store.cards(), kept._threads) == ([WEEK, DAY], [], {})


@in_virtual_time
async def test_a_card_that_comes_while_the_thread_is_given_back_keeps_it_open() -> None:
    """C1"""
    thread = Silence()
    async with records(thread) as (kept, store, settled):
        kept.keep(FIRST, nothing, LONG)
        await settled()
        kept.over(FIRST)
        await anyio.sleep(0.05)
        kept.keep(SECOND, nothing, LONG)
        await settled()
        assert (thread.changes, thread.minutes) == ([WEEK, DAY, WEEK], WEEK)
        assert [(card.token, card.archive) for card in await store.cards()] == [("b", DAY)]


@in_virtual_time
async def test_a_thread_is_left_as_it_is_where_that_is_enough_or_weft_may_not_change_it() -> None:
    """C1: by default a card's time is up long before, so Discord is not even asked."""
    for thread, timeout in (
        (Silence(minutes=60), 600.0),
        (Silence(minutes=DAY), LONG - 1),
        (Silence(minutes=WEEK), 30 * LONG),
        (Silence(minutes=None), LONG),
        (Silence(error=ThreadGone("50013")), LONG),
    ):
        async with records(thread) as (kept, store, settled):
            kept.keep(FIRST, nothing, timeout)
            await settled()
            kept.over(FIRST)
            await settled()
            assert (thread.changes, await store.cards(), kept._threads) == ([], [], {})
