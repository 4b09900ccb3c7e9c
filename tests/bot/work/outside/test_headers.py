"""Names and tags of threads: the latest wins, paced far below Discord's limits, and nobody waits for it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from bot.reply.port import PortError, ThreadGone, Unavailable
from bot.sandbox.ratelimit import Limiter, RateLimits
from bot.work.outside.headers import REFUSED_FOR, RENAME_WINDOW, SETTLE, SPACING, TRIES, ThreadHeaders, tags_for
from bot.work.ports import ThreadHeader
from bot.work.thread_states import State
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import FakeChannels

CHOICES = {"working": 1, "needs you": 2, "done": 3, "bug": 8, "idea": 9}


@pytest.mark.parametrize(
    ("applied", "choices", "state", "tags"),
    [
        ((8,), CHOICES, State.WORKING, (8, 1)),
        ((1, 8), CHOICES, State.NEEDS_YOU, (8, 2)),
        ((8, 1), CHOICES, State.WORKING, None),
        ((2,), CHOICES, State.FAILED, None),
        ((3,), {**CHOICES, "failed": 4}, State.FAILED, (4,)),
        ((1,), {"working": 1}, State.DONE, ()),
        ((8,), {"bug": 8}, State.DONE, None),
        ((8, 9, 10, 11, 12), CHOICES, State.DONE, None),
        ((1, 8, 9, 10, 11), CHOICES, State.DONE, (8, 9, 10, 11, 3)),
    ],
)
def test_the_tag_of_a_state_takes_the_place_of_another_state_and_of_no_other_tag(
    applied: tuple[int, ...], choices: dict[str, int], state: State, tags: tuple[int, ...] | None
) -> None:
    """S6: five tags at most; what failed needs somebody, unless the forum has a tag for that."""
    assert tags_for(applied, choices, state) == tags


@asynccontextmanager
async def running_headers(channels: FakeChannels) -> AsyncIterator[ThreadHeaders]:
    async with anyio.create_task_group() as tasks:
        yield ThreadHeaders(tasks, channels)
        tasks.cancel_scope.cancel()


def post(*tags: int) -> ThreadHeader:
    return ThreadHeader("a post", own=False, open=True, tags=tags, choices=CHOICES)


@in_virtual_time
async def test_name_and_tags_go_in_one_request_and_what_was_overtaken_in_none() -> None:
    """S5, S6"""
    channels = FakeChannels({7: ThreadHeader("hello", own=True, open=True, choices=CHOICES)})
    async with running_headers(channels) as headers:
        headers.show(7, State.WORKING)
        headers.show(7, State.NEEDS_YOU)
        headers.rename(7, "Fix it", instead_of="hello ")
        began = anyio.current_time()
        await anyio.sleep(SETTLE + 1)
        assert [(name, tags) for _, _, name, tags in channels.changes] == [("Fix it", (2,))]
        # The same once more is nothing to ask Discord for; the next one keeps its distance.
        headers.show(7, State.NEEDS_YOU)
        await anyio.sleep(SPACING)
        headers.show(7, State.DONE)
        headers.show(7, State.WORKING)
        await anyio.sleep(60)
        assert [(name, tags) for _, _, name, tags in channels.changes[1:]] == [(None, (1,))]
        assert channels.changes[1][0] - began >= SPACING


@in_virtual_time
async def test_a_name_that_a_person_gave_and_a_thread_that_is_closed_stay() -> None:
    """S5: nor is a thread renamed that somebody else opened."""
    channels = FakeChannels(
        {
            1: ThreadHeader("theirs", own=True, open=True),
            2: ThreadHeader("hello", own=False, open=True),
            3: ThreadHeader("hello", own=True, open=False),
        }
    )
    async with running_headers(channels) as headers:
        for thread_id in (1, 2, 3):
            headers.rename(thread_id, "Fix it", instead_of="hello")
        headers.show(3, State.DONE)
        await anyio.sleep(60)
        assert channels.changes == []


@in_virtual_time
async def test_a_third_name_waits_for_ten_minutes_and_the_tags_do_not() -> None:
    """S5, S6"""
    channels = FakeChannels({7: ThreadHeader("0", own=True, open=True, choices=CHOICES)})
    async with running_headers(channels) as headers:
        for number in range(3):
            headers.rename(7, str(number + 1), instead_of=str(number))
            await anyio.sleep(10)
        assert [name for _, _, name, _ in channels.changes] == ["1", "2"]
        headers.show(7, State.WORKING)
        await anyio.sleep(10)
        assert channels.changes[-1][2:] == (None, (1,))
        await anyio.sleep(RENAME_WINDOW)
        assert channels.changes[-1][2] == "3"
        assert channels.changes[-1][0] - channels.changes[0][0] >= 600


@in_virtual_time
async def test_what_discord_does_not_take_is_tried_again_and_what_it_forbids_left_alone() -> None:
    """D10, S6: a newer state goes in place of the one that was refused; other threads have theirs."""
    channels = FakeChannels({7: post(), 8: post()})
    async with running_headers(channels) as headers:
        channels.fail = [Unavailable("no", retry_after=30.0)]
        headers.show(7, State.WORKING)
        await anyio.sleep(SETTLE + 0.5)
        headers.show(7, State.DONE)
        headers.show(8, State.WORKING)
        await anyio.sleep(60)
        assert [(thread_id, tags) for _, thread_id, _, tags in channels.changes] == [(7, (1,)), (8, (1,)), (7, (3,))]
        assert channels.changes[2][0] - channels.changes[0][0] >= 30
        # Not for ever.
        channels.fail = [Unavailable("no")] * 20
        headers.show(7, State.WORKING)
        await anyio.sleep(1000)
        assert len(channels.changes) == 3 + TRIES
        channels.fail = [ThreadGone("403"), PortError("400")]
        headers.show(7, State.NEEDS_YOU)
        await anyio.sleep(60)
        headers.show(7, State.WORKING)
        await anyio.sleep(60)
        assert len(channels.changes) == 4 + TRIES
        await anyio.sleep(REFUSED_FOR)
        assert len(channels.changes) == 5 + TRIES


@in_virtual_time
async def test_threads_that_change_all_the_time_meet_no_limit_and_are_soon_right() -> None:
    """D3, S5, S6: with the loopback's limits, in virtual time; a call that waits for a bucket holds up no other."""
    chance, limiter = random.Random(1), Limiter(RateLimits.REAL)
    channels = FakeChannels({thread_id: post(8) for thread_id in range(40)}, slow={3: 14.0, 4: 300.0})
    wanted: dict[int, tuple[float, State]] = {}
    late = []
    async with running_headers(channels) as headers:
        ends = anyio.current_time() + 600
        while (now := anyio.current_time()) < ends:
            thread_id = chance.randrange(40)
            state = chance.choice([State.WORKING, State.NEEDS_YOU, State.DONE])
            if wanted.get(thread_id, (0, None))[1] is not state:
                wanted[thread_id] = (now, state)
                headers.show(thread_id, state)
            await anyio.sleep(chance.choice([0.0, 0.0, 0.2, 1.0, 4.0]))
            for other, (since, wish) in wanted.items():
                shown = CHOICES[wish] in channels.headers[other].tags
                if not shown and anyio.current_time() - since > 15 and other not in channels.slow:
                    late.append((other, wish))
    assert late == []
    assert len(channels.changes) > 150
    for at, thread_id, name, _ in channels.changes:
        verdict = limiter.judge("edit_channel", str(thread_id), at, rename=name is not None)
        assert verdict is not None
        assert verdict.scope is None
        assert verdict.remaining > 0
