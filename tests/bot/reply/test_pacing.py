"""When the next edit may start."""

from __future__ import annotations

import random

import anyio

from bot.reply.pacing import Pacer, Pacing
from bot.reply.port import Body
from tests.bot.reply.fakes import PROSE, STOP, FakeTurn, final_reply, gaps, in_virtual_time, scene, spoken


def test_the_first_edit_may_start_at_once() -> None:
    assert Pacer(Pacing()).ready_at(final=False) == 0.0


def test_an_edit_waits_for_the_interval_and_a_final_one_does_not() -> None:
    """D3"""
    pacer = Pacer(Pacing())
    pacer.started(100.0)
    assert pacer.ready_at(final=False) == 101.25
    assert pacer.ready_at(final=True) <= 100.0


def test_ordinary_edits_leave_one_token_whatever_the_interval() -> None:
    """D3: four in five seconds."""
    pacer = Pacer(Pacing(interval=0.1))
    for at in (100.0, 100.1, 100.2, 100.3):
        pacer.started(at)
    assert pacer.ready_at(final=False) == 105.0
    assert pacer.ready_at(final=True) <= 100.3


def test_a_final_edit_waits_only_when_the_bucket_is_empty() -> None:
    """D3"""
    pacer = Pacer(Pacing())
    for at in (100.0, 100.1, 100.2, 100.3, 100.4):
        pacer.started(at)
    assert pacer.ready_at(final=True) == 105.0


def test_refusals_stretch_the_interval_and_successes_shrink_it_back() -> None:
    """D3"""
    pacer = Pacer(Pacing())
    pacer.refused()
    assert pacer.interval == 1.25 * 1.5
    for _ in range(50):
        pacer.refused()
    assert pacer.interval == 1.25 * 8
    for _ in range(50):
        pacer.succeeded()
    assert pacer.interval == 1.25


def test_the_wait_after_a_refusal_doubles_up_to_a_bound() -> None:
    assert [Pacer(Pacing()).backoff(failures) for failures in (1, 2, 3, 100)] == [1.0, 2.0, 4.0, 60.0]


def test_whatever_is_asked_for_no_five_seconds_see_more_than_five_edits() -> None:
    """D3: over random phases, with final edits in between."""
    for seed in range(200):
        dice, pacer, now, starts = random.Random(seed), Pacer(Pacing()), 0.0, list[float]()
        for _ in range(60):
            now += dice.expovariate(2.0)
            at = max(now, pacer.ready_at(final=dice.random() < 0.2))
            pacer.started(at)
            starts.append(at)
            now = at
        assert all(sixth - first >= 5.0 - 1e-9 for first, sixth in zip(starts, starts[5:], strict=False))


@in_virtual_time
async def test_the_first_message_is_created_as_soon_as_there_is_text() -> None:
    """D3"""
    async with scene() as at:
        reply = at.open()
        await anyio.sleep(3)
        at.turn.text = "Hello"
        reply.touch()
        began = anyio.current_time()
        await anyio.sleep(0.2)
        (call,) = at.thread.of("send")
        assert call.at - began <= 0.1
        assert (call.reply_to, call.body.buttons) == (2, (STOP,))
        assert call.body.text.startswith("Hello\n-# ⏳")


@in_virtual_time
async def test_thirty_seconds_of_chunks_are_edits_at_the_pace_with_one_token_kept() -> None:
    """D3: no two edits closer than the interval, at most four in any five seconds."""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, PROSE[:1500], 30)
        edits = at.thread.of("edit")
        assert 18 <= len(edits) <= 25
        assert min(gaps(edits)) >= 1.25 - 1e-6
        assert all(fifth.at - first.at >= 5.0 - 1e-6 for first, fifth in zip(edits, edits[4:], strict=False))


@in_virtual_time
async def test_what_is_shown_while_streaming_is_never_much_older_than_the_interval() -> None:
    """D3"""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, "word " * 300, 20)
        edits = at.thread.of("edit")
        assert max(gaps(edits)) <= 1.4
        rate = 1500 / 20
        for call in edits:
            shown = len(spoken([call.body.text]))
            assert (call.at - 1000.0) * rate - shown <= 13


@in_virtual_time
async def test_the_final_text_is_edited_in_at_once_although_the_pace_would_wait() -> None:
    """T3, D3"""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, "word " * 100, 7)
        while anyio.current_time() - at.thread.of("edit")[-1].at > 0.2:
            at.turn.text += "more "
            reply.touch()
            await anyio.sleep(0.1)
        at.turn.text += "The end."
        began = anyio.current_time()
        reply.touch(urgent=True)
        await anyio.sleep(0.2)
        assert "The end." in at.thread.texts[0]
        assert at.thread.of("edit")[-1].at - began <= 0.1
        await at.end(reply)


@in_virtual_time
async def test_the_footer_and_the_removal_of_the_stop_button_are_one_edit() -> None:
    """D5"""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "Done."
        reply.touch()
        await anyio.sleep(5)
        before = len(at.thread.of("edit"))
        assert await at.end(reply)
        assert [Body("Done.\n-# footer")] == [call.body for call in at.thread.of("edit")[before:]]


@in_virtual_time
async def test_a_short_answer_that_is_over_at_once_is_one_message_and_no_edit() -> None:
    async with scene() as at:
        reply = at.open()
        at.turn.text = "42"
        reply.finish(final_reply())
        assert await reply.delivered()
        assert [(call.kind, call.body.text) for call in at.thread.calls] == [("send", "42\n-# footer")]


@in_virtual_time
async def test_an_unchanged_body_is_not_edited() -> None:
    async with scene() as at:
        reply = at.open()
        at.turn.text = "Hello"
        for _ in range(40):
            reply.touch()
            await anyio.sleep(0.1)
        assert at.thread.of("edit") == []


@in_virtual_time
async def test_many_streaming_threads_stretch_the_interval() -> None:
    """D3: Discord's limit over all threads."""
    async with scene(Pacing(streaming=lambda: 100)) as at:
        reply = at.open()
        await at.stream(reply, PROSE[:1500], 20)
        assert min(gaps(at.thread.of("edit"))) >= 2.5 - 1e-6


@in_virtual_time
async def test_an_edit_that_stalls_delays_neither_a_new_message_nor_a_notice() -> None:
    """D3: an edit that empties the bucket returns seconds after it became visible."""
    async with scene(stall=4.5) as at:
        reply = at.open()
        at.turn.text = "one"
        reply.touch()
        await anyio.sleep(2)
        at.turn.text += " two"
        reply.touch()
        await anyio.sleep(0.3)
        assert len(at.thread.of("edit")) == 1
        began = anyio.current_time()
        await at.editor.say(Body("notice")).delivered()
        assert anyio.current_time() - began <= 0.2


@in_virtual_time
async def test_at_most_one_edit_of_a_message_is_under_way() -> None:
    async with scene(stall=3.0) as at:
        reply = at.open()
        await at.stream(reply, PROSE[:600], 12)
        await at.end(reply)
        assert at.thread.most_at_once == 1
        assert at.thread.texts[0].endswith("-# footer")


@in_virtual_time
async def test_final_edits_of_one_reply_go_before_the_edits_of_another() -> None:
    """D3: final messages first."""
    async with scene() as at:
        other = FakeTurn()
        first, second = at.open(2), at.open(3, turn=other)
        at.turn.text, other.text = "first", "second"
        first.touch()
        second.touch()
        await anyio.sleep(2)
        for _ in range(30):
            at.turn.text, other.text = at.turn.text + " more", other.text + " more"
            first.touch()
            second.touch()
            await anyio.sleep(0.1)
        began = anyio.current_time()
        second.finish(final_reply())
        await second.delivered()
        assert anyio.current_time() - began <= 0.2


@in_virtual_time
async def test_a_touch_while_something_is_waiting_already_is_free() -> None:
    """T10: work per chunk is constant."""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "Hello"
        reply.touch()
        await anyio.sleep(0.5)
        looks = len(at.turn.asked)
        for _ in range(10_000):
            reply.touch()
        assert looks == len(at.turn.asked)
        await anyio.sleep(0.3)
        assert looks + 1 == len(at.turn.asked)
