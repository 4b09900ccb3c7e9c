"""Reactions: the latest one counts, what was overtaken is never set, and a failure keeps none of the others back."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest

from bot.model import Inbound, Outcome
from bot.reply.port import PortError, ThreadGone
from bot.work.reactions import Mark, Reactions, mark_of
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import FakeChat, running_work
from tests.bot.work.samples import inbound


@dataclass
class ReactingChat(FakeChat):
    """A chat that takes a quarter of a second for each reaction."""

    marks: list[tuple[int, str, str | None]] = field(default_factory=list)
    errors: dict[int, Exception] = field(default_factory=dict)
    under_way: Counter[int] = field(default_factory=Counter)
    most_at_once: int = 0

    async def acknowledge(self, inbound: Inbound, emoji: str) -> None:
        await self.react(inbound.channel_id, inbound.message_id, emoji)

    async def react(self, channel_id: int, message_id: int, emoji: str, *, instead_of: tuple[str, ...] = ()) -> None:
        self.under_way[channel_id] += 1
        self.most_at_once = max(self.most_at_once, *self.under_way.values())
        await anyio.sleep(0.25)
        self.under_way[channel_id] -= 1
        if message_id in self.errors:
            raise self.errors[message_id]
        self.marks.append((message_id, emoji, "".join(instead_of) or None))


@asynccontextmanager
async def reacting(*, enabled: bool = True) -> AsyncIterator[tuple[Reactions, ReactingChat]]:
    chat = ReactingChat()
    async with anyio.create_task_group() as tasks:
        yield Reactions(tasks, chat, enabled=enabled), chat
        await anyio.sleep(60)
        tasks.cancel_scope.cancel()


@in_virtual_time
async def test_a_message_shows_how_it_fares() -> None:
    """D3: each mark takes the place of the one before; the first is that of the accept."""
    async with reacting() as (reactions, chat):
        reactions.accepted(inbound(1))
        await anyio.sleep(0.3)
        for mark in (Mark.WAITING, Mark.RUNNING, Mark.DONE):
            reactions.show(inbound(1), mark)
            await anyio.sleep(2)
    assert chat.marks == [(1, "👀", None), (1, "⏳", "👀"), (1, "⚙️", "⏳"), (1, "✅", "⚙️")]


@in_virtual_time
async def test_what_an_earlier_run_left_on_a_message_goes_with_its_next_mark() -> None:
    """R2, D3: nobody knows which of them it bears."""
    async with reacting() as (reactions, chat):
        reactions.inherit(inbound(1))
        reactions.accepted(inbound(1))
        await anyio.sleep(1)
        reactions.show(inbound(1), Mark.RUNNING)
        await anyio.sleep(2)
        reactions.show(inbound(1), Mark.DONE)
        reactions.inherit(inbound(2))
        reactions.show(inbound(2), Mark.FAILED)
        await reactions.flush(5)
        assert chat.marks[1:] == [(1, "⚙️", "👀⏳⚙️"), (1, "✅", "⚙️"), (2, "❌", "👀⏳⚙️")]


@in_virtual_time
async def test_what_was_overtaken_is_never_set() -> None:
    """D3"""
    async with reacting() as (reactions, chat):
        reactions.accepted(inbound(1))
        reactions.show(inbound(1), Mark.WAITING)
        await anyio.sleep(1.1)
        reactions.show(inbound(1), Mark.RUNNING)
        reactions.show(inbound(1), Mark.FAILED)
    assert chat.marks == [(1, "👀", None), (1, "⏳", "👀"), (1, "❌", "⏳")]


@in_virtual_time
async def test_a_turn_that_begins_and_ends_at_once_costs_one_mark() -> None:
    """D3"""
    async with reacting() as (reactions, chat):
        reactions.accepted(inbound(1))
        reactions.show(inbound(1), Mark.RUNNING)
        await anyio.sleep(0.5)
        reactions.show(inbound(1), Mark.DONE)
    assert chat.marks == [(1, "👀", None), (1, "✅", "👀")]


@in_virtual_time
async def test_what_another_run_has_set_is_left_alone() -> None:
    """R2: it is not known what that was."""
    async with reacting() as (reactions, chat):
        reactions.show(inbound(1), Mark.DONE)
    assert chat.marks == [(1, "✅", None)]


@pytest.mark.parametrize("error", [ThreadGone("no"), PortError("no"), RuntimeError("no")])
def test_a_reaction_that_fails_keeps_no_other_back(error: Exception) -> None:
    """O4"""

    @in_virtual_time
    async def run() -> None:
        async with reacting() as (reactions, chat):
            chat.errors[1] = error
            reactions.show(inbound(1), Mark.DONE)
            reactions.show(inbound(2), Mark.DONE)
        assert chat.marks == [(2, "✅", None)]

    run()


@in_virtual_time
async def test_two_hundred_messages_are_marked_within_a_minute() -> None:
    """Q3: one request after the other, and none twice."""
    async with reacting() as (reactions, chat):
        for number in range(200):
            reactions.show(inbound(number), Mark.WAITING)
            reactions.show(inbound(number), Mark.FAILED)
    assert chat.marks == [(number, "❌", None) for number in range(200)]


@in_virtual_time
async def test_in_a_flood_a_message_that_is_over_shows_its_end_and_nothing_before() -> None:
    """D3, Q3: one request at a time in a channel, as Discord refuses what comes at once; the newest state wins."""
    async with reacting() as (reactions, chat):
        for number in range(100):
            reactions.accepted(inbound(number))
            reactions.show(inbound(number), Mark.WAITING)
        for number in range(1, 100):
            reactions.show(inbound(number), Mark.FAILED)
    assert chat.most_at_once == 1
    ended = [(number, "❌", None) for number in range(1, 100)]
    assert chat.marks == [(0, "👀", None), *ended, (0, "⏳", "👀")]


@in_virtual_time
async def test_what_shows_nothing_yet_comes_first() -> None:
    """D3: a first sign counts more than a newer one."""
    async with reacting() as (reactions, chat):
        for number in range(3):
            reactions.show(inbound(number), Mark.DONE)
        reactions.accepted(inbound(9))
    assert [message_id for message_id, _, _ in chat.marks] == [9, 0, 1, 2]


@in_virtual_time
async def test_no_channel_waits_for_another() -> None:
    """D3, O4"""
    async with reacting() as (reactions, chat):
        for number in range(20):
            reactions.accepted(inbound(number))
        reactions.accepted(inbound(50, thread_id=200))
        await anyio.sleep(0.3)
        assert (50, "👀", None) in chat.marks
        assert len(chat.marks) == 2


@pytest.mark.parametrize("error", [ThreadGone("no"), PortError("no"), RuntimeError("no")])
def test_a_first_sign_that_fails_keeps_no_other_back(error: Exception) -> None:
    """O2, O4"""

    @in_virtual_time
    async def run() -> None:
        async with reacting() as (reactions, chat):
            chat.errors[1] = error
            reactions.accepted(inbound(1))
            reactions.accepted(inbound(2))
        assert chat.marks == [(2, "👀", None)]

    run()


@in_virtual_time
async def test_switched_off_a_message_shows_that_it_was_accepted_and_no_more() -> None:
    """O2, D3: WEFT_REACTIONS=false"""
    async with reacting(enabled=False) as (reactions, chat):
        reactions.accepted(inbound(1))
        reactions.show(inbound(1), Mark.DONE)
    assert chat.marks == [(1, "👀", None)]
    assert reactions._cells == {}


@pytest.mark.parametrize(
    ("outcome", "mark"),
    [
        (Outcome.ANSWERED, Mark.DONE),
        (Outcome.STOPPED, Mark.STOPPED),
        (Outcome.SUPERSEDED, Mark.STOPPED),
        (Outcome.REMOVED, Mark.STOPPED),
        (Outcome.STALE, Mark.STOPPED),
        (Outcome.FAILED, Mark.FAILED),
        (Outcome.DROPPED, Mark.FAILED),
        (Outcome.AGENT_DIED, Mark.FAILED),
        (Outcome.AGENT_UNREACHABLE, Mark.FAILED),
        (Outcome.TIMED_OUT, Mark.FAILED),
        (Outcome.COULD_NOT_START, Mark.FAILED),
        (Outcome.INTERRUPTED, Mark.FAILED),
    ],
)
def test_each_outcome_has_its_mark(outcome: Outcome, mark: Mark) -> None:
    """O1"""
    assert mark_of(outcome) is mark


@in_virtual_time
async def test_an_acknowledgement_that_comes_after_the_end_leaves_nothing_behind() -> None:
    """D3, Q10: reactions have a slow limit of their own, so in a flood that is the rule."""
    async with running_work() as work:
        gate = work.chat.gates["acknowledge"] = anyio.Event()
        work.post(1)
        await work.over()
        gate.set()
        await work.settled()
        assert work.dispatcher._reactions._cells == {}


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
