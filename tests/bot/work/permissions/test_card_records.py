"""Cards on disk, and the threads that are kept open for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import anyio
import pytest

from bot.reply import cards
from bot.reply.port import Body, Button, PortError, ThreadGone
from bot.work.permissions.card_records import LONGEST_SILENCE, CardRecords
from bot.work.serialization import accepted_prompt
from bot.work.task_tracker import TaskTracker
from pool.store import KeptCard
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.reply.replies import show
from tests.bot.work.fakes import FakeChat, kept, running_work
from tests.bot.work.samples import inbound
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
    async with records(thread) as (at, store, settled):
        at.keep(FIRST, nothing, LONG)
        at.shown(FIRST, 55)
        at.keep(SECOND, nothing, LONG)
        await settled()
        at.shown(FIRST, 56)
        await settled()
        assert thread.changes == [WEEK]
        assert await store.cards() == [SECOND, KeptCard("a", 100, 1, message_id=56, archive=DAY)]
        at.over(FIRST)
        await settled()
        assert thread.changes == [WEEK]
        assert [card.archive for card in await store.cards()] == [None, DAY]
        at.over(SECOND)
        await settled()
        assert (thread.changes, await store.cards(), at._threads) == ([WEEK, DAY], [], {})


@in_virtual_time
async def test_a_card_that_comes_while_the_thread_is_given_back_keeps_it_open() -> None:
    """C1"""
    thread = Silence()
    async with records(thread) as (at, store, settled):
        at.keep(FIRST, nothing, LONG)
        await settled()
        at.over(FIRST)
        await anyio.sleep(0.05)
        at.keep(SECOND, nothing, LONG)
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
        async with records(thread) as (at, store, settled):
            at.keep(FIRST, nothing, timeout)
            await settled()
            at.over(FIRST)
            await settled()
            assert (thread.changes, await store.cards(), at._threads) == ([], [], {})


OPEN = Body("🔐 `rm`\n-# <@11> may answer.", (Button("weft:perm:a:0", "Allow"), Button("weft:perm:a:1", "No")))
AGREED = replace(OPEN, text="🔐 `rm`\n-# ☑️ `bob` agreed to `Allow`.\n-# <@11> may answer.")
ENDED = Body("🔐 `rm`\n✅ `Allow` by `alice`")
QUESTION = Body("❓ Which?\n-# <@11> may answer.", (Button("weft:ask:a:step-0", "Answer…"),))
GO_ON, OVER = f"🔐 `rm`\n{cards.RESTARTED_GO_ON}", f"🔐 `rm`\n{cards.RESTARTED}"
ROW = KeptCard("a", 100, 1)
SHOWN = replace(ROW, message_id=101)

LEFT: dict[str, tuple[KeptCard, Body | None, bool, str | None]] = {
    "written down and not posted": (ROW, None, True, None),
    "posted, its message not known": (ROW, OPEN, True, GO_ON),
    "shown": (SHOWN, OPEN, True, GO_ON),
    "one of two has agreed": (SHOWN, AGREED, True, GO_ON.replace("\n", "\n-# ☑️ `bob` agreed to `Allow`.\n", 1)),
    "its file refused, so that it can only be rejected": (SHOWN, replace(OPEN, buttons=OPEN.buttons[1:]), True, GO_ON),
    "its end shown, and still written down": (SHOWN, ENDED, True, ENDED.text),
    "deleted by somebody": (SHOWN, None, True, None),
    "its turn over": (SHOWN, OPEN, False, OVER),
    "a question": (SHOWN, QUESTION, True, f"❓ Which?\n{cards.RESTARTED_GO_ON}"),
}
"""What a kill leaves of a card: its row, its message, whether its turn was cut off; and what its message shows then."""


@pytest.mark.parametrize("state", LEFT)
def test_whatever_state_a_kill_leaves_a_card_in_the_next_start_ends_it_once(state: str) -> None:
    """C4: without buttons and with all of its text; the start after that finds nothing to do."""
    row, body, cut_off, wanted = LEFT[state]

    @in_virtual_time
    async def play() -> None:
        store, chat = kept(), FakeChat()
        if cut_off:
            await store.accept(accepted_prompt(inbound(1)))
            await store.started(1)
        await store.keep_card(row)
        chat.thread(100)
        if body is not None:
            show(chat.threads[100], body)
        for _ in range(2):
            async with running_work(store=store, chat=chat) as work:
                await work.settled()
            assert await store.cards() == []
            assert [text for text in chat.texts() if "Interrupted" not in text] == ([] if wanted is None else [wanted])
            pressable = [one.custom_id for shown in chat.threads[100].messages.values() for one in shown.buttons]
            assert pressable == (["weft:go:100:1"] if cut_off else [])

    play()
